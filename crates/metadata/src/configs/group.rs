//! Settings of a group (resource GROUP) as of Apache Kafka 4.4; rows as in `topic`.

use super::def::{ConfigDef, config_table, same};

config_table! {
    /// Kafka's settings, by name.
    pub static GROUP: scoped;

    Int "consumer.assignment.interval.ms" = "1000", AtLeast(0), [same("group.consumer.assignment.interval.ms")], Medium, "Least time between two assignments.";
    Boolean "consumer.assignor.offload.enable" = "true", Any, [same("group.consumer.assignor.offload.enable")], Medium internal, "Whether assignments are computed off the coordinator's thread.";
    Int "consumer.heartbeat.interval.ms" = "5000", AtLeast(1), [same("group.consumer.heartbeat.interval.ms")], Medium, "Heartbeat interval told to members.";
    Int "consumer.session.timeout.ms" = "45000", AtLeast(1), [same("group.consumer.session.timeout.ms")], Medium, "Silence after which a member leaves the group.";
    Boolean "errors.deadletterqueue.copy.record.enable" = "false", Any, [], Medium, "Whether dead letters carry the original record.";
    String "errors.deadletterqueue.topic.name" = "", Any, [], Medium, "Topic for records the share group gives up; empty turns it off.";
    Int "share.assignment.interval.ms" = "1000", AtLeast(0), [same("group.share.assignment.interval.ms")], Medium, "Least time between two assignments.";
    Boolean "share.assignor.offload.enable" = "true", Any, [same("group.share.assignor.offload.enable")], Medium internal, "Whether assignments are computed off the coordinator's thread.";
    String "share.auto.offset.reset" = "latest", ShareOffsetReset, [], Medium, "Where a new share group starts: earliest, latest or by_duration:<ISO-8601 duration>.";
    Int "share.delivery.count.limit" = "5", AtLeast(2), [same("group.share.delivery.count.limit")], Medium, "Deliveries of a record before it is given up.";
    Int "share.heartbeat.interval.ms" = "5000", AtLeast(1), [same("group.share.heartbeat.interval.ms")], Medium, "Heartbeat interval told to members.";
    String "share.isolation.level" = "read_uncommitted", OneOf(&["read_committed", "read_uncommitted"]), [], Medium, "Whether records of open or aborted transactions are delivered.";
    Int "share.partition.max.record.locks" = "2000", AtLeast(100), [same("group.share.partition.max.record.locks")], Medium, "Most records of a partition in the hands of the group.";
    Int "share.record.lock.duration.ms" = "30000", AtLeast(1000), [same("group.share.record.lock.duration.ms")], Medium, "Time a member has to acknowledge a record.";
    Boolean "share.renew.acknowledge.enable" = "true", Any, [], Medium, "Whether members may renew their hold on a record.";
    Int "share.session.timeout.ms" = "45000", AtLeast(1), [same("group.share.session.timeout.ms")], Medium, "Silence after which a member leaves the group.";
    Long "streams.acceptable.recovery.lag" = "10000", AtLeast(0), [same("group.streams.acceptable.recovery.lag")], Medium internal, "Most records a task may lag and still count as caught up.";
    Int "streams.assignment.interval.ms" = "1000", AtLeast(0), [same("group.streams.assignment.interval.ms")], Medium, "Least time between two assignments.";
    String "streams.assignor.name" = none, Any, [same("group.streams.assignors")], Medium, "Assignor of the group; the broker's default when unset.";
    Boolean "streams.assignor.offload.enable" = "true", Any, [same("group.streams.assignor.offload.enable")], Medium internal, "Whether assignments are computed off the coordinator's thread.";
    Int "streams.heartbeat.interval.ms" = "5000", AtLeast(1), [same("group.streams.heartbeat.interval.ms")], Medium, "Heartbeat interval told to members.";
    Int "streams.initial.rebalance.delay.ms" = "3000", AtLeast(0), [same("group.streams.initial.rebalance.delay.ms")], Medium, "Time to wait for more members before the first assignment.";
    Int "streams.num.standby.replicas" = "0", AtLeast(0), [same("group.streams.num.standby.replicas")], Medium, "Standby copies of each stateful task.";
    Int "streams.num.warmup.replicas" = "2", AtLeast(0), [same("group.streams.num.warmup.replicas")], Medium internal, "Extra copies of tasks that may warm up at one time.";
    List "streams.rack.aware.assignment.tags" = "", List, [same("group.streams.rack.aware.assignment.tags")], Low, "Client tags over which standby tasks are spread.";
    Int "streams.session.timeout.ms" = "45000", AtLeast(1), [same("group.streams.session.timeout.ms")], Medium, "Silence after which a member leaves the group.";
    Int "streams.task.offset.interval.ms" = "60000", AtLeast(1), [same("group.streams.task.offset.interval.ms")], Medium internal, "Interval at which members report the offsets of their tasks.";
}
