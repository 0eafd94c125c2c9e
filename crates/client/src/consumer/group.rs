//! The task that drives the membership: sends what it asks for, brings answers, time and metadata back.

use std::sync::Arc;
use std::time::Duration;

use ottla_model::{ErrorCode, Millis, NodeId};
use ottla_protocol::Request;
use ottla_protocol::api::leave_group::LeaveGroupRequest;
use tokio::sync::{mpsc, oneshot};

use super::shared::{Identity, Notice, Shared};
use crate::client::{CallOptions, CoordinatorKey, Lane, Target};
use crate::error::{Error, Result};
use crate::state::assignors::Topics;
use crate::state::membership::{Action, Event, Membership};
use crate::state::metadata::Metadata;

/// How long JoinGroup may take beyond the time that members have for it.
const JOIN_GRACE: Duration = Duration::from_secs(5);
/// How long closing waits for the answer to LeaveGroup.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the handle asks of the task.
pub(super) enum Command {
    Subscribe(Vec<Arc<str>>),
    Released,
    Polled,
    CoordinatorSaid(ErrorCode),
    Answer(Box<Event>),
    /// Leaves the group, then answers.
    Close(oneshot::Sender<()>),
}

/// Runs until the consumer is closed.
pub(super) async fn run(
    shared: Arc<Shared>,
    membership: Membership,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let Some(config) = &shared.config.group else { return };
    let key = CoordinatorKey::Group(config.group_id.clone());
    let mut group = GroupTask {
        membership,
        key,
        watched: None,
        found: None,
        join_timeout: Duration::from_millis(config.max_poll_interval_ms.max(0) as u64) + JOIN_GRACE,
        shared: Arc::clone(&shared),
    };
    let mut metadata = shared.client.subscribe_metadata();
    loop {
        let deadline = group.membership.next_deadline();
        let wait = Duration::from_millis((deadline - shared.now()).clamp(0, 3_600_000) as u64);
        let event = tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Close(closed)) => {
                    group.close().await;
                    let _ = closed.send(());
                    return;
                }
                Some(Command::Subscribe(topics)) => Event::Subscribe(topics),
                Some(Command::Released) => Event::Released,
                Some(Command::Polled) => Event::Tick,
                Some(Command::CoordinatorSaid(code)) => Event::CoordinatorSaid(code),
                Some(Command::Answer(event)) => *event,
                None => return,
            },
            changed = metadata.changed() => match (changed, &group.watched) {
                (Err(_), _) => return,
                (Ok(()), Some(watched)) => Event::Topics(partitions_of(&shared.client.metadata(), watched)),
                (Ok(()), None) => continue,
            },
            () = tokio::time::sleep(wait) => Event::Tick,
        };
        group.step(event);
    }
}

struct GroupTask {
    membership: Membership,
    key: CoordinatorKey,
    /// Topics that this member, as the leader, assigns.
    watched: Option<Vec<Arc<str>>>,
    /// The coordinator found last.
    found: Option<NodeId>,
    join_timeout: Duration,
    shared: Arc<Shared>,
}

impl GroupTask {
    fn step(&mut self, event: Event) {
        let now = self.shared.now();
        if let Some(at) = self.shared.poll.last_poll(now) {
            self.membership.polled_at(at);
        }
        if let Event::Coordinator(Ok(node)) = &event {
            self.found = Some(*node);
        }
        let actions = self.membership.step(now, event);
        self.shared.core.lock().identity = {
            let (generation, member_id) = self.membership.identity();
            Identity { generation, member_id: member_id.clone() }
        };
        for action in actions {
            self.perform(action);
        }
        if self.membership.waits_for_poll() {
            self.shared.poll.wanted.store(true, std::sync::atomic::Ordering::Release);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::FindCoordinator => self.find_coordinator(),
            Action::Join(attempt, request) => {
                let timeout = Some(self.join_timeout);
                self.ask(request, Lane::Coordinator, timeout, move |answer| Event::Joined(attempt, answer));
            }
            Action::Sync(attempt, request) => {
                let timeout = Some(self.join_timeout);
                self.ask(request, Lane::Coordinator, timeout, move |answer| Event::Synced(attempt, answer));
            }
            // Not behind a JoinGroup that waits: brokers answer a connection in order.
            Action::Heartbeat(attempt, request) => {
                self.ask(request, Lane::Main, None, move |answer| Event::Heartbeat(attempt, answer));
            }
            Action::Leave(request) => {
                let leave = self.leave(request);
                self.shared.client.spawn(leave);
            }
            Action::WatchTopics(topics) => self.watch(topics),
            Action::Revoke(partitions) => self.shared.notify(Notice::Revoke(partitions)),
            Action::Lose(partitions) => self.shared.notify(Notice::Lose(partitions)),
            Action::Assign(added) => {
                let owned = self.membership.owned().clone();
                self.shared.notify(Notice::Assign(added, owned));
            }
            Action::Fail(code) => self.shared.fail(code.into()),
        }
    }

