//! AlterClientQuotas, API key 49.
//!
//! Versions:
//! - 1: flexible

use crate::{Message, Str};

/// Sets or removes client quotas.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 49, versions = "0-1", flexible = "1+")]
pub struct AlterClientQuotasRequest {
    pub entries: Vec<AlterClientQuotasRequestEntryData>,
    pub validate_only: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "EntryData")]
pub struct AlterClientQuotasRequestEntryData {
    pub entity: Vec<AlterClientQuotasRequestEntityData>,
    pub ops: Vec<OpData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "EntityData")]
pub struct AlterClientQuotasRequestEntityData {
    pub entity_type: Str,
    pub entity_name: Option<Str>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OpData {
    pub key: Str,
    pub value: f64,
    pub remove: bool,
}

/// The answer to [`AlterClientQuotasRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 49, versions = "0-1", flexible = "1+")]
pub struct AlterClientQuotasResponse {
    pub throttle_time_ms: i32,
    pub entries: Vec<AlterClientQuotasResponseEntryData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "EntryData")]
pub struct AlterClientQuotasResponseEntryData {
    pub error_code: i16,
    pub error_message: Option<Str>,
    pub entity: Vec<AlterClientQuotasResponseEntityData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "EntityData")]
pub struct AlterClientQuotasResponseEntityData {
    pub entity_type: Str,
    pub entity_name: Option<Str>,
}
