//! `ottla groups`: what groups there are, who is in them, how far they have come; offsets reset, groups deleted.

mod describe;
mod reset;

use anyhow::Result;
use ottla_client::Admin;
use ottla_model::ErrorCode;

use self::reset::Reset;
use crate::confirm::Consent;
use crate::connect::Actions;
use crate::outcomes::Outcomes;
use crate::select::{self, Partitions, Pattern};
use crate::table::{Format, Table};

pub type Args = Actions<Action>;

#[derive(clap::Subcommand)]
pub enum Action {
    /// List groups
    List {
        /// Ids, or patterns with * and ?; all groups without any
        groups: Vec<Pattern>,
        /// Only groups in this state, such as Stable or Empty
        #[arg(long)]
        state: Option<String>,
    },
    /// Describe groups: what they have committed, how far they lag, who reads what
    Describe {
        /// Ids, or patterns with * and ?; all groups without any
        groups: Vec<Pattern>,
        /// The members instead of the partitions
        #[arg(long)]
        members: bool,
    },
    /// Delete groups without members, and what they have committed
    Delete {
        /// Ids, or patterns with * and ?
        #[arg(required = true)]
        groups: Vec<Pattern>,
        #[command(flatten)]
        consent: Consent,
    },
    /// Commit other offsets for a group without members
    Reset(Reset),
    /// Delete what a group has committed for partitions
    DeleteOffsets {
        group: String,
        /// Topics, or some partitions of them: orders, orders:0,3-5
        #[arg(required = true, value_name = "TOPIC[:PARTITIONS]")]
        topics: Vec<Partitions>,
        #[command(flatten)]
        consent: Consent,
    },
}

pub fn run(args: Args) -> Result<()> {
    args.run(async |admin, action, format| match action {
        Action::List { groups, state } => list(&admin, &groups, state.as_deref(), format).await,
        Action::Describe { groups, members } => describe::run(&admin, &groups, members, format).await,
        Action::Delete { groups, consent } => delete(&admin, &groups, &consent, format).await,
        Action::Reset(reset) => reset::run(&admin, &reset, format).await,
        Action::DeleteOffsets { group, topics, consent } => {
            delete_offsets(&admin, &group, &topics, &consent, format).await
        }
    })
}

async fn list(admin: &Admin, patterns: &[Pattern], state: Option<&str>, format: Format) -> Result<()> {
    let groups = admin.list_groups().await?;
    let chosen = choose(groups.iter().map(|group| group.id.as_str()), patterns)?;
    let mut table = Table::new(&["group", "type", "protocol", "state"]);
    for group in groups.iter().filter(|group| chosen.contains(&group.id)) {
        if state.is_none_or(|state| group.state.eq_ignore_ascii_case(state)) {
            let text = |text: &String| text.as_str().into();
            table.row([text(&group.id), text(&group.kind), text(&group.protocol), text(&group.state)]);
        }
    }
    table.print(format)
}

/// The groups that patterns mean.
fn choose<'a>(all: impl Iterator<Item = &'a str>, patterns: &[Pattern]) -> Result<Vec<String>> {
    select::choose(all, patterns, |name| {
        let message = format!("there is no group {name}");
        ottla_client::Error::broker(ErrorCode::GroupIdNotFound, Some(message)).into()
    })
}

async fn delete(admin: &Admin, patterns: &[Pattern], consent: &Consent, format: Format) -> Result<()> {
    let groups = admin.list_groups().await?;
    let chosen = choose(groups.iter().map(|group| group.id.as_str()), patterns)?;
    let mut outcomes = Outcomes::new();
    if !chosen.is_empty() {
        consent.ask(&format!("delete {} with all offsets", chosen.join(", ")))?;
    }
    for group in chosen {
        outcomes.add(&group, "deleted", admin.delete_group(&group).await);
    }
    outcomes.print(format)
}

async fn delete_offsets(
    admin: &Admin,
    group: &str,
    topics: &[Partitions],
    consent: &Consent,
    format: Format,
) -> Result<()> {
    let metadata = admin.metadata().await?;
    let partitions = select::partitions(&metadata, topics)?;
    consent.ask(&format!("delete what {group} has committed for {} partitions", partitions.len()))?;
    let mut outcomes = Outcomes::new();
    for ((topic, partition), deleted) in admin.delete_offsets(group, &partitions).await? {
        outcomes.add(&format!("{topic}-{partition}"), "deleted", deleted);
    }
    outcomes.print(format)
}
