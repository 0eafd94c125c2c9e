//! How requests reach the controller's thread, and how their answers come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI16, Ordering};

use ottla_commit_log::SyncOutcome;
use ottla_controller::{Controller, Outcome, kraft_version_refused};
use ottla_model::{BrokerEpoch, ErrorCode, LeaderEpoch, Millis, NodeId, Offset};
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
use ottla_protocol::api::update_features::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use ottla_protocol::records::metadata::MetadataRecord;
use ottla_raft::{Failure, Raft, Replicas, Request, RequestId, VoterSet};
use tokio::sync::{mpsc, oneshot};

use crate::metadata::Publisher;
use crate::quorum::snapshot::SnapshotId;
use crate::quorum::wire::Reply;
use crate::rpc::NodeAddress;
use crate::watch;

/// Why the controller did not decide. Requests that it refused are answered by their own response instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControllerError {
    #[error("this node is not the active controller")]
    NotController,
    #[error("Unable to perform excessively large batch operation.")]
    TooManyRecords,
    #[error("the node is stopping")]
    Stopping,
}

impl ControllerError {
    pub fn error_code(self) -> ErrorCode {
        match self {
            Self::NotController | Self::Stopping => ErrorCode::NotController,
            Self::TooManyRecords => ErrorCode::UnknownServerError,
        }
    }
}

/// The quorum as DescribeQuorum shows it.
#[derive(Clone, Debug)]
pub struct QuorumInfo {
    pub leader: Option<NodeId>,
    pub epoch: LeaderEpoch,
    pub high_watermark: Offset,
    pub replicas: Replicas,
    pub voters: VoterSet,
    pub kraft_version: i16,
}

/// Who leads the quorum, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumLeader {
    pub epoch: LeaderEpoch,
    pub leader: Option<NodeId>,
    /// Its `controller.listener.names[0]`.
    pub address: Option<NodeAddress>,
    /// This node leads and has everything before its epoch: it decides.
    pub is_active: bool,
    /// This node is a voter and can reach so few others that nobody can lead.
    pub is_cut_off: bool,
}

impl Default for QuorumLeader {
    fn default() -> Self {
        Self { epoch: LeaderEpoch::NONE, leader: None, address: None, is_active: false, is_cut_off: false }
    }
}

/// Whether a decision's records may be written as several batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Atomicity {
    Atomic,
    Splittable,
}

/// What a request led to, and what to do when it is committed (or was not).
pub(super) struct Decision {
    pub records: Vec<MetadataRecord>,
    pub atomicity: Atomicity,
    pub kraft_version: Option<i16>,
    pub release: Release,
}

pub(super) type Release = Box<dyn FnOnce(Result<(), ControllerError>) + Send>;

/// A request on its way to the controller: decides when it is its turn.
pub(super) type Decide =
    Box<dyn FnOnce(Millis, Result<&mut Controller, ControllerError>, &Raft) -> Decision + Send>;

