//! Test brokers as tests use them: over the wire.

mod cluster;
mod faults;
mod one_broker;
mod wire;
