//! DescribeCluster, API key 60.
//!
//! Versions:
//! - 1: `EndpointType`: brokers or controllers
//! - 2: `IncludeFencedBrokers`, `IsFenced`

use crate::{Message, Str};

/// Describes the cluster and its brokers or controllers.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 60, versions = "0-2", flexible = "0+")]
pub struct DescribeClusterRequest {
    pub include_cluster_authorized_operations: bool,
    #[field(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    #[field(versions = "2+")]
    pub include_fenced_brokers: bool,
}

/// The answer to [`DescribeClusterRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 60, versions = "0-2", flexible = "0+")]
pub struct DescribeClusterResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
    #[field(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    pub cluster_id: Str,
    #[field(default = -1)]
    pub controller_id: i32,
    pub brokers: Vec<DescribeClusterBroker>,
    #[field(default = i32::MIN)]
    pub cluster_authorized_operations: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeClusterBroker {
    pub broker_id: i32,
    pub host: Str,
    pub port: i32,
    pub rack: Option<Str>,
    #[field(versions = "2+")]
    pub is_fenced: bool,
}
