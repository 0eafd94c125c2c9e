//! One connection to a broker, kept by one task: made when there is a request, opened again after a pause when it
//! broke, closed when nobody used it for long.
//!
//! Requests are pipelined in the order in which they come; a broker answers in that order. A request that was sent
//! when the connection broke ends with [`Error::Disconnected`]: whether to repeat it is its owner's decision.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_model::ErrorCode;
use ottla_protocol::api::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use ottla_protocol::{ApiKey, Decoder, Segment, Str, Versions, decode_response, encode_request};
use ottla_transport::{Budget, BufferPool, ConnectionLimits, FrameError, RpcChannel};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::request::{Outgoing, unencodable};
use super::sockets::Sockets;
use crate::error::{Error, Result};
use crate::state::backoff::Backoff;

/// What all connections of a client share.
pub(crate) struct Shared {
    pub client_id: Str,
    pub pool: Arc<BufferPool>,
    pub budget: Arc<Budget>,
    pub limits: ConnectionLimits,
    pub sockets: Sockets,
    /// How long making a connection may take, by failures in a row.
    pub setup: Backoff,
    pub request_timeout: Duration,
    pub reconnect: Backoff,
    pub idle_max: Option<Duration>,
    pub random: fn() -> f64,
}

/// How others hand requests to a connection's task.
#[derive(Clone)]
pub(crate) struct Node {
    requests: UnboundedSender<Box<dyn Outgoing>>,
    state: Arc<NodeState>,
}

/// What others may know of a connection.
#[derive(Default)]
pub(crate) struct NodeState {
    /// What the peer said of itself when the connection was last made.
    peer: Mutex<Option<Arc<ApiVersionsResponse>>>,
    failure: Mutex<Option<Failure>>,
}

/// Why there is no connection, until there is one again.
#[derive(Clone)]
struct Failure {
    error: Error,
    retry_at: Instant,
}

impl Node {
    /// Starts the task of a connection to `host:port`. Called on the I/O thread's runtime.
    pub fn start(shared: Arc<Shared>, host: Arc<str>, port: u16, runtime: &tokio::runtime::Handle) -> Self {
        let (requests, receiver) = unbounded_channel();
        let state = Arc::new(NodeState::default());
        let address = Arc::from(format!("{host}:{port}"));
        let task = NodeTask { shared, host, port, address, state: Arc::clone(&state), requests: receiver };
        runtime.spawn(task.run());
        Self { requests, state }
    }

    pub fn send(&self, request: Box<dyn Outgoing>) {
        if let Err(refused) = self.requests.send(request) {
            refused.0.complete(Err(Error::Closed), 0, "");
        }
    }

    /// The last failure to connect, while the pause after it lasts.
    pub fn failure(&self) -> Option<Error> {
        let failure = self.state.failure.lock();
        failure
            .as_ref()
            .filter(|failure| Instant::now() < failure.retry_at)
            .map(|failure| failure.error.clone())
    }

    pub fn peer(&self) -> Option<Arc<ApiVersionsResponse>> {
        self.state.peer.lock().clone()
    }
}

struct NodeTask {
    shared: Arc<Shared>,
    host: Arc<str>,
    port: u16,
    address: Arc<str>,
    state: Arc<NodeState>,
    requests: UnboundedReceiver<Box<dyn Outgoing>>,
}

/// A request that was sent.
struct InFlight {
    request: Box<dyn Outgoing>,
    correlation_id: i32,
    version: i16,
    deadline: Instant,
}

impl NodeTask {
    async fn run(mut self) {
        let mut failures = 0;
        while let Some(first) = self.requests.recv().await {
            match self.connect(failures).await {
                Ok((channel, peer)) => {
                    failures = 0;
                    *self.state.failure.lock() = None;
                    let peer = Arc::new(peer);
                    *self.state.peer.lock() = Some(Arc::clone(&peer));
                    if let Err(error) = self.serve(channel, &peer, first).await {
                        tracing::debug!(node = %self.address, %error, "connection ended");
                        self.refuse_queued(&error);
                    }
                }
                Err(error) => {
                    tracing::debug!(node = %self.address, %error, "cannot connect");
                    let pause = self.shared.reconnect.delay(failures, (self.shared.random)());
                    failures += 1;
                    let retry_at = Instant::now() + pause;
                    *self.state.failure.lock() = Some(Failure { error: error.clone(), retry_at });
                    first.complete(Err(error.clone()), 0, &self.address);
                    // Nobody waits for a pause: other brokers may be asked meanwhile.
                    loop {
                        self.refuse_queued(&error);
                        match timeout_at(retry_at, self.requests.recv()).await {
                            Ok(Some(request)) => request.complete(Err(error.clone()), 0, &self.address),
                            Ok(None) => return,
                            Err(_) => break,
                        }
                    }
                }
            }
        }
    }

