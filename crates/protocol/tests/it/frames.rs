//! The captured frames: request and response pairs that Apache Kafka 4.4.0 and its clients exchanged, taken off the
//! wire, with the fields that an independent decoder found in them.

use bytes::Bytes;
use ottla_protocol::ApiKey;
use serde_json::Value;

const FRAMES: &str = include_str!("../../../../testdata/golden/frames/frames.jsonl");

pub struct Pair {
    pub key: ApiKey,
    pub version: i16,
    /// With its header, without the length in front.
    pub request: Bytes,
    pub response: Bytes,
    /// Of the body; `Null` where they would be large.
    pub request_fields: Value,
    pub response_fields: Value,
}

pub fn all() -> Vec<Pair> {
    FRAMES.lines().map(parse).collect()
}

fn parse(line: &str) -> Pair {
    let mut json: Value = serde_json::from_str(line).unwrap();
    let number = |name: &str| i16::try_from(json[name].as_i64().unwrap()).unwrap();
    let bytes = |name: &str| unhex(json[name].as_str().unwrap());
    Pair {
        key: ApiKey::from_i16(number("api")).unwrap(),
        version: number("version"),
        request: bytes("request"),
        response: bytes("response"),
        request_fields: json["requestFields"].take(),
        response_fields: json["responseFields"].take(),
    }
}

pub fn unhex(text: &str) -> Bytes {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect::<Vec<_>>().into()
}
