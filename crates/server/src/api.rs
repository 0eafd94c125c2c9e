//! What clients ask: one file per API key, a table of which keys a listener serves, and the connection loop.
//!
//! A handler maps the wire to the core and back, and keeps no state. ApiVersions offers exactly the rows of
//! the tables below, so a key is offered when its handler exists and not before.

mod connection;
mod hook;

mod allocate_producer_ids;
mod alter_client_quotas;
mod alter_configs;
mod alter_partition;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod api_versions;
mod assign_replicas_to_dirs;
mod authorized_operations;
mod broker_heartbeat;
mod broker_registration;
mod controller_registration;
mod create_partitions;
pub mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod envelope;
mod fetch;
mod find_coordinator;
mod groups;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leaders;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
pub mod produce;
mod quorum;
mod replica_fetch;
mod sasl_authenticate;
mod sasl_handshake;
mod sync_group;
mod unregister_broker;
mod unregister_controller;
mod update_features;

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use ottla_model::NodeId;
use ottla_protocol::records::embedded::DefaultPrincipalData;
use ottla_protocol::{
    ApiKey, DecodeError, Decoder, EncodeError, Listener, Message, Segment, Str, encode_response,
};
use ottla_transport::{FileRange, Outgoing};
use thiserror::Error;
use tokio::sync::Notify;

use crate::controller::client::Forwarded;
use crate::node::Node;

use alter_configs::at_controller as alter_configs_at_controller;
use incremental_alter_configs::at_controller as incremental_alter_configs_at_controller;

pub use connection::serve;
pub use hook::{Intervention, RequestHook};

/// What the connections of one listener share.
pub struct ListenerContext {
    pub node: Arc<Node>,
    /// The listener's name, such as `PLAINTEXT`.
    pub name: Arc<str>,
    pub kind: Listener,
    pub idle_max: Duration,
    /// Steps in before handlers, in tests.
    pub hook: Option<Arc<dyn RequestHook>>,
}

/// One request's circumstances.
#[derive(Clone, Debug)]
pub struct RequestContext {
    pub api_key: ApiKey,
    pub api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<Str>,
    pub peer: SocketAddr,
    /// On whose behalf.
    pub principal: Arc<DefaultPrincipalData>,
    /// The listener that the request came in on.
    pub listener: Arc<str>,
    /// Told when the peer has sent more, so that a request which only waits may end.
    pub hurry: Option<Arc<Notify>>,
}

