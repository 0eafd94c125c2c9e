//! Starting the thread that owns quorum, controller and images: from settings and directories to a running node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI16;
use std::time::Duration;

use ottla_commit_log::{LogConfig, StorageError};
use ottla_controller::ControllerConfig;
use ottla_metadata::ReplayError;
use ottla_model::{Millis, Offset, Uuid};
use ottla_protocol::Str;
use ottla_raft::{
    Address, Identity, Outgoing, Part, RaftConfig, ReplicaKey, RequestId, VersionRange, Voter, VoterSet,
};
use tokio::sync::{mpsc, watch};

use super::event_loop::{ControllerThread, Fault, RunAside};
use super::handle::{ControllerHandle, Message, QuorumLeader};
use super::leadership::Intervals;
use super::syncer::Syncer;
use crate::clock;
use crate::config::ServerConfig;
use crate::loops;
use crate::metadata::{MetadataHandle, MetadataLoader};
use crate::quorum::peers::{Answered, Peers};
use crate::quorum::snapshots::{SnapshotLimits, Snapshots};
use crate::quorum::wire::ask::Asker;
use crate::quorum::{Driver, DriverOptions, KRAFT_VERSIONS, QuorumError, controller_endpoints};
use crate::rpc::RpcNetwork;
use crate::storage::Directories;

/// What the thread is started with.
pub struct Options<'a> {
    pub config: &'a ServerConfig,
    pub directories: &'a Directories,
    /// Drawn anew by every process.
    pub incarnation: Uuid,
    pub seed: [u64; 2],
    /// The ports of listeners that were opened on any free one, by listener name.
    pub opened_ports: Vec<(String, u16)>,
    pub network: Arc<RpcNetwork>,
}

/// The running quorum, with the controller if this node has that role.
pub struct Running {
    pub controller: ControllerHandle,
    pub metadata: MetadataHandle,
    /// What ended the thread, other than [`ControllerHandle::stop`]. The node cannot go on then.
    pub fault: watch::Receiver<Option<String>>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    #[error("the metadata log cannot be true: {0}")]
    Replay(#[from] ReplayError),
    #[error("cannot start the controller's thread: {0}")]
    Thread(std::io::Error),
}

impl From<Fault> for StartError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Quorum(error) => Self::Quorum(error),
            Fault::Replay(error) => Self::Replay(error),
            Fault::Encode(error) => Self::Quorum(QuorumError::Encode(error)),
            Fault::Thread(error) => Self::Thread(error),
        }
    }
}

/// What the thread is given of the world around it.
pub(super) struct Surroundings {
    pub now: Millis,
    pub inbox: (mpsc::UnboundedSender<Message>, mpsc::UnboundedReceiver<Message>),
    pub send_request: Box<dyn FnMut(Outgoing) + Send>,
    pub run_aside: RunAside,
}

/// The thread before it runs, and the ways to it.
pub(super) struct Prepared {
    pub thread: ControllerThread,
    pub controller: ControllerHandle,
    pub metadata: MetadataHandle,
}

/// Opens the metadata log and starts the thread; must be called inside a runtime. Where this node is the only voter
/// it leads when this returns, and everything that was in its log is published. Elsewhere the first image comes when
/// a leader has told how much is committed.
pub fn start(options: Options<'_>) -> Result<Running, StartError> {
    let inbox = mpsc::unbounded_channel();
    let runtime = tokio::runtime::Handle::current();
    let mut peers = peers(&options, &runtime, inbox.0.clone());
    let surroundings = Surroundings {
        now: clock::steady(),
        inbox,
        send_request: Box::new(move |outgoing| peers.send(outgoing)),
        run_aside: Box::new(|work| {
            loops::spawn("metadata-snapshot", async move { work(clock::now()) }).map(drop)
        }),
    };
    let Prepared { mut thread, controller, metadata } = prepare(&options, surroundings)?;
    if options.config.roles.controller {
        thread.syncer = Some(Syncer::spawn(thread.self_sender.clone()).map_err(StartError::Thread)?);
    }
    let (fault_sender, fault) = watch::channel(None);
    let run = async move {
        if let Err(fault) = thread.run().await {
            tracing::error!(%fault, "the controller stops");
            fault_sender.send_replace(Some(fault.to_string()));
        }
    };
    loops::spawn("controller", run).map_err(StartError::Thread)?;
    Ok(Running { controller, metadata, fault })
}

