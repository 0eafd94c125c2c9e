//! UnregisterController, API key 94.
//!
//! A controller that is alive registers again at once.

use crate::{Message, Str};

/// Removes the registration of a controller.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 94, versions = "0", flexible = "0+")]
pub struct UnregisterControllerRequest {
    pub controller_id: i32,
}

/// The answer to [`UnregisterControllerRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 94, versions = "0", flexible = "0+")]
pub struct UnregisterControllerResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
