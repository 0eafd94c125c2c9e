//! Changes of in-sync sets on their way to the controller: gathered while one request is under way, then sent together.
//!
//! Owns what waits to be sent. What an answer means is the partition's to know. A request that is not answered is
//! made again until it is: a leader whose change is undecided makes no other.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use ottla_model::{BrokerEpoch, ErrorCode, LeaderEpoch, NodeId, PartitionEpoch, Uuid};
use ottla_protocol::api::alter_partition::{
    AlterPartitionRequest, AlterPartitionRequestPartitionData, AlterPartitionRequestTopicData,
    AlterPartitionResponse, AlterPartitionResponsePartitionData, BrokerState,
};
use ottla_replication::{AlterAnswer, AlterIsr};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tracing::{debug, info, warn};

use super::Broker;
use super::partition::PartitionHandle;
use crate::clock;

/// How long to wait before a request that failed is made again.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// A clean recovery is all that a leader ever reports: it has finished before it leads.
const RECOVERED: i8 = 0;

type Change = (Arc<PartitionHandle>, AlterIsr);

/// See the module's head.
pub struct IsrChanges {
    broker: OnceLock<Weak<Broker>>,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Change>,
    /// A task sends what waits.
    sending: bool,
}

impl IsrChanges {
    /// Must be called inside a runtime.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { broker: OnceLock::new(), runtime: Handle::current(), state: Mutex::default() })
    }

    /// Tells who asks the controller. Called once, before any partition leads.
    pub fn serve(&self, broker: &Arc<Broker>) {
        let _ = self.broker.set(Arc::downgrade(broker));
    }

    /// Asks the controller for a change; the partition is told of the answer.
    pub fn submit(self: &Arc<Self>, partition: &Arc<PartitionHandle>, change: AlterIsr) {
        let mut state = self.state.lock();
        state.waiting.push((Arc::clone(partition), change));
        if !std::mem::replace(&mut state.sending, true) {
            let changes = Arc::clone(self);
            self.runtime.spawn(async move { changes.send_all().await });
        }
    }

    async fn send_all(&self) {
        loop {
            let changes = {
                let mut state = self.state.lock();
                if state.waiting.is_empty() {
                    state.sending = false;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let Some(broker) = self.broker.get().and_then(Weak::upgrade) else { return };
            let answer = broker.controller.alter_partition(request(&broker, &changes)).await;
            match answer {
                Ok(response) if response.error_code == 0 => {
                    if tell(changes, &response) == Outcome::SomeRefused {
                        // Some of them ask again at once.
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                }
                Ok(response) => {
                    let code = ErrorCode::from_code(response.error_code);
                    warn!(?code, "the controller refused to change in-sync sets");
                    self.again(changes).await;
                }
                Err(error) => {
                    debug!(%error, "no answer to a change of in-sync sets");
                    self.again(changes).await;
                }
            }
        }
    }

    /// Puts changes back, in front of newer ones.
    async fn again(&self, mut changes: Vec<Change>) {
        tokio::time::sleep(RETRY_AFTER).await;
        // What is settled by the metadata log meanwhile has another leader epoch, or is refused as outdated.
        changes.retain(|(partition, change)| partition.leader_epoch() == change.leader_epoch);
        let mut state = self.state.lock();
        changes.append(&mut state.waiting);
        state.waiting = changes;
    }
}

fn request(broker: &Broker, changes: &[Change]) -> AlterPartitionRequest {
    let (node_id, epoch) = (broker.node_id, broker.epoch());
    let mut topics: Vec<AlterPartitionRequestTopicData> = Vec::new();
    for (partition, change) in changes {
        let state = |&(id, known): &(NodeId, BrokerEpoch)| BrokerState {
            broker_id: id.0,
            broker_epoch: if id == node_id { epoch.0 } else { known.0 },
        };
        let data = AlterPartitionRequestPartitionData {
            partition_index: partition.name.partition,
            leader_epoch: change.leader_epoch.0,
            new_isr: Vec::new(),
            new_isr_with_epochs: change.isr.iter().map(state).collect(),
            leader_recovery_state: RECOVERED,
            partition_epoch: change.partition_epoch.0,
        };
        match topics.iter_mut().find(|topic| topic.topic_id == partition.topic_id) {
            Some(topic) => topic.partitions.push(data),
            None => topics.push(AlterPartitionRequestTopicData {
                topic_id: partition.topic_id,
                partitions: vec![data],
            }),
        }
    }
    AlterPartitionRequest { broker_id: node_id.0, broker_epoch: epoch.0, topics }
}

#[derive(PartialEq, Eq)]
enum Outcome {
    AllAccepted,
    SomeRefused,
}

fn tell(changes: Vec<Change>, response: &AlterPartitionResponse) -> Outcome {
    let mut outcome = Outcome::AllAccepted;
    for (partition, change) in changes {
        let answer = match find(response, partition.topic_id, partition.name.partition) {
            Some(data) => answer_of(data),
            None => AlterAnswer::Refused(ErrorCode::UnknownServerError),
        };
        match &answer {
            AlterAnswer::Accepted { isr, .. } => {
                let isr: Vec<i32> = isr.iter().map(|id| id.0).collect();
                info!(partition = %partition.name, ?isr, "in-sync set changed");
            }
            AlterAnswer::Refused(error) => {
                outcome = Outcome::SomeRefused;
                info!(partition = %partition.name, %error, "the controller refused to change the in-sync set");
            }
        }
        let slot = partition.slot;
        partition.shard.submit(move |state| {
            if let Some(partition) = state.partition(slot) {
                partition.isr_change_answered(&change, answer, clock::steady());
            }
        });
    }
    outcome
}

fn find(
    response: &AlterPartitionResponse,
    topic_id: Uuid,
    index: i32,
) -> Option<&AlterPartitionResponsePartitionData> {
    let topic = response.topics.iter().find(|topic| topic.topic_id == topic_id)?;
    topic.partitions.iter().find(|partition| partition.partition_index == index)
}

fn answer_of(data: &AlterPartitionResponsePartitionData) -> AlterAnswer {
    match ErrorCode::from_code(data.error_code) {
        Some(ErrorCode::None) => AlterAnswer::Accepted {
            leader_epoch: LeaderEpoch(data.leader_epoch),
            partition_epoch: PartitionEpoch(data.partition_epoch),
            isr: data.isr.iter().map(|id| NodeId(*id)).collect(),
        },
        code => AlterAnswer::Refused(code.unwrap_or(ErrorCode::UnknownServerError)),
    }
}
