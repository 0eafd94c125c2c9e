//! The node: broker and controller in one process, their APIs, and the wiring between the pure cores.

pub mod config;
