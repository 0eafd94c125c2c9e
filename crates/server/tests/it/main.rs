//! The server crate from outside, on real files.

mod quorum;
mod storage;
