//! DescribeClientQuotas, API key 48.
//!
//! Versions:
//! - 1: flexible

use crate::{Message, Str};

/// Lists client quotas that match a filter.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 48, versions = "0-1", flexible = "1+")]
pub struct DescribeClientQuotasRequest {
    pub components: Vec<ComponentData>,
    pub strict: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ComponentData {
    pub entity_type: Str,
    pub match_type: i8,
    pub r#match: Option<Str>,
}

/// The answer to [`DescribeClientQuotasRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 48, versions = "0-1", flexible = "1+")]
pub struct DescribeClientQuotasResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
    pub entries: Option<Vec<EntryData>>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct EntryData {
    pub entity: Vec<EntityData>,
    pub values: Vec<ValueData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct EntityData {
    pub entity_type: Str,
    pub entity_name: Option<Str>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ValueData {
    pub key: Str,
    pub value: f64,
}
