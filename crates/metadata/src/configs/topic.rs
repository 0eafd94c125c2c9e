//! Settings of a topic (resource TOPIC) as of Apache Kafka 4.4, and Ottla's own.
//!
//! One row each: type, name, default, allowed values, the broker settings that are its default in order of
//! precedence, importance (`internal`: honoured but not described to clients), what it does.

use super::def::{ConfigDef, config_table, hours, minutes, same};

config_table! {
    /// Ottla's own settings, which Apache Kafka does not know.
    pub static OTTLA_TOPIC: scoped;

    String "acks.durability" = "kafka", OneOf(&["kafka", "fsync"]), [same("acks.durability")], High, "What an acknowledgement means: `kafka`, Kafka's own page cache on the in-sync replicas, or `fsync`, synced to disk on each of them.";
}

config_table! {
    /// Kafka's settings, by name.
    pub static TOPIC: scoped;

    List "cleanup.policy" = "delete", ListOf(&["compact", "delete"]), [same("log.cleanup.policy")], Medium, "What happens to old segments: delete, compact, or both; empty keeps everything.";
    Int "compression.gzip.level" = "-1", GzipLevel, [same("compression.gzip.level")], Medium, "Level when the broker compresses with gzip; -1 is the codec's default.";
    Int "compression.lz4.level" = "9", Between(1, 17), [same("compression.lz4.level")], Medium, "Level when the broker compresses with lz4.";
    String "compression.type" = "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), [same("compression.type")], Medium, "Codec in which batches are stored; `producer` keeps what the producer chose.";
    Int "compression.zstd.level" = "3", Between(-131_072, 22), [same("compression.zstd.level")], Medium, "Level when the broker compresses with zstd.";
    Long "delete.retention.ms" = "86400000", AtLeast(0), [same("log.cleaner.delete.retention.ms")], Medium, "Time tombstones and transaction markers stay in a compacted topic.";
    Boolean "errors.deadletterqueue.group.enable" = "false", Any, [], Medium, "Whether share groups may use this topic for dead letters.";
    Long "file.delete.delay.ms" = "60000", AtLeast(0), [same("log.segment.delete.delay.ms")], Medium, "Time between the removal of a segment from the log and from the disk.";
    Long "flush.messages" = "9223372036854775807", AtLeast(1), [same("log.flush.interval.messages")], Medium, "Messages after which the log is synced to disk.";
    Long "flush.ms" = "9223372036854775807", AtLeast(0), [same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")], Medium, "Time after which the log is synced to disk.";
    List "follower.replication.throttled.replicas" = "", ThrottledReplicas, [], Medium, "Replicas whose fetching is throttled, as partition:broker, or `*`.";
    Int "index.interval.bytes" = "4096", AtLeast(0), [same("log.index.interval.bytes")], Medium, "Bytes of log per entry of the offset index.";
    Int "internal.segment.bytes" = none, Any, [], Medium internal, "Segment size without lower bound, for tests.";
    List "leader.replication.throttled.replicas" = "", ThrottledReplicas, [], Medium, "Leaders whose sending to followers is throttled, as partition:broker, or `*`.";
    Long "local.retention.bytes" = "-2", AtLeast(-2), [same("log.local.retention.bytes")], Medium, "Bytes of a tiered partition kept locally; -2 is `retention.bytes`.";
    Long "local.retention.ms" = "-2", AtLeast(-2), [same("log.local.retention.ms")], Medium, "Time that data of a tiered partition is kept locally; -2 is `retention.ms`.";
    Long "max.compaction.lag.ms" = "9223372036854775807", AtLeast(1), [same("log.cleaner.max.compaction.lag.ms")], Medium, "Longest time a record may stay uncompacted.";
    Int "max.decompressed.message.bytes" = "2147483639", Between(1, 2_147_483_639), [same("max.decompressed.message.bytes")], Medium, "Largest size of a batch after decompression.";
    Int "max.message.bytes" = "1048588", AtLeast(0), [same("message.max.bytes")], Medium, "Largest record batch that may be appended, after compression.";
    Long "message.timestamp.after.max.ms" = "3600000", AtLeast(0), [same("log.message.timestamp.after.max.ms")], Medium, "How far in the future a record's timestamp may be.";
    Long "message.timestamp.before.max.ms" = "9223372036854775807", AtLeast(0), [same("log.message.timestamp.before.max.ms")], Medium, "How far in the past a record's timestamp may be.";
    String "message.timestamp.type" = "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), [same("log.message.timestamp.type")], Medium, "Whether a record's time is its producer's or that of its append.";
    Double "min.cleanable.dirty.ratio" = "0.5", Ratio(0.0, 1.0), [same("log.cleaner.min.cleanable.ratio")], Medium, "Share of the log that must be uncompacted before it is compacted.";
    Long "min.compaction.lag.ms" = "0", AtLeast(0), [same("log.cleaner.min.compaction.lag.ms")], Medium, "Shortest time a record stays uncompacted.";
    Int "min.insync.replicas" = "1", AtLeast(1), [same("min.insync.replicas")], Medium, "In-sync replicas that must hold a batch before acks=all is answered.";
    Boolean "preallocate" = "false", Any, [same("log.preallocate")], Medium, "Whether segment files are allocated in full when created.";
    Long "remote.copy.lag.bytes" = "-1", AtLeast(-1), [same("log.remote.copy.lag.bytes")], Medium, "Bytes behind the end of the log after which closed segments are tiered.";
    Long "remote.copy.lag.ms" = "0", AtLeast(-1), [same("log.remote.copy.lag.ms")], Medium, "Age at which closed segments are tiered.";
    Boolean "remote.log.copy.disable" = "false", Any, [], Medium, "Whether copying to remote storage is stopped while reading goes on.";
    Boolean "remote.log.delete.on.disable" = "false", Any, [], Medium, "Whether remote data is deleted when tiered storage is turned off.";
    Boolean "remote.storage.enable" = "false", Any, [], Medium, "Whether the topic uses tiered storage.";
    Long "retention.bytes" = "-1", Any, [same("log.retention.bytes")], Medium, "Size of a partition above which its oldest segments are deleted; -1 is unlimited.";
    Long "retention.ms" = "604800000", AtLeast(-1), [same("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")], Medium, "Age at which segments are deleted; -1 is unlimited.";
    Int "segment.bytes" = "1073741824", AtLeast(1_048_576), [same("log.segment.bytes")], Medium, "Largest segment file.";
    Int "segment.index.bytes" = "10485760", AtLeast(4), [same("log.index.size.max.bytes")], Medium, "Largest offset index; the segment rolls when it is full.";
    Long "segment.jitter.ms" = "0", AtLeast(0), [same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")], Medium, "Random part of the time at which segments roll.";
    Long "segment.ms" = "604800000", AtLeast(1), [same("log.roll.ms"), hours("log.roll.hours")], Medium, "Age at which the active segment rolls.";
    Boolean "unclean.leader.election.enable" = "false", Any, [same("unclean.leader.election.enable")], Medium, "Whether a replica that may lack data can become leader when no other can.";
}
