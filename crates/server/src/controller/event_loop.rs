//! The thread that owns the quorum, the controller and the loader of images.
//!
//! It takes what is in the inbox, lets the controller decide request by request, appends each decision's records, syncs
//! once for all of them, publishes what that committed, and then releases the answers. So many requests share one sync,
//! and a client that was answered finds what it asked for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI16, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use ottla_commit_log::{LogConfig, RealDisk, StorageError};
use ottla_controller::{Controller, ControllerConfig, RECORDS_PER_BATCH_MAX, Random};
use ottla_metadata::features::SUPPORTED;
use ottla_metadata::{MetadataDelta, ReplayError, WriteOptions};
use ottla_model::{Millis, NodeId, Offset, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::controller_registration::{ControllerRegistrationRequest, Feature, Listener};
use ottla_protocol::records::metadata::MetadataRecord;
use ottla_raft::{Identity, RaftConfig, ReplicaKey, VersionRange, Voter, VoterSet};
use tokio::sync::watch;

use super::handle::{Atomicity, ControllerError, ControllerHandle, Decision, Message, QuorumInfo, Release};
use crate::clock;
use crate::config::ServerConfig;
use crate::metadata::{MetadataHandle, MetadataLoader};
use crate::quorum::snapshots::{SnapshotLimits, Snapshots};
use crate::quorum::{Driver, DriverOptions, KRAFT_VERSIONS, QuorumError, Recovered, controller_endpoints};
use crate::storage::Directories;

/// Requests decided before a sync; more wait for the next.
const REQUESTS_PER_SYNC_MAX: usize = 1000;

/// What the thread is started with.
pub struct Options<'a> {
    pub config: &'a ServerConfig,
    pub directories: &'a Directories,
    /// Drawn anew by every process.
    pub incarnation: Uuid,
    pub seed: [u64; 2],
    /// The ports of listeners that were opened on any free one, by listener name.
    pub opened_ports: Vec<(String, u16)>,
}

/// The running controller.
pub struct Running {
    pub controller: ControllerHandle,
    pub metadata: MetadataHandle,
    /// What ended the thread, other than [`ControllerHandle::stop`]. The node cannot go on then.
    pub fault: watch::Receiver<Option<String>>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("process.roles without controller: this version of Ottla runs a node with both roles")]
    NoControllerRole,
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    #[error("the metadata log cannot be true: {0}")]
    Replay(#[from] ReplayError),
    #[error("cannot start the controller's thread: {0}")]
    Thread(std::io::Error),
}

