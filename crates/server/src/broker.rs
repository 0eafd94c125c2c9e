//! The broker role: partitions in shards, the table that finds them, and what keeps them in step with the
//! metadata image.

pub mod append;
pub mod background;
pub mod cleaner;
pub mod coordinators;
pub mod fetch_session;
pub mod internal_topics;
pub mod isr_changes;
pub mod lifecycle;
pub mod log_dir_moves;
pub mod log_dir_states;
pub mod partition;
pub mod producer_ids;
pub mod reconcile;
pub mod replica_fetchers;
pub mod replica_sessions;
pub mod replication_quota;
pub mod role;
pub mod shard;
pub mod syncer;
pub mod table;
pub mod topic_settings;
pub mod waiters;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use ottla_commit_log::LogDir;
use ottla_metadata::configs::Layers;
use ottla_metadata::{MetadataImage, PartitionRegistration, TopicImage};
use ottla_model::{BrokerEpoch, ErrorCode, NodeId, TopicPartition, Uuid};
use ottla_protocol::Str;
use parking_lot::Mutex;

use crate::config::ServerConfig;
use crate::controller::ControllerClient;
use crate::rpc::RpcNetwork;
use coordinators::{GroupCoordinators, HostConfig};
use fetch_session::FetchSessions;
use isr_changes::IsrChanges;
use lifecycle::Session;
use log_dir_moves::LogDirMoves;
use log_dir_states::LogDirStates;
use partition::{PartitionHandle, ReplicaContext};
use producer_ids::ProducerIds;
use replica_fetchers::ReplicaFetchers;
use replica_sessions::ReplicaSessions;
use replication_quota::ReplicationQuotas;
use shard::{Shard, ShardState};
use syncer::Syncer;
use table::PartitionTable;
use waiters::HighWatermarkNews;

/// The one selector that comes with Kafka: org.apache.kafka.common.replica.RackAwareReplicaSelector.
const RACK_SELECTOR: &str = "RackAwareReplicaSelector";
/// Shards for each core: enough that two busy partitions seldom meet, few enough that appends meet in batches.
const SHARDS_PER_CORE: usize = 4;

/// One of the broker's log directories.
pub struct BrokerDir {
    /// `directory.id`
    pub id: Uuid,
    pub dir: LogDir,
    pub syncer: Arc<Syncer>,
}

/// What the handlers of the broker's APIs work with.
pub struct Broker {
    pub node_id: NodeId,
    pub cluster_id: Arc<str>,
    pub config: Arc<ServerConfig>,
    pub controller: ControllerClient,
    pub fetch_sessions: FetchSessions,
    /// The sessions of those who replicate from here.
    pub replica_sessions: ReplicaSessions,
    /// What this broker replicates from others.
    pub fetchers: ReplicaFetchers,
    /// How fast both may go for throttled replicas.
    pub replication_quotas: ReplicationQuotas,
    pub producer_ids: ProducerIds,
    pub dirs: Vec<BrokerDir>,
    /// Partitions on their way from one of them to another.
    pub log_dir_moves: LogDirMoves,
    /// Which of them have failed.
    pub log_dirs: Arc<LogDirStates>,
    /// With the controller.
    pub session: Arc<Session>,
    /// The group coordinators of the partitions of `__consumer_offsets` that this broker leads.
    pub groups: GroupCoordinators,
    /// Topics that the controller has been asked for.
    being_created: Mutex<HashSet<Str>>,
    image: Arc<ArcSwap<MetadataImage>>,
    shards: Vec<Arc<Shard>>,
    table: ArcSwap<PartitionTable>,
    replica_context: Arc<ReplicaContext>,
}

