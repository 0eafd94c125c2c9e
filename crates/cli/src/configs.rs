//! `ottla configs`: the configs of topics, brokers, groups and more: where each comes from, set, given up.

use anyhow::Result;
use ottla_client::Admin;
use ottla_client::admin::{ConfigChange, ConfigEntry, ConfigResourceType, Resource};
use serde_json::Value;

use crate::confirm::Consent;
use crate::connect::Actions;
use crate::outcomes::Outcomes;
use crate::select::{self, pair};
use crate::table::{Format, Table};

pub type Args = Actions<Action>;

#[derive(clap::Subcommand)]
pub enum Action {
    /// Describe the configs of a resource with their sources and defaults
    Describe {
        #[command(flatten)]
        resource: ResourceName,
        /// Those with defaults too
        #[arg(short, long)]
        all: bool,
    },
    /// Set configs of a resource, and leave the others
    Set {
        #[command(flatten)]
        resource: ResourceName,
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = pair)]
        configs: Vec<(String, String)>,
    },
    /// Give up configs that were set for a resource
    Delete {
        #[command(flatten)]
        resource: ResourceName,
        #[arg(required = true, value_name = "NAME")]
        configs: Vec<String>,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(clap::Args)]
pub struct ResourceName {
    #[arg(value_name = "TYPE")]
    kind: Kind,
    /// The topic, the broker's id, the group …; default for what holds for all brokers
    name: String,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    Topic,
    Broker,
    BrokerLogger,
    Group,
    ClientMetrics,
}

impl ResourceName {
    fn resource(&self) -> Resource {
        let (kind, name) = match self.kind {
            Kind::Topic => (ConfigResourceType::Topic, self.name.as_str()),
            Kind::Broker if self.name == "default" => (ConfigResourceType::Broker, ""),
            Kind::Broker => (ConfigResourceType::Broker, self.name.as_str()),
            Kind::BrokerLogger => (ConfigResourceType::BrokerLogger, self.name.as_str()),
            Kind::Group => (ConfigResourceType::Group, self.name.as_str()),
            Kind::ClientMetrics => (ConfigResourceType::ClientMetrics, self.name.as_str()),
        };
        Resource { kind, name: name.to_owned() }
    }
}

pub fn run(args: Args) -> Result<()> {
    args.run_anywhere(async |admin, action, format| match action {
        Action::Describe { resource, all } => describe(&admin, &resource.resource(), all, format).await,
        Action::Set { resource, configs } => {
            let changes = configs.into_iter().map(|(name, value)| (name, ConfigChange::Set(value)));
            alter(&admin, &resource, changes.collect(), format).await
        }
        Action::Delete { resource, configs, consent } => {
            consent.ask(&format!("give up {} of {}", configs.join(", "), resource.name))?;
            let changes = configs.into_iter().map(|name| (name, ConfigChange::Delete));
            alter(&admin, &resource, changes.collect(), format).await
        }
    })
}

async fn describe(admin: &Admin, resource: &Resource, all: bool, format: Format) -> Result<()> {
    if resource.kind == ConfigResourceType::Topic {
        select::must_exist(admin, &resource.name).await?;
    }
    let mut table = Table::new(&["name", "value", "source", "default", "read_only", "sensitive"]);
    for config in admin.describe_configs(resource).await? {
        if all || config.is_own(resource.kind) {
            let default = default(&config);
            table.row([
                config.name.into(),
                config.value.into(),
                config.source.into(),
                default,
                config.read_only.into(),
                config.sensitive.into(),
            ]);
        }
    }
    table.print(format)
}

/// What would hold if nobody had set anything.
fn default(config: &ConfigEntry) -> Value {
    let default = config.synonyms.iter().find(|(source, ..)| *source == "DEFAULT_CONFIG");
    default.and_then(|(_, _, value)| value.clone()).into()
}

async fn alter(
    admin: &Admin,
    resource: &ResourceName,
    changes: Vec<(String, ConfigChange)>,
    format: Format,
) -> Result<()> {
    if matches!(resource.kind, Kind::Topic) {
        select::must_exist(admin, &resource.name).await?;
    }
    let mut outcomes = Outcomes::new();
    outcomes.add(&resource.name, "altered", admin.alter_configs(&resource.resource(), &changes).await);
    outcomes.print(format)
}
