//! Names of files and directories in a log directory.

use ottla_model::{Offset, TopicPartition};

pub const LOG: &str = ".log";
pub const INDEX: &str = ".index";
pub const TIME_INDEX: &str = ".timeindex";
pub const TXN_INDEX: &str = ".txnindex";
pub const SNAPSHOT: &str = ".snapshot";
pub const DELETED: &str = ".deleted";
pub const CLEANED: &str = ".cleaned";
pub const SWAP: &str = ".swap";
pub const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
pub const PARTITION_METADATA: &str = "partition.metadata";

/// File names longer than this are cut, as file systems demand.
const NAME_BYTES_MAX: usize = 255;
/// Digits of an offset in a file name.
const OFFSET_DIGITS: usize = 20;

/// `00000000000000000042.log` and the like.
pub fn offset_file(base_offset: Offset, suffix: &str) -> String {
    format!("{:020}{suffix}", base_offset.0)
}

/// The offset in front of the first dot, if the name is one of [`offset_file`]'s with exactly this suffix.
pub fn parse_offset_file(name: &str, suffix: &str) -> Option<Offset> {
    let digits = name.strip_suffix(suffix)?;
    if digits.len() != OFFSET_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Offset)
}

/// What a directory below a log directory holds, by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PartitionDir {
    Live(TopicPartition),
    /// `<topic>-<partition>.<32 hex>-delete`; the topic may be cut.
    Delete(TopicPartition),
    /// `…-future`: the target of a move between log directories.
    Future(TopicPartition),
    /// `…-stray`: not assigned to this broker; the topic may be cut.
    Stray(TopicPartition),
}

impl PartitionDir {
    /// `None` for a name that Apache Kafka would refuse to start with.
    pub fn parse(name: &str) -> Option<Self> {
        type Wrap = fn(TopicPartition) -> PartitionDir;
        let suffixed: [(&str, Wrap); 3] =
            [("-delete", Self::Delete), ("-future", Self::Future), ("-stray", Self::Stray)];
        for (suffix, wrap) in suffixed {
            if let Some((partition, _)) = name.strip_suffix(suffix).and_then(|rest| rest.rsplit_once('.'))
                && let Some(partition) = parse_topic_partition(partition)
            {
                return Some(wrap(partition));
            }
        }
        parse_topic_partition(name).map(Self::Live)
    }
}

/// `<topic>-<partition>`, split at the last dash.
pub fn parse_topic_partition(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    let partition = partition.parse::<i32>().ok().filter(|partition| *partition >= 0)?;
    (!topic.is_empty()).then(|| TopicPartition::new(topic, partition))
}

/// The name of a directory on its way out (or in): the topic is cut so that the name fits (not for `-future`).
pub fn suffixed_dir(partition: &TopicPartition, unique: u128, suffix: &str) -> String {
    let tail = format!("-{}.{unique:032x}{suffix}", partition.partition);
    let room = if suffix == "-future" { usize::MAX } else { NAME_BYTES_MAX - tail.len() };
    let topic = &partition.topic[..partition.topic.len().min(room)];
    format!("{topic}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_names_split_at_the_last_dash() {
        let orders = TopicPartition::new("a-b.c", 7);
        assert_eq!(PartitionDir::parse("a-b.c-7"), Some(PartitionDir::Live(orders.clone())));
        let gone = suffixed_dir(&orders, 0xabc, "-delete");
        assert_eq!(gone, "a-b.c-7.00000000000000000000000000000abc-delete");
        assert_eq!(PartitionDir::parse(&gone), Some(PartitionDir::Delete(orders.clone())));
        let stray = suffixed_dir(&orders, 1, "-stray");
        assert_eq!(PartitionDir::parse(&stray), Some(PartitionDir::Stray(orders)));
        let long = TopicPartition::new("t".repeat(249), 12);
        assert_eq!(suffixed_dir(&long, 1, "-delete").len(), 255);
        assert_eq!(PartitionDir::parse("lost+found"), None);
        assert_eq!(PartitionDir::parse("x-"), None);
        assert_eq!(PartitionDir::parse("-1"), None);
    }

    #[test]
    fn file_names_are_twenty_digits() {
        assert_eq!(offset_file(Offset(42), LOG), "00000000000000000042.log");
        assert_eq!(parse_offset_file("00000000000000000042.log", LOG), Some(Offset(42)));
        assert_eq!(parse_offset_file("42.log", LOG), None);
        assert_eq!(parse_offset_file("00000000000000000042.log.swap", LOG), None);
    }
}
