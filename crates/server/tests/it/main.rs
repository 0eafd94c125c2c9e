//! The server crate from outside, on real files.

mod golden_metadata;
mod quorum;
mod quorum_crash;
mod storage;
