//! `ottla cluster`: its id, its brokers, and forgetting one that is gone.

use std::io::{self, Write};

use anyhow::Result;
use ottla_client::{Admin, Peers};
use ottla_model::NodeId;
use serde_json::json;

use crate::confirm::Consent;
use crate::connect::Actions;
use crate::exit::Usage;
use crate::outcomes::Outcomes;
use crate::table::{Format, Table, print_json};

pub type Args = Actions<Action>;

#[derive(clap::Subcommand)]
pub enum Action {
    /// Print the id of the cluster
    Id,
    /// List the brokers, those too that are fenced
    Brokers,
    /// Forget a broker that is gone for good
    Unregister {
        broker: i32,
        #[command(flatten)]
        consent: Consent,
    },
}

pub fn run(args: Args) -> Result<()> {
    args.run_anywhere(async |admin, action, format| match action {
        Action::Id => {
            let id = admin.describe_cluster().await?.cluster_id;
            match format {
                Format::Json => print_json(&json!({"cluster_id": id.as_str()})),
                Format::Table => Ok(writeln!(io::stdout(), "{}", id.as_str())?),
            }
        }
        Action::Brokers => brokers(&admin, format).await,
        Action::Unregister { broker, consent } => {
            consent.ask(&format!("forget broker {broker}"))?;
            let mut outcomes = Outcomes::new();
            let forgotten = admin.unregister_broker(NodeId(broker)).await;
            outcomes.add(&broker.to_string(), "unregistered", forgotten);
            outcomes.print(format)
        }
    })
}

async fn brokers(admin: &Admin, format: Format) -> Result<()> {
    if admin.client().peers() == Peers::Controllers {
        return Err(
            Usage("only brokers know the brokers: give --bootstrap instead of controllers".into()).into()
        );
    }
    let mut cluster = admin.describe_cluster().await?;
    let metadata = admin.metadata().await?;
    cluster.brokers.sort_by_key(|broker| broker.broker_id);
    let mut table = Table::new(&["broker", "host", "port", "rack", "fenced", "leaders", "replicas"]);
    for broker in cluster.brokers {
        let id = NodeId(broker.broker_id);
        let partitions = || metadata.topics.values().flat_map(|topic| &topic.partitions);
        table.row([
            broker.broker_id.into(),
            broker.host.as_str().into(),
            broker.port.into(),
            broker.rack.map(|rack| rack.as_str().to_owned()).into(),
            broker.is_fenced.into(),
            partitions().filter(|partition| partition.leader == Some(id)).count().into(),
            partitions().filter(|partition| partition.replicas.contains(&id)).count().into(),
        ]);
    }
    table.total(&["leaders", "replicas"]);
    table.print(format)
}
