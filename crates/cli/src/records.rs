//! `ottla records`: deleting the oldest records of partitions.

use anyhow::Result;

use crate::confirm::Consent;
use crate::connect::{self, Actions};
use crate::exit::{self, Told};
use crate::select::{self, Partitions};
use crate::table::Table;

pub type Args = Actions<Action>;

#[derive(clap::Subcommand)]
pub enum Action {
    /// Delete the records before an offset
    Delete {
        /// Topics, or some partitions of them: orders, orders:0,3-5
        #[arg(required = true, value_name = "TOPIC[:PARTITIONS]")]
        topics: Vec<Partitions>,
        /// The first offset that stays, or end for none
        #[arg(long, value_name = "OFFSET", value_parser = before)]
        before: i64,
        #[command(flatten)]
        consent: Consent,
    },
}

/// -1 is the end, in Kafka's protocol too.
fn before(text: &str) -> Result<i64, String> {
    match text {
        "end" => Ok(-1),
        _ => {
            text.parse().ok().filter(|offset| *offset >= 0).ok_or_else(|| "expected an offset or end".into())
        }
    }
}

pub fn run(args: Args) -> Result<()> {
    connect::run(async move {
        let admin = args.connection.admin().await?;
        let Action::Delete { topics, before, consent } = args.action;
        let partitions = select::partitions(&*admin.metadata().await?, &topics)?;
        let which =
            if before < 0 { "all records".into() } else { format!("the records before offset {before}") };
        consent.ask(&format!("delete {which} of {} partitions", partitions.len()))?;
        let mut table = Table::new(&["topic", "partition", "log_start_offset"]);
        let mut failed = None;
        for (topic, partition) in partitions {
            match admin.delete_records(&topic, partition, before).await {
                Ok(start) => table.row([topic.into(), partition.into(), start.0.into()]),
                Err(error) => {
                    let error = anyhow::Error::from(error).context(format!("{topic}-{partition}"));
                    failed = failed.max(Some(exit::code(&error)));
                    exit::tell(&error);
                }
            }
        }
        table.print(args.connection.output)?;
        failed.map_or(Ok(()), |code| Err(Told(code).into()))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn offsets() {
        assert_eq!((super::before("end"), super::before("7")), (Ok(-1), Ok(7)));
        assert!(super::before("-1").is_err() && super::before("").is_err());
    }
}
