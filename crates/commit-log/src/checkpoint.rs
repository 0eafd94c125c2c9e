//! The text files of a log directory: offset checkpoints, leader epochs, `partition.metadata`, `meta.properties`, the
//! clean-shutdown marker.
//!
//! Pure: text in, values out, and back. Readers are strict where Kafka is (a damaged checkpoint is not half used).

mod meta_properties;

use std::collections::BTreeMap;

use ottla_model::{BrokerEpoch, LeaderEpoch, Offset, TopicPartition, Uuid};
use thiserror::Error;

pub use meta_properties::MetaProperties;

pub const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
pub const LOG_START_CHECKPOINT: &str = "log-start-offset-checkpoint";
pub const REPLICATION_CHECKPOINT: &str = "replication-offset-checkpoint";
pub const CLEANER_CHECKPOINT: &str = "cleaner-offset-checkpoint";
pub const META_PROPERTIES: &str = "meta.properties";
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
pub const LOCK: &str = ".lock";

/// A text file that does not say what it should.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{}{reason}", if *line == 0 { String::new() } else { format!("line {line}: ") })]
pub struct CheckpointError {
    /// Counted from 1; 0 is the file as a whole.
    pub line: usize,
    pub reason: &'static str,
}

fn malformed<T>(line: usize, reason: &'static str) -> Result<T, CheckpointError> {
    Err(CheckpointError { line, reason })
}

/// Offsets by partition, as the four `*-offset-checkpoint` files hold them.
pub type OffsetCheckpoint = BTreeMap<TopicPartition, Offset>;

/// Reads an offset checkpoint. Empty text holds no entries.
pub fn parse_offsets(text: &str) -> Result<OffsetCheckpoint, CheckpointError> {
    entries(text)?
        .map(|(number, line)| {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next().map(str::parse), words.next().map(str::parse), words.next()) {
                (Some(topic), Some(Ok(partition)), Some(Ok(offset)), None) => {
                    Ok((TopicPartition::new(topic, partition), Offset(offset)))
                }
                _ => malformed(number, "expected topic, partition and offset"),
            }
        })
        .collect()
}

/// The text of an offset checkpoint.
pub fn format_offsets<'a>(offsets: impl IntoIterator<Item = (&'a TopicPartition, Offset)>) -> String {
    format_entries(
        offsets.into_iter().map(|(tp, offset)| format!("{} {} {}\n", tp.topic, tp.partition, offset)),
    )
}

/// One line of `leader-epoch-checkpoint`: the first offset written in an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEntry {
    pub epoch: LeaderEpoch,
    pub start_offset: Offset,
}

pub fn parse_epochs(text: &str) -> Result<Vec<EpochEntry>, CheckpointError> {
    entries(text)?
        .map(|(number, line)| {
            let mut words = line.split_ascii_whitespace();
            match (words.next().map(str::parse), words.next().map(str::parse), words.next()) {
                (Some(Ok(epoch)), Some(Ok(start_offset)), None) => {
                    Ok(EpochEntry { epoch: LeaderEpoch(epoch), start_offset: Offset(start_offset) })
                }
                _ => malformed(number, "expected epoch and start offset"),
            }
        })
        .collect()
}

pub fn format_epochs(epochs: &[EpochEntry]) -> String {
    format_entries(epochs.iter().map(|entry| format!("{} {}\n", entry.epoch, entry.start_offset)))
}

/// Version and count are checked here; the lines come numbered.
fn entries(text: &str) -> Result<impl Iterator<Item = (usize, &str)>, CheckpointError> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let count = match lines.next() {
        None => 0,
        Some((_, "0")) => match lines.next().map(|(_, line)| line.trim().parse::<usize>()) {
            Some(Ok(count)) => count,
            _ => return malformed(2, "expected the number of entries"),
        },
        Some(_) => return malformed(1, "expected version 0"),
    };
    if lines.clone().count() != count {
        return malformed(2, "the number of entries differs from what is there");
    }
    Ok(lines)
}

fn format_entries(lines: impl Iterator<Item = String>) -> String {
    let mut count = 0;
    let lines: String = lines.inspect(|_| count += 1).collect();
    format!("0\n{count}\n{lines}")
}

/// The topic id in `partition.metadata`.
pub fn parse_partition_metadata(text: &str) -> Result<Uuid, CheckpointError> {
    let mut lines = text.lines();
    match lines
        .next()
        .and_then(|line| line.strip_prefix("version:"))
        .map(|version| version.trim().parse::<i32>())
    {
        Some(Ok(0..)) => {}
        _ => return malformed(1, "expected a version"),
    }
    match lines.next().and_then(|line| line.strip_prefix("topic_id:")).map(|id| id.trim().parse::<Uuid>()) {
        Some(Ok(id)) if !id.is_zero() => Ok(id),
        _ => malformed(2, "expected a topic id"),
    }
}

pub fn format_partition_metadata(topic_id: Uuid) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

/// The content of `.kafka_cleanshutdown`.
pub fn format_clean_shutdown(broker_epoch: BrokerEpoch) -> String {
    format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}")
}

/// The broker epoch in the marker; -1 if it holds none that can be read (the shutdown was clean all the same).
pub fn parse_clean_shutdown(text: &str) -> BrokerEpoch {
    let number = text.split_once("\"brokerEpoch\"").and_then(|(_, rest)| {
        let rest = rest.trim_start().strip_prefix(':')?.trim_start();
        let end = rest.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    });
    number.map_or(BrokerEpoch::NONE, BrokerEpoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_checkpoints_are_counted() {
        let text = "0\n2\nb 1 7\na-b 0 42\n";
        let offsets = parse_offsets(text).unwrap();
        assert_eq!(offsets[&TopicPartition::new("a-b", 0)], Offset(42));
        assert_eq!(
            format_offsets(offsets.iter().map(|(tp, offset)| (tp, *offset))),
            "0\n2\na-b 0 42\nb 1 7\n"
        );
        assert!(parse_offsets("").unwrap().is_empty());
        assert!(parse_offsets("0\n0\n").unwrap().is_empty());
        for bad in
            ["1\n0\n", "0\n", "0\n1\n", "0\n1\na 0\n", "0\n1\na 0 1 2\n", "0\n1\na 0 1\nb 0 1\n", "0\n-1\n"]
        {
            parse_offsets(bad).unwrap_err();
        }
    }

    #[test]
    fn clean_shutdown_keeps_the_broker_epoch() {
        assert_eq!(format_clean_shutdown(BrokerEpoch(15)), r#"{"version":0,"brokerEpoch":15}"#);
        assert_eq!(parse_clean_shutdown(r#"{"brokerEpoch" : 15, "version":0}"#), BrokerEpoch(15));
        assert_eq!(parse_clean_shutdown(""), BrokerEpoch::NONE);
    }

    #[test]
    fn partition_metadata_has_no_last_newline() {
        let text = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ";
        assert_eq!(format_partition_metadata(parse_partition_metadata(text).unwrap()), text);
        parse_partition_metadata("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA").unwrap_err();
        parse_partition_metadata("version: x\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ").unwrap_err();
    }
}
