//! The active controller: its state, and one method per request.

use std::collections::BTreeMap;

use ottla_metadata::features::ELIGIBLE_LEADER_REPLICAS_VERSION;
use ottla_metadata::{MetadataDelta, MetadataImage, Provenance, ReplayError};
use ottla_model::{BrokerEpoch, ErrorCode, Millis, NodeId, Offset};
use ottla_protocol::Str;
use ottla_protocol::api::allocate_producer_ids::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};
use ottla_protocol::api::alter_client_quotas::{AlterClientQuotasRequest, AlterClientQuotasResponse};
use ottla_protocol::api::alter_configs::{AlterConfigsRequest, AlterConfigsResponse};
use ottla_protocol::api::alter_partition::{AlterPartitionRequest, AlterPartitionResponse};
use ottla_protocol::api::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};
use ottla_protocol::api::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse,
};
use ottla_protocol::api::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use ottla_protocol::api::broker_registration::{BrokerRegistrationRequest, BrokerRegistrationResponse};
use ottla_protocol::api::controller_registration::{
    ControllerRegistrationRequest, ControllerRegistrationResponse,
};
use ottla_protocol::api::create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse};
use ottla_protocol::api::create_topics::{CreateTopicsRequest, CreateTopicsResponse};
use ottla_protocol::api::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use ottla_protocol::api::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse};
use ottla_protocol::api::incremental_alter_configs::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use ottla_protocol::api::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use ottla_protocol::api::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use ottla_protocol::api::unregister_controller::{UnregisterControllerRequest, UnregisterControllerResponse};
use ottla_protocol::api::update_features::UpdateFeaturesRequest;
use ottla_protocol::records::metadata::{
    AbortTransactionRecord, BeginTransactionRecord, EndTransactionRecord, MetadataRecord, NoOpRecord,
};

use crate::client_quotas::ClientQuotaControl;
use crate::cluster::ClusterControl;
use crate::configs::ConfigControl;
use crate::directories::DirectoryControl;
use crate::features::{FeatureControl, FeatureOutcome, min_isr_records};
use crate::heartbeats::{BrokerState, Heartbeats};
use crate::outcome::code_and_message;
use crate::producer_ids::ProducerIdControl;
use crate::reassignment::ReassignmentControl;
use crate::replication::ReplicationControl;
use crate::topics::TopicControl;
use crate::{ControllerConfig, Outcome, Random, Refusal, State};

/// The most records one atomic batch may have.
pub const RECORDS_PER_BATCH_MAX: usize = 10_000;

/// Elections of one round of [`Controller::balance_leaders`] and [`Controller::elect_uncleanly`]: after a full round
/// there may be more to do.
pub const ELECTIONS_PER_ROUND: usize = 1000;

/// Decides for the whole cluster while this node leads the quorum.
///
/// Every method answers from the state with all records replayed, committed or not. Whoever calls appends the
/// records as one batch, replays them at once, and releases the response when they are committed. To roll back is
/// to drop this and make a new one from the last committed image.
#[derive(Debug)]
pub struct Controller {
    config: ControllerConfig,
    image: MetadataImage,
    next_offset: Offset,
    heartbeats: Heartbeats,
    /// Offsets of the brokers' registration records.
    registered_at: BTreeMap<NodeId, Offset>,
    random: Random,
}

impl Controller {
    /// A controller that has just been elected. Every unfenced broker gets a fresh session.
    pub fn new(
        now: Millis,
        config: ControllerConfig,
        image: MetadataImage,
        next_offset: Offset,
        registered_at: BTreeMap<NodeId, Offset>,
        random: Random,
    ) -> Self {
        let mut heartbeats = Heartbeats::new(config.session_timeout_ms);
        for broker in image.cluster.brokers() {
            heartbeats.register(now, broker.id, broker.fenced);
        }
        Self { config, image, next_offset, heartbeats, registered_at, random }
    }

    pub fn image(&self) -> &MetadataImage {
        &self.image
    }