    fn refuse_queued(&mut self, error: &Error) {
        while let Ok(request) = self.requests.try_recv() {
            request.complete(Err(error.clone()), 0, &self.address);
        }
    }

    fn disconnected(&self, reason: impl std::fmt::Display) -> Error {
        Error::Disconnected { node: Arc::clone(&self.address), reason: reason.to_string().into() }
    }

    /// Bytes that are no answer are told from a connection that ended. Either way there is none any more, and what was
    /// sent may be sent again: another peer may answer there next.
    fn broken(&self, error: std::io::Error) -> Error {
        match stranger(&error) {
            Some(stranger) => self.disconnected(format_args!(
                "this looks like {stranger}: it does not speak Kafka's protocol in the clear ({error})"
            )),
            None => self.disconnected(error),
        }
    }

    async fn connect(&self, failures: u32) -> Result<(RpcChannel, ApiVersionsResponse)> {
        let timeout = self.shared.setup.delay(failures, (self.shared.random)());
        let deadline = Instant::now() + timeout;
        let (pool, budget) = (Arc::clone(&self.shared.pool), Arc::clone(&self.shared.budget));
        let (sockets, limits) = (&self.shared.sockets, self.shared.limits);
        let channel = RpcChannel::connect(sockets, &self.host, self.port, timeout, limits, pool, budget);
        let mut channel = channel.await.map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => {
                self.disconnected(format_args!("not connected within {} ms", timeout.as_millis()))
            }
            _ => self.disconnected(error),
        })?;
        match timeout_at(deadline, self.negotiate(&mut channel)).await {
            Ok(peer) => Ok((channel, peer?)),
            Err(_) => Err(self.disconnected(format_args!(
                "connected, but ApiVersions was not answered within {} ms: is this the port of a Kafka broker, or of \
                 an HTTP server?",
                timeout.as_millis()
            ))),
        }
    }

    /// A peer that does not know the newest version says so in version 0, with those that it does know.
    async fn negotiate(&self, channel: &mut RpcChannel) -> Result<ApiVersionsResponse> {
        let request = probe();
        let mut version = ApiKey::ApiVersions.stable_versions().max;
        loop {
            let segments = encode_request(&request, version, 0, Some(self.shared.client_id.clone()));
            push(channel, segments.map_err(|error| unencodable(ApiKey::ApiVersions, error))?);
            let frame = channel.answer().await.map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => self.disconnected(
                    "closed by the peer at the first request: this looks like a TLS listener, and this client speaks \
                     in the clear only",
                ),
                _ => self.broken(error),
            })?;
            if let Ok((_, response)) = decode_response::<ApiVersionsRequest>(frame.clone(), version)
                && response.error_code == 0
            {
                return Ok(response);
            }
            let refusal = decode_response::<ApiVersionsRequest>(frame, 0);
            let (_, refusal) = refusal.map_err(|error| {
                self.disconnected(format_args!("it does not speak Kafka's protocol: {error}"))
            })?;
            let known = range_of(&refusal.api_keys, ApiKey::ApiVersions);
            let common = known.intersect(Versions::new(0, version - 1));
            if refusal.error_code != ErrorCode::UnsupportedVersion.code() || common.is_empty() {
                return Err(Error::from_code(refusal.error_code));
            }
            version = common.max;
        }
    }

    /// Sends requests and completes them until the connection breaks (`Err`) or nobody needs it (`Ok`).
    async fn serve(
        &mut self,
        mut channel: RpcChannel,
        peer: &ApiVersionsResponse,
        first: Box<dyn Outgoing>,
    ) -> Result<()> {
        let mut in_flight = VecDeque::new();
        let mut correlation_id = 0;
        let mut next = Some(first);
        let result = loop {
            while let Some(request) = next.take().or_else(|| self.requests.try_recv().ok()) {
                self.send(&mut channel, peer, request, &mut correlation_id, &mut in_flight);
            }
            let idle_at =
                self.shared.idle_max.filter(|_| in_flight.is_empty()).map(|idle| Instant::now() + idle);
            let deadline = in_flight.front().map(|oldest: &InFlight| oldest.deadline).or(idle_at);
            tokio::select! {
                biased;
                frame = channel.answer() => match frame {
                    Ok(frame) => if let Err(error) = self.complete(frame, &mut in_flight) { break Err(error) },
                    Err(error) => break Err(self.broken(error)),
                },
                request = self.requests.recv() => match request {
                    Some(request) => next = Some(request),
                    None => break Err(self.disconnected("not a broker of the cluster any more")),
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    let Some(oldest) = in_flight.front() else { break Ok(()) };
                    let waited = oldest.request.timeout();
                    break Err(self.disconnected(format_args!("no answer within {} ms", waited.as_millis())));
                }
            }
        };
        for sent in in_flight {
            if let Err(error) = &result {
                sent.request.complete(Err(error.clone()), sent.version, &self.address);
            }
        }
        result
    }

    fn send(
        &self,
        channel: &mut RpcChannel,
        peer: &ApiVersionsResponse,
        request: Box<dyn Outgoing>,
        correlation_id: &mut i32,
        in_flight: &mut VecDeque<InFlight>,
    ) {
        if request.is_cancelled() {
            return;
        }
        let common = range_of(&peer.api_keys, request.key()).intersect(request.versions());
        if common.is_empty() {
            let error = Error::Unsupported { key: request.key(), node: Arc::clone(&self.address) };
            return request.complete(Err(error), 0, &self.address);
        }
        *correlation_id = correlation_id.wrapping_add(1) & i32::MAX;
        match request.encode(common.max, *correlation_id, self.shared.client_id.clone()) {
            Ok(segments) => push(channel, segments),
            Err(error) => {
                let error = unencodable(request.key(), error);
                return request.complete(Err(error), 0, &self.address);
            }
        }
        if !request.expects_answer() {
            return request.complete(Ok(Bytes::new()), common.max, &self.address);
        }
        let deadline = Instant::now() + request.timeout();
        in_flight.push_back(InFlight {
            request,
            correlation_id: *correlation_id,
            version: common.max,
            deadline,
        });
    }

    fn complete(&self, frame: Bytes, in_flight: &mut VecDeque<InFlight>) -> Result<()> {
        // The correlation id is the first thing in every version of the header.
        let found = Decoder::new(frame.clone()).i32().map_err(|error| self.disconnected(error))?;
        match in_flight.pop_front() {
            Some(sent) if sent.correlation_id == found => {
                sent.request.complete(Ok(frame), sent.version, &self.address);
                Ok(())
            }
            sent => {
                let error =
                    self.disconnected(format_args!("it answered request {found}, which was not next"));
                if let Some(sent) = sent {
                    sent.request.complete(Err(error.clone()), sent.version, &self.address);
                }
                Err(error)
            }
        }
    }
}

