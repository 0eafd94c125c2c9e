//! Kafka's wire and record formats as Rust structs: every request, response and internal record of Apache Kafka 4.4,
//! in all its versions.
//!
//! The struct is the schema: `#[derive(Message)]` makes the codec from the fields and their attributes (described
//! in `ottla-protocol-derive`), and `cargo xtask schemas` compares all of them with the schemas inside Apache
//! Kafka's published jars. This crate knows bytes and versions, never what a message means.
//!
//! Invariants:
//! - decoding never panics, never allocates more than the frame justifies, and copies no payload: strings, bytes
//!   and records are slices of the frame;
//! - encoding a decoded message gives the same bytes, unknown tagged fields aside, which are dropped;
//! - a version never loses a value silently unless Kafka calls the field ignorable.

// The derive names this crate by its name, here too.
extern crate self as ottla_protocol;

mod any;
pub mod api;
mod api_key;
mod decoder;
mod encoder;
mod frame;
mod header;
mod message;
pub mod records;
mod records_field;
pub mod schema;
mod str;
pub mod tree;
mod versions;
pub mod wire;

pub use any::AnyMessage;
pub use api_key::{ApiKey, Listener};
pub use decoder::{DecodeError, DecodeErrorKind, Decoder};
pub use encoder::{EncodeError, EncodeErrorKind, Encoder, Segment};
pub use frame::{decode_response, encode_request, encode_response};
pub use header::{RequestHeader, ResponseHeader};
pub use message::{Message, Request};
/// Derives [`Message`](trait@Message) and its parts.
pub use ottla_protocol_derive::Message;
pub use records_field::Records;
pub use str::Str;
pub use tree::Tree;
pub use versions::Versions;

/// The descriptions of all messages: requests, responses, headers and records.
pub fn schemas() -> impl Iterator<Item = &'static schema::MessageSchema> {
    let apis = ApiKey::ALL.iter().flat_map(|key| [key.request_schema(), key.response_schema()]);
    apis.chain([RequestHeader::SCHEMA, ResponseHeader::SCHEMA]).chain(records::schemas())
}
