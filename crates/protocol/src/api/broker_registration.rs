//! BrokerRegistration, API key 62.
//!
//! Versions:
//! - 1: `IsMigratingZkBroker`
//! - 2: `LogDirs`
//! - 3: `PreviousBrokerEpoch`
//! - 4: features whose minimum level is 0

use ottla_model::Uuid;

use crate::{Message, Str};

/// Registers a broker, or a new start of it, with the controller.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 62, versions = "0-4", flexible = "0+")]
pub struct BrokerRegistrationRequest {
    pub broker_id: i32,
    pub cluster_id: Str,
    pub incarnation_id: Uuid,
    pub listeners: Vec<Listener>,
    pub features: Vec<Feature>,
    pub rack: Option<Str>,
    #[field(versions = "1+")]
    pub is_migrating_zk_broker: bool,
    #[field(versions = "2+", ignorable)]
    pub log_dirs: Vec<Uuid>,
    #[field(versions = "3+", default = -1, ignorable)]
    pub previous_broker_epoch: i64,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Listener {
    pub name: Str,
    pub host: Str,
    pub port: u16,
    pub security_protocol: i16,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Feature {
    pub name: Str,
    pub min_supported_version: i16,
    pub max_supported_version: i16,
}

/// The answer to [`BrokerRegistrationRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 62, versions = "0-4", flexible = "0+")]
pub struct BrokerRegistrationResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    #[field(default = -1)]
    pub broker_epoch: i64,
}
