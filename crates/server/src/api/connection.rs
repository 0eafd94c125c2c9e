//! The loop of one client connection: frames in, requests dispatched, answers out in order.
//!
//! Produce requests are pipelined: the next is dispatched while earlier ones wait for their acknowledgement, and
//! all that one receive brought enter their shards together. Every other request waits until the answers
//! before it are known, which is what a client sees from Apache Kafka too.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use ottla_model::{BrokerEpoch, NodeId};
use ottla_protocol::{ApiKey, Decoder, RequestHeader, Str};
use ottla_transport::{Connection, Received};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::debug;

use super::produce::PendingProduce;
use super::{Answer, Intervention, ListenerContext, Rejected, RequestContext, broker_heartbeat};

/// Produce requests of one connection whose answers are outstanding.
const PIPELINED_MAX: usize = 128;
/// Answers that may wait for a slow reader before no more of its requests are taken.
const OUTGOING_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How long a connection that is to be closed may take to send the answers before.
const LAST_ANSWERS_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves one connection until the peer closes it, breaks the protocol, is idle for too long, or the node
/// stops.
pub async fn serve(
    connection: Connection,
    peer: SocketAddr,
    listener: Arc<ListenerContext>,
    stopping: watch::Receiver<bool>,
) {
    let mut session = Session {
        connection,
        peer,
        listener,
        client_id: None,
        heard: None,
        pending: VecDeque::new(),
        completed: Arc::new(Notify::new()),
        hurry: Arc::new(Notify::new()),
    };
    match session.run(stopping).await {
        Ok(()) => {}
        Err(error) => {
            // What was asked before the frame that broke the protocol is done, and answered.
            session.enter_shards(0);
            if error.kind() == io::ErrorKind::InvalidData {
                let _ = tokio::time::timeout(LAST_ANSWERS_TIMEOUT, session.finish()).await;
            }
            debug!(%peer, %error, "connection closed");
        }
    }
    if let Some((broker, epoch)) = session.heard {
        session.listener.node.controller().lost(broker, epoch);
    }
}

struct Session {
    connection: Connection,
    peer: SocketAddr,
    listener: Arc<ListenerContext>,
    /// The last client id seen; clients send the same one again and again.
    client_id: Option<Str>,
    /// The broker whose heartbeats come this way.
    heard: Option<(NodeId, BrokerEpoch)>,
    pending: VecDeque<PendingProduce>,
    /// Told when one of `pending` completes on another thread.
    completed: Arc<Notify>,
    /// Told when something comes behind a fetch that waits.
    hurry: Arc<Notify>,
}

/// What ended a wait.
enum Wake {
    Received(Received),
    Completed,
    Idle,
    Stopping,
}

fn closed_by_hook() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "closed on purpose")
}

