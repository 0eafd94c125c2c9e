//! Records of internal topics and files: the metadata log, offsets and groups, transactions, share state, the
//! quorum's own records, and what lies beside a log.

pub mod control;
mod coordinator;
pub mod embedded;
pub mod group;
pub mod metadata;
pub mod quorum;
pub mod share;
pub mod storage;
pub mod transaction;