    /// The records with which a new controller begins. On an empty log these are the bootstrap records (or, without
    /// any, the newest metadata.version alone), in one metadata transaction; otherwise, if a transaction was left
    /// open, the end of it.
    pub fn activate(&self, bootstrap: &[MetadataRecord], open_transaction: bool) -> Vec<MetadataRecord> {
        if open_transaction {
            let reason = Some(Str::from("Controller failover"));
            return vec![MetadataRecord::AbortTransaction(AbortTransactionRecord { reason })];
        }
        if self.image.features.metadata_version().is_some() {
            return Vec::new();
        }
        let mut records = crate::bootstrap_or_default(bootstrap);
        let mut delta = MetadataDelta::new(&self.image);
        if records.iter().all(|record| delta.replay(record).is_ok()) {
            let image = delta.apply(Provenance::NONE);
            if image.features.level(ELIGIBLE_LEADER_REPLICAS_VERSION) > 0 {
                records.extend(min_isr_records(&State { image: &image, config: &self.config }));
            }
            if image.metadata_version().supports_transactions() {
                let name = Some(Str::from("Bootstrap records"));
                records.insert(0, MetadataRecord::BeginTransaction(BeginTransactionRecord { name }));
                records.push(MetadataRecord::EndTransaction(EndTransactionRecord {}));
            }
        }
        records
    }

    /// Takes over records that were appended at `base`. An error means that the log cannot be true: fatal.
    pub fn replay(
        &mut self,
        now: Millis,
        base: Offset,
        records: &[MetadataRecord],
    ) -> Result<(), ReplayError> {
        let mut delta = MetadataDelta::new(&self.image);
        for (record, offset) in records.iter().zip(base.0..) {
            delta.replay(record)?;
            self.follow(now, Offset(offset), record);
        }
        self.image = delta.apply(self.image.provenance);
        self.next_offset = Offset(base.0 + records.len() as i64);
        Ok(())
    }

    /// The log went on without metadata records: the quorum wrote control records.
    pub fn advance(&mut self, next_offset: Offset) {
        self.next_offset = self.next_offset.max(next_offset);
    }

    fn follow(&mut self, now: Millis, offset: Offset, record: &MetadataRecord) {
        match record {
            MetadataRecord::RegisterBroker(record) => {
                let id = NodeId(record.broker_id);
                self.registered_at.insert(id, offset);
                self.heartbeats.register(now, id, record.fenced);
            }
            MetadataRecord::UnregisterBroker(record) => {
                let id = NodeId(record.broker_id);
                self.registered_at.remove(&id);
                self.heartbeats.remove(id);
            }
            MetadataRecord::BrokerRegistrationChange(record) if record.fenced != 0 => {
                self.heartbeats.set_fenced(NodeId(record.broker_id), record.fenced == 1);
            }
            MetadataRecord::FenceBroker(record) => self.heartbeats.set_fenced(NodeId(record.id), true),
            MetadataRecord::UnfenceBroker(record) => self.heartbeats.set_fenced(NodeId(record.id), false),
            _ => {}
        }
    }

    pub fn create_topics(&mut self, request: &CreateTopicsRequest) -> Outcome<CreateTopicsResponse> {
        let state = State { image: &self.image, config: &self.config };
        TopicControl { state: &state }.create(request, &mut self.random)
    }

    pub fn delete_topics(&self, request: &DeleteTopicsRequest) -> Outcome<DeleteTopicsResponse> {
        TopicControl { state: &self.state() }.delete(request)
    }

    pub fn create_partitions(
        &mut self,
        request: &CreatePartitionsRequest,
    ) -> Outcome<CreatePartitionsResponse> {
        let state = State { image: &self.image, config: &self.config };
        TopicControl { state: &state }.create_partitions(request, &mut self.random)
    }

    pub fn elect_leaders(&self, request: &ElectLeadersRequest) -> Outcome<ElectLeadersResponse> {
        ReplicationControl { state: &self.state() }.elect_leaders(request)
    }

    pub fn alter_partition_reassignments(
        &self,
        request: &AlterPartitionReassignmentsRequest,
    ) -> Outcome<AlterPartitionReassignmentsResponse> {
        ReassignmentControl { state: &self.state() }.alter(request)
    }

    pub fn list_partition_reassignments(
        &self,
        request: &ListPartitionReassignmentsRequest,
    ) -> ListPartitionReassignmentsResponse {
        ReassignmentControl { state: &self.state() }.list(request)
    }

