//! The table of API keys: numbers, names, listeners, and how a broker treats them.

use crate::Versions;
use crate::schema::MessageSchema;

/// The kind of listener a request arrives on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listener {
    Broker,
    Controller,
}

/// How a broker treats requests of a key, beside handling them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trait {
    /// A broker forwards it to the active controller inside an Envelope.
    Forwarded,
    /// Sent between nodes: needs ClusterAction on the cluster, and no request quota counts it.
    ClusterAction,
}

use Listener::{Broker, Controller};
use Trait::{ClusterAction, Forwarded};

struct Row {
    name: &'static str,
    listeners: &'static [Listener],
    traits: &'static [Trait],
    request: &'static MessageSchema,
    response: &'static MessageSchema,
}

/// Makes the enum of the table's rows: `Name = key: module::{Request, Response}, [listeners], [traits];`.
macro_rules! api_keys {
    ($($name:ident = $key:literal: $module:ident::{$request:ident, $response:ident},
        [$($listener:ident),*], [$($trait:ident),*];)*) => {
        /// What a request asks for.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $key,)*
        }

        static ROWS: &[Row] = &[$(Row {
            name: stringify!($name),
            listeners: &[$($listener),*],
            traits: &[$($trait),*],
            request: <crate::api::$module::$request as crate::Message>::SCHEMA,
            response: <crate::api::$module::$response as crate::Message>::SCHEMA,
        }),*];

        impl ApiKey {
            /// All keys in order, the removed ones included: `ALL[n]` is key n.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }

        $(impl crate::Request for crate::api::$module::$request {
            const KEY: ApiKey = ApiKey::$name;
            type Response = crate::api::$module::$response;
        })*
    };
}

