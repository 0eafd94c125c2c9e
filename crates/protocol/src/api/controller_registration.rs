//! ControllerRegistration, API key 70.

use ottla_model::Uuid;

use crate::{Message, Str};

/// Registers a controller with the active one.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 70, versions = "0", flexible = "0+")]
pub struct ControllerRegistrationRequest {
    pub controller_id: i32,
    pub incarnation_id: Uuid,
    pub zk_migration_ready: bool,
    pub listeners: Vec<Listener>,
    pub features: Vec<Feature>,
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

/// The answer to [`ControllerRegistrationRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 70, versions = "0", flexible = "0+")]
pub struct ControllerRegistrationResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
