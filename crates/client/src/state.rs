//! What the clients know and decide, as plain state: no sockets, no tasks, no clock, no randomness. Time and random
//! numbers are told.

pub mod backoff;
pub mod metadata;
