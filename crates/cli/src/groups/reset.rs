//! `ottla groups reset`: where a group is to go on, shown before it is committed.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use ottla_client::Admin;
use ottla_client::admin::CommittedOffset;
use ottla_client::consumer::OffsetSpec;
use ottla_model::{ErrorCode, Millis, Offset};

use crate::confirm::Consent;
use crate::exit::usage;
use crate::select::{self, Partitions};
use crate::table::{Format, Table};
use crate::utc::Timestamp;

#[derive(clap::Args)]
pub struct Reset {
    group: String,
    /// Topics, or some partitions of them: orders, orders:0,3-5; without any, all that the group has committed
    #[arg(value_name = "TOPIC[:PARTITIONS]")]
    topics: Vec<Partitions>,
    #[command(flatten)]
    to: To,
    /// Only show what would be committed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    consent: Consent,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct To {
    /// To the first record that is there
    #[arg(long)]
    to_earliest: bool,
    /// Behind the last record
    #[arg(long)]
    to_latest: bool,
    /// To the first record of this time or later: 2026-11-22T18:16:52Z, milliseconds, or -30m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to_time: Option<Timestamp>,
    /// To this offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// So many records further, or back if negative
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    shift: Option<i64>,
}

/// Offsets by topic and partition.
type Offsets = BTreeMap<(String, i32), i64>;

pub async fn run(admin: &Admin, reset: &Reset, format: Format) -> Result<()> {
    must_be_empty(admin, &reset.group).await?;
    let committed: Offsets = admin
        .committed_offsets(&reset.group)
        .await?
        .into_iter()
        .map(|found| ((found.topic, found.partition), found.offset.0))
        .collect();
    let metadata = admin.metadata().await?;
    let partitions: Vec<_> = match reset.topics.is_empty() {
        true => committed
            .keys()
            .filter(|(topic, partition)| metadata.partition(topic, *partition).is_some())
            .cloned()
            .collect(),
        false => select::partitions(&metadata, &reset.topics)?,
    };
    if partitions.is_empty() {
        return usage(format!("{} has committed nothing; name the topics", reset.group));
    }
    let new = target(admin, &reset.to, &partitions, &committed).await?;
    let mut table = Table::new(&["topic", "partition", "old_offset", "new_offset"]);
    for (place, offset) in &new {
        let old = committed.get(place).copied();
        table.row([place.0.as_str().into(), place.1.into(), old.into(), (*offset).into()]);
    }
    if reset.dry_run {
        return table.print(format);
    }
    reset.consent.ask(&format!("reset {} in {} partitions", reset.group, new.len()))?;
    let commits: Vec<_> = new
        .into_iter()
        .map(|((topic, partition), offset)| CommittedOffset { topic, partition, offset: Offset(offset) })
        .collect();
    admin.commit_offsets(&reset.group, &commits).await?;
    table.print(format)
}

/// What members commit would be lost, or undo what is committed here.
async fn must_be_empty(admin: &Admin, group: &str) -> Result<()> {
    let listed = admin.list_groups().await?;
    match listed.iter().find(|listed| listed.id == group).map(|listed| listed.state.as_str()) {
        // A group that does not exist comes into being by its offsets.
        None | Some("Empty" | "Dead") => Ok(()),
        Some(state) => {
            let message = format!("{group} is {state}; stop its members first");
            Err(ottla_client::Error::broker(ErrorCode::NonEmptyGroup, Some(message)).into())
        }
    }
}

/// The new offsets, within what is there.
async fn target(
    admin: &Admin,
    to: &To,
    partitions: &[(String, i32)],
    committed: &Offsets,
) -> Result<Offsets> {
    let find = async |spec| -> Result<BTreeMap<_, _>> {
        let found = admin.list_offsets(partitions, spec).await?;
        Ok(found.into_iter().map(|(place, found)| (place, found.offset.map(|offset| offset.0))).collect())
    };
    let (begins, ends) = (find(OffsetSpec::Earliest).await?, find(OffsetSpec::Latest).await?);
    let at_time = match to.to_time {
        Some(Timestamp(ms)) => find(OffsetSpec::At(Millis(ms))).await?,
        None => BTreeMap::new(),
    };
    let mut new = Offsets::new();
    for place in partitions {
        let known = |offsets: &BTreeMap<_, Option<i64>>| offsets.get(place).copied().flatten();
        let (Some(begin), Some(end)) = (known(&begins), known(&ends)) else {
            bail!("{}-{} has no offsets", place.0, place.1)
        };
        let wanted = match to {
            To { to_earliest: true, .. } => begin,
            To { to_latest: true, .. } => end,
            // Nothing that new is there yet.
            To { to_time: Some(_), .. } => known(&at_time).unwrap_or(end),
            To { to_offset: Some(offset), .. } => *offset,
            To { shift: Some(shift), .. } => match committed.get(place) {
                Some(old) => old.saturating_add(*shift),
                None => {
                    bail!("nothing is committed for {}-{}, so there is nothing to shift", place.0, place.1)
                }
            },
            _ => return usage("say where to reset to"),
        };
        new.insert(place.clone(), wanted.clamp(begin, end));
    }
    Ok(new)
}
