//! BrokerHeartbeat, API key 63.
//!
//! Versions:
//! - 1: `OfflineLogDirs`
//! - 2: `CordonedLogDirs`

use ottla_model::Uuid;

use crate::Message;

/// Keeps a broker registered and asks to be unfenced or to shut down.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 63, versions = "0-2", flexible = "0+")]
pub struct BrokerHeartbeatRequest {
    pub broker_id: i32,
    #[field(default = -1)]
    pub broker_epoch: i64,
    pub current_metadata_offset: i64,
    pub want_fence: bool,
    pub want_shut_down: bool,
    #[field(versions = "1+", tag = 0)]
    pub offline_log_dirs: Vec<Uuid>,
    #[field(versions = "2+", tag = 1)]
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
}

/// The answer to [`BrokerHeartbeatRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 63, versions = "0-2", flexible = "0+")]
pub struct BrokerHeartbeatResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub is_caught_up: bool,
    #[field(default = true)]
    pub is_fenced: bool,
    pub should_shut_down: bool,
}
