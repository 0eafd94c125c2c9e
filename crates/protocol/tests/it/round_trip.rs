//! Every version of every message, with random values that a naive codec has written: decoding and encoding again
//! gives the same bytes.

use ottla_protocol::{Decoder, Encoder, Segment};

use crate::random::{self, Random};

const ROUNDS: u64 = 40;

#[test]
fn every_version_of_every_message_round_trips() {
    let mut messages = 0;
    for schema in ottla_protocol::schemas() {
        messages += 1;
        for version in schema.versions.iter() {
            for seed in 0..ROUNDS {
                let at = format!("{} version {version} seed {seed}", schema.name());
                let bytes = random::message(schema, version, &mut Random::new(seed));
                let mut d = Decoder::new(bytes.clone());
                let message = schema.decode(&mut d, version).expect(&at);
                d.finish().expect(&at);
                let mut e = Encoder::new();
                message.encode(&mut e, version).expect(&at);
                let len = e.len();
                let segments = e.finish();
                assert_eq!(len, segments.iter().map(Segment::len).sum::<usize>(), "{at}");
                let again: Vec<u8> = segments
                    .iter()
                    .flat_map(|segment| match segment {
                        Segment::Bytes(bytes) => bytes.to_vec(),
                        Segment::External { .. } => panic!("{at}"),
                    })
                    .collect();
                assert_eq!(again, bytes, "{at}: {message:?}");
            }
        }
    }
    assert_eq!(messages, 286);
}

/// A peer of a later release may send tagged fields that this one does not know.
#[test]
fn unknown_tagged_fields_are_skipped() {
    for schema in ottla_protocol::schemas() {
        for version in schema.versions.iter().filter(|version| schema.flexible.contains(*version)) {
            let at = format!("{} version {version}", schema.name());
            let bytes = random::message(schema, version, &mut Random::new(1));
            let known = schema.body.fields.iter();
            let known = known.filter(|field| field.tag.is_some() && field.versions.contains(version));
            if known.count() > 0 {
                continue;
            }
            // The message itself has no tags, so its section is the last byte: a zero.
            let mut longer = bytes[..bytes.len() - 1].to_vec();
            longer.extend([2, 77, 3, 1, 2, 3, 0x80, 0x01, 0]);
            let mut d = Decoder::new(longer.into());
            let message = schema.decode(&mut d, version).expect(&at);
            d.finish().expect(&at);
            let mut e = Encoder::new();
            message.encode(&mut e, version).expect(&at);
            assert_eq!(e.finish_bytes().expect(&at), bytes, "{at}");
        }
    }
}
