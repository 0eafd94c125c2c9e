//! What the clients know and decide, as plain state: no sockets, no tasks, no clock, no randomness. Time and random
//! numbers are told.

pub mod accumulator;
pub mod assignors;
pub mod backoff;
pub mod buffers;
pub mod delivery;
pub mod fetch_session;
pub mod fetched;
pub mod membership;
pub mod metadata;
pub mod outstanding;
pub mod partitioner;
pub mod positions;
pub mod reset_policy;
pub mod window;
