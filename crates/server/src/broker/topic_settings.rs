//! A topic's settings, resolved: its own, else the broker's, else the default; as the log and the validation of
//! produced batches take them.

use ottla_commit_log::LogConfig;
use ottla_metadata::configs::{ConfigMap, ConfigValue, Layers};
use ottla_model::NodeId;
use ottla_record::validate::ProduceRules;
use ottla_record::{Codec, Compression, TimestampType};

use super::partition::Durability;

/// What a partition is told of its topic's settings.
#[derive(Clone, Debug)]
pub struct TopicSettings {
    pub log: LogConfig,
    pub rules: ProduceRules,
    pub durability: Durability,
    /// `min.insync.replicas`
    pub min_insync_replicas: usize,
    /// `leader.replication.throttled.replicas`
    pub throttled_leaders: ThrottledReplicas,
    /// `follower.replication.throttled.replicas`
    pub throttled_followers: ThrottledReplicas,
}

/// Entries of the form `partition:broker`, or `*`.
#[derive(Clone, Debug)]
pub struct ThrottledReplicas(Vec<String>);

impl ThrottledReplicas {
    pub fn contains(&self, partition: i32, broker: NodeId) -> bool {
        let named = |entry: &String| {
            let ids = entry.split_once(':').map(|(index, id)| (index.trim().parse(), id.trim().parse()));
            entry == "*" || ids == Some((Ok(partition), Ok(broker.0)))
        };
        self.0.iter().any(named)
    }
}

impl TopicSettings {
    /// Resolves `overrides`, the topic's own settings, against the broker's.
    pub fn resolve(layers: &Layers, overrides: &ConfigMap) -> Self {
        let value = |name: &str| layers.topic(overrides, name);
        let long = |name: &str| value(name).and_then(|value| value.as_i64()).unwrap_or_default();
        let text = |name: &str| match value(name) {
            Some(ConfigValue::String(text)) => text,
            _ => String::new(),
        };
        let list = |name: &str| match value(name) {
            Some(ConfigValue::List(entries)) => entries,
            _ => Vec::new(),
        };
        let policies = list("cleanup.policy");
        let has_policy = |policy: &str| policies.iter().any(|known| known == policy);
        let broker_long = |name: &str| layers.broker(name).and_then(|value| value.as_i64());
        let default = LogConfig::default();
        let log = LogConfig {
            // For tests, Kafka has a setting without a lower bound.
            segment_bytes: match long("internal.segment.bytes") {
                0 => long("segment.bytes") as u32,
                bytes => bytes as u32,
            },
            segment_ms: long("segment.ms"),
            segment_jitter_ms: long("segment.jitter.ms"),
            segment_index_bytes: long("segment.index.bytes") as u32,
            index_interval_bytes: long("index.interval.bytes") as u32,
            retention_bytes: long("retention.bytes"),
            retention_ms: long("retention.ms"),
            cleanup_delete: has_policy("delete"),
            cleanup_compact: has_policy("compact"),
            delete_retention_ms: long("delete.retention.ms"),
            min_compaction_lag_ms: long("min.compaction.lag.ms"),
            max_compaction_lag_ms: long("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio: value("min.cleanable.dirty.ratio")
                .and_then(|value| value.as_f64())
                .unwrap_or(default.min_cleanable_dirty_ratio),
            file_delete_delay_ms: long("file.delete.delay.ms"),
            flush_messages: long("flush.messages"),
            flush_ms: long("flush.ms"),
            max_message_bytes: long("max.message.bytes") as u32,
            preallocate: value("preallocate").and_then(|value| value.as_bool()).unwrap_or_default(),
            producer_id_expiration_ms: broker_long("producer.id.expiration.ms")
                .unwrap_or(default.producer_id_expiration_ms),
            transaction_verification: layers
                .broker("transaction.partition.verification.enable")
                .and_then(|value| value.as_bool())
                .unwrap_or(default.transaction_verification),
        };
        let rules = ProduceRules {
            max_message_bytes: log.max_message_bytes as usize,
            timestamp_type: match text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            before_max_ms: long("message.timestamp.before.max.ms"),
            after_max_ms: long("message.timestamp.after.max.ms"),
            compacted: log.cleanup_compact,
            compression: compression(&text("compression.type"), |name| long(name) as i32),
            max_decompressed_record_bytes: long("max.decompressed.message.bytes") as usize,
            ..ProduceRules::default()
        };
        let durability = match text("acks.durability").as_str() {
            "fsync" => Durability::Fsync,
            // As in Kafka, where each append ends with the sync: nothing is committed that the leader might lose.
            _ if log.flush_messages == 1 => Durability::Fsync,
            _ => Durability::PageCache,
        };
        Self {
            log,
            rules,
            durability,
            min_insync_replicas: long("min.insync.replicas").max(1) as usize,
            throttled_leaders: ThrottledReplicas(list("leader.replication.throttled.replicas")),
            throttled_followers: ThrottledReplicas(list("follower.replication.throttled.replicas")),
        }
    }
}

/// `None`: batches are stored as their producers compressed them.
fn compression(name: &str, level: impl Fn(&str) -> i32) -> Option<Compression> {
    Some(match name {
        "uncompressed" => Compression::NONE,
        "gzip" => Compression { codec: Codec::Gzip, level: level("compression.gzip.level") },
        "snappy" => Compression::of(Codec::Snappy),
        "lz4" => Compression { codec: Codec::Lz4, level: level("compression.lz4.level") },
        "zstd" => Compression { codec: Codec::Zstd, level: level("compression.zstd.level") },
        _ => return None,
    })
}
