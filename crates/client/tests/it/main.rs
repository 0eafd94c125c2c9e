//! The client against nodes in this process, and against what is no Kafka broker.

mod admin;
mod consumer;
mod examples;
mod foundation;
mod node;
mod producer;
