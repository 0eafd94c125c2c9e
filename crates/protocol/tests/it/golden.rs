//! Every captured frame decodes to the fields it is known to hold, and encodes back to the same bytes.

use std::collections::BTreeSet;

use ottla_protocol::schema::{StructSchema, Type};
use ottla_protocol::{ApiKey, Decoder, Encoder, Message, RequestHeader, ResponseHeader, Tree};
use serde_json::Value;

use crate::frames;

#[test]
fn captured_requests_decode_to_their_fields_and_encode_to_the_same_bytes() {
    for pair in frames::all() {
        let at = format!("{} request {}", pair.key, pair.version);
        let mut d = Decoder::new(pair.request.clone());
        let (key, header) = RequestHeader::decode_frame(&mut d).expect(&at);
        assert_eq!((key, header.request_api_version), (pair.key, pair.version), "{at}");
        let header_version = key.request_header_version(pair.version);
        let generic = RequestHeader::decode(&mut Decoder::new(pair.request.clone()), header_version);
        assert_eq!(generic.as_ref(), Ok(&header), "{at}");
        // Kafka answers an ApiVersions request of a version it does not know.
        if !key.versions().contains(pair.version) {
            assert_eq!(key, ApiKey::ApiVersions);
            continue;
        }
        let request = key.request_schema().decode(&mut d, pair.version).expect(&at);
        d.finish().expect(&at);
        assert_fields(key.request_schema().body, &request.tree(pair.version), &pair.request_fields, &at);

        let mut e = Encoder::new();
        header.encode(&mut e, header_version).expect(&at);
        request.encode(&mut e, pair.version).expect(&at);
        assert_eq!(e.finish_bytes().expect(&at), pair.request, "{at}");
    }
}

#[test]
fn captured_responses_decode_to_their_fields_and_encode_to_the_same_bytes() {
    for pair in frames::all() {
        let at = format!("{} response {}", pair.key, pair.version);
        let version = if pair.key.versions().contains(pair.version) { pair.version } else { 0 };
        let header_version = pair.key.response_header_version(version);
        let mut d = Decoder::new(pair.response.clone());
        let header = ResponseHeader::decode(&mut d, header_version).expect(&at);
        let response = pair.key.response_schema().decode(&mut d, version).expect(&at);
        d.finish().expect(&at);
        assert_fields(pair.key.response_schema().body, &response.tree(version), &pair.response_fields, &at);

        let mut e = Encoder::new();
        header.encode(&mut e, header_version).expect(&at);
        response.encode(&mut e, version).expect(&at);
        assert_eq!(e.finish_bytes().expect(&at), pair.response, "{at}");
    }
}

#[test]
fn every_live_api_key_was_captured() {
    let captured: BTreeSet<_> = frames::all().iter().map(|pair| pair.key).collect();
    let live: BTreeSet<_> = ApiKey::ALL.iter().copied().filter(|key| !key.versions().is_empty()).collect();
    assert_eq!(captured, live);
}

/// Tagged fields that hold their default are not in the captured fields.
pub fn assert_fields(schema: &StructSchema, tree: &Tree, json: &Value, at: &str) {
    if json.is_null() {
        return;
    }
    let (Tree::Struct(fields), Value::Object(json)) = (tree, json) else {
        panic!("{at}: {} is {tree:?}, not {json}", schema.name)
    };
    let mut seen = 0;
    for (name, value) in fields {
        let field = schema.fields.iter().find(|field| field.name == *name).unwrap();
        match json.get(*name) {
            Some(expected) => {
                seen += 1;
                assert_value(&field.ty, value, expected, &format!("{at}.{name}"));
            }
            None => assert!(field.tag.is_some(), "{at}.{name} is missing in the capture"),
        }
    }
    assert_eq!(seen, json.len(), "{at}: {json:?} has fields that {} lacks", schema.name);
}

fn assert_value(ty: &Type, value: &Tree, expected: &Value, at: &str) {
    let same = match (ty, value, expected) {
        (_, Tree::Null, Value::Null) => true,
        (Type::Struct(schema), value, expected) => return assert_fields(schema, value, expected, at),
        (Type::Array(ty), Tree::Array(values), Value::Array(expected)) => {
            assert_eq!(values.len(), expected.len(), "{at}");
            for (value, expected) in values.iter().zip(expected) {
                assert_value(ty, value, expected, at);
            }
            true
        }
        (_, Tree::Bool(value), Value::Bool(expected)) => value == expected,
        (_, Tree::Int(value), Value::Number(expected)) => Some(*value) == expected.as_i64(),
        (_, Tree::Float(value), Value::Number(expected)) => Some(*value) == expected.as_f64(),
        (_, Tree::String(value), Value::String(expected)) => value == expected,
        (_, Tree::Uuid(value), Value::String(expected)) => value.to_string() == *expected,
        (_, Tree::Bytes(value), Value::String(expected)) => match expected.strip_prefix("hex:") {
            Some(hex) => *value == frames::unhex(hex),
            None => *value == *expected,
        },
        // Long bytes are known by length and checksum.
        (_, Tree::Bytes(value), Value::Object(summary)) => summary["length"] == value.len(),
        _ => false,
    };
    assert!(same, "{at}: {value:?} is not {expected}");
}
