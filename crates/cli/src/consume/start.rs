//! Where reading begins: `--offset`.

use std::str::FromStr;

use anyhow::Result;
use ottla_client::consumer::OffsetSpec;
use ottla_client::{Consumer, Error};
use ottla_model::{ErrorCode, Millis, Offset, TopicPartition};

use crate::utc::Timestamp;

/// A place in every partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    #[default]
    Beginning,
    End,
    At(i64),
    BeforeEnd(i64),
    Time(i64),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().ok().and_then(|number| i64::try_from(number).ok());
        let found = match text {
            "beginning" | "earliest" => Some(Self::Beginning),
            "end" | "latest" => Some(Self::End),
            _ => match (text.strip_prefix('@'), text.strip_prefix('-')) {
                (Some(time), _) => return time.parse().map(|Timestamp(ms)| Self::Time(ms)),
                (_, Some(before)) => number(before).map(Self::BeforeEnd),
                _ => number(text).map(Self::At),
            },
        };
        found.ok_or_else(|| "expected beginning, end, N, -N (so many before the end) or @TIME".into())
    }
}

impl Start {
    /// Sets the positions of partitions that the consumer has.
    pub async fn seek(self, consumer: &mut Consumer, partitions: &[TopicPartition]) -> Result<()> {
        let to = |spec| (spec, partitions);
        let (spec, partitions) = match self {
            Self::Beginning => to(OffsetSpec::Earliest),
            Self::End => to(OffsetSpec::Latest),
            Self::Time(ms) => to(OffsetSpec::At(Millis(ms))),
            Self::At(offset) => {
                let begins = consumer.beginning_offsets(partitions).await?;
                for (partition, Offset(end)) in consumer.end_offsets(partitions).await? {
                    let begin = begins.get(&partition).map_or(0, |begin| begin.0);
                    if !(begin..=end).contains(&offset) {
                        let message =
                            format!("{partition} has the offsets from {begin} to {end}, not {offset}");
                        return Err(Error::broker(ErrorCode::OffsetOutOfRange, Some(message)).into());
                    }
                    consumer.seek(&partition, Offset(offset))?;
                }
                return Ok(());
            }
            Self::BeforeEnd(count) => {
                let begins = consumer.beginning_offsets(partitions).await?;
                for (partition, end) in consumer.end_offsets(partitions).await? {
                    let begin = begins.get(&partition).map_or(0, |begin| begin.0);
                    consumer.seek(&partition, Offset(begin.max(end.0 - count)))?;
                }
                return Ok(());
            }
        };
        for partition in partitions {
            consumer.seek_to(partition, spec)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (text, place) in [
            ("beginning", Start::Beginning),
            ("end", Start::End),
            ("17", Start::At(17)),
            ("-10", Start::BeforeEnd(10)),
            ("@1700000000123", Start::Time(1_700_000_000_123)),
            ("@2023-11-14T22:13:20.123Z", Start::Time(1_700_000_000_123)),
        ] {
            assert_eq!(text.parse(), Ok(place), "{text}");
        }
        for wrong in ["", "-", "start", "1.5", "@", "@soon", "99999999999999999999"] {
            assert!(wrong.parse::<Start>().is_err(), "{wrong}");
        }
    }
}
