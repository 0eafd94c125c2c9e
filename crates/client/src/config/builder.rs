//! Settings with types instead of text.

use std::time::Duration;

use super::{ClientConfig, ConfigError};

/// Who must have a record before it counts as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// All in-sync replicas.
    All,
    /// The leader.
    Leader,
    /// Nobody: records may be lost without a word.
    None,
}

/// A codec, with how hard it tries where that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Batches as they are.
    None,
    /// 1 to 9; `None` for zlib's default.
    Gzip(Option<u8>),
    /// Snappy, which has no levels.
    Snappy,
    /// 1 to 17; `None` for 9, which is the fast compressor while the others are levels of the high one.
    Lz4(Option<u8>),
    /// -131072 to 22; `None` for 3.
    Zstd(Option<i32>),
}

/// Where a consumer begins without a committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the first record.
    Earliest,
    /// Behind the last record.
    Latest,
    /// Nowhere: it is an error.
    None,
    /// At the first record that is not older than this.
    ByDuration(Duration),
}

/// A [`ClientConfig`] in the making. Each setting is Kafka's of nearly the same name; all others are set by name with
/// [`Self::set`].
///
/// ```
/// use std::time::Duration;
///
/// use ottla_client::{ClientConfig, config::{Acks, Compression}};
///
/// let config = ClientConfig::builder("localhost:9092")
///     .acks(Acks::All)
///     .compression(Compression::Zstd(Some(5)))
///     .linger(Duration::from_millis(20))
///     .build()?;
/// assert_eq!(config.text("compression.type"), "zstd");
/// assert_eq!(config.int("compression.zstd.level"), 5);
/// assert!(ClientConfig::builder("localhost:9092").set("linger", 1).build().is_err());
/// # Ok::<(), ottla_client::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ConfigBuilder {
    config: ClientConfig,
    /// The first thing that was wrong.
    failed: Option<ConfigError>,
}

macro_rules! settings {
    ($($(#[$doc:meta])* $method:ident: $kind:ty => $name:literal, |$value:ident| $text:expr;)*) => {
        $(
            $(#[$doc])*
            #[doc = concat!("(`", $name, "`)")]
            pub fn $method(self, $value: $kind) -> Self {
                self.set($name, $text)
            }
        )*
    };
}

impl ClientConfig {
    /// Settings with types. `bootstrap_servers` is `host:port`, several of them separated by commas.
    pub fn builder(bootstrap_servers: &str) -> ConfigBuilder {
        ConfigBuilder { config: Self::new(bootstrap_servers), failed: None }
    }
}

impl ConfigBuilder {
    /// Any setting by its name. What is wrong with it is told by [`Self::build`].
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        if let Err(error) = self.config.set(name, value) {
            self.failed.get_or_insert(error);
        }
        self
    }

    /// The settings, or the first thing that was wrong with them.
    pub fn build(self) -> Result<ClientConfig, ConfigError> {
        self.failed.map_or(Ok(self.config), Err)
    }

    /// The codec of batches (`compression.type`, `compression.*.level`).
    pub fn compression(self, compression: Compression) -> Self {
        match compression {
            Compression::None => self.set("compression.type", "none"),
            Compression::Gzip(None) => self.set("compression.type", "gzip"),
            Compression::Gzip(Some(level)) => {
                self.set("compression.type", "gzip").set("compression.gzip.level", level)
            }
            Compression::Snappy => self.set("compression.type", "snappy"),
            Compression::Lz4(None) => self.set("compression.type", "lz4"),
            Compression::Lz4(Some(level)) => {
                self.set("compression.type", "lz4").set("compression.lz4.level", level)
            }
            Compression::Zstd(None) => self.set("compression.type", "zstd"),
            Compression::Zstd(Some(level)) => {
                self.set("compression.type", "zstd").set("compression.zstd.level", level)
            }
        }
    }

    /// Where to begin without a committed offset (`auto.offset.reset`).
    pub fn offset_reset(self, reset: OffsetReset) -> Self {
        let name = "auto.offset.reset";
        match reset {
            OffsetReset::Earliest => self.set(name, "earliest"),
            OffsetReset::Latest => self.set(name, "latest"),
            OffsetReset::None => self.set(name, "none"),
            OffsetReset::ByDuration(age) => {
                self.set(name, format!("by_duration:PT{}.{:03}S", age.as_secs(), age.subsec_millis()))
            }
        }
    }

    settings! {
        /// The name under which brokers log and count this client.
        client_id: &str => "client.id", |id| id;
        /// Where this client runs; consumers read from replicas there.
        rack: &str => "client.rack", |rack| rack;
        /// How long one answer is waited for.
        request_timeout: Duration => "request.timeout.ms", |time| time.as_millis();
        /// Who must have a record before it counts as sent.
        acks: Acks => "acks", |acks| match acks { Acks::All => "all", Acks::Leader => "1", Acks::None => "0" };
        /// Bytes of one batch.
        batch_size: usize => "batch.size", |bytes| bytes;
        /// Bytes of all records that wait or are under way.
        buffer_memory: usize => "buffer.memory", |bytes| bytes;
        /// How long a batch waits to become full.
        linger: Duration => "linger.ms", |time| time.as_millis();
        /// From the moment of sending until a record has arrived or failed.
        delivery_timeout: Duration => "delivery.timeout.ms", |time| time.as_millis();
        /// How long sending waits for room or for metadata.
        max_block: Duration => "max.block.ms", |time| time.as_millis();
        /// Whether retries can neither double nor reorder records.
        idempotence: bool => "enable.idempotence", |on| on;
        /// The group that shares the work.
        group: &str => "group.id", |id| id;
        /// The lasting name of a static member.
        group_instance: &str => "group.instance.id", |id| id;
        /// Whether positions are committed by themselves.
        auto_commit: bool => "enable.auto.commit", |on| on;
        /// Whether only records of committed transactions are seen.
        read_committed: bool => "isolation.level",
            |only| if only { "read_committed" } else { "read_uncommitted" };
        /// Records that one poll gives.
        max_poll_records: usize => "max.poll.records", |count| count;
    }
}
