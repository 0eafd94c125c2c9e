//! GetTelemetrySubscriptions, API key 71.
//!
//! Brokers list it only when they have a receiver of client metrics.

use ottla_model::Uuid;

use crate::{Message, Str};

/// Asks which client metrics to push (KIP-714).
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 71, versions = "0", flexible = "0+")]
pub struct GetTelemetrySubscriptionsRequest {
    pub client_instance_id: Uuid,
}

/// The answer to [`GetTelemetrySubscriptionsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 71, versions = "0", flexible = "0+")]
pub struct GetTelemetrySubscriptionsResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub client_instance_id: Uuid,
    pub subscription_id: i32,
    pub accepted_compression_types: Vec<i8>,
    pub push_interval_ms: i32,
    pub telemetry_max_bytes: i32,
    pub delta_temporality: bool,
    pub requested_metrics: Vec<Str>,
}
