//! DescribeUserScramCredentials, API key 50.

use crate::{Message, Str};

/// Lists which SCRAM mechanisms users have credentials for.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 50, versions = "0", flexible = "0+")]
pub struct DescribeUserScramCredentialsRequest {
    pub users: Option<Vec<UserName>>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct UserName {
    pub name: Str,
}

/// The answer to [`DescribeUserScramCredentialsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 50, versions = "0", flexible = "0+")]
pub struct DescribeUserScramCredentialsResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
    pub results: Vec<DescribeUserScramCredentialsResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeUserScramCredentialsResult {
    pub user: Str,
    pub error_code: i16,
    pub error_message: Option<Str>,
    pub credential_infos: Vec<CredentialInfo>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct CredentialInfo {
    pub mechanism: i8,
    pub iterations: i32,
}