    pub fn incremental_alter_configs(
        &self,
        request: &IncrementalAlterConfigsRequest,
    ) -> Outcome<IncrementalAlterConfigsResponse> {
        ConfigControl { state: &self.state() }.incremental_alter(request)
    }

    pub fn alter_configs(&self, request: &AlterConfigsRequest) -> Outcome<AlterConfigsResponse> {
        ConfigControl { state: &self.state() }.alter_all(request)
    }

    pub fn alter_client_quotas(
        &self,
        request: &AlterClientQuotasRequest,
    ) -> Outcome<AlterClientQuotasResponse> {
        ClientQuotaControl { state: &self.state() }.alter(request)
    }

    /// `kraft_version` is the level that the quorum runs.
    pub fn update_features(&self, request: &UpdateFeaturesRequest, kraft_version: i16) -> FeatureOutcome {
        FeatureControl { state: &self.state(), kraft_version }.update(request)
    }

    pub fn alter_partition(&self, request: &AlterPartitionRequest) -> Outcome<AlterPartitionResponse> {
        let state = self.state();
        let cluster = ClusterControl { state: &state, heartbeats: &self.heartbeats };
        match cluster.check_epoch(NodeId(request.broker_id), request.broker_epoch) {
            Ok(()) => ReplicationControl { state: &state }.alter_partition(request),
            Err(refusal) => Outcome::answer(AlterPartitionResponse {
                error_code: refusal.code.code(),
                ..Default::default()
            }),
        }
    }

    pub fn assign_replicas_to_dirs(
        &self,
        request: &AssignReplicasToDirsRequest,
    ) -> Outcome<AssignReplicasToDirsResponse> {
        let state = self.state();
        let cluster = ClusterControl { state: &state, heartbeats: &self.heartbeats };
        let checked = match state.has_directories() {
            true => cluster.check_epoch(NodeId(request.broker_id), request.broker_epoch),
            false => Err(Refusal::bare(ErrorCode::UnsupportedVersion)),
        };
        match checked {
            Ok(()) => DirectoryControl { state: &state }.assign(request),
            Err(refusal) => Outcome::answer(AssignReplicasToDirsResponse {
                error_code: refusal.code.code(),
                ..Default::default()
            }),
        }
    }

    pub fn allocate_producer_ids(
        &self,
        request: &AllocateProducerIdsRequest,
    ) -> Outcome<AllocateProducerIdsResponse> {
        let state = self.state();
        let cluster = ClusterControl { state: &state, heartbeats: &self.heartbeats };
        let checked = cluster.check_epoch(NodeId(request.broker_id), request.broker_epoch);
        checked.and_then(|()| ProducerIdControl { state: &state }.allocate(request)).unwrap_or_else(
            |refusal| {
                Outcome::answer(AllocateProducerIdsResponse {
                    error_code: refusal.code.code(),
                    ..Default::default()
                })
            },
        )
    }

    pub fn register_broker(
        &self,
        now: Millis,
        request: &BrokerRegistrationRequest,
    ) -> Outcome<BrokerRegistrationResponse> {
        let registered = ClusterControl { state: &self.state(), heartbeats: &self.heartbeats }.register(
            now,
            request,
            self.next_offset,
        );
        registered.unwrap_or_else(|refusal| {
            tracing::warn!(broker = request.broker_id, %refusal, "refused a broker's registration");
            Outcome::answer(BrokerRegistrationResponse {
                error_code: refusal.code.code(),
                ..Default::default()
            })
        })
    }

    pub fn heartbeat(
        &mut self,
        now: Millis,
        request: &BrokerHeartbeatRequest,
    ) -> Outcome<BrokerHeartbeatResponse> {
        let id = NodeId(request.broker_id);
        let registered = self.registered_at.get(&id).copied().unwrap_or(Offset::MAX);
        let state = State { image: &self.image, config: &self.config };
        let result =
            ClusterControl { state: &state, heartbeats: &self.heartbeats }.heartbeat(request, registered);
        let (next, outcome) = match result {
            Ok(result) => result,
            Err(refusal) => {
                return Outcome::answer(BrokerHeartbeatResponse {
                    error_code: refusal.code.code(),
                    is_fenced: true,
                    ..Default::default()
                });
            }
        };
        self.heartbeats.touch(now, id, next.is_fenced(), Offset(request.current_metadata_offset));
        if next == BrokerState::ControlledShutdown {
            let last = self.next_offset.0 + outcome.records.len() as i64 - 1;
            self.heartbeats.start_controlled_shutdown(id, Offset(last));
        }
        outcome
    }

