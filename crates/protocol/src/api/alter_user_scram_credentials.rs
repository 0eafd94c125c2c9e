//! AlterUserScramCredentials, API key 51.

use bytes::Bytes;

use crate::{Message, Str};

/// Sets or removes SCRAM credentials of users.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 51, versions = "0", flexible = "0+")]
pub struct AlterUserScramCredentialsRequest {
    pub deletions: Vec<ScramCredentialDeletion>,
    pub upsertions: Vec<ScramCredentialUpsertion>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ScramCredentialDeletion {
    pub name: Str,
    pub mechanism: i8,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ScramCredentialUpsertion {
    pub name: Str,
    pub mechanism: i8,
    pub iterations: i32,
    pub salt: Bytes,
    pub salted_password: Bytes,
}

/// The answer to [`AlterUserScramCredentialsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 51, versions = "0", flexible = "0+")]
pub struct AlterUserScramCredentialsResponse {
    pub throttle_time_ms: i32,
    pub results: Vec<AlterUserScramCredentialsResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AlterUserScramCredentialsResult {
    pub user: Str,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
