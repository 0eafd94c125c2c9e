//! `kafka-metadata-quorum`: who votes on metadata, how far each has come; voters are added and removed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use ottla_client::admin::{QuorumDescription, VoterEndpoint};
use ottla_client::blocking::block_on;
use ottla_client::model::{NodeId, Uuid};
use ottla_client::protocol::api::describe_quorum::ReplicaState;

use super::options::{Exit, Outcome};
use super::session::{Session, properties_of};
use super::{java, storage, table};

/// This tool describes kraft metadata quorum status.
#[derive(Parser)]
#[command(name = "kafka-metadata-quorum")]
struct Arguments {
    /// Brokers to begin with
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "bootstrap_controller")]
    bootstrap_server: Option<String>,
    /// Controllers to ask instead of brokers
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "bootstrap_server")]
    bootstrap_controller: Option<String>,
    /// Settings of the client; for add-controller the controller's own
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Describe the quorum
    Describe {
        /// Who leads, votes and observes
        #[arg(long)]
        status: bool,
        /// How far each replica has come
        #[arg(long)]
        replication: bool,
        /// How long ago, with --replication
        #[arg(long)]
        human_readable: bool,
    },
    /// Make a controller a voter, the one whose configuration --command-config is
    AddController {
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Take a controller out of the voters
    RemoveController {
        #[arg(long, short = 'i', allow_negative_numbers = true)]
        controller_id: i32,
        #[arg(long, short = 'd')]
        controller_directory_id: String,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
}

type Properties = BTreeMap<String, String>;

pub fn run(words: &[String]) -> Outcome {
    let arguments: Arguments = storage::parsed("kafka-metadata-quorum", words)?;
    let properties = match &arguments.command_config {
        Some(file) if !file.exists() => {
            return failed(format!("Properties file {} does not exists!", file.display()));
        }
        Some(file) => properties_of(&file.display().to_string())?,
        None => Vec::new(),
    };
    let session = match arguments.bootstrap_controller.as_deref() {
        Some(controllers) => Session::at_controllers(controllers, properties.clone())?,
        None => Session::at(arguments.bootstrap_server.as_deref(), properties.clone())?,
    };
    match arguments.command {
        Command::Describe { status: true, replication: true, .. } => {
            failed("Only one of --status or --replication should be specified with describe sub-command")
        }
        Command::Describe { replication: true, human_readable, .. } => replication(&session, human_readable),
        Command::Describe { status: true, human_readable: true, .. } => {
            failed("The option --human-readable is only supported along with --replication")
        }
        Command::Describe { status: true, .. } => status(&session),
        Command::Describe { .. } => {
            failed("One of --status or --replication must be specified with describe sub-command")
        }
        Command::AddController { .. } if arguments.command_config.is_none() => failed(
            "You must supply the configuration file of the controller you are adding when using add-controller.",
        ),
        Command::AddController { dry_run } => add(&session, &properties.into_iter().collect(), dry_run),
        Command::RemoveController { controller_id, controller_directory_id, dry_run } => {
            remove(&session, controller_id, &controller_directory_id, dry_run)
        }
    }
}

fn failed(message: impl Into<String>) -> Outcome {
    Err(Exit::Failed(message.into()))
}

fn refused(error: ottla_client::Error) -> Exit {
    Exit::Failed(java::exception(&error))
}

/// The quorum, and of its voters the leader.
fn quorum(session: &Session) -> Outcome<(QuorumDescription, ReplicaState)> {
    let quorum = block_on(session.admin.describe_quorum()).map_err(refused)?;
    match quorum.current_voters.iter().find(|voter| voter.replica_id == quorum.leader_id) {
        Some(leader) => Ok((quorum.clone(), leader.clone())),
        None => Err(Exit::Failed("No value present".into())),
    }
}

fn status(session: &Session) -> Outcome {
    let cluster = block_on(session.admin.describe_cluster()).map_err(refused)?;
    let (quorum, leader) = quorum(session)?;
    let endpoints = block_on(session.admin.describe_quorum_endpoints()).map_err(refused)?;
    let last = quorum.current_voters.iter().min_by_key(|voter| voter.log_end_offset).unwrap_or(&leader);
    let lag_ms = match (leader.last_caught_up_timestamp, last.last_caught_up_timestamp) {
        _ if last.replica_id == leader.replica_id => 0,
        (at @ 0.., last @ 0..) => at - last,
        _ => -1,
    };
    let shown = |replicas: &[ReplicaState]| {
        let replicas: Vec<_> = replicas.iter().map(|replica| shown(replica, &endpoints)).collect();
        format!("[{}]", replicas.join(", "))
    };
    println!("ClusterId:              {}", cluster.cluster_id.as_str());
    println!("LeaderId:               {}", quorum.leader_id);
    println!("LeaderEpoch:            {}", quorum.leader_epoch);
    println!("HighWatermark:          {}", quorum.high_watermark);
    println!("MaxFollowerLag:         {}", leader.log_end_offset - last.log_end_offset);
    println!("MaxFollowerLagTimeMs:   {lag_ms}");
    println!("CurrentVoters:          {}", shown(&quorum.current_voters));
    println!("CurrentObservers:       {}", shown(&quorum.observers));
    Ok(())
}

/// A replica with what is known of it, in the form of JSON.
fn shown(replica: &ReplicaState, endpoints: &BTreeMap<NodeId, Vec<VoterEndpoint>>) -> String {
    let mut text = format!("{{\"id\": {}", replica.replica_id);
    if !replica.replica_directory_id.is_zero() {
        text += &format!(", \"directoryId\": \"{}\"", replica.replica_directory_id);
    }
    let endpoints: Vec<_> = endpoints.get(&NodeId(replica.replica_id)).into_iter().flatten().collect();
    if !endpoints.is_empty() {
        let endpoints: Vec<_> =
            endpoints.into_iter().map(|endpoint| format!("\"{}\"", url(endpoint))).collect();
        text += &format!(", \"endpoints\": [{}]", endpoints.join(", "));
    }
    text + "}"
}

/// An endpoint as `LISTENER://host:port`.
fn url(endpoint: &VoterEndpoint) -> String {
    let VoterEndpoint { listener, host, port } = endpoint;
    if host.contains(':') {
        format!("{listener}://[{host}]:{port}")
    } else {
        format!("{listener}://{host}:{port}")
    }
}

fn replication(session: &Session, human_readable: bool) -> Outcome {
    let (quorum, leader) = quorum(session)?;
    let is_leader = |voter: &&ReplicaState| voter.replica_id == leader.replica_id;
    let leading = quorum.current_voters.iter().filter(is_leader).map(|voter| (voter, "Leader"));
    let followers = quorum.current_voters.iter().filter(|voter| !is_leader(voter));
    let observers = quorum.observers.iter().map(|observer| (observer, "Observer"));
    let replicas = leading.chain(followers.map(|voter| (voter, "Follower"))).chain(observers);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let time = |ms: i64| match ms {
        0.. if human_readable => format!("{} ms ago", now - ms),
        ms => ms.to_string(),
    };
    let header = [
        "NodeId",
        "DirectoryId",
        "LogEndOffset",
        "Lag",
        "LastFetchTimestamp",
        "LastCaughtUpTimestamp",
        "Status",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(replicas.map(|(replica, role)| {
        [
            replica.replica_id.to_string(),
            replica.replica_directory_id.to_string(),
            replica.log_end_offset.to_string(),
            (leader.log_end_offset - replica.log_end_offset).to_string(),
            time(replica.last_fetch_timestamp),
            time(replica.last_caught_up_timestamp),
            role.to_owned(),
        ]
    }));
    for row in table::tabbed(&rows) {
        println!("{row}");
    }
    Ok(())
}

fn remove(session: &Session, id: i32, directory: &str, dry_run: bool) -> Outcome {
    if id < 0 {
        return failed(format!("Invalid negative --controller-id: {id}"));
    }
    let parsed: Result<Uuid, _> = directory.parse();
    let directory = match parsed {
        Ok(directory) => directory,
        Err(error) => return failed(format!("Failed to parse --controller-directory-id: {error}")),
    };
    if !dry_run {
        block_on(session.admin.remove_raft_voter(NodeId(id), directory)).map_err(refused)?;
    }
    let done = if dry_run { "DRY RUN of removing " } else { "Removed " };
    println!("{done} KRaft controller {id} with directory id {directory}");
    Ok(())
}

fn add(session: &Session, properties: &Properties, dry_run: bool) -> Outcome {
    let id = controller_id(properties)?;
    let directory = directory_id(&metadata_directory(properties)?)?;
    let endpoints = endpoints(properties)?;
    if !dry_run {
        block_on(session.admin.add_raft_voter(NodeId(id), directory, &endpoints)).map_err(refused)?;
    }
    let done = if dry_run { "DRY RUN of adding" } else { "Added" };
    let endpoints: Vec<_> = endpoints.iter().map(url).collect();
    println!("{done} controller {id} with directory id {directory} and endpoints: {}", endpoints.join(", "));
    Ok(())
}

const IS_IT: &str = "Is this a valid controller configuration file?";

fn controller_id(properties: &Properties) -> Outcome<i32> {
    let Some(id) = properties.get("node.id") else {
        return Err(Exit::Failed(format!("node.id not found in configuration file. {IS_IT}")));
    };
    let Ok(id) = id.trim().parse::<i32>() else {
        return Err(Exit::Failed(format!("For input string: \"{id}\"")));
    };
    if id < 0 {
        return Err(Exit::Failed(format!("node.id was negative in configuration file. {IS_IT}")));
    }
    match properties.get("process.roles") {
        Some(roles) if roles.contains("controller") => Ok(id),
        _ => Err(Exit::Failed(format!(
            "process.roles did not contain 'controller' in configuration file. {IS_IT}"
        ))),
    }
}

fn metadata_directory(properties: &Properties) -> Outcome<String> {
    let first = |directories: &String| directories.trim().split(',').next().map(str::to_owned);
    let directory = properties.get("metadata.log.dir").cloned();
    directory
        .or_else(|| properties.get("log.dirs").and_then(first))
        .ok_or_else(|| Exit::Failed(format!("Neither metadata.log.dir nor log.dirs were found. {IS_IT}")))
}

fn directory_id(directory: &str) -> Outcome<Uuid> {
    let Ok(meta) = properties_of(&format!("{directory}/meta.properties")) else {
        return Err(Exit::Failed(format!("Unable to read meta.properties from {directory}")));
    };
    let id = meta.into_iter().find(|(name, _)| name == "directory.id").and_then(|(_, id)| id.parse().ok());
    id.ok_or_else(|| Exit::Failed(format!("No directory id found in {directory}")))
}

/// Where the controller listens for controllers: what it advertises, or else where it listens.
fn endpoints(properties: &Properties) -> Outcome<Vec<VoterEndpoint>> {
    let Some(names) = properties.get("controller.listener.names") else {
        return Err(Exit::Failed(format!("controller.listener.names was not found. {IS_IT}")));
    };
    let mut listeners = BTreeMap::new();
    for setting in ["listeners", "advertised.listeners"] {
        for text in properties.get(setting).into_iter().flat_map(|list| list.split(',')) {
            if let Some(endpoint) = endpoint(text.trim()) {
                listeners.insert(endpoint.listener.clone(), endpoint);
            }
        }
    }
    let find = |name: &str| {
        let name = name.trim().to_uppercase();
        listeners.get(&name).cloned().ok_or_else(|| {
            Exit::Failed(format!("Cannot find information about controller listener name: {name}"))
        })
    };
    names.split(',').map(find).collect()
}

/// Reads `LISTENER://host:port`; without a host it is this machine.
fn endpoint(text: &str) -> Option<VoterEndpoint> {
    let (listener, address) = text.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() { "localhost" } else { host };
    Some(VoterEndpoint { listener: listener.to_uppercase(), host: host.to_owned(), port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_controller_is_known_by_its_configuration() {
        let mut config = properties(&[
            ("node.id", "3"),
            ("process.roles", "controller"),
            ("log.dirs", "/a,/b"),
            ("controller.listener.names", "CONTROLLER,other"),
            ("listeners", "CONTROLLER://:9093,OTHER://[::1]:9094"),
        ]);
        assert_eq!(controller_id(&config).unwrap(), 3);
        assert_eq!(metadata_directory(&config).unwrap(), "/a");
        let urls: Vec<_> = endpoints(&config).unwrap().iter().map(url).collect();
        assert_eq!(urls, ["CONTROLLER://localhost:9093", "OTHER://[::1]:9094"]);
        config
            .extend(properties(&[("metadata.log.dir", "/m"), ("advertised.listeners", "CONTROLLER://c:1")]));
        assert_eq!(metadata_directory(&config).unwrap(), "/m");
        assert_eq!(url(&endpoints(&config).unwrap()[0]), "CONTROLLER://c:1");
        config.insert("process.roles".into(), "broker".into());
        assert!(controller_id(&config).is_err());
    }
}