    /// The connection has ended on which a broker of this epoch was heard.
    pub fn lost(&mut self, now: Millis, id: NodeId, epoch: BrokerEpoch) {
        if self.image.cluster.broker(id).is_some_and(|broker| broker.epoch == epoch) {
            self.heartbeats.lost(now, id);
        }
    }

    pub fn unregister_broker(&self, request: &UnregisterBrokerRequest) -> Outcome<UnregisterBrokerResponse> {
        let result = ClusterControl { state: &self.state(), heartbeats: &self.heartbeats }
            .unregister(NodeId(request.broker_id));
        let (error_code, error_message) = code_and_message(&result);
        // Kafka says nothing with an empty text here.
        let error_message = Some(error_message.unwrap_or_default());
        let response = UnregisterBrokerResponse { error_code, error_message, ..Default::default() };
        Outcome::new(result.unwrap_or_default(), response)
    }

    pub fn register_controller(
        &self,
        request: &ControllerRegistrationRequest,
    ) -> Outcome<ControllerRegistrationResponse> {
        let result = ClusterControl { state: &self.state(), heartbeats: &self.heartbeats }
            .register_controller(request);
        let (error_code, error_message) = code_and_message(&result);
        let response = ControllerRegistrationResponse { error_code, error_message, ..Default::default() };
        Outcome::new(result.unwrap_or_default(), response)
    }

    pub fn unregister_controller(
        &self,
        request: &UnregisterControllerRequest,
    ) -> Outcome<UnregisterControllerResponse> {
        let result = ClusterControl { state: &self.state(), heartbeats: &self.heartbeats }
            .unregister_controller(NodeId(request.controller_id));
        let (error_code, error_message) = code_and_message(&result);
        let response = UnregisterControllerResponse { error_code, error_message, ..Default::default() };
        Outcome::new(result.unwrap_or_default(), response)
    }

    /// Fences one broker whose session is over; empty if there is none. Called when [`Self::next_session_end`] has
    /// come, and again at once when it fenced one: the next must see where that one's partitions went.
    pub fn fence_stale_broker(&self, now: Millis) -> Vec<MetadataRecord> {
        let Some(id) = self.heartbeats.stale(now, self.config.node_id) else { return Vec::new() };
        tracing::info!(broker = id.0, "fencing a broker that has not been heard of");
        ClusterControl { state: &self.state(), heartbeats: &self.heartbeats }.fence(id)
    }

    /// When a broker is next to be fenced, if it is not heard of before.
    pub fn next_session_end(&self) -> Option<Millis> {
        self.heartbeats.next_end(self.config.node_id)
    }

    /// Moves leaders back to preferred replicas (`auto.leader.rebalance.enable`).
    pub fn balance_leaders(&self) -> Vec<MetadataRecord> {
        ReplicationControl { state: &self.state() }.balance(ELECTIONS_PER_ROUND)
    }

    /// Elects for leaderless partitions whose topics allow unclean elections.
    pub fn elect_uncleanly(&self) -> Vec<MetadataRecord> {
        ReplicationControl { state: &self.state() }.elect_uncleanly(ELECTIONS_PER_ROUND)
    }

    /// Moves the log on when nothing else does, so that followers see that the leader lives.
    pub fn no_op(&self) -> Vec<MetadataRecord> {
        match self.image.features.metadata_version() {
            Some(_) => vec![MetadataRecord::NoOp(NoOpRecord {})],
            None => Vec::new(),
        }
    }

    fn state(&self) -> State<'_> {
        State { image: &self.image, config: &self.config }
    }
}

/// The code for an atomic batch that would be too large.
pub const TOO_MANY_RECORDS: ErrorCode = ErrorCode::UnknownServerError;
