//! In which directories replicas are, and their moves between them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ottla_client::Admin;
use ottla_client::admin::Partition;
use ottla_client::blocking::block_on;
use ottla_client::metadata::Metadata;
use ottla_client::model::{ErrorCode, NodeId};

use super::super::java;
use super::{Done, Failure, REFUSED, plural, shown};

/// A replica by its broker and partition.
pub type Replica = (i32, Partition);

/// How often a move is tried whose replica is still to come.
const AGAIN: Duration = Duration::from_millis(100);

/// Where replicas are, and where they are moving.
pub struct Directories {
    current: BTreeMap<Replica, String>,
    future: BTreeMap<Replica, String>,
}

impl Directories {
    /// The directories of the live brokers of these replicas.
    pub fn of<'a>(
        admin: &Admin,
        metadata: &Metadata,
        replicas: impl IntoIterator<Item = &'a Replica>,
    ) -> Done<Self> {
        let brokers: BTreeSet<_> = replicas.into_iter().map(|(id, _)| NodeId(*id)).collect();
        let mut found = Self { current: BTreeMap::new(), future: BTreeMap::new() };
        for broker in brokers.into_iter().filter(|id| metadata.broker(*id).is_some()) {
            for directory in block_on(admin.describe_log_dirs(broker))? {
                for topic in directory.topics {
                    for partition in topic.partitions {
                        let known =
                            if partition.is_future_key { &mut found.future } else { &mut found.current };
                        let place = (topic.name.as_str().to_owned(), partition.partition_index);
                        known.insert((broker.0, place), directory.log_dir.as_str().to_owned());
                    }
                }
            }
        }
        Ok(found)
    }

    /// The same of all replicas of these partitions.
    pub fn of_partitions(
        admin: &Admin,
        metadata: &Metadata,
        partitions: &BTreeMap<Partition, Vec<i32>>,
    ) -> Done<Self> {
        let replicas = partitions.iter().flat_map(|(place, ids)| ids.iter().map(|id| (*id, place.clone())));
        Self::of(admin, metadata, &replicas.collect::<Vec<_>>())
    }

    pub fn current(&self, replica: &Replica) -> Option<&str> {
        self.current.get(replica).map(String::as_str)
    }

    pub fn future(&self, replica: &Replica) -> Option<&str> {
        self.future.get(replica).map(String::as_str)
    }

    /// What is said of a replica that is to be in a directory.
    pub fn state(&self, replica: &Replica, target: &str) -> String {
        let (id, place) = (replica.0, shown(&replica.1));
        match (self.current(replica), self.future(replica)) {
            (None, _) => format!(
                "Partition {place} is not found in any live log dir on broker {id}. There is likely an offline log \
                 directory on the broker."
            ),
            (Some(current), None) if current == target => {
                format!("Reassignment of replica {place}-{id} completed successfully.")
            }
            (Some(current), None) => format!(
                "Partition {place} on broker {id} is not being moved from log dir {current} to {target}."
            ),
            (_, Some(future)) if future == target => {
                format!("Reassignment of replica {place}-{id} is still in progress.")
            }
            (_, Some(future)) => format!(
                "Partition {place} on broker {id} is being moved to log dir {future} instead of {target}."
            ),
        }
    }
}

/// Begins moves between directories. A replica that is still to come to its broker is tried again until `timeout_ms`.
pub fn begin(admin: &Admin, mut pending: BTreeMap<Replica, String>, timeout_ms: u64) -> Done {
    let begun = Instant::now();
    while !pending.is_empty() {
        let mut by_broker = BTreeMap::<i32, BTreeMap<Partition, String>>::new();
        for ((id, place), directory) in &pending {
            by_broker.entry(*id).or_default().insert(place.clone(), directory.clone());
        }
        for (id, paths) in by_broker {
            for (place, result) in block_on(admin.alter_replica_log_dirs(NodeId(id), &paths))? {
                match result {
                    Ok(()) => {
                        let (topic, partition) = &place;
                        let directory = paths.get(&place).map_or("", String::as_str);
                        println!(
                            "Successfully started moving log directory to {directory} for replica {topic}-{partition} \
                             with broker {id} "
                        );
                        pending.remove(&(id, place));
                    }
                    Err(error) if error.code() == Some(ErrorCode::ReplicaNotAvailable) => {}
                    Err(error) => {
                        let message = format!("Failed to alter dir for {}-{id}", shown(&place));
                        let cause = java::exception(&error);
                        let causes =
                            format!("java.util.concurrent.ExecutionException: {cause}\nCaused by: {cause}");
                        return Err(Failure::Thrown(REFUSED, message, Some(causes)));
                    }
                }
            }
        }
        if pending.is_empty() {
            break;
        }
        if begun.elapsed() >= Duration::from_millis(timeout_ms) {
            let left: Vec<_> = pending.keys().map(|(id, place)| format!("{}-{id}", shown(place))).collect();
            return Err(format!(
                "Timed out before log directory move{} could be started for: {}",
                plural(left.len()),
                left.join(",")
            )
            .into());
        }
        // tidy: thread::sleep, as nobody tells when a replica that moves to its broker is there.
        std::thread::sleep(AGAIN);
    }
    Ok(())
}