pub(super) enum Message {
    Decide(Decide),
    /// The connection of a broker of this epoch has ended.
    Lost(NodeId, BrokerEpoch),
    DescribeQuorum(oneshot::Sender<QuorumInfo>),
    /// Another node, or a tool, asks the quorum.
    Quorum(Request, oneshot::Sender<Reply>),
    /// What became of a request of this node's quorum.
    Answered(RequestId, Result<Reply, Failure>),
    AddPublisher(Box<dyn Publisher>, oneshot::Sender<()>),
    /// Everybody has acted on the image of this offset.
    Published(Offset),
    SnapshotWritten(Option<SnapshotId>),
    /// The metadata log was synced.
    Synced(SyncOutcome),
    /// The node is about to stop: lead no more. Told when a successor is known.
    HandOver(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// The way to the controller. Cheap to clone.
#[derive(Clone)]
pub struct ControllerHandle {
    inbox: mpsc::UnboundedSender<Message>,
    kraft_version: Arc<AtomicI16>,
    leader: watch::Receiver<QuorumLeader>,
}

macro_rules! requests {
    ($($(#[$doc:meta])* $atomicity:ident $name:ident($request:ident) -> $response:ident;)*) => {
        $($(#[$doc])*
        pub async fn $name(&self, request: $request) -> Result<$response, ControllerError> {
            self.decide(Atomicity::$atomicity, move |_, controller| controller.$name(&request)).await
        })*
    };
}

/// Each answers when its records are committed, published on this node, and on disk.
impl ControllerHandle {
    pub(super) fn new(
        inbox: mpsc::UnboundedSender<Message>,
        kraft_version: Arc<AtomicI16>,
        leader: watch::Receiver<QuorumLeader>,
    ) -> Self {
        Self { inbox, kraft_version, leader }
    }

    /// Who leads the quorum, now and later.
    pub fn leader(&self) -> &watch::Receiver<QuorumLeader> {
        &self.leader
    }

    /// The epoch in which this node is the active controller, if it is.
    pub fn active_epoch(&self) -> Option<LeaderEpoch> {
        let leader = self.leader.borrow();
        leader.is_active.then_some(leader.epoch)
    }

    /// The finalized `kraft.version`, which is not among the image's features: the quorum keeps it itself.
    pub fn kraft_version(&self) -> i16 {
        self.kraft_version.load(Ordering::Relaxed)
    }

    requests! {
        Atomic create_topics(CreateTopicsRequest) -> CreateTopicsResponse;
        Atomic delete_topics(DeleteTopicsRequest) -> DeleteTopicsResponse;
        Atomic create_partitions(CreatePartitionsRequest) -> CreatePartitionsResponse;
        Splittable elect_leaders(ElectLeadersRequest) -> ElectLeadersResponse;
        Atomic alter_partition_reassignments(AlterPartitionReassignmentsRequest)
            -> AlterPartitionReassignmentsResponse;
        Atomic incremental_alter_configs(IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse;
        Atomic alter_configs(AlterConfigsRequest) -> AlterConfigsResponse;
        Atomic alter_client_quotas(AlterClientQuotasRequest) -> AlterClientQuotasResponse;
        Splittable alter_partition(AlterPartitionRequest) -> AlterPartitionResponse;
        Atomic allocate_producer_ids(AllocateProducerIdsRequest) -> AllocateProducerIdsResponse;
        Splittable unregister_broker(UnregisterBrokerRequest) -> UnregisterBrokerResponse;
        Atomic register_controller(ControllerRegistrationRequest) -> ControllerRegistrationResponse;
        Atomic unregister_controller(UnregisterControllerRequest) -> UnregisterControllerResponse;
        Splittable assign_replicas_to_dirs(AssignReplicasToDirsRequest) -> AssignReplicasToDirsResponse;
    }

    pub async fn register_broker(
        &self,
        request: BrokerRegistrationRequest,
    ) -> Result<BrokerRegistrationResponse, ControllerError> {
        self.decide(Atomicity::Splittable, move |now, controller| controller.register_broker(now, &request))
            .await
    }

    pub async fn heartbeat(
        &self,
        request: BrokerHeartbeatRequest,
    ) -> Result<BrokerHeartbeatResponse, ControllerError> {
        self.decide(Atomicity::Splittable, move |now, controller| controller.heartbeat(now, &request)).await
    }

    /// Tells that the connection has ended on which a broker of this epoch was heard: it may be gone.
    pub fn lost(&self, broker: NodeId, epoch: BrokerEpoch) {
        let _ = self.send(Message::Lost(broker, epoch));
    }

    pub async fn list_partition_reassignments(
        &self,
        request: ListPartitionReassignmentsRequest,
    ) -> Result<ListPartitionReassignmentsResponse, ControllerError> {
        self.decide(Atomicity::Atomic, move |_, controller| {
            Outcome::answer(controller.list_partition_reassignments(&request))
        })
        .await
    }

    pub async fn update_features(
        &self,
        request: UpdateFeaturesRequest,
    ) -> Result<UpdateFeaturesResponse, ControllerError> {
        let (sender, receiver) = oneshot::channel();
        let decide: Decide = Box::new(move |_, controller, raft| {
            let controller = match controller {
                Ok(controller) => controller,
                Err(error) => return refused(sender, error),
            };
            let mut decided = controller.update_features(&request, raft.history().kraft_version());
            if let Some(version) = decided.kraft_version
                && let Err(why) = raft.check_kraft_version(version)
            {
                decided = kraft_version_refused(version, &why);
            }
            Decision {
                records: decided.outcome.records,
                atomicity: Atomicity::Atomic,
                kraft_version: decided.kraft_version,
                release: release(sender, decided.outcome.response),
            }
        });
        self.send(Message::Decide(decide))?;
        receiver.await.unwrap_or(Err(ControllerError::Stopping))
    }

    /// The quorum's state now.
    pub async fn describe_quorum(&self) -> Result<QuorumInfo, ControllerError> {
        let (sender, receiver) = oneshot::channel();
        self.send(Message::DescribeQuorum(sender))?;
        receiver.await.map_err(|_| ControllerError::Stopping)
    }

    /// A request of another node to the quorum. The answer may take as long as the request allows.
    pub async fn ask_quorum(&self, request: Request) -> Result<Reply, ControllerError> {
        let (sender, receiver) = oneshot::channel();
        self.send(Message::Quorum(request, sender))?;
        receiver.await.map_err(|_| ControllerError::Stopping)
    }

    /// Adds one who acts on images. It has been told of everything known by now when this returns, and is told of
    /// every image after that.
    pub async fn add_publisher(&self, publisher: Box<dyn Publisher>) -> Result<(), ControllerError> {
        let (sender, receiver) = oneshot::channel();
        self.send(Message::AddPublisher(publisher, sender))?;
        receiver.await.map_err(|_| ControllerError::Stopping)
    }

    /// Stops leading; comes back when another node is known to lead, at once if this one does not. The thread goes on.
    pub async fn hand_over(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.send(Message::HandOver(sender)).is_ok() {
            let _ = receiver.await;
        }
    }

    /// Stops leading, makes the log durable and ends the thread. Comes back when that is done.
    pub async fn stop(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.send(Message::Stop(sender)).is_ok() {
            let _ = receiver.await;
        }
    }

    async fn decide<R: Send + 'static>(
        &self,
        atomicity: Atomicity,
        decide: impl FnOnce(Millis, &mut Controller) -> Outcome<R> + Send + 'static,
    ) -> Result<R, ControllerError> {
        let (sender, receiver) = oneshot::channel();
        let decide: Decide = Box::new(move |now, controller, _| {
            let controller = match controller {
                Ok(controller) => controller,
                Err(error) => return refused(sender, error),
            };
            let Outcome { records, response } = decide(now, controller);
            Decision { records, atomicity, kraft_version: None, release: release(sender, response) }
        });
        self.send(Message::Decide(decide))?;
        receiver.await.unwrap_or(Err(ControllerError::Stopping))
    }

    fn send(&self, message: Message) -> Result<(), ControllerError> {
        self.inbox.send(message).map_err(|_| ControllerError::Stopping)
    }
}

/// Whoever asked may have gone; then nobody misses the answer.
fn release<R: Send + 'static>(sender: oneshot::Sender<Result<R, ControllerError>>, response: R) -> Release {
    Box::new(move |result| drop(sender.send(result.map(|()| response))))
}

fn refused<R: Send + 'static>(
    sender: oneshot::Sender<Result<R, ControllerError>>,
    error: ControllerError,
) -> Decision {
    let release: Release = Box::new(move |_| drop(sender.send(Err(error))));
    Decision { records: Vec::new(), atomicity: Atomicity::Atomic, kraft_version: None, release }
}