impl Broker {
    pub fn new(
        config: Arc<ServerConfig>,
        cluster_id: Arc<str>,
        controller: ControllerClient,
        fetch_network: Arc<RpcNetwork>,
        image: Arc<ArcSwap<MetadataImage>>,
        dirs: Vec<BrokerDir>,
        unopened_dirs: Vec<PathBuf>,
    ) -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let slots_max = config.fetch.session_cache_slots_max.max(0) as usize;
        // Sessions of an earlier run must not be taken for ours.
        let seed = crate::clock::now().0 as u64;
        let replica_context = Arc::new(ReplicaContext {
            node_id: config.node_id,
            lag_ms_max: config.replication.lag_time_ms_max,
            high_watermark_news: match config.replication.selector_class {
                Some(_) => HighWatermarkNews::AtOnce,
                None => HighWatermarkNews::WithNextFetch,
            },
            isr_changes: IsrChanges::new(),
        });
        let broker = Arc::new(Self {
            node_id: config.node_id,
            cluster_id,
            controller,
            fetch_sessions: FetchSessions::new(slots_max, seed),
            replica_sessions: ReplicaSessions::new(seed),
            fetchers: ReplicaFetchers::new(fetch_network),
            replication_quotas: ReplicationQuotas::default(),
            producer_ids: ProducerIds::default(),
            dirs,
            log_dir_moves: LogDirMoves::default(),
            log_dirs: LogDirStates::new(unopened_dirs),
            session: Session::new(&config),
            groups: GroupCoordinators::new(HostConfig::of(&config)),
            being_created: Mutex::default(),
            image,
            shards: (0..cores * SHARDS_PER_CORE).map(|_| Shard::new()).collect(),
            table: ArcSwap::default(),
            replica_context,
            config,
        });
        broker.replica_context.isr_changes.serve(&broker);
        broker.log_dirs.serve(&broker);
        broker
    }

    /// The cluster's metadata as this node knows it now.
    pub fn image(&self) -> Guard<Arc<MetadataImage>> {
        self.image.load()
    }

    /// The broker's settings in their layers, as they are now.
    pub fn layers(&self) -> Layers {
        self.image().configs.layers(self.node_id, self.config.static_broker.clone())
    }

    /// This broker's incarnation, -1 before it is registered.
    pub fn epoch(&self) -> BrokerEpoch {
        self.image().cluster.broker(self.node_id).map_or(BrokerEpoch::NONE, |known| known.epoch)
    }

    /// Errors: UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER.
    pub fn partition_by_id(&self, id: Uuid, partition: i32) -> Result<Arc<PartitionHandle>, ErrorCode> {
        let found = self.table.load().by_id(id, partition);
        found.map_err(|error| unless_known(error, self.image().topics.by_id(id), partition))
    }

    /// Errors: UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER.
    pub fn partition_by_name(&self, topic: &str, partition: i32) -> Result<Arc<PartitionHandle>, ErrorCode> {
        let found = self.table.load().by_name(topic, partition);
        found.map_err(|error| unless_known(error, self.image().topics.by_name(topic), partition))
    }

    /// Whether this broker's replica may lie in a directory that is offline: the metadata names one that is not online,
    /// and what lies in those that are not nobody can see. A replica without a directory yet (`Uuid::ONE`) does not.
    fn lies_offline(&self, registration: &PartitionRegistration) -> bool {
        self.log_dirs.any_offline()
            && registration
                .directory(self.node_id)
                .is_some_and(|id| id != Uuid::ONE && !self.online_dirs().any(|dir| dir.id == id))
    }

    /// The partitions of this broker at present.
    pub fn table(&self) -> Arc<PartitionTable> {
        self.table.load_full()
    }

    /// Those that have not failed.
    fn online_dirs(&self) -> impl Iterator<Item = &BrokerDir> {
        self.dirs.iter().filter(|dir| !self.log_dirs.has_failed(dir.id))
    }

    fn dir(&self, id: Uuid) -> Option<&BrokerDir> {
        self.dirs.iter().find(|dir| dir.id == id)
    }

    pub fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// The shard for a partition: neighbours of one topic go to different shards.
    fn shard_of(&self, partition: &TopicPartition) -> &Arc<Shard> {
        let hash =
            partition.topic.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        &self.shards[hash.wrapping_add(partition.partition as u32) as usize % self.shards.len()]
    }

    /// Whether consumers are sent to a replica in their rack (`replica.selector.class`).
    pub fn reads_in_rack(&self) -> bool {
        self.config.replication.selector_class.as_deref().is_some_and(|class| class.ends_with(RACK_SELECTOR))
    }

    /// `fetch.max.bytes`
    pub fn fetch_bytes_max(&self) -> u64 {
        self.config.fetch.bytes_max.max(0) as u64
    }

    /// Asks the controller for topics that a client missed, unless it has been asked already; the client asks again.
    pub fn create_topics_in_background(self: &Arc<Self>, mut names: Vec<Str>) {
        names.retain(|name| self.being_created.lock().insert(name.clone()));
        if names.is_empty() {
            return;
        }
        let broker = Arc::clone(self);
        tokio::spawn(async move {
            crate::api::create_topics::create_automatically(&broker, names.clone()).await;
            broker.being_created.lock().retain(|name| !names.contains(name));
        });
    }
}

/// A shard's partitions know their shard: they end with the broker, and with them the locks of its directories.
impl Drop for Broker {
    fn drop(&mut self) {
        for shard in &self.shards {
            shard.submit(ShardState::forget);
        }
    }
}

/// The error of a partition that is not in the table: one that the metadata knows is about to come, or was in a
/// directory that is offline since the start.
fn unless_known(error: ErrorCode, topic: Option<&Arc<TopicImage>>, partition: i32) -> ErrorCode {
    match topic.and_then(|topic| topic.partitions.get(&partition)) {
        Some(_) => ErrorCode::NotLeaderOrFollower,
        None => error,
    }
}
