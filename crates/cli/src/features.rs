//! `ottla features`: the levels of the cluster's features, up and down.

use anyhow::Result;
use ottla_client::Admin;
use ottla_client::admin::{FeatureUpdate, UpgradeType};

use crate::confirm::Consent;
use crate::connect::Actions;
use crate::outcomes::Outcomes;
use crate::table::{Format, Table};

pub type Args = Actions<Action>;

#[derive(clap::Subcommand)]
pub enum Action {
    /// Describe the features: which levels a broker supports, which one is in force
    Describe,
    /// Raise levels, all or none
    Upgrade {
        #[arg(required = true, value_name = "FEATURE=LEVEL", value_parser = level)]
        features: Vec<(String, i16)>,
        /// Only ask whether it can be
        #[arg(long)]
        dry_run: bool,
    },
    /// Lower levels, all or none; 0 turns a feature off
    Downgrade {
        #[arg(required = true, value_name = "FEATURE=LEVEL", value_parser = level)]
        features: Vec<(String, i16)>,
        /// Even where metadata is lost by it
        #[arg(long = "unsafe")]
        lossy: bool,
        /// Only ask whether it can be
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        consent: Consent,
    },
}

fn level(text: &str) -> Result<(String, i16), String> {
    let parsed = text.split_once('=').and_then(|(name, level)| {
        let level = level.parse::<i16>().ok().filter(|level| *level >= 0)?;
        (!name.is_empty()).then(|| (name.to_owned(), level))
    });
    parsed.ok_or_else(|| "expected FEATURE=LEVEL, such as metadata.version=25".into())
}

pub fn run(args: Args) -> Result<()> {
    args.run_anywhere(async |admin, action, format| match action {
        Action::Describe => describe(&admin, format).await,
        Action::Upgrade { features, dry_run } => {
            update(&admin, features, UpgradeType::Upgrade, dry_run, format).await
        }
        Action::Downgrade { features, lossy, dry_run, consent } => {
            if !dry_run {
                let names: Vec<_> =
                    features.iter().map(|(name, level)| format!("{name} to {level}")).collect();
                consent.ask(&format!("lower {}", names.join(", ")))?;
            }
            let how = if lossy { UpgradeType::UnsafeDowngrade } else { UpgradeType::SafeDowngrade };
            update(&admin, features, how, dry_run, format).await
        }
    })
}

async fn describe(admin: &Admin, format: Format) -> Result<()> {
    let features = admin.describe_features().await?;
    let mut table = Table::new(&["feature", "min_level", "max_level", "level", "epoch"]);
    for (name, (min, max)) in &features.supported {
        let level = features.finalized.get(name).copied().unwrap_or(0);
        table.row([name.as_str().into(), (*min).into(), (*max).into(), level.into(), features.epoch.into()]);
    }
    table.print(format)
}

async fn update(
    admin: &Admin,
    features: Vec<(String, i16)>,
    upgrade: UpgradeType,
    dry_run: bool,
    format: Format,
) -> Result<()> {
    let mut outcomes = Outcomes::new();
    let names: Vec<_> = features.iter().map(|(name, level)| format!("{name}={level}")).collect();
    let updates: Vec<_> =
        features.into_iter().map(|(feature, level)| FeatureUpdate { feature, level, upgrade }).collect();
    let updated = admin.update_features(&updates, dry_run).await;
    let done = match (dry_run, upgrade) {
        (true, _) => "possible",
        (_, UpgradeType::Upgrade) => "upgraded",
        _ => "downgraded",
    };
    for name in names {
        outcomes.add(&name, done, updated.clone());
    }
    outcomes.print(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        assert_eq!(level("metadata.version=25"), Ok(("metadata.version".into(), 25)));
        for wrong in ["metadata.version", "=1", "a=-1", "a=x", "a=99999"] {
            assert!(level(wrong).is_err(), "{wrong}");
        }
    }
}
