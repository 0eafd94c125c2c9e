//! DeleteTopics, API key 20.
//!
//! Versions:
//! - 1: `ThrottleTimeMs`
//! - 3: may answer TOPIC_DELETION_DISABLED
//! - 4: flexible
//! - 5: `ErrorMessage`; may answer THROTTLING_QUOTA_EXCEEDED
//! - 6: topics by id

use ottla_model::Uuid;

use crate::{Message, Str};

/// Deletes topics by name or id.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 20, versions = "1-6", flexible = "4+")]
pub struct DeleteTopicsRequest {
    #[field(versions = "6+")]
    pub topics: Vec<DeleteTopicState>,
    #[field(versions = "0-5", ignorable)]
    pub topic_names: Vec<Str>,
    pub timeout_ms: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DeleteTopicState {
    pub name: Option<Str>,
    pub topic_id: Uuid,
}

/// The answer to [`DeleteTopicsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 20, versions = "1-6", flexible = "4+")]
pub struct DeleteTopicsResponse {
    pub throttle_time_ms: i32,
    pub responses: Vec<DeletableTopicResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DeletableTopicResult {
    #[field(nullable = "6+")]
    pub name: Option<Str>,
    #[field(versions = "6+", ignorable)]
    pub topic_id: Uuid,
    pub error_code: i16,
    #[field(versions = "5+", ignorable)]
    pub error_message: Option<Str>,
}