    /// Sends to the coordinator and brings the answer back as an event.
    fn ask<R: Request>(
        &self,
        request: R,
        lane: Lane,
        timeout: Option<Duration>,
        event: impl FnOnce(Result<R::Response, ErrorCode>) -> Event + Send + 'static,
    ) {
        let Some(node) = self.membership.coordinator() else { return };
        let shared = Arc::clone(&self.shared);
        self.shared.client.spawn(async move {
            let options = CallOptions { lane, timeout, ..Default::default() };
            let answer = shared.client.call_with(Target::Node(node), request, options).await;
            shared.answer(event(answer.map_err(|error| code_of(&error))));
        });
    }

    fn find_coordinator(&mut self) {
        if let Some(node) = self.found.take() {
            self.shared.client.forget_coordinator(&self.key, node);
        }
        let (shared, key) = (Arc::clone(&self.shared), self.key.clone());
        self.shared.client.spawn(async move {
            let found = shared.client.coordinator(&key).await;
            shared.answer(Event::Coordinator(found.map_err(|error| code_of(&error))));
        });
    }

    /// The leader needs the partitions of the group's topics: as they are now.
    fn watch(&mut self, topics: Vec<Arc<str>>) {
        self.watched = Some(topics.clone());
        let shared = Arc::clone(&self.shared);
        self.shared.client.spawn(async move {
            let known = shared.client.metadata();
            shared.client.want_topics(topics.iter().cloned());
            let metadata = if topics.iter().all(|topic| known.topic(topic).is_some_and(|t| t.error.is_none()))
            {
                known
            } else {
                // What cannot be described in time is assigned when it can.
                shared.client.updated_metadata().await.unwrap_or(known)
            };
            shared.answer(Event::Topics(partitions_of(&metadata, &topics)));
        });
    }

    fn leave(&self, request: LeaveGroupRequest) -> impl Future<Output = ()> + Send + 'static {
        let (client, node) = (self.shared.client.clone(), self.membership.coordinator());
        async move {
            let Some(node) = node else { return };
            let options = CallOptions { timeout: Some(LEAVE_TIMEOUT), ..Default::default() };
            if let Err(error) = client.call_with(Target::Node(node), request, options).await {
                tracing::debug!(%error, "cannot leave the group");
            }
        }
    }

    async fn close(&mut self) {
        let now: Millis = self.shared.now();
        for action in self.membership.step(now, Event::Close) {
            if let Action::Leave(request) = action {
                let _ = tokio::time::timeout(LEAVE_TIMEOUT, self.leave(request)).await;
            }
        }
    }
}

impl Shared {
    fn answer(&self, event: Event) {
        if let Some(group) = &self.group {
            // The task ends with the consumer.
            let _ = group.send(Command::Answer(Box::new(event)));
        }
    }
}

/// What a failed call means to the membership: no answer, unless a broker or the codec said more.
pub(super) fn code_of(error: &Error) -> ErrorCode {
    match error {
        Error::Broker { code, .. } => *code,
        Error::Unsupported { .. } => ErrorCode::UnsupportedVersion,
        _ => ErrorCode::NetworkException,
    }
}

fn partitions_of(metadata: &Metadata, topics: &[Arc<str>]) -> Topics {
    let rack = |replica: &NodeId| metadata.broker(*replica)?.rack.clone().filter(|rack| !rack.is_empty());
    let partitions = |topic: &Arc<str>| {
        let known = metadata.topic(topic).filter(|known| known.error.is_none())?;
        let racks =
            known.partitions.iter().map(|partition| partition.replicas.iter().filter_map(rack).collect());
        Some((topic.clone(), racks.collect()))
    };
    topics.iter().filter_map(partitions).collect()
}