/// Everything but the thread itself.
pub(super) fn prepare(options: &Options<'_>, surroundings: Surroundings) -> Result<Prepared, StartError> {
    let Surroundings { now, inbox: (inbox_sender, inbox), send_request, run_aside } = surroundings;
    let config = options.config;
    let log_config = LogConfig {
        segment_bytes: config.metadata_log.segment_bytes.max(0) as u32,
        segment_ms: config.metadata_log.segment_ms,
        ..LogConfig::metadata_log()
    };
    let log_dir = &options.directories.metadata.log_dir;
    let disk = log_dir.shared_disk();
    let log = log_dir.open_metadata_log(log_config, now)?;
    let configured_voters = configured_voters(config);
    let raft = raft_config(options);
    let listener = raft.listener.clone();
    let (driver, mut recovered) =
        Driver::open(DriverOptions { config: raft, configured_voters, disk, log }, now)?;
    let from_4_3 = log_dir.path().join(crate::storage::BOOTSTRAP_CHECKPOINT);
    if driver.raft().end().offset == Offset::ZERO && from_4_3.exists() {
        let content =
            crate::quorum::snapshot::read(&**driver.disk(), &from_4_3).map_err(QuorumError::from)?;
        recovered.bootstrap = content.records;
    }

    let (mut loader, metadata) = MetadataLoader::new();
    if let Some((id, timestamp)) = recovered.snapshot {
        loader.load_snapshot(id, timestamp, &recovered.records)?;
    }
    let limits = SnapshotLimits {
        after_bytes: config.metadata_log.snapshot_after_bytes,
        after_ms: config.metadata_log.snapshot_after_ms,
        retention_bytes: config.metadata_log.retention_bytes,
        retention_ms: config.metadata_log.retention_ms,
    };
    let kraft_version = Arc::new(AtomicI16::new(driver.raft().history().kraft_version()));
    let (leader, leader_receiver) = crate::watch::channel(QuorumLeader::default());
    let controller = ControllerHandle::new(inbox_sender.clone(), kraft_version.clone(), leader_receiver);
    let mut thread = ControllerThread {
        snapshots: Snapshots::new(limits, recovered.snapshot, now),
        driver,
        loader,
        send_request,
        run_aside,
        active: None,
        controller_config: controller_config(options),
        seed: options.seed,
        bootstrap: recovered.bootstrap,
        registered_at: BTreeMap::new(),
        waiting: BTreeMap::new(),
        next_token: 0,
        inbox,
        self_sender: inbox_sender,
        kraft_version,
        leader,
        intervals: Intervals::new(config),
        is_controller: config.roles.controller,
        unhurried: None,
        syncer: None,
        listener,
        handing_over: None,
    };
    if let Some((id, _)) = recovered.snapshot {
        thread.load_snapshot(id.end, &recovered.records);
    }
    thread.driver.start(now)?;
    thread.settle(now)?;
    Ok(Prepared { thread, controller, metadata })
}

fn raft_config(options: &Options<'_>) -> RaftConfig {
    let config = options.config;
    let quorum = &config.quorum;
    let is_controller = config.roles.controller;
    let me = Identity {
        key: ReplicaKey::new(config.node_id, options.directories.metadata.id),
        endpoints: match is_controller {
            true => controller_endpoints(config, &options.opened_ports),
            false => Vec::new(),
        },
        kraft_version: KRAFT_VERSIONS,
    };
    let address = |(host, port): &(String, u16)| Address { host: host.clone(), port: *port };
    RaftConfig {
        part: if is_controller { Part::Controller } else { Part::Broker },
        listener: config.controller_listener_names.first().cloned().unwrap_or_default(),
        bootstrap: quorum.bootstrap_servers.iter().map(address).collect(),
        election_timeout_ms: quorum.election_timeout_ms.into(),
        fetch_timeout_ms: quorum.fetch_timeout_ms.into(),
        election_backoff_ms_max: quorum.election_backoff_ms_max.into(),
        request_backoff_ms: quorum.retry_backoff_ms.into(),
        fetch_bytes_max: quorum.fetch_bytes_max.max(1) as u32,
        fetch_snapshot_bytes_max: quorum.fetch_snapshot_bytes_max.max(1) as u32,
        auto_join: quorum.auto_join,
        seed: options.seed[0] ^ options.seed[1],
        ..RaftConfig::new(me)
    }
}

fn peers(
    options: &Options<'_>,
    runtime: &tokio::runtime::Handle,
    inbox: mpsc::UnboundedSender<Message>,
) -> Peers {
    let config = options.config;
    let asker = Asker {
        cluster_id: Str::from(options.directories.cluster_id.as_str()),
        listener: config.controller_listener_names.first().cloned().unwrap_or_default(),
        timeout_ms: config.quorum.request_timeout_ms,
    };
    let answered: Answered = Arc::new(move |id: RequestId, result| {
        // The thread has ended: nobody misses it.
        let _ = inbox.send(Message::Answered(id, result));
    });
    let client_id = format!("raft-client-{}", config.node_id);
    let timeout = Duration::from_millis(config.quorum.request_timeout_ms.max(1) as u64);
    Peers::new(runtime.clone(), Arc::clone(&options.network), asker, client_id, timeout, answered)
}

fn controller_config(options: &Options<'_>) -> ControllerConfig {
    let config = options.config;
    ControllerConfig {
        node_id: config.node_id,
        incarnation: config.roles.broker.then_some(options.incarnation),
        cluster_id: Str::from(options.directories.cluster_id.as_str()),
        static_broker: config.static_broker.clone(),
        default_partitions: config.topic_defaults.num_partitions,
        default_replication_factor: config.topic_defaults.replication_factor as i16,
        session_timeout_ms: config.lifecycle.session_timeout_ms.into(),
        delete_topic_enable: config.topic_defaults.delete_enabled,
    }
}

fn configured_voters(config: &ServerConfig) -> VoterSet {
    let listener = config.controller_listener_names.first().cloned().unwrap_or_default();
    let voter = |voter: &crate::config::QuorumVoter| Voter {
        key: ReplicaKey::new(voter.id, Uuid::ZERO),
        endpoints: vec![ottla_raft::Endpoint {
            listener: listener.clone(),
            host: voter.host.clone(),
            port: voter.port,
        }],
        kraft_version: VersionRange { min: 0, max: 0 },
    };
    config.quorum.voters.iter().map(voter).collect()
}