impl Session {
    async fn run(&mut self, mut stopping: watch::Receiver<bool>) -> io::Result<()> {
        let idle_max = self.listener.idle_max;
        let mut last_active = Instant::now();
        let mut idle_check = pin!(tokio::time::sleep(idle_max));
        loop {
            self.take_frames().await?;
            if *stopping.borrow() {
                return self.finish().await;
            }
            self.connection.make_room().await?;
            let wake = {
                let completed = Arc::clone(&self.completed);
                let mut completed = pin!(completed.notified());
                let mut stop = pin!(stopping.changed());
                let (connection, pending) = (&mut self.connection, &mut self.pending);
                poll_fn(|cx| {
                    // Send first: what the peer waits for goes before what it may send next.
                    if let Poll::Ready(result) = connection.poll_flush(cx) {
                        result?;
                    }
                    if !pending.is_empty() && completed.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(io::Result::Ok(Wake::Completed));
                    }
                    let takes_more =
                        pending.len() < PIPELINED_MAX && connection.outgoing().len() < OUTGOING_BYTES_MAX;
                    if takes_more && let Poll::Ready(received) = connection.poll_receive(cx) {
                        return Poll::Ready(Ok(Wake::Received(received?)));
                    }
                    if idle_check.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Ok(Wake::Idle));
                    }
                    if stop.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Ok(Wake::Stopping));
                    }
                    Poll::Pending
                })
                .await?
            };
            match wake {
                Wake::Received(Received::Closed) => return Ok(()),
                Wake::Received(Received::Bytes) => last_active = Instant::now(),
                Wake::Completed | Wake::Stopping => {}
                Wake::Idle => {
                    let idle = last_active.elapsed();
                    if idle >= idle_max && self.pending.is_empty() {
                        debug!(peer = %self.peer, "closing a connection that was idle for {idle:?}");
                        return Ok(());
                    }
                    let rest = idle_max.saturating_sub(idle).max(Duration::from_millis(100));
                    idle_check.as_mut().reset(Instant::now() + rest);
                }
            }
        }
    }

    /// Dispatches every whole frame that was received, and queues the answers that are ready.
    async fn take_frames(&mut self) -> io::Result<()> {
        self.answer_completed()?;
        let mut entered = self.pending.len();
        while self.pending.len() < PIPELINED_MAX
            && let Some(frame) = self.connection.next_frame()?
        {
            let (context, mut body) = self.parse(frame)?;
            let mut lose_answer = false;
            if let Some(hook) = &self.listener.hook
                && let Some(intervention) = hook.intervene(&context, body.rest())
            {
                self.enter_shards(entered);
                self.wait_for_pending().await?;
                entered = 0;
                match intervention {
                    Intervention::Delay(delay) => {
                        self.connection.flush().await?;
                        tokio::time::sleep(delay).await;
                    }
                    Intervention::Close => return Err(closed_by_hook()),
                    Intervention::LoseAnswer => {
                        self.connection.flush().await?;
                        lose_answer = true;
                    }
                    Intervention::Replace(other) => body = Decoder::new(other),
                    Intervention::Answer(answer) => {
                        self.queue(Answer::of_other_node(answer));
                        continue;
                    }
                }
            }
            if context.api_key == ApiKey::Produce && self.listener.serves(&context) {
                let pending = super::produce::dispatch(&self.listener.node, context, body, &self.completed)
                    .map_err(io::Error::from)?;
                self.pending.push_back(pending);
                if lose_answer {
                    self.enter_shards(entered);
                    self.wait_for_pending().await?;
                    return Err(closed_by_hook());
                }
                continue;
            }
            self.enter_shards(entered);
            self.wait_for_pending().await?;
            entered = 0;
            if context.api_key == ApiKey::BrokerHeartbeat && self.listener.serves(&context) {
                self.heard = broker_heartbeat::broker_of(&context, body.rest());
            }
            let answer = match context.api_key {
                ApiKey::Fetch => self.answer_fetch(context, body).await?,
                _ => super::dispatch(&self.listener, context, body).await.map_err(io::Error::from)?,
            };
            if lose_answer {
                return Err(closed_by_hook());
            }
            self.queue(answer);
            if self.connection.outgoing().len() >= OUTGOING_BYTES_MAX {
                self.connection.flush().await?;
            }
        }
        self.enter_shards(entered);
        self.answer_completed()
    }

    /// A fetch may wait for long. What comes behind it is taken in meanwhile, and a follower that has sent more is
    /// answered at once.
    async fn answer_fetch(&mut self, mut context: RequestContext, body: Decoder) -> io::Result<Answer> {
        self.connection.make_room().await?;
        context.hurry = Some(Arc::clone(&self.hurry));
        let listener = Arc::clone(&self.listener);
        let mut answering = pin!(super::dispatch(&listener, context, body));
        let (connection, hurry) = (&mut self.connection, &self.hurry);
        let mut received = false;
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answering.as_mut().poll(cx) {
                return Poll::Ready(answer.map_err(io::Error::from));
            }
            // What was queued before is not held up by the wait.
            if let Poll::Ready(result) = connection.poll_flush(cx) {
                result?;
            }
            if !received && let Poll::Ready(more) = connection.poll_receive(cx) {
                received = true;
                if more? == Received::Bytes {
                    hurry.notify_one();
                }
            }
            Poll::Pending
        })
        .await
    }

    fn parse(&mut self, frame: Bytes) -> Result<(RequestContext, Decoder), Rejected> {
        let mut body = Decoder::new(frame);
        let (api_key, header) = RequestHeader::decode_frame(&mut body)?;
        // Keep one copy of the client id instead of a slice that holds on to the frame.
        if self.client_id != header.client_id {
            self.client_id = header.client_id.as_deref().map(Str::from);
        }
        let context = RequestContext {
            api_key,
            api_version: header.request_api_version,
            correlation_id: header.correlation_id,
            client_id: self.client_id.clone(),
            peer: self.peer,
            principal: super::anonymous(),
            listener: Arc::clone(&self.listener.name),
            hurry: None,
        };
        Ok((context, body))
    }

    /// Lets the shards do what the produce requests from `first` on pushed.
    fn enter_shards(&self, first: usize) {
        for pending in self.pending.iter().skip(first) {
            pending.enter_shards();
        }
    }

    /// Queues the answers of the oldest produce requests that are complete.
    fn answer_completed(&mut self) -> io::Result<()> {
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.is_complete()) {
            if let Some(answer) = pending.answer().map_err(io::Error::from)? {
                self.queue(answer);
            }
        }
        Ok(())
    }

    async fn wait_for_pending(&mut self) -> io::Result<()> {
        loop {
            self.answer_completed()?;
            if self.pending.is_empty() {
                return Ok(());
            }
            let completed = Arc::clone(&self.completed);
            let mut completed = pin!(completed.notified());
            poll_fn(|cx| {
                if let Poll::Ready(result) = self.connection.poll_flush(cx) {
                    result?;
                }
                completed.as_mut().poll(cx).map(io::Result::Ok)
            })
            .await?;
        }
    }

    fn queue(&mut self, answer: Answer) {
        answer.append_to(self.connection.outgoing());
    }

    /// The node stops: what was taken is answered, then the connection ends.
    async fn finish(&mut self) -> io::Result<()> {
        self.wait_for_pending().await?;
        self.connection.flush().await
    }
}
