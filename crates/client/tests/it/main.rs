//! The client against nodes in this process, and against what is no Kafka broker.

mod admin;
mod bad_input;
mod consumer;
mod examples;
mod foundation;
mod node;
mod producer;
