//! `ottla quorum`: the voters and observers of the metadata log; voters added and removed.

use anyhow::{Result, anyhow};
use ottla_client::Admin;
use ottla_client::admin::{QuorumDescription, VoterEndpoint};
use ottla_model::{NodeId, Uuid};
use serde_json::Value;

use crate::confirm::Consent;
use crate::connect::Actions;
use crate::outcomes::Outcomes;
use crate::table::{Format, Table};
use crate::utc::Timestamp;

pub type Args = Actions<Action>;

#[derive(clap::Subcommand)]
pub enum Action {
    /// Describe who leads and votes, or how far each replica of the metadata log has come
    Describe {
        #[arg(value_enum, default_value_t = View::Status)]
        view: View,
    },
    /// Make a controller that follows the metadata log a voter
    AddVoter {
        controller: i32,
        /// Its directory id, from its meta.properties
        directory: Uuid,
        /// Where it listens for controllers; may be repeated
        #[arg(long = "endpoint", required = true, value_name = "LISTENER://HOST:PORT", value_parser = endpoint)]
        endpoints: Vec<VoterEndpoint>,
    },
    /// Take a controller out of the voters
    RemoveVoter {
        controller: i32,
        /// Its directory id; quorum describe replication prints it
        directory: Uuid,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum View {
    Status,
    Replication,
}

/// Reads `CONTROLLER://host:9093`; an IPv6 address stands in brackets.
fn endpoint(text: &str) -> Result<VoterEndpoint, String> {
    let parse = || {
        let (listener, address) = text.split_once("://")?;
        let (host, port) = address.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let whole = !listener.is_empty() && !host.is_empty();
        let port = port.parse().ok().filter(|port| *port != 0)?;
        whole.then(|| VoterEndpoint { listener: listener.into(), host: host.into(), port })
    };
    parse().ok_or_else(|| "expected LISTENER://HOST:PORT, such as CONTROLLER://10.0.0.4:9093".into())
}

pub fn run(args: Args) -> Result<()> {
    args.run_anywhere(async |admin, action, format| {
        let mut outcomes = Outcomes::new();
        match action {
            Action::Describe { view } => return describe(&admin, view, format).await,
            Action::AddVoter { controller, directory, endpoints } => {
                let added = admin.add_raft_voter(NodeId(controller), directory, &endpoints).await;
                outcomes.add(&controller.to_string(), "added", added);
            }
            Action::RemoveVoter { controller, directory, consent } => {
                consent.ask(&format!("take controller {controller} out of the voters"))?;
                let removed = admin.remove_raft_voter(NodeId(controller), directory).await;
                outcomes.add(&controller.to_string(), "removed", removed);
            }
        }
        outcomes.print(format)
    })
}

async fn describe(admin: &Admin, view: View, format: Format) -> Result<()> {
    let quorum = admin.describe_quorum().await?;
    let cluster = admin.describe_cluster().await?;
    let leader = quorum
        .current_voters
        .iter()
        .find(|voter| voter.replica_id == quorum.leader_id)
        .ok_or_else(|| anyhow!("the quorum has no leader among its voters"))?;
    let (end, caught_up) = (leader.log_end_offset, leader.last_caught_up_timestamp);
    if view == View::Status {
        let mut table = Table::new(&[
            "cluster_id",
            "leader",
            "leader_epoch",
            "high_watermark",
            "log_end_offset",
            "max_follower_lag",
            "max_follower_lag_ms",
            "voters",
            "observers",
        ]);
        let followers = || quorum.current_voters.iter().filter(|voter| voter.replica_id != quorum.leader_id);
        // Who has never been heard of has an unknown lag.
        let late = |at: i64| (at >= 0).then_some((caught_up - at).max(0));
        let ms = followers().map(|voter| late(voter.last_caught_up_timestamp)).max().flatten();
        let ids = |replicas: &[_]| replicas.iter().map(id).collect::<Value>();
        table.row([
            cluster.cluster_id.as_str().into(),
            quorum.leader_id.into(),
            quorum.leader_epoch.into(),
            quorum.high_watermark.into(),
            end.into(),
            followers().map(|voter| end - voter.log_end_offset).max().unwrap_or(0).into(),
            if followers().next().is_none() { 0.into() } else { ms.into() },
            ids(&quorum.current_voters),
            ids(&quorum.observers),
        ]);
        return table.print(format);
    }
    replication(&quorum, end).print(format)
}

fn id(replica: &ottla_client::protocol::api::describe_quorum::ReplicaState) -> i32 {
    replica.replica_id
}

fn replication(quorum: &QuorumDescription, end: i64) -> Table {
    let mut table = Table::new(&[
        "controller",
        "directory",
        "role",
        "log_end_offset",
        "lag",
        "last_fetch",
        "last_caught_up",
    ]);
    let voters = quorum.current_voters.iter().map(|voter| match voter.replica_id == quorum.leader_id {
        true => ("leader", voter),
        false => ("follower", voter),
    });
    let mut replicas: Vec<_> =
        voters.chain(quorum.observers.iter().map(|observer| ("observer", observer))).collect();
    replicas.sort_by_key(|(_, replica)| (replica.replica_id, replica.replica_directory_id));
    for (role, replica) in replicas {
        let time = |ms: i64| Value::from((ms >= 0).then(|| Timestamp(ms).to_string()));
        table.row([
            replica.replica_id.into(),
            replica.replica_directory_id.to_string().into(),
            role.into(),
            replica.log_end_offset.into(),
            (end - replica.log_end_offset).max(0).into(),
            time(replica.last_fetch_timestamp),
            time(replica.last_caught_up_timestamp),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let at = |listener: &str, host: &str, port| VoterEndpoint {
            listener: listener.into(),
            host: host.into(),
            port,
        };
        assert_eq!(endpoint("CONTROLLER://a:9093"), Ok(at("CONTROLLER", "a", 9093)));
        assert_eq!(endpoint("C://[::1]:1"), Ok(at("C", "::1", 1)));
        for wrong in ["a:9093", "://a:1", "C://a", "C://:1", "C://a:0", "C://a:x"] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }
}
