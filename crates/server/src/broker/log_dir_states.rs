//! The condition of the log directories, and what the controller is told of them: which have failed, and which replica
//! lies where.
//!
//! A directory fails as a whole, and for good: one log that the disk has failed takes all others with it, as nobody
//! knows what else is lost. Kafka's own rule.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use ottla_commit_log::StorageError;
use ottla_model::Uuid;
use ottla_protocol::api::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsRequestDirectoryData,
    AssignReplicasToDirsRequestPartitionData, AssignReplicasToDirsRequestTopicData,
};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tracing::{debug, error};

use super::{Broker, BrokerDir};

/// How long to wait before replicas' directories are told again.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Replicas in one request, as Kafka's controller takes no more.
const ASSIGNMENTS_MAX: usize = 2_250;

/// A replica's topic and partition, and the directory it lies in.
type Assignment = (Uuid, i32, Uuid);

/// See the module's head.
pub struct LogDirStates {
    broker: OnceLock<Weak<Broker>>,
    runtime: Handle,
    /// Those of `log.dirs` that could not be opened at the start: the controller has never heard of them.
    unopened: Vec<PathBuf>,
    failed: Mutex<Vec<Uuid>>,
    /// Told when a directory has failed: the controller is to know at once.
    pub changed: Notify,
    /// Why the broker cannot go on.
    fault: watch::Sender<Option<String>>,
    assignments: Mutex<Assignments>,
}

#[derive(Default)]
struct Assignments {
    waiting: Vec<Assignment>,
    /// A task sends what waits.
    sending: bool,
}

impl LogDirStates {
    /// Must be called inside a runtime.
    pub fn new(unopened: Vec<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            broker: OnceLock::new(),
            runtime: Handle::current(),
            unopened,
            failed: Mutex::default(),
            changed: Notify::new(),
            fault: watch::Sender::default(),
            assignments: Mutex::default(),
        })
    }

    /// Tells who asks the controller. Called once, before anything is assigned.
    pub fn serve(&self, broker: &Arc<Broker>) {
        let _ = self.broker.set(Arc::downgrade(broker));
    }

    pub fn unopened(&self) -> &[PathBuf] {
        &self.unopened
    }

    /// Those that were opened and have failed.
    pub fn failed(&self) -> Vec<Uuid> {
        self.failed.lock().clone()
    }

    pub fn has_failed(&self, id: Uuid) -> bool {
        self.failed.lock().contains(&id)
    }

    /// Whether replicas may lie where nobody can look.
    pub fn any_offline(&self) -> bool {
        !self.unopened.is_empty() || !self.failed.lock().is_empty()
    }

    /// Takes a directory out of service whose logs cannot be loaded.
    pub fn fail_at_load(&self, dir: &BrokerDir, error: &StorageError) {
        error!(dir = %dir.dir.path().display(), %error, "the log directory is offline: its logs cannot be loaded");
        self.failed.lock().push(dir.id);
        self.changed.notify_one();
    }

    /// Why the broker cannot go on, once all directories have failed.
    pub fn fault(&self) -> watch::Receiver<Option<String>> {
        self.fault.subscribe()
    }

    /// Looks for logs that the disk has failed, and takes their directories out of service.
    pub fn check(&self, broker: &Broker) {
        let table = broker.table();
        for handle in table.partitions() {
            if !handle.view().is_offline() || self.has_failed(handle.dir_id) {
                continue;
            }
            let Some(dir) = broker.dirs.iter().find(|dir| dir.id == handle.dir_id) else { continue };
            error!(dir = %dir.dir.path().display(), partition = %handle.name, "the log directory has failed");
            self.failed.lock().push(dir.id);
            for lost in table.partitions().filter(|known| known.dir_id == dir.id) {
                broker.fetchers.forget(lost);
                let slot = lost.slot;
                lost.shard.submit(move |state| {
                    if let Some(partition) = state.partition(slot) {
                        partition.lose_storage();
                    }
                });
            }
            self.changed.notify_one();
        }
        if self.failed.lock().len() == broker.dirs.len() && self.fault.borrow().is_none() {
            self.fault.send_replace(Some("all log directories have failed".to_owned()));
        }
    }

    /// Has the controller know where a replica lies.
    pub fn assign(self: &Arc<Self>, topic_id: Uuid, partition: i32, dir: Uuid) {
        let mut assignments = self.assignments.lock();
        assignments.waiting.retain(|(topic, index, _)| (*topic, *index) != (topic_id, partition));
        assignments.waiting.push((topic_id, partition, dir));
        if !std::mem::replace(&mut assignments.sending, true) {
            let directories = Arc::clone(self);
            self.runtime.spawn(async move { directories.send_all().await });
        }
    }

    async fn send_all(&self) {
        loop {
            let batch: Vec<Assignment> = {
                let mut assignments = self.assignments.lock();
                if assignments.waiting.is_empty() {
                    assignments.sending = false;
                    return;
                }
                let count = assignments.waiting.len().min(ASSIGNMENTS_MAX);
                assignments.waiting.drain(..count).collect()
            };
            let Some(broker) = self.broker.get().and_then(Weak::upgrade) else { return };
            match broker.controller.assign_replicas_to_dirs(request(&broker, &batch)).await {
                // A partition that the controller refuses is gone, or moved again.
                Ok(response) if response.error_code == 0 => continue,
                Ok(response) => debug!(code = response.error_code, "replicas' directories were refused"),
                Err(error) => debug!(%error, "replicas' directories could not be told"),
            }
            drop(broker);
            tokio::time::sleep(RETRY_AFTER).await;
            let mut assignments = self.assignments.lock();
            let newer = std::mem::take(&mut assignments.waiting);
            let is_newer =
                |old: &Assignment| newer.iter().any(|(topic, index, _)| (*topic, *index) == (old.0, old.1));
            assignments.waiting = batch.into_iter().filter(|old| !is_newer(old)).collect();
            assignments.waiting.extend(newer);
        }
    }
}

fn request(broker: &Broker, batch: &[Assignment]) -> AssignReplicasToDirsRequest {
    let mut directories: Vec<AssignReplicasToDirsRequestDirectoryData> = Vec::new();
    for (topic_id, partition_index, dir) in batch {
        let at = directories.iter().position(|known| known.id == *dir).unwrap_or_else(|| {
            directories.push(AssignReplicasToDirsRequestDirectoryData { id: *dir, topics: Vec::new() });
            directories.len() - 1
        });
        let topics = &mut directories[at].topics;
        let partition = AssignReplicasToDirsRequestPartitionData { partition_index: *partition_index };
        match topics.iter_mut().find(|topic| topic.topic_id == *topic_id) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(AssignReplicasToDirsRequestTopicData {
                topic_id: *topic_id,
                partitions: vec![partition],
            }),
        }
    }
    AssignReplicasToDirsRequest { broker_id: broker.node_id.0, broker_epoch: broker.epoch().0, directories }
}