api_keys! {
    Produce = 0: produce::{ProduceRequest, ProduceResponse}, [Broker], [];
    Fetch = 1: fetch::{FetchRequest, FetchResponse}, [Broker, Controller], [];
    ListOffsets = 2: list_offsets::{ListOffsetsRequest, ListOffsetsResponse}, [Broker], [];
    Metadata = 3: metadata::{MetadataRequest, MetadataResponse}, [Broker], [];
    LeaderAndIsr = 4: removed::{LeaderAndIsrRequest, LeaderAndIsrResponse}, [], [];
    StopReplica = 5: removed::{StopReplicaRequest, StopReplicaResponse}, [], [];
    UpdateMetadata = 6: removed::{UpdateMetadataRequest, UpdateMetadataResponse}, [], [];
    ControlledShutdown = 7: removed::{ControlledShutdownRequest, ControlledShutdownResponse}, [], [];
    OffsetCommit = 8: offset_commit::{OffsetCommitRequest, OffsetCommitResponse}, [Broker], [];
    OffsetFetch = 9: offset_fetch::{OffsetFetchRequest, OffsetFetchResponse}, [Broker], [];
    FindCoordinator = 10: find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse}, [Broker], [];
    JoinGroup = 11: join_group::{JoinGroupRequest, JoinGroupResponse}, [Broker], [];
    Heartbeat = 12: heartbeat::{HeartbeatRequest, HeartbeatResponse}, [Broker], [];
    LeaveGroup = 13: leave_group::{LeaveGroupRequest, LeaveGroupResponse}, [Broker], [];
    SyncGroup = 14: sync_group::{SyncGroupRequest, SyncGroupResponse}, [Broker], [];
    DescribeGroups = 15: describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse}, [Broker], [];
    ListGroups = 16: list_groups::{ListGroupsRequest, ListGroupsResponse}, [Broker], [];
    SaslHandshake = 17: sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse}, [Broker, Controller], [];
    ApiVersions = 18: api_versions::{ApiVersionsRequest, ApiVersionsResponse}, [Broker, Controller], [];
    CreateTopics = 19: create_topics::{CreateTopicsRequest, CreateTopicsResponse}, [Broker, Controller], [Forwarded];
    DeleteTopics = 20: delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse}, [Broker, Controller], [Forwarded];
    DeleteRecords = 21: delete_records::{DeleteRecordsRequest, DeleteRecordsResponse}, [Broker], [];
    InitProducerId = 22: init_producer_id::{InitProducerIdRequest, InitProducerIdResponse}, [Broker], [];
    OffsetForLeaderEpoch = 23: offset_for_leader_epoch::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse}, [Broker], [];
    AddPartitionsToTxn = 24: add_partitions_to_txn::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse}, [Broker], [];
    AddOffsetsToTxn = 25: add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse}, [Broker], [];
    EndTxn = 26: end_txn::{EndTxnRequest, EndTxnResponse}, [Broker], [];
    WriteTxnMarkers = 27: write_txn_markers::{WriteTxnMarkersRequest, WriteTxnMarkersResponse}, [Broker], [ClusterAction];
    TxnOffsetCommit = 28: txn_offset_commit::{TxnOffsetCommitRequest, TxnOffsetCommitResponse}, [Broker], [];
    DescribeAcls = 29: describe_acls::{DescribeAclsRequest, DescribeAclsResponse}, [Broker, Controller], [];
    CreateAcls = 30: create_acls::{CreateAclsRequest, CreateAclsResponse}, [Broker, Controller], [Forwarded];
    DeleteAcls = 31: delete_acls::{DeleteAclsRequest, DeleteAclsResponse}, [Broker, Controller], [Forwarded];
    DescribeConfigs = 32: describe_configs::{DescribeConfigsRequest, DescribeConfigsResponse}, [Broker, Controller], [];
    AlterConfigs = 33: alter_configs::{AlterConfigsRequest, AlterConfigsResponse}, [Broker, Controller], [Forwarded];
    AlterReplicaLogDirs = 34: alter_replica_log_dirs::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse}, [Broker], [];
    DescribeLogDirs = 35: describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse}, [Broker], [];
    SaslAuthenticate = 36: sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse}, [Broker, Controller], [];
    CreatePartitions = 37: create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse}, [Broker, Controller], [Forwarded];
    CreateDelegationToken = 38: create_delegation_token::{CreateDelegationTokenRequest, CreateDelegationTokenResponse}, [Broker, Controller], [Forwarded];
    RenewDelegationToken = 39: renew_delegation_token::{RenewDelegationTokenRequest, RenewDelegationTokenResponse}, [Broker, Controller], [Forwarded];
    ExpireDelegationToken = 40: expire_delegation_token::{ExpireDelegationTokenRequest, ExpireDelegationTokenResponse}, [Broker, Controller], [Forwarded];
    DescribeDelegationToken = 41: describe_delegation_token::{DescribeDelegationTokenRequest, DescribeDelegationTokenResponse}, [Broker, Controller], [];
    DeleteGroups = 42: delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse}, [Broker], [];
    ElectLeaders = 43: elect_leaders::{ElectLeadersRequest, ElectLeadersResponse}, [Broker, Controller], [Forwarded];
    IncrementalAlterConfigs = 44: incremental_alter_configs::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse}, [Broker, Controller], [Forwarded];
    AlterPartitionReassignments = 45: alter_partition_reassignments::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse}, [Broker, Controller], [Forwarded];
    ListPartitionReassignments = 46: list_partition_reassignments::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse}, [Broker, Controller], [Forwarded];
    OffsetDelete = 47: offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse}, [Broker], [];
    DescribeClientQuotas = 48: describe_client_quotas::{DescribeClientQuotasRequest, DescribeClientQuotasResponse}, [Broker], [];
    AlterClientQuotas = 49: alter_client_quotas::{AlterClientQuotasRequest, AlterClientQuotasResponse}, [Broker, Controller], [Forwarded];
    DescribeUserScramCredentials = 50: describe_user_scram_credentials::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse}, [Broker, Controller], [];
    AlterUserScramCredentials = 51: alter_user_scram_credentials::{AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse}, [Broker, Controller], [Forwarded];
    Vote = 52: vote::{VoteRequest, VoteResponse}, [Controller], [ClusterAction];
    BeginQuorumEpoch = 53: begin_quorum_epoch::{BeginQuorumEpochRequest, BeginQuorumEpochResponse}, [Controller], [ClusterAction];
    EndQuorumEpoch = 54: end_quorum_epoch::{EndQuorumEpochRequest, EndQuorumEpochResponse}, [Controller], [ClusterAction];
    DescribeQuorum = 55: describe_quorum::{DescribeQuorumRequest, DescribeQuorumResponse}, [Broker, Controller], [Forwarded, ClusterAction];
    AlterPartition = 56: alter_partition::{AlterPartitionRequest, AlterPartitionResponse}, [Controller], [ClusterAction];
    UpdateFeatures = 57: update_features::{UpdateFeaturesRequest, UpdateFeaturesResponse}, [Broker, Controller], [Forwarded, ClusterAction];
    Envelope = 58: envelope::{EnvelopeRequest, EnvelopeResponse}, [Controller], [ClusterAction];
    FetchSnapshot = 59: fetch_snapshot::{FetchSnapshotRequest, FetchSnapshotResponse}, [Controller], [];
    DescribeCluster = 60: describe_cluster::{DescribeClusterRequest, DescribeClusterResponse}, [Broker, Controller], [];
    DescribeProducers = 61: describe_producers::{DescribeProducersRequest, DescribeProducersResponse}, [Broker], [];
    BrokerRegistration = 62: broker_registration::{BrokerRegistrationRequest, BrokerRegistrationResponse}, [Controller], [ClusterAction];
    BrokerHeartbeat = 63: broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse}, [Controller], [ClusterAction];
    UnregisterBroker = 64: unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse}, [Broker, Controller], [Forwarded];
    DescribeTransactions = 65: describe_transactions::{DescribeTransactionsRequest, DescribeTransactionsResponse}, [Broker], [];
    ListTransactions = 66: list_transactions::{ListTransactionsRequest, ListTransactionsResponse}, [Broker], [];
    AllocateProducerIds = 67: allocate_producer_ids::{AllocateProducerIdsRequest, AllocateProducerIdsResponse}, [Controller], [Forwarded, ClusterAction];
    ConsumerGroupHeartbeat = 68: consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse}, [Broker], [];
    ConsumerGroupDescribe = 69: consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse}, [Broker], [];
    ControllerRegistration = 70: controller_registration::{ControllerRegistrationRequest, ControllerRegistrationResponse}, [Controller], [];
    GetTelemetrySubscriptions = 71: get_telemetry_subscriptions::{GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse}, [Broker], [];
    PushTelemetry = 72: push_telemetry::{PushTelemetryRequest, PushTelemetryResponse}, [Broker], [];
    AssignReplicasToDirs = 73: assign_replicas_to_dirs::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse}, [Controller], [];
    ListConfigResources = 74: list_config_resources::{ListConfigResourcesRequest, ListConfigResourcesResponse}, [Broker], [];
    DescribeTopicPartitions = 75: describe_topic_partitions::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse}, [Broker], [];
    ShareGroupHeartbeat = 76: share_group_heartbeat::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse}, [Broker], [];
    ShareGroupDescribe = 77: share_group_describe::{ShareGroupDescribeRequest, ShareGroupDescribeResponse}, [Broker], [];
    ShareFetch = 78: share_fetch::{ShareFetchRequest, ShareFetchResponse}, [Broker], [];
    ShareAcknowledge = 79: share_acknowledge::{ShareAcknowledgeRequest, ShareAcknowledgeResponse}, [Broker], [];
    AddRaftVoter = 80: add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse}, [Broker, Controller], [Forwarded];
    RemoveRaftVoter = 81: remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse}, [Broker, Controller], [Forwarded];
    UpdateRaftVoter = 82: update_raft_voter::{UpdateRaftVoterRequest, UpdateRaftVoterResponse}, [Controller], [];
    InitializeShareGroupState = 83: initialize_share_group_state::{InitializeShareGroupStateRequest, InitializeShareGroupStateResponse}, [Broker], [ClusterAction];
    ReadShareGroupState = 84: read_share_group_state::{ReadShareGroupStateRequest, ReadShareGroupStateResponse}, [Broker], [ClusterAction];
    WriteShareGroupState = 85: write_share_group_state::{WriteShareGroupStateRequest, WriteShareGroupStateResponse}, [Broker], [ClusterAction];
    DeleteShareGroupState = 86: delete_share_group_state::{DeleteShareGroupStateRequest, DeleteShareGroupStateResponse}, [Broker], [ClusterAction];
    ReadShareGroupStateSummary = 87: read_share_group_state_summary::{ReadShareGroupStateSummaryRequest, ReadShareGroupStateSummaryResponse}, [Broker], [ClusterAction];
    StreamsGroupHeartbeat = 88: streams_group_heartbeat::{StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse}, [Broker], [];
    StreamsGroupDescribe = 89: streams_group_describe::{StreamsGroupDescribeRequest, StreamsGroupDescribeResponse}, [Broker], [];
    DescribeShareGroupOffsets = 90: describe_share_group_offsets::{DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse}, [Broker], [];
    AlterShareGroupOffsets = 91: alter_share_group_offsets::{AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse}, [Broker], [];
    DeleteShareGroupOffsets = 92: delete_share_group_offsets::{DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponse}, [Broker], [];
    StreamsGroupTopologyDescriptionUpdate = 93: streams_group_topology_description_update::{StreamsGroupTopologyDescriptionUpdateRequest, StreamsGroupTopologyDescriptionUpdateResponse}, [Broker], [];
    UnregisterController = 94: unregister_controller::{UnregisterControllerRequest, UnregisterControllerResponse}, [Broker, Controller], [Forwarded];
}

