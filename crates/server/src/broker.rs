//! The broker role: partitions in shards, the table that finds them, and what keeps them in step with the
//! metadata image.

pub mod fetch_session;
pub mod partition;
pub mod shard;