/// What ends the thread.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    #[error("a metadata record cannot be replayed: {0}")]
    Replay(#[from] ReplayError),
    #[error("a metadata record cannot be encoded: {0}")]
    Encode(#[from] ottla_protocol::EncodeError),
}

/// Opens the metadata log, becomes leader and starts the thread. When it returns the node leads, and everything that
/// was in its log is published; a new log holds the bootstrap records.
pub fn start(options: Options<'_>) -> Result<Running, StartError> {
    let config = options.config;
    if !config.roles.controller {
        return Err(StartError::NoControllerRole);
    }
    let now = clock::now();
    let log_config = LogConfig {
        segment_bytes: config.metadata_log.segment_bytes.max(0) as u32,
        segment_ms: config.metadata_log.segment_ms,
        ..LogConfig::metadata_log()
    };
    let log = options.directories.metadata.log_dir.open_metadata_log(log_config, now)?;
    let identity = Identity {
        key: ReplicaKey::new(config.node_id, options.directories.metadata.id),
        endpoints: controller_endpoints(config, &options.opened_ports),
        kraft_version: KRAFT_VERSIONS,
    };
    let registration = registration(config, &identity, options.incarnation);
    let configured_voters = configured_voters(config);
    let disk = Arc::new(RealDisk);
    let view = log.view();
    let (driver, mut recovered) =
        Driver::open(DriverOptions { config: RaftConfig::new(identity), configured_voters, disk, log }, now)?;
    let from_4_3 = options.directories.metadata.log_dir.path().join(crate::storage::BOOTSTRAP_CHECKPOINT);
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
    let (inbox_sender, inbox) = mpsc::channel();
    let kraft_version = Arc::new(AtomicI16::new(driver.raft().history().kraft_version()));
    let controller = ControllerHandle::new(inbox_sender.clone(), view, kraft_version.clone());
    let mut thread = ControllerThread {
        snapshots: Snapshots::new(limits, recovered.snapshot, now),
        driver,
        loader,
        controller: None,
        pending: VecDeque::new(),
        inbox,
        self_sender: inbox_sender,
        kraft_version,
        intervals: Intervals::new(config),
        last_append: now,
        next_fence_check: now,
        next_balance: now + config.lifecycle.leader_imbalance_check_interval_seconds.saturating_mul(1000),
        next_unclean: now + config.lifecycle.unclean_leader_election_interval_ms,
    };
    let controller_config = ControllerConfig {
        node_id: config.node_id,
        incarnation: config.roles.broker.then_some(options.incarnation),
        cluster_id: Str::from(options.directories.cluster_id.as_str()),
        static_broker: config.static_broker.clone(),
        default_partitions: config.topic_defaults.num_partitions,
        default_replication_factor: config.topic_defaults.replication_factor as i16,
        session_timeout_ms: config.lifecycle.session_timeout_ms.into(),
        delete_topic_enable: config.topic_defaults.delete_enabled,
    };
    let random = Random::from_seed(options.seed);
    let started = thread.lead(now, controller_config, random, &recovered, &registration);
    started.map_err(|fault| match fault {
        Fault::Quorum(error) => StartError::Quorum(error),
        Fault::Replay(error) => StartError::Replay(error),
        Fault::Encode(error) => StartError::Quorum(QuorumError::Encode(error)),
    })?;

    let (fault_sender, fault) = watch::channel(None);
    // Those who act on images start tasks of the node's runtime.
    let runtime = tokio::runtime::Handle::try_current().ok();
    std::thread::Builder::new()
        .name("controller".into())
        .spawn(move || {
            let _inside = runtime.as_ref().map(|runtime| runtime.enter());
            if let Err(fault) = thread.run() {
                tracing::error!(%fault, "the controller stops");
                fault_sender.send_replace(Some(fault.to_string()));
            }
        })
        .map_err(StartError::Thread)?;
    Ok(Running { controller, metadata, fault })
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

fn registration(
    config: &ServerConfig,
    identity: &Identity,
    incarnation: Uuid,
) -> ControllerRegistrationRequest {
    let listener = |endpoint: &ottla_raft::Endpoint| Listener {
        name: Str::from(&endpoint.listener),
        host: Str::from(&endpoint.host),
        port: endpoint.port,
        security_protocol: config.security_protocol(&endpoint.listener).map_or(0, |protocol| protocol as i16),
    };
    let feature = |feature: &ottla_metadata::features::SupportedFeature| Feature {
        name: Str::from(feature.name),
        min_supported_version: feature.min,
        max_supported_version: feature.max,
    };
    ControllerRegistrationRequest {
        controller_id: config.node_id.0,
        incarnation_id: incarnation,
        zk_migration_ready: false,
        listeners: identity.endpoints.iter().map(listener).collect(),
        features: SUPPORTED.iter().map(feature).collect(),
    }
}

#[derive(Clone, Copy)]
struct Intervals {
    /// 0: no records without effect.
    no_op_ms: i64,
    fence_check_ms: i64,
    /// `None`: leaders stay where they are.
    balance_ms: Option<i64>,
    unclean_ms: i64,
}

impl Intervals {
    fn new(config: &ServerConfig) -> Self {
        let balance_ms = config.lifecycle.leader_imbalance_check_interval_seconds.saturating_mul(1000);
        Self {
            no_op_ms: config.metadata_log.idle_interval_ms_max.into(),
            fence_check_ms: (i64::from(config.lifecycle.session_timeout_ms) / 8).max(1),
            balance_ms: config.lifecycle.auto_leader_rebalance.then_some(balance_ms),
            unclean_ms: config.lifecycle.unclean_leader_election_interval_ms,
        }
    }
}

struct ControllerThread {
    driver: Driver,
    loader: MetadataLoader,
    /// There while this node leads.
    controller: Option<Controller>,
    /// Answers by the log end that must be committed first.
    pending: VecDeque<(Offset, Release)>,
    inbox: mpsc::Receiver<Message>,
    self_sender: mpsc::Sender<Message>,
    /// For ApiVersions.
    kraft_version: Arc<AtomicI16>,
    snapshots: Snapshots,
    intervals: Intervals,
    last_append: Millis,
    next_fence_check: Millis,
    next_balance: Millis,
    next_unclean: Millis,
}

impl ControllerThread {
    /// Becomes leader and active controller; one sync commits the election, the bootstrap and the registration.
    fn lead(
        &mut self,
        now: Millis,
        config: ControllerConfig,
        random: Random,
        recovered: &Recovered,
        registration: &ControllerRegistrationRequest,
    ) -> Result<(), Fault> {
        let mut delta = MetadataDelta::new(self.loader.image());
        let mut registered_at = BTreeMap::new();
        if let Some((id, _)) = recovered.snapshot {
            for record in &recovered.records {
                delta.replay(record)?;
                note_registration(&mut registered_at, Offset(id.end.0 - 1), record);
            }
        }
        for batch in self.driver.undelivered() {
            for (record, offset) in batch.records.iter().zip(batch.base.0..) {
                delta.replay(record)?;
                note_registration(&mut registered_at, Offset(offset), record);
            }
        }
        self.driver.start(now)?;
        let end = self.driver.raft().end().offset;
        let image = delta.apply(ottla_metadata::Provenance::NONE);
        let known = image.cluster.controller(config.node_id).map(|known| known.incarnation);
        let controller = Controller::new(now, config, image, end, registered_at, random);
        let records = controller.activate(&recovered.bootstrap, delta.in_transaction());
        self.controller = Some(controller);
        self.append(now, records)?;
        if let Some(controller) = &self.controller
            && known != Some(registration.incarnation_id)
            && controller.image().metadata_version().supports_controller_registration()
        {
            let records = controller.register_controller(registration).records;
            self.append(now, records)?;
        }
        self.commit(now)?;
        tracing::info!(
            epoch = self.driver.raft().epoch().0,
            metadata_version = %self.loader.image().metadata_version(),
            offset = self.loader.image().provenance.offset.0,
            "leading the metadata quorum"
        );
        Ok(())
    }

    fn run(mut self) -> Result<(), Fault> {
        loop {
            let timeout = Duration::from_millis((self.next_deadline() - clock::now()).max(0) as u64);
            let mut next = match self.inbox.recv_timeout(timeout) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(self.close()?),
            };
            let now = clock::now();
            let mut handled = 0;
            while let Some(message) = next.take() {
                if let Some(stopped) = self.handle(now, message)? {
                    self.commit(now)?;
                    self.close()?;
                    // Whoever waits may open the directory again: nothing of it is held any more.
                    drop(self);
                    let _ = stopped.send(());
                    return Ok(());
                }
                handled += 1;
                if handled < REQUESTS_PER_SYNC_MAX {
                    next = self.inbox.try_recv().ok();
                }
            }
            self.tick(now)?;
            self.commit(now)?;
        }
    }

    fn handle(
        &mut self,
        now: Millis,
        message: Message,
    ) -> Result<Option<tokio::sync::oneshot::Sender<()>>, Fault> {
        match message {
            Message::Decide(decide) => {
                let kraft_version = self.driver.raft().history().kraft_version();
                let controller = self.controller.as_mut().ok_or(ControllerError::NotController);
                let decision = decide(now, controller, kraft_version);
                self.perform(now, decision)?;
            }
            Message::DescribeQuorum(reply) => {
                let _ = reply.send(self.describe(now));
            }
            Message::Fetched { replica, end } => self.driver.fetched(now, replica, end)?,
            Message::AddPublisher(publisher, added) => {
                self.loader.add_publisher(publisher)?;
                let _ = added.send(());
            }
            Message::SnapshotWritten(id) => self.snapshots.written(id),
            Message::Stop(stopped) => return Ok(Some(stopped)),
        }
        Ok(None)
    }

    fn perform(&mut self, now: Millis, decision: Decision) -> Result<(), Fault> {
        let Decision { mut records, atomicity, kraft_version, release } = decision;
        if records.len() > RECORDS_PER_BATCH_MAX && atomicity == Atomicity::Atomic {
            release(Err(ControllerError::TooManyRecords));
            return Ok(());
        }
        while records.len() > RECORDS_PER_BATCH_MAX {
            let rest = records.split_off(RECORDS_PER_BATCH_MAX);
            self.append(now, std::mem::replace(&mut records, rest))?;
        }
        self.append(now, records)?;
        if let Some(version) = kraft_version {
            self.driver.set_kraft_version(now, version)?;
            self.kraft_version.store(version, Ordering::Relaxed);
            if let Some(controller) = &mut self.controller {
                controller.advance(self.driver.raft().end().offset);
            }
        }
        self.pending.push_back((self.driver.raft().end().offset, release));
        Ok(())
    }

    /// Appends the records as one batch and lets the controller see them at once.
    fn append(&mut self, now: Millis, records: Vec<MetadataRecord>) -> Result<(), Fault> {
        let Some(controller) = self.controller.as_mut().filter(|_| !records.is_empty()) else {
            return Ok(());
        };
        let version = controller.image().metadata_version();
        let values: Vec<Bytes> = records
            .iter()
            .map(|record| record.encode(version.record_version(record)))
            .collect::<Result<_, _>>()?;
        controller.replay(now, self.driver.raft().end().offset, &records)?;
        if self.driver.append(now, records, &values)?.is_err() {
            self.controller = None;
        }
        self.last_append = now;
        Ok(())
    }

    fn tick(&mut self, now: Millis) -> Result<(), Fault> {
        let Some(controller) = &self.controller else { return Ok(()) };
        let mut due = Vec::new();
        if now >= self.next_fence_check {
            self.next_fence_check = now + self.intervals.fence_check_ms;
            due.push(controller.fence_stale_broker(now));
        }
        if let Some(interval) = self.intervals.balance_ms.filter(|_| now >= self.next_balance) {
            self.next_balance = now + interval;
            due.push(controller.balance_leaders());
        }
        if now >= self.next_unclean {
            self.next_unclean = now + self.intervals.unclean_ms;
            due.push(controller.elect_uncleanly());
        }
        if self.intervals.no_op_ms > 0 && now - self.last_append >= self.intervals.no_op_ms {
            due.push(controller.no_op());
        }
        for records in due {
            let release: Release = Box::new(|_| ());
            let atomicity = Atomicity::Splittable;
            self.perform(now, Decision { records, atomicity, kraft_version: None, release })?;
        }
        self.snapshots.clean(now, &mut self.driver)?;
        Ok(())
    }

    fn next_deadline(&self) -> Millis {
        let no_op = match self.intervals.no_op_ms {
            0 => Millis::MAX,
            interval => self.last_append + interval,
        };
        let balance = self.intervals.balance_ms.map_or(Millis::MAX, |_| self.next_balance);
        let deadlines =
            [no_op, self.next_fence_check, balance, self.next_unclean, self.snapshots.next_clean()];
        deadlines.into_iter().min().unwrap_or(Millis::MAX)
    }

    /// Syncs, publishes what is committed by that, and releases what waited for it.
    fn commit(&mut self, now: Millis) -> Result<(), Fault> {
        let committed = self.driver.flush(now)?;
        self.loader.load(&committed)?;
        let high_watermark = self.driver.raft().high_watermark().unwrap_or(Offset::ZERO);
        while let Some((_, release)) = self.pending.pop_front_if(|(end, _)| *end <= high_watermark) {
            release(Ok(()));
        }
        for batch in &committed {
            self.snapshots.delivered(batch.size_bytes);
        }
        if let Some(last) = committed.last() {
            self.snapshot_if_due(now, last.end)?;
        }
        Ok(())
    }

    /// Writes a snapshot on a thread of its own: the image does not change under it.
    fn snapshot_if_due(&mut self, now: Millis, end: Offset) -> Result<(), Fault> {
        let image = self.loader.image();
        let provenance = image.provenance;
        // In the middle of a metadata transaction the image is older than the log.
        if provenance.offset.0 + 1 != end.0 {
            return Ok(());
        }
        let epoch = ottla_model::LeaderEpoch(provenance.epoch);
        let Some(job) = self.snapshots.due(now, &self.driver, end, epoch, provenance.time) else {
            return Ok(());
        };
        let (image, sender) = (image.clone(), self.self_sender.clone());
        let write = move || {
            let version = image.metadata_version();
            let records = image.write(&WriteOptions { metadata_version: version });
            let values: Result<Vec<Bytes>, _> =
                records.iter().map(|record| record.encode(version.record_version(record))).collect();
            let written = values
                .map_err(crate::quorum::snapshot::SnapshotError::from)
                .and_then(|values| job.run(clock::now(), values.into_iter()));
            match &written {
                Ok(id) => tracing::info!(snapshot = id.file_name(), "wrote a snapshot of the metadata"),
                Err(error) => tracing::error!(%error, "cannot write a snapshot of the metadata"),
            }
            let _ = sender.send(Message::SnapshotWritten(written.ok()));
        };
        if let Err(error) = std::thread::Builder::new().name("metadata-snapshot".into()).spawn(write) {
            tracing::error!(%error, "cannot start a thread for a snapshot of the metadata");
            self.snapshots.written(None);
        }
        Ok(())
    }

    fn describe(&self, now: Millis) -> QuorumInfo {
        let raft = self.driver.raft();
        QuorumInfo {
            leader: raft.leader(),
            epoch: raft.epoch(),
            high_watermark: raft.high_watermark().unwrap_or(Offset::NONE),
            replicas: self.driver.replicas(now),
            voters: raft.voters().clone(),
            kraft_version: raft.history().kraft_version(),
        }
    }

    fn close(&mut self) -> Result<(), QuorumError> {
        self.controller = None;
        for (_, release) in self.pending.drain(..) {
            release(Err(ControllerError::Stopping));
        }
        self.driver.close(clock::now())
    }
}

fn note_registration(registered_at: &mut BTreeMap<NodeId, Offset>, offset: Offset, record: &MetadataRecord) {
    match record {
        MetadataRecord::RegisterBroker(record) => {
            registered_at.insert(NodeId(record.broker_id), offset);
        }
        MetadataRecord::UnregisterBroker(record) => {
            registered_at.remove(&NodeId(record.broker_id));
        }
        _ => {}
    }
}