impl ApiKey {
    /// The key with this number.
    pub fn from_i16(key: i16) -> Option<Self> {
        Self::ALL.get(usize::try_from(key).ok()?).copied()
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// All versions this code can speak, an unstable one included; empty for removed keys.
    pub fn versions(self) -> Versions {
        self.row().request.versions
    }

    /// The versions a node offers, without an unstable one; may be empty.
    pub fn stable_versions(self) -> Versions {
        let Versions { min, max } = self.versions();
        Versions::new(min, max - i16::from(self.row().request.latest_version_unstable))
    }

    pub fn is_served_on(self, listener: Listener) -> bool {
        self.row().listeners.contains(&listener)
    }

    pub fn listeners(self) -> &'static [Listener] {
        self.row().listeners
    }

    /// Whether a broker sends it on to the active controller.
    pub fn is_forwarded(self) -> bool {
        self.row().traits.contains(&Forwarded)
    }

    /// Whether only nodes of the cluster may send it; no request quota counts it.
    pub fn is_cluster_action(self) -> bool {
        self.row().traits.contains(&ClusterAction)
    }

    pub fn is_flexible(self, version: i16) -> bool {
        self.row().request.flexible.contains(version)
    }

    pub fn request_schema(self) -> &'static MessageSchema {
        self.row().request
    }

    pub fn response_schema(self) -> &'static MessageSchema {
        self.row().response
    }

    /// Version of the header in front of a request of this version, even of one that is not supported.
    pub fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// Version of the header in front of a response. That of ApiVersions is always 0, so that a client can read it
    /// before it knows what the node speaks.
    pub fn response_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) && self != Self::ApiVersions { 1 } else { 0 }
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_schemas() {
        for (number, &key) in ApiKey::ALL.iter().enumerate() {
            assert_eq!(key as usize, number);
            assert_eq!(key.request_schema().api_key, Some(key as i16));
            assert_eq!(key.response_schema().api_key, Some(key as i16));
            assert_eq!(key.request_schema().versions, key.response_schema().versions, "{key}");
            assert_eq!(key.request_schema().body.name, format!("{key}Request"));
        }
        assert_eq!(ApiKey::from_i16(-1), None);
        assert_eq!(ApiKey::from_i16(95), None);
    }

    #[test]
    fn listeners_serve_as_many_keys_as_apache_kafka() {
        let served = |listener| {
            ApiKey::ALL
                .iter()
                .filter(|key| key.is_served_on(listener) && !key.stable_versions().is_empty())
                .count()
        };
        assert_eq!((served(Broker), served(Controller)), (79, 42));
    }
}
