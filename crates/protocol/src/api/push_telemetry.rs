//! PushTelemetry, API key 72.
//!
//! Brokers list it only when they have a receiver of client metrics.

use bytes::Bytes;
use ottla_model::Uuid;

use crate::Message;

/// Pushes client metrics (KIP-714).
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 72, versions = "0", flexible = "0+")]
pub struct PushTelemetryRequest {
    pub client_instance_id: Uuid,
    pub subscription_id: i32,
    pub terminating: bool,
    pub compression_type: i8,
    pub metrics: Bytes,
}

/// The answer to [`PushTelemetryRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 72, versions = "0", flexible = "0+")]
pub struct PushTelemetryResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
}
