//! DescribeLogDirs (35): versions 1 to 5. What lies in each log directory, and the room that is left.

use std::collections::BTreeMap;
use std::path::Path;
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
    let opened = broker.dirs.iter().map(|dir| describe(broker, dir, request.topics.as_deref()));
    let unopened = broker.log_dirs.unopened().iter().map(|path| offline(path));
    DescribeLogDirsResponse { results: opened.chain(unopened).collect(), ..Default::default() }
}

fn describe(
    broker: &Broker,
    dir: &BrokerDir,
    wanted: Option<&[DescribableLogDirTopic]>,
) -> DescribeLogDirsResult {
    if broker.log_dirs.has_failed(dir.id) {
        return offline(dir.dir.path());
    }
    let Ok((total_bytes, usable_bytes)) = dir.dir.space() else { return offline(dir.dir.path()) };
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
        log_dir: path_text(dir.dir.path()),
        topics: topics
            .into_iter()
            .map(|(name, partitions)| DescribeLogDirsTopic { name: Str::from(name.as_ref()), partitions })
            .collect(),
        total_bytes: total_bytes as i64,
        usable_bytes: usable_bytes as i64,
        ..Default::default()
    }
}

fn offline(path: &Path) -> DescribeLogDirsResult {
    let error_code = ErrorCode::KafkaStorageError.code();
    DescribeLogDirsResult { error_code, log_dir: path_text(path), ..Default::default() }
}

/// Java's text of a path: absolute, but not resolved.
fn path_text(path: &Path) -> Str {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Str::from(path.to_string_lossy().as_ref())
}

fn is_wanted(name: &TopicPartition, wanted: Option<&[DescribableLogDirTopic]>) -> bool {
    wanted.is_none_or(|topics| {
        topics.iter().any(|topic| *topic.topic == *name.topic && topic.partitions.contains(&name.partition))
    })
}
