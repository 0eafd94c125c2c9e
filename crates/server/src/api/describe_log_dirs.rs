//! DescribeLogDirs (35): versions 1 to 5. What lies in each log directory, and the room that is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_model::{ErrorCode, TopicPartition};
use ottla_protocol::Str;
use ottla_protocol::api::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};

use super::RequestContext;
use crate::broker::{Broker, BrokerDir};

pub async fn handle(
    broker: &Arc<Broker>,
    _: &RequestContext,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let results = broker.dirs.iter().map(|dir| describe(broker, dir, request.topics.as_deref())).collect();
    DescribeLogDirsResponse { results, ..Default::default() }
}

fn describe(
    broker: &Broker,
    dir: &BrokerDir,
    wanted: Option<&[DescribableLogDirTopic]>,
) -> DescribeLogDirsResult {
    // Java's path text: absolute, but not resolved.
    let path = std::path::absolute(dir.dir.path()).unwrap_or_else(|_| dir.dir.path().to_owned());
    let log_dir = Str::from(path.to_string_lossy().as_ref());
    if broker.log_dirs.has_failed(dir.id) {
        let error_code = ErrorCode::KafkaStorageError.code();
        return DescribeLogDirsResult { error_code, log_dir, ..Default::default() };
    }
    let (total_bytes, usable_bytes) = match dir.dir.space() {
        Ok((total, usable)) => (total as i64, usable as i64),
        Err(error) => {
            let error_code = error.error_code().code();
            return DescribeLogDirsResult { error_code, log_dir, ..Default::default() };
        }
    };
    let mut topics: BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for handle in broker.table().partitions() {
        if handle.dir_id != dir.id || !is_wanted(&handle.name, wanted) {
            continue;
        }
        let view = handle.view();
        topics.entry(Arc::clone(&handle.name.topic)).or_default().push(DescribeLogDirsPartition {
            partition_index: handle.name.partition,
            partition_size: view.size_bytes() as i64,
            offset_lag: (view.high_watermark() - view.log_end_offset()).max(0),
            is_future_key: false,
        });
    }
    for moving in broker.log_dir_moves.running() {
        let name = &moving.partition;
        let Ok(handle) = broker.partition_by_name(&name.topic, name.partition) else { continue };
        if moving.to == dir.id && is_wanted(name, wanted) {
            topics.entry(Arc::clone(&name.topic)).or_default().push(DescribeLogDirsPartition {
                partition_index: name.partition,
                partition_size: moving.size_bytes() as i64,
                offset_lag: (handle.view().log_end_offset() - moving.log_end_offset()).max(0),
                is_future_key: true,
            });
        }
    }
    DescribeLogDirsResult {
        error_code: ErrorCode::None.code(),
        log_dir,
        topics: topics
            .into_iter()
            .map(|(name, partitions)| DescribeLogDirsTopic { name: Str::from(name.as_ref()), partitions })
            .collect(),
        total_bytes,
        usable_bytes,
        ..Default::default()
    }
}

fn is_wanted(name: &TopicPartition, wanted: Option<&[DescribableLogDirTopic]>) -> bool {
    wanted.is_none_or(|topics| {
        topics.iter().any(|topic| *topic.topic == *name.topic && topic.partitions.contains(&name.partition))
    })
}
