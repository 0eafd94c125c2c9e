//! The settings of one log, as topics have them.

/// Topic-level settings that concern the log. Plain values: parsing and validation are elsewhere. May change while
/// the log is in use (`Log::set_config`).
#[derive(Clone, PartialEq, Debug)]
pub struct LogConfig {
    /// `segment.bytes`
    pub segment_bytes: u32,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `segment.jitter.ms`
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`
    pub index_interval_bytes: u32,
    /// `retention.bytes`; -1: unlimited
    pub retention_bytes: i64,
    /// `retention.ms`; -1: unlimited
    pub retention_ms: i64,
    /// `cleanup.policy` contains `delete`
    pub cleanup_delete: bool,
    /// `cleanup.policy` contains `compact`
    pub cleanup_compact: bool,
    /// `delete.retention.ms`
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`
    pub min_cleanable_dirty_ratio: f64,
    /// `file.delete.delay.ms`
    pub file_delete_delay_ms: i64,
    /// `flush.messages`
    pub flush_messages: i64,
    /// `flush.ms`
    pub flush_ms: i64,
    /// `max.message.bytes`
    pub max_message_bytes: u32,
    /// `preallocate`
    pub preallocate: bool,
    /// `producer.id.expiration.ms` (a broker setting)
    pub producer_id_expiration_ms: i64,
    /// `transaction.partition.verification.enable` (a broker setting)
    pub transaction_verification: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 604_800_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_bytes: -1,
            retention_ms: 604_800_000,
            cleanup_delete: true,
            cleanup_compact: false,
            delete_retention_ms: 86_400_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            file_delete_delay_ms: 60_000,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            max_message_bytes: 1_048_588,
            preallocate: false,
            producer_id_expiration_ms: 86_400_000,
            transaction_verification: true,
        }
    }
}

impl LogConfig {
    /// After how long a segment is done: a compacted log must not wait longer than its records may stay dirty.
    pub(crate) fn roll_ms(&self) -> i64 {
        if self.cleanup_compact && self.max_compaction_lag_ms > 0 {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }

    /// For `__cluster_metadata`: no retention of its own, no verification.
    pub fn metadata_log() -> Self {
        Self {
            retention_ms: -1,
            max_message_bytes: 8 << 20,
            cleanup_delete: false,
            transaction_verification: false,
            ..Self::default()
        }
    }
}
