//! API keys 4 to 7, removed in 4.0: they have numbers and names, but no versions any more.

use crate::Message;

#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 4, versions = "none")]
pub struct LeaderAndIsrRequest {}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 4, versions = "none")]
pub struct LeaderAndIsrResponse {}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 5, versions = "none")]
pub struct StopReplicaRequest {}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 5, versions = "none")]
pub struct StopReplicaResponse {}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 6, versions = "none")]
pub struct UpdateMetadataRequest {}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 6, versions = "none")]
pub struct UpdateMetadataResponse {}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 7, versions = "none")]
pub struct ControlledShutdownRequest {}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 7, versions = "none")]
pub struct ControlledShutdownResponse {}
