//! `ottla elect`: leaders elected anew.

use anyhow::Result;
use ottla_client::admin::ElectionType;
use ottla_model::ErrorCode;

use crate::confirm::Consent;
use crate::connect::{self, Options};
use crate::exit::usage;
use crate::outcomes::Outcomes;
use crate::select::{self, Partitions};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    connection: Options,
    /// preferred: the first replica where it is in sync; unclean: any live one where there is no leader, with losses
    #[arg(value_enum)]
    kind: Kind,
    /// Topics, or some partitions of them: orders, orders:0,3-5
    #[arg(value_name = "TOPIC[:PARTITIONS]", required_unless_present = "all")]
    topics: Vec<Partitions>,
    /// All partitions of the cluster
    #[arg(long, conflicts_with = "topics")]
    all: bool,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Preferred,
    Unclean,
}

pub fn run(args: Args) -> Result<()> {
    connect::run(async move {
        let admin = args.connection.admin().await?;
        let partitions = select::partitions(&*admin.metadata().await?, &args.topics)?;
        if partitions.is_empty() {
            return usage("there are no partitions");
        }
        let kind = match args.kind {
            Kind::Preferred => ElectionType::Preferred,
            Kind::Unclean => {
                let count = partitions.len();
                args.consent.ask(&format!(
                    "elect unclean leaders of {count} partitions; records that only others have are lost"
                ))?;
                ElectionType::Unclean
            }
        };
        let mut outcomes = Outcomes::new();
        let asked = (!args.all).then_some(&partitions[..]);
        for ((topic, partition), elected) in admin.elect_leaders(kind, asked).await? {
            let name = format!("{topic}-{partition}");
            match elected {
                // It is led as it should be.
                Err(error) if error.code() == Some(ErrorCode::ElectionNotNeeded) => {
                    outcomes.add(&name, "unchanged", Ok::<_, anyhow::Error>(()));
                }
                elected => outcomes.add(&name, "elected", elected),
            }
        }
        outcomes.print(args.connection.output)
    })
}
