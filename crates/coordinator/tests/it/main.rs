//! Scenarios as text, and records against those that Apache Kafka 4.4.0 wrote.

mod golden;
mod limits;
mod scenario;
mod world;
