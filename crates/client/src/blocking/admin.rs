//! The admin client for programs without an executor.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_model::{NodeId, Offset, Uuid};

use super::block_on;
use crate::admin::*;
use crate::client::Client;
use crate::config::ClientConfig;
use crate::error::Result;
use crate::state::metadata::Metadata;

/// A [`crate::Admin`] whose calls wait on the thread that makes them. Clones are handles of the same.
#[derive(Clone, Debug)]
pub struct Admin {
    inner: crate::Admin,
}

impl Admin {
    /// An admin client with connections of its own.
    pub fn new(config: &ClientConfig) -> Result<Self> {
        Ok(Self { inner: crate::Admin::new(config)? })
    }

    /// An admin client that shares the connections of others.
    pub fn with_client(client: Client) -> Self {
        Self { inner: crate::Admin::with_client(client) }
    }

    /// The same for async code.
    pub fn as_async(&self) -> &crate::Admin {
        &self.inner
    }
}

/// The calls of the admin client, each waiting for the one of the same name.
macro_rules! calls {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $output:ty;)*) => {
        impl Admin {
            $(
                #[doc = concat!("As [`crate::Admin::", stringify!($name), "`].")]
                pub fn $name(&self, $($argument: $kind),*) -> $output {
                    block_on(self.inner.$name($($argument),*))
                }
            )*
        }
    };
}

calls! {
    metadata() -> Result<Arc<Metadata>>;
    create_topic(topic: &NewTopic) -> Result<()>;
    delete_topic(name: &str) -> Result<()>;
    create_partitions(name: &str, count: i32) -> Result<()>;
    describe_configs(resource: &Resource) -> Result<Vec<ConfigEntry>>;
    list_config_resources(kinds: &[ConfigResourceType]) -> Result<Vec<Resource>>;
    alter_configs(resource: &Resource, changes: &[(String, ConfigChange)]) -> Result<()>;
    list_groups() -> Result<Vec<GroupListing>>;
    describe_group(id: &str) -> Result<GroupDescription>;
    committed_offsets(group: &str) -> Result<Vec<CommittedOffset>>;
    commit_offsets(group: &str, offsets: &[CommittedOffset]) -> Result<()>;
    delete_offsets(group: &str, partitions: &[Partition]) -> Result<PartitionResults>;
    delete_group(id: &str) -> Result<()>;
    list_offsets(partitions: &[Partition], spec: OffsetSpec) -> Result<BTreeMap<Partition, FoundOffset>>;
    delete_records(topic: &str, partition: i32, before: i64) -> Result<Offset>;
    alter_partition_reassignments(changes: &BTreeMap<Partition, Option<Vec<NodeId>>>, replication_factor: ReplicationFactorChange) -> Result<PartitionResults>;
    list_partition_reassignments(partitions: Option<&[Partition]>) -> Result<BTreeMap<Partition, OngoingReassignment>>;
    elect_leaders(kind: ElectionType, partitions: Option<&[Partition]>) -> Result<PartitionResults>;
    alter_replica_log_dirs(broker: NodeId, paths: &BTreeMap<Partition, String>) -> Result<PartitionResults>;
    describe_producers(partitions: &[Partition]) -> Result<BTreeMap<Partition, Vec<ActiveProducer>>>;
    list_transactions(filter: &TransactionFilter) -> Result<Vec<TransactionListing>>;
    describe_transaction(id: &str) -> Result<TransactionDescription>;
    describe_client_quotas(filter: &[(String, QuotaMatch)], strict: bool) -> Result<BTreeMap<QuotaEntity, BTreeMap<String, f64>>>;
    alter_client_quotas(entity: &QuotaEntity, changes: &[(String, Option<f64>)]) -> Result<()>;
    describe_features() -> Result<Features>;
    update_features(updates: &[FeatureUpdate], validate_only: bool) -> Result<()>;
    describe_cluster() -> Result<ClusterDescription>;
    describe_quorum() -> Result<QuorumDescription>;
    describe_quorum_endpoints() -> Result<BTreeMap<NodeId, Vec<VoterEndpoint>>>;
    describe_log_dirs(broker: NodeId) -> Result<Vec<LogDir>>;
    add_raft_voter(id: NodeId, directory: Uuid, endpoints: &[VoterEndpoint]) -> Result<()>;
    remove_raft_voter(id: NodeId, directory: Uuid) -> Result<()>;
    unregister_broker(id: NodeId) -> Result<()>;
}
