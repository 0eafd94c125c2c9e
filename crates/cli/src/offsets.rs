//! `ottla offsets`: where partitions begin and end, how much is between, and which record a time means.

use std::str::FromStr;

use anyhow::Result;
use ottla_client::consumer::OffsetSpec;
use ottla_model::Millis;
use serde_json::Value;

use crate::connect::{self, Options};
use crate::select::{self, Partitions};
use crate::table::Table;
use crate::utc::Timestamp;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    connection: Options,
    /// Topics, or some partitions of them: orders, orders:0,3-5; all topics without any
    #[arg(value_name = "TOPIC[:PARTITIONS]")]
    topics: Vec<Partitions>,
    /// One offset of each partition: beginning, end, max-timestamp, or a time for the first record that is not older
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    at: Option<At>,
}

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At(OffsetSpec);

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text {
            "beginning" | "earliest" => OffsetSpec::Earliest,
            "end" | "latest" => OffsetSpec::Latest,
            "max-timestamp" => OffsetSpec::MaxTimestamp,
            time => {
                let Timestamp(ms) = time.parse().map_err(|_| {
                    "expected beginning, end, max-timestamp or a time, such as 2026-11-22T18:16:52Z or -30m"
                })?;
                OffsetSpec::At(Millis(ms))
            }
        }))
    }
}

pub fn run(args: Args) -> Result<()> {
    connect::run(async move {
        let admin = args.connection.admin().await?;
        let partitions = select::partitions(&*admin.metadata().await?, &args.topics)?;
        let mut table;
        if let Some(At(spec)) = args.at {
            table = Table::new(&["topic", "partition", "offset", "timestamp", "time"]);
            for ((topic, partition), found) in admin.list_offsets(&partitions, spec).await? {
                let ms = Some(found.timestamp.0).filter(|ms| *ms >= 0);
                let time = ms.map(|ms| Timestamp(ms).to_string());
                let offset = found.offset.map(|offset| offset.0);
                table.row([topic.into(), partition.into(), offset.into(), ms.into(), time.into()]);
            }
        } else {
            table = Table::new(&["topic", "partition", "beginning", "end", "records"]);
            let begins = admin.list_offsets(&partitions, OffsetSpec::Earliest).await?;
            let ends = admin.list_offsets(&partitions, OffsetSpec::Latest).await?;
            for ((topic, partition), begin) in begins {
                let end = ends.get(&(topic.clone(), partition)).and_then(|found| found.offset);
                let (begin, end) = (begin.offset.map(|offset| offset.0), end.map(|offset| offset.0));
                let count: Value = end.zip(begin).map(|(end, begin)| end - begin).into();
                table.row([topic.into(), partition.into(), begin.into(), end.into(), count]);
            }
            table.total(&["records"]);
        }
        table.print(args.connection.output)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let at = |text: &str| text.parse::<At>().map(|At(spec)| spec);
        assert_eq!(at("beginning"), Ok(OffsetSpec::Earliest));
        assert_eq!(at("max-timestamp"), Ok(OffsetSpec::MaxTimestamp));
        assert_eq!(at("2023-11-14T22:13:20Z"), Ok(OffsetSpec::At(Millis(1_700_000_000_000))));
        assert!(at("soon").unwrap_err().starts_with("expected beginning, end,"));
    }
}
