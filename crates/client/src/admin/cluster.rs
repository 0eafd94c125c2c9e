//! The cluster itself: its brokers, its quorum, the directories of its brokers.

use ottla_model::NodeId;
use ottla_protocol::api::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use ottla_protocol::api::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use ottla_protocol::api::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestPartitionData, DescribeQuorumRequestTopicData,
    DescribeQuorumResponse, DescribeQuorumResponsePartitionData,
};

use super::{Admin, checked, missing};
use crate::client::Target;
use crate::error::{Error, Result};

/// The cluster as a broker describes it.
pub type ClusterDescription = DescribeClusterResponse;
/// The quorum's partition as its leader describes it.
pub type QuorumDescription = DescribeQuorumResponsePartitionData;
/// A directory of a broker, with its partitions.
pub type LogDir = ottla_protocol::api::describe_log_dirs::DescribeLogDirsResult;

impl Admin {
    /// The brokers, fenced ones too, and who the controller is.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        let request =
            DescribeClusterRequest { endpoint_type: 1, include_fenced_brokers: true, ..Default::default() };
        let check = |answer: &DescribeClusterResponse| {
            Error::check(answer.error_code, answer.error_message.as_deref())
        };
        self.ask(Target::Any, request, check).await
    }

    /// Voters and observers of the metadata quorum.
    pub async fn describe_quorum(&self) -> Result<QuorumDescription> {
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
        let request = DescribeQuorumRequest { topics: vec![topic] };
        let answer = self.ask(Target::Controller, request, check).await?;
        answer.topics.into_iter().flat_map(|topic| topic.partitions).next().map_or_else(missing, Ok)
    }

    /// The directories of a broker.
    pub async fn describe_log_dirs(&self, broker: NodeId) -> Result<Vec<LogDir>> {
        let check = |answer: &DescribeLogDirsResponse| checked(answer.error_code);
        let answer = self.ask(Target::Node(broker), DescribeLogDirsRequest::default(), check).await?;
        Ok(answer.results)
    }
}