/// What probably sent the bytes that are no length of a Kafka frame.
fn stranger(error: &std::io::Error) -> Option<&'static str> {
    let length = match *error.get_ref()?.downcast_ref()? {
        FrameError::Negative(length) => length,
        FrameError::TooLarge { len, .. } => i32::try_from(len).ok()?,
    };
    Some(match length.to_be_bytes() {
        // A status line, or a page without one.
        [b'H', b'T', b'T', b'P'] | [b'<', ..] => "an HTTP server",
        // An alert or a handshake, and the major version.
        [0x15 | 0x16, 3, ..] => "a TLS listener",
        _ => "a server of another kind",
    })
}

fn push(channel: &mut RpcChannel, segments: Vec<Segment>) {
    for segment in segments {
        match segment {
            Segment::Bytes(bytes) => channel.push(bytes),
            Segment::External { .. } => unreachable!("requests carry no file ranges"),
        }
    }
}

fn range_of(keys: &[ApiVersion], key: ApiKey) -> Versions {
    keys.iter()
        .find(|row| row.api_key == key as i16)
        .map_or(Versions::NONE, |row| Versions::new(row.min_version, row.max_version))
}

/// The highest version of `key` that both sides know.
pub(crate) fn common_version(peer: &ApiVersionsResponse, key: ApiKey) -> Option<i16> {
    let common = range_of(&peer.api_keys, key).intersect(key.stable_versions());
    (!common.is_empty()).then_some(common.max)
}

/// A request for nothing but the peer's versions: it makes a connection be made.
pub(crate) fn probe() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "ottla".into(),
        client_software_version: env!("CARGO_PKG_VERSION").into(),
        ..Default::default()
    }
}
