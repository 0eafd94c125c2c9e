//! AlterReplicaLogDirs (34): versions 1 and 2. Moves partitions between this broker's log directories.

use std::path::Path;
use std::sync::Arc;

use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};

use super::RequestContext;
use crate::broker::Broker;

pub async fn handle(
    broker: &Arc<Broker>,
    _: &RequestContext,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let mut results: Vec<AlterReplicaLogDirTopicResult> = Vec::new();
    for dir in request.dirs {
        let to = directory(broker, &dir.path);
        for topic in dir.topics {
            let partitions = topic.partitions.iter().map(|&partition_index| {
                let started = to.and_then(|to| start(broker, &topic.name, partition_index, to));
                let error_code = started.err().unwrap_or(ErrorCode::None).code();
                AlterReplicaLogDirPartitionResult { partition_index, error_code }
            });
            let partitions = partitions.collect();
            match results.iter_mut().find(|known| known.topic_name == topic.name) {
                Some(known) => known.partitions.extend::<Vec<_>>(partitions),
                None => {
                    results.push(AlterReplicaLogDirTopicResult { topic_name: topic.name.clone(), partitions })
                }
            }
        }
    }
    AlterReplicaLogDirsResponse { results, ..Default::default() }
}

/// The directory of an absolute path, written as DescribeLogDirs writes it.
///
/// Errors: LOG_DIR_NOT_FOUND, KAFKA_STORAGE_ERROR.
fn directory(broker: &Broker, path: &Str) -> Result<Uuid, ErrorCode> {
    let is_wanted = |known: &Path| {
        std::path::absolute(known).unwrap_or_else(|_| known.to_owned()).as_os_str() == path.as_str()
    };
    if broker.log_dirs.unopened().iter().any(|path| is_wanted(path)) {
        return Err(ErrorCode::KafkaStorageError);
    }
    let found = broker.dirs.iter().find(|dir| is_wanted(dir.dir.path()));
    let dir = found.ok_or(ErrorCode::LogDirNotFound)?;
    if broker.log_dirs.has_failed(dir.id) { Err(ErrorCode::KafkaStorageError) } else { Ok(dir.id) }
}

/// Errors: UNKNOWN_TOPIC_OR_PARTITION, REPLICA_NOT_AVAILABLE, KAFKA_STORAGE_ERROR.
fn start(broker: &Arc<Broker>, topic: &str, partition: i32, to: Uuid) -> Result<(), ErrorCode> {
    let handle = broker.partition_by_name(topic, partition).map_err(|error| match error {
        ErrorCode::NotLeaderOrFollower => ErrorCode::ReplicaNotAvailable,
        error => error,
    })?;
    if handle.view().is_offline() {
        return Err(ErrorCode::KafkaStorageError);
    }
    match handle.dir_id == to {
        true => broker.log_dir_moves.cancel(&handle.name),
        false => broker.log_dir_moves.start(broker, &handle, to, None),
    }
    Ok(())
}
