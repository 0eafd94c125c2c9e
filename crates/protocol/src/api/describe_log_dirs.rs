//! DescribeLogDirs, API key 35.
//!
//! Versions:
//! - 2: flexible
//! - 3: `ErrorCode` of the whole
//! - 4: `TotalBytes`, `UsableBytes`
//! - 5: `IsCordoned`

use crate::{Message, Str};

/// Describes the log directories of a broker and what they hold.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 35, versions = "1-5", flexible = "2+")]
pub struct DescribeLogDirsRequest {
    pub topics: Option<Vec<DescribableLogDirTopic>>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribableLogDirTopic {
    pub topic: Str,
    pub partitions: Vec<i32>,
}

/// The answer to [`DescribeLogDirsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 35, versions = "1-5", flexible = "2+")]
pub struct DescribeLogDirsResponse {
    pub throttle_time_ms: i32,
    #[field(versions = "3+", ignorable)]
    pub error_code: i16,
    pub results: Vec<DescribeLogDirsResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeLogDirsResult {
    pub error_code: i16,
    pub log_dir: Str,
    pub topics: Vec<DescribeLogDirsTopic>,
    #[field(versions = "4+", default = -1, ignorable)]
    pub total_bytes: i64,
    #[field(versions = "4+", default = -1, ignorable)]
    pub usable_bytes: i64,
    #[field(versions = "5+", ignorable)]
    pub is_cordoned: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeLogDirsTopic {
    pub name: Str,
    pub partitions: Vec<DescribeLogDirsPartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeLogDirsPartition {
    pub partition_index: i32,
    pub partition_size: i64,
    pub offset_lag: i64,
    pub is_future_key: bool,
}