/// Who has not authenticated: `User:ANONYMOUS`.
pub fn anonymous() -> Arc<DefaultPrincipalData> {
    static ANONYMOUS: LazyLock<Arc<DefaultPrincipalData>> = LazyLock::new(|| {
        let (kind, name) = ("User".into(), "ANONYMOUS".into());
        Arc::new(DefaultPrincipalData { r#type: kind, name, token_authenticated: false })
    });
    Arc::clone(&ANONYMOUS)
}

impl RequestContext {
    /// The client's address as Kafka writes it into group metadata, such as `/127.0.0.1`.
    pub fn client_host(&self) -> String {
        format!("/{}", self.peer.ip())
    }
}

/// A request that is not answered: the connection is closed, as Apache Kafka does.
#[derive(Debug, Error)]
pub enum Rejected {
    #[error("cannot decode the request: {0}")]
    Undecodable(#[from] DecodeError),
    #[error("{key:?} version {version} is not served on this listener")]
    NotServed { key: ApiKey, version: i16 },
    #[error("cannot encode the answer: {0}")]
    Unencodable(#[from] EncodeError),
    #[error("a request without acknowledgement failed")]
    UnacknowledgedFailure,
}

impl From<Rejected> for std::io::Error {
    fn from(rejected: Rejected) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, rejected)
    }
}

/// An encoded answer, with the file ranges that it refers to.
pub struct Answer {
    segments: Vec<Segment>,
    files: Vec<Option<FileRange>>,
}

impl Answer {
    /// Encodes `response` with its header and frame length.
    pub fn new<M: Message>(context: &RequestContext, response: &M) -> Result<Self, Rejected> {
        Self::with_files(context, response, Vec::new())
    }

    /// As [`Answer::new`]; external records of `response` are numbered by their place in `files`.
    pub fn with_files<M: Message>(
        context: &RequestContext,
        response: &M,
        files: Vec<FileRange>,
    ) -> Result<Self, Rejected> {
        let segments =
            encode_response(context.api_key, context.api_version, context.correlation_id, response)?;
        Ok(Self { segments, files: files.into_iter().map(Some).collect() })
    }

    /// The bytes behind the frame length, of an answer without file ranges.
    fn without_length(self) -> Bytes {
        let bytes = self.segments.iter().filter_map(|segment| match segment {
            Segment::Bytes(bytes) => Some(&bytes[..]),
            Segment::External { .. } => None,
        });
        Bytes::from(bytes.collect::<Vec<_>>().concat()).split_off(size_of::<i32>())
    }

    /// An answer that another node gave, header included, without its length.
    fn of_other_node(answer: Bytes) -> Self {
        let length = (answer.len() as i32).to_be_bytes();
        let segments = vec![Segment::Bytes(Bytes::copy_from_slice(&length)), Segment::Bytes(answer)];
        Self { segments, files: Vec::new() }
    }

    fn append_to(mut self, outgoing: &mut Outgoing) {
        for segment in self.segments {
            match segment {
                Segment::Bytes(bytes) => outgoing.push_bytes(bytes),
                Segment::External { id, .. } => {
                    let range = self.files[id as usize].take().expect("a file range is sent once");
                    outgoing.push_file(range);
                }
            }
        }
    }
}

impl ListenerContext {
    /// The keys offered on this listener, ascending.
    pub fn offered(&self) -> &'static [ApiKey] {
        match self.kind {
            Listener::Broker => &OFFERED_BY_BROKERS,
            Listener::Controller => &OFFERED_BY_CONTROLLERS,
        }
    }

    fn serves(&self, context: &RequestContext) -> bool {
        self.offered().contains(&context.api_key)
            && context.api_key.stable_versions().contains(context.api_version)
    }
}

/// Handles one request to its end.
async fn dispatch(
    listener: &Arc<ListenerContext>,
    context: RequestContext,
    body: Decoder,
) -> Result<Answer, Rejected> {
    if context.api_key == ApiKey::ApiVersions {
        // Answered in every version, as clients find the common one this way.
        return api_versions::answer(listener, &context, body);
    }
    if !listener.serves(&context) {
        return Err(Rejected::NotServed { key: context.api_key, version: context.api_version });
    }
    match (listener.kind, context.api_key) {
        (Listener::Broker, ApiKey::Fetch) => fetch::answer(&listener.node, &context, body).await,
        // Boxed: one rarely used future of their joint size instead of one in every connection.
        (Listener::Broker, key) if CLUSTER_APIS.contains(&key) || quorum::VOTER_KEYS.contains(&key) => {
            Box::pin(forwarded(&listener.node, &context, body)).await
        }
        (Listener::Broker, _) => Box::pin(broker_api(&listener.node, &context, body)).await,
        (Listener::Controller, ApiKey::DescribeCluster) => {
            describe_controllers(&listener.node, &context, body)
        }
        (Listener::Controller, key) if CONFIG_APIS.contains(&key) => {
            Box::pin(config_api(&listener.node, &context, body)).await
        }
        (Listener::Controller, key) if quorum::KEYS.contains(&key) || quorum::VOTER_KEYS.contains(&key) => {
            Box::pin(quorum::answer(&listener.node, &context, body)).await
        }
        (Listener::Controller, ApiKey::Envelope) => {
            Box::pin(envelope::answer(listener, &context, body)).await
        }
        (Listener::Controller, key) if CLUSTER_APIS.contains(&key) => {
            Box::pin(cluster_api(&listener.node, &context, body)).await
        }
        (Listener::Controller, _) => Box::pin(controller_api(&listener.node, &context, body)).await,
    }
}

/// What the active controller decides: here, or passed on to where it is. Where none is found in time the handlers
/// here say so.
async fn forwarded(node: &Arc<Node>, context: &RequestContext, body: Decoder) -> Result<Answer, Rejected> {
    if node.controller().active_epoch().is_none() {
        let envelope = envelope::seal(context, &body.rest())?;
        if let Ok(Forwarded::Answer(answer)) = node.broker().controller.forward(&envelope).await {
            return Ok(Answer::of_other_node(answer));
        }
    }
    match quorum::VOTER_KEYS.contains(&context.api_key) {
        true => quorum::answer(node, context, body).await,
        false => cluster_api(node, context, body).await,
    }
}

/// Declares a table of handlers: which keys it offers, and the function that calls them. `also` are keys that
/// are dispatched elsewhere. Every handler is `async fn handle(&Role, &RequestContext, Request) -> Response`.
macro_rules! api_table {
    ($offered:ident, $call:ident, $role:ident, also $also:tt, { $($key:ident => $module:ident,)* }) => {
        api_table!(@offered $offered $also { $($key)* });

        async fn $call(node: &Arc<Node>, context: &RequestContext, mut body: Decoder) -> Result<Answer, Rejected> {
            match context.api_key {
                $(ApiKey::$key => {
                    let request = Message::decode(&mut body, context.api_version)?;
                    drop(body);
                    Answer::new(context, &$module::handle(node.$role(), context, request).await)
                })*
                key => Err(Rejected::NotServed { key, version: context.api_version }),
            }
        }
    };
    (@offered $offered:ident [$($also:ident)*] { $($key:ident)* }) => {
        pub const $offered: &[ApiKey] = &sorted([$(ApiKey::$also,)* $(ApiKey::$key,)*]);
    };
}

/// Sorts keys by number, at compile time.
const fn sorted<const N: usize>(mut keys: [ApiKey; N]) -> [ApiKey; N] {
    let mut i = 1;
    while i < N {
        let mut j = i;
        while j > 0 && keys[j - 1] as i16 > keys[j] as i16 {
            (keys[j - 1], keys[j]) = (keys[j], keys[j - 1]);
            j -= 1;
        }
        i += 1;
    }
    keys
}

api_table!(BROKER_APIS, broker_api, broker, also [Produce Fetch ApiVersions], {
    ListOffsets => list_offsets,
    Metadata => metadata,
    OffsetCommit => offset_commit,
    OffsetFetch => offset_fetch,
    FindCoordinator => find_coordinator,
    JoinGroup => join_group,
    Heartbeat => heartbeat,
    LeaveGroup => leave_group,
    SyncGroup => sync_group,
    DescribeGroups => describe_groups,
    ListGroups => list_groups,
    DeleteRecords => delete_records,
    OffsetForLeaderEpoch => offset_for_leader_epoch,
    AlterReplicaLogDirs => alter_replica_log_dirs,
    DescribeLogDirs => describe_log_dirs,
    DescribeProducers => describe_producers,
    SaslHandshake => sasl_handshake,
    SaslAuthenticate => sasl_authenticate,
    DeleteGroups => delete_groups,
    OffsetDelete => offset_delete,
    InitProducerId => init_producer_id,
    DescribeCluster => describe_cluster,
    DescribeTopicPartitions => describe_topic_partitions,
    DescribeClientQuotas => describe_client_quotas,
    DescribeConfigs => describe_configs,
    AlterConfigs => alter_configs,
    IncrementalAlterConfigs => incremental_alter_configs,
    ListConfigResources => list_config_resources,
});

api_table!(CLUSTER_APIS, cluster_api, controller, also [], {
    CreateTopics => create_topics,
    DeleteTopics => delete_topics,
    CreatePartitions => create_partitions,
    ElectLeaders => elect_leaders,
    AlterPartitionReassignments => alter_partition_reassignments,
    ListPartitionReassignments => list_partition_reassignments,
    DescribeQuorum => describe_quorum,
    AlterClientQuotas => alter_client_quotas,
    UpdateFeatures => update_features,
    UnregisterBroker => unregister_broker,
    UnregisterController => unregister_controller,
});

api_table!(CONTROLLER_APIS, controller_api, controller, also [ApiVersions DescribeCluster Envelope], {
    AlterPartition => alter_partition,
    BrokerRegistration => broker_registration,
    BrokerHeartbeat => broker_heartbeat,
    AllocateProducerIds => allocate_producer_ids,
    ControllerRegistration => controller_registration,
    AssignReplicasToDirs => assign_replicas_to_dirs,
});

// On controllers' listeners: a node's settings are the same for both of its roles.
api_table!(CONFIG_APIS, config_api, broker, also [], {
    DescribeConfigs => describe_configs,
    AlterConfigs => alter_configs_at_controller,
    IncrementalAlterConfigs => incremental_alter_configs_at_controller,
});

/// What the active controller answers is offered on both kinds of listeners.
static OFFERED_BY_BROKERS: LazyLock<Vec<ApiKey>> =
    LazyLock::new(|| joined(&[BROKER_APIS, CLUSTER_APIS, quorum::VOTER_KEYS]));
static OFFERED_BY_CONTROLLERS: LazyLock<Vec<ApiKey>> =
    LazyLock::new(|| joined(&[CONTROLLER_APIS, CONFIG_APIS, CLUSTER_APIS, quorum::KEYS, quorum::VOTER_KEYS]));

fn joined(tables: &[&[ApiKey]]) -> Vec<ApiKey> {
    let mut keys = tables.concat();
    keys.sort_unstable_by_key(|key| *key as i16);
    keys
}

/// DescribeCluster on a controller's listener.
fn describe_controllers(
    node: &Arc<Node>,
    context: &RequestContext,
    mut body: Decoder,
) -> Result<Answer, Rejected> {
    let request = Message::decode(&mut body, context.api_version)?;
    let response = describe_cluster::describe_controllers(
        &node.image(),
        node.cluster_id(),
        node.controller().leader().borrow().leader.unwrap_or(NodeId::NONE),
        context,
        &request,
    );
    Answer::new(context, &response)
}
