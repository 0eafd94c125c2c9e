//! The table of settings: every name that a producer, a consumer or an admin client knows, with its type, default and
//! allowed values. Names and defaults are those of Apache Kafka's Java clients 4.4.
//!
//! Owns no value: what is set lives in [`ClientConfig`](super::ClientConfig).

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`, in capitals or not.
    Bool,
    /// A whole number between two bounds, both allowed.
    Int(i64, i64),
    /// As `Int`, or a number that means something of its own.
    IntOr(i64, i64, i64),
    /// Any text.
    Text,
    /// Text that is not empty when it is set.
    Name,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words, in capitals or not.
    AnyCase(&'static [&'static str]),
    /// Text in parts, separated by commas.
    List,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Kafka's name.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The default in the form in which it would be set; empty for none.
    pub default: &'static str,
    /// What it is for, in a few words.
    pub doc: &'static str,
}

const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;

const fn row(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting { name, kind, default, doc }
}

use Kind::{AnyCase, Bool, Int, IntOr, List, Name, OneOf, Text};

/// All settings, of all clients.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    // Every client.
    row("bootstrap.servers", List, "", "host:port of some brokers, from which the others are learnt"),
    row("bootstrap.controllers", List, "", "host:port of some controllers, which an Admin then asks instead of brokers (KIP-919)"),
    row("client.dns.lookup", OneOf(&["use_all_dns_ips"]), "use_all_dns_ips", "all addresses of a name are tried; canonical names are not looked up"),
    row("client.id", Text, "", "the name under which brokers log and count this client"),
    row("client.rack", Text, "", "where this client runs; consumers read from replicas there"),
    row("connections.max.idle.ms", Int(-1, LONG), "540000", "connections unused for so long are closed"),
    row("default.api.timeout.ms", Int(0, INT), "60000", "how long calls may take that are not told otherwise"),
    row("metadata.max.age.ms", Int(0, LONG), "300000", "metadata older than this is fetched anew"),
    row("metadata.recovery.strategy", AnyCase(&["none", "rebootstrap"]), "rebootstrap", "what to do when no known broker answers (KIP-899)"),
    row("metadata.recovery.rebootstrap.trigger.ms", Int(0, LONG), "300000", "metadata not fetched for so long starts from the bootstrap servers again (KIP-1102)"),
    row("receive.buffer.bytes", Int(-1, INT), "-1", "SO_RCVBUF of connections; -1: the system's, which grows with need"),
    row("send.buffer.bytes", Int(-1, INT), "-1", "SO_SNDBUF of connections; -1: the system's, which grows with need"),
    row("reconnect.backoff.ms", Int(0, LONG), "50", "the pause before a broken connection is opened again"),
    row("reconnect.backoff.max.ms", Int(0, LONG), "1000", "the longest such pause, to which it doubles"),
    row("request.timeout.ms", Int(0, INT), "30000", "how long one answer is waited for"),
    row("retries", Int(0, INT), "2147483647", "how often a request is sent again; delivery.timeout.ms is the better bound"),
    row("retry.backoff.ms", Int(0, LONG), "100", "the pause before a failed request is sent again"),
    row("retry.backoff.max.ms", Int(0, LONG), "1000", "the longest such pause, to which it doubles"),
    row("security.protocol", AnyCase(&["PLAINTEXT"]), "PLAINTEXT", "how brokers are spoken to; TLS and SASL are not there yet"),
    row("socket.connection.setup.timeout.ms", Int(0, LONG), "10000", "how long a connection may take to be made"),
    row("socket.connection.setup.timeout.max.ms", Int(0, LONG), "30000", "the longest such time, to which it doubles"),
    row("enable.metrics.push", OneOf(&["false"]), "false", "this client pushes no metrics"),

    // Producers.
    row("acks", OneOf(&["all", "-1", "0", "1"]), "all", "who must have a record before it counts as sent: all in-sync replicas, the leader, nobody"),
    row("batch.size", Int(0, INT), "16384", "bytes of one batch as it is sent"),
    row("buffer.memory", Int(0, LONG), "33554432", "bytes of all records that wait or are under way"),
    row("compression.type", OneOf(&["none", "gzip", "snappy", "lz4", "zstd"]), "none", "the codec of batches"),
    row("compression.gzip.level", IntOr(-1, 1, 9), "-1", "how hard gzip tries; -1: its default"),
    row("compression.lz4.level", Int(1, 17), "9", "how hard lz4 tries; 9, the default, is the fast compressor, the others the high one"),
    row("compression.zstd.level", Int(-131_072, 22), "3", "how hard zstd tries"),
    row("delivery.timeout.ms", Int(0, INT), "120000", "from the moment of sending until a record has arrived or failed"),
    row("enable.idempotence", Bool, "true", "whether retries can neither double nor reorder records"),
    row("linger.ms", Int(0, LONG), "5", "how long a batch waits to become full"),
    row("max.block.ms", Int(0, LONG), "60000", "how long sending waits for room or for metadata"),
    row("max.in.flight.requests.per.connection", Int(1, INT), "5", "produce requests without an answer; at most 5 with idempotence"),
    row("max.request.size", Int(0, INT), "1048576", "bytes of one request, and so of one record"),
    row("metadata.max.idle.ms", OneOf(&["300000"]), "300000", "topics that were sent to are not forgotten yet"),
    row("partitioner", OneOf(&["default", "round-robin", "uniform-sticky", "murmur2-random", "consistent-crc32"]), "default", "who chooses partitions"),
    row("partitioner.adaptive.partitioning.enable", Bool, "true", "whether slow partitions get fewer records without keys"),
    row("partitioner.availability.timeout.ms", OneOf(&["0"]), "0", "brokers that take nothing are not passed over yet"),
    row("partitioner.ignore.keys", Bool, "false", "whether keys do not choose partitions"),

    // Consumers.
    row("allow.auto.create.topics", Bool, "true", "whether subscribing may create a topic"),
    row("auto.commit.interval.ms", Int(0, INT), "5000", "how often positions are committed by themselves"),
    row("auto.offset.reset", Text, "latest", "where to begin without an offset: earliest, latest, none, or by_duration:PnDTnHnMn.nS"),
    row("check.crcs", Bool, "true", "whether checksums of fetched batches are verified"),
    row("enable.auto.commit", Bool, "true", "whether positions are committed by themselves"),
    row("exclude.internal.topics", Bool, "true", "whether patterns pass over internal topics"),
    row("fetch.max.bytes", Int(0, INT), "52428800", "bytes of one fetch answer"),
    row("fetch.max.wait.ms", Int(0, INT), "500", "how long a broker waits for fetch.min.bytes"),
    row("fetch.min.bytes", Int(0, INT), "1", "bytes that a broker waits for"),
    row("group.id", Text, "", "the group that shares the work"),
    row("group.instance.id", Name, "", "the lasting name of a static member"),
    row("group.protocol", AnyCase(&["classic"]), "classic", "the protocol of groups; the newer one is not there yet"),
    row("heartbeat.interval.ms", Int(0, INT), "3000", "how often a member tells that it lives"),
    row("isolation.level", OneOf(&["read_uncommitted", "read_committed"]), "read_uncommitted", "whether records of open and aborted transactions are seen"),
    row("max.partition.fetch.bytes", Int(0, INT), "1048576", "bytes of one partition in a fetch answer"),
    row("max.poll.interval.ms", Int(1, INT), "300000", "a member that does not poll for so long leaves its group"),
    row("max.poll.records", Int(1, INT), "500", "records that one poll gives"),
    row("partition.assignment.strategy", List, "range,cooperative-sticky", "assignors, most wanted first: range, roundrobin, sticky, cooperative-sticky"),
    row("session.timeout.ms", Int(0, INT), "45000", "a member not heard of for so long is taken out of its group"),
];

/// The row of a name.
pub fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// Settings of Apache Kafka's clients that would have no effect here, and why they are refused. A name that ends with a
/// dot stands for all that begin with it.
#[rustfmt::skip]
pub const REFUSED: &[(&str, &str)] = &[
    ("bootstrap.resolve.timeout.ms", "names are looked up when a connection is made; socket.connection.setup.timeout.ms bounds that"),
    ("buffer.memory.allocation.strategy", "buffers are taken as batches need them"),
    ("config.providers", "values are taken as they are"),
    ("group.remote.assignor", "the consumer protocol of groups is not there yet"),
    ("interceptor.classes", "there are no Java classes to load; RebalanceListener and delivery listeners are the hooks"),
    ("internal.throw.on.fetch.stable.offset.unsupported", "it is internal to Kafka Streams"),
    ("key.deserializer", "records are bytes; read them with what your program has"),
    ("key.serializer", "records are bytes; make them with what your program has"),
    ("metadata.cluster.check.enable", "the cluster id is not checked"),
    ("metric.reporters", "there are no Java classes to load"),
    ("metrics.", "the client keeps no metrics"),
    ("partitioner.class", "there are no Java classes to load: use partitioner, or Producer::with_partitioner"),
    ("partitioner.rack.aware", "racks do not choose partitions yet"),
    ("sasl.", "SASL is not there yet"),
    ("security.providers", "TLS and SASL are not there yet"),
    ("share.", "share groups are not there yet"),
    ("ssl.", "TLS is not there yet"),
    ("transaction.", "transactions are not there yet"),
    ("transactional.id", "transactions are not there yet"),
    ("value.deserializer", "records are bytes; read them with what your program has"),
    ("value.serializer", "records are bytes; make them with what your program has"),
];

/// Why a setting of Apache Kafka's clients is refused.
pub fn refusal(name: &str) -> Option<&'static str> {
    let matches = |row: &str| row == name || row.ends_with('.') && name.starts_with(row);
    REFUSED.iter().find(|(row, _)| matches(row)).map(|(_, reason)| *reason)
}
