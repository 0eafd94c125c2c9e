//! The cluster itself: its brokers, its quorum, the directories of its brokers.

use std::collections::BTreeMap;

use ottla_model::{NodeId, Uuid};
use ottla_protocol::api::add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse, Listener};
use ottla_protocol::api::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use ottla_protocol::api::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use ottla_protocol::api::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestPartitionData, DescribeQuorumRequestTopicData,
    DescribeQuorumResponse, DescribeQuorumResponsePartitionData, Listener as QuorumListener,
};
use ottla_protocol::api::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use ottla_protocol::api::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::{Admin, checked, missing};
use crate::client::{Peers, Target};
use crate::error::{Error, Result};

/// The cluster as a broker describes it.
pub type ClusterDescription = DescribeClusterResponse;
/// The quorum's partition as its leader describes it.
pub type QuorumDescription = DescribeQuorumResponsePartitionData;
/// Where a controller listens, with the name of the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterEndpoint {
    /// Name of the listener, such as `CONTROLLER`.
    pub listener: String,
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}
/// A directory of a broker, with its partitions.
pub type LogDir = ottla_protocol::api::describe_log_dirs::DescribeLogDirsResult;

impl Admin {
    /// The brokers, fenced ones too, and who the controller is; of an admin client that asks controllers, those.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        let (endpoint_type, include_fenced_brokers) = match self.client.peers() {
            Peers::Brokers => (1, true),
            Peers::Controllers => (2, false),
        };
        let request = DescribeClusterRequest { endpoint_type, include_fenced_brokers, ..Default::default() };
        let check = |answer: &DescribeClusterResponse| {
            Error::check(answer.error_code, answer.error_message.as_deref())
        };
        self.ask(Target::Any, request, check).await
    }

    /// Voters and observers of the metadata quorum.
    pub async fn describe_quorum(&self) -> Result<QuorumDescription> {
        let answer = self.ask_quorum().await?;
        answer.topics.into_iter().flat_map(|topic| topic.partitions).next().map_or_else(missing, Ok)
    }

    /// Where the nodes of the metadata quorum listen for it, as far as it is known.
    pub async fn describe_quorum_endpoints(&self) -> Result<BTreeMap<NodeId, Vec<VoterEndpoint>>> {
        let endpoints = |listeners: Vec<QuorumListener>| {
            let endpoint = |listener: QuorumListener| VoterEndpoint {
                listener: listener.name.as_str().to_owned(),
                host: listener.host.as_str().to_owned(),
                port: listener.port,
            };
            listeners.into_iter().map(endpoint).collect()
        };
        let nodes = self.ask_quorum().await?.nodes;
        Ok(nodes.into_iter().map(|node| (NodeId(node.node_id), endpoints(node.listeners))).collect())
    }

    async fn ask_quorum(&self) -> Result<DescribeQuorumResponse> {
        let partition = DescribeQuorumRequestPartitionData { partition_index: 0 };
        let topic = DescribeQuorumRequestTopicData {
            topic_name: "__cluster_metadata".into(),
            partitions: vec![partition],
        };
        let check = |answer: &DescribeQuorumResponse| {
            Error::check(answer.error_code, answer.error_message.as_deref())?;
            let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
            partition.map_or_else(missing, |partition| checked(partition.error_code))
        };
        self.ask(Target::Controller, DescribeQuorumRequest { topics: vec![topic] }, check).await
    }

    /// The directories of a broker.
    pub async fn describe_log_dirs(&self, broker: NodeId) -> Result<Vec<LogDir>> {
        let check = |answer: &DescribeLogDirsResponse| checked(answer.error_code);
        let answer = self.ask(Target::Node(broker), DescribeLogDirsRequest::default(), check).await?;
        Ok(answer.results)
    }

    /// Makes a controller that follows the metadata log a voter. Committed when this returns.
    pub async fn add_raft_voter(
        &self,
        id: NodeId,
        directory: Uuid,
        endpoints: &[VoterEndpoint],
    ) -> Result<()> {
        let listeners = endpoints.iter().map(|endpoint| Listener {
            name: endpoint.listener.as_str().into(),
            host: endpoint.host.as_str().into(),
            port: endpoint.port,
        });
        let request = AddRaftVoterRequest {
            cluster_id: None,
            timeout_ms: self.timeout_ms(),
            voter_id: id.0,
            voter_directory_id: directory,
            listeners: listeners.collect(),
            ack_when_committed: true,
        };
        let check =
            |answer: &AddRaftVoterResponse| Error::check(answer.error_code, answer.error_message.as_deref());
        self.ask(Target::Controller, request, check).await.map(drop)
    }

    /// Takes a controller out of the voters. Committed when this returns.
    pub async fn remove_raft_voter(&self, id: NodeId, directory: Uuid) -> Result<()> {
        let request =
            RemoveRaftVoterRequest { cluster_id: None, voter_id: id.0, voter_directory_id: directory };
        let check = |answer: &RemoveRaftVoterResponse| {
            Error::check(answer.error_code, answer.error_message.as_deref())
        };
        self.ask(Target::Controller, request, check).await.map(drop)
    }

    /// Forgets a broker that is gone for good.
    pub async fn unregister_broker(&self, id: NodeId) -> Result<()> {
        let request = UnregisterBrokerRequest { broker_id: id.0 };
        let check = |answer: &UnregisterBrokerResponse| {
            Error::check(answer.error_code, answer.error_message.as_deref())
        };
        self.ask(Target::Controller, request, check).await.map(drop)
    }
}
