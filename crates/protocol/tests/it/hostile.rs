//! Bytes that nobody should send: captured frames and random messages with bytes changed, cut off, or replaced by
//! large lengths. Nothing panics, memory stays in proportion to the input, and what does decode encodes again.

use bytes::Bytes;
use ottla_protocol::api::produce::ProduceRequest;
use ottla_protocol::schema::MessageSchema;
use ottla_protocol::{DecodeErrorKind, Decoder, Encoder, Message, RequestHeader};

use crate::frames;
use crate::random::{self, Random};

/// Mutations of each frame or message.
const ROUNDS: usize = 40;

/// Bytes of memory that a byte of input may cost: an empty string takes one byte there and 32 here.
const MEMORY_PER_BYTE: u64 = 64;

/// What may be reserved for arrays whose elements turn out not to exist, over all levels of nesting.
const MEMORY_BASE: u64 = 256 * 1024;

#[test]
fn mutated_captured_frames_do_no_harm() {
    let mut random = Random::new(3);
    for pair in frames::all() {
        for _ in 0..ROUNDS {
            let request = mutate(&pair.request, &mut random);
            let mut d = Decoder::new(request.clone());
            if let Ok((key, header)) = RequestHeader::decode_frame(&mut d) {
                try_message(key.request_schema(), header.request_api_version, d.rest());
            }
            let response = mutate(&pair.response, &mut random);
            try_message(pair.key.response_schema(), pair.version, response);
        }
    }
}

#[test]
fn mutated_messages_of_every_version_do_no_harm() {
    let mut random = Random::new(4);
    for schema in ottla_protocol::schemas() {
        for version in schema.versions.iter() {
            let bytes = random::message(schema, version, &mut random);
            for _ in 0..ROUNDS {
                try_message(schema, version, mutate(&bytes, &mut random));
            }
        }
    }
}

#[test]
fn large_lengths_alone_reserve_little() {
    for schema in ottla_protocol::schemas() {
        for version in schema.versions.iter() {
            for byte in [0x00, 0x01, 0x02, 0x05, 0x10, 0x7f, 0x80, 0xff] {
                try_message(schema, version, vec![byte; 4096].into());
            }
        }
    }
}

/// A count may be as large as the frame, yet nothing is there before it has been read.
#[test]
fn a_count_reserves_only_what_its_elements_have_shown() {
    let mut bytes = vec![0xff; 8 << 20];
    bytes[..10].copy_from_slice(&[0xff, 0xff, 0, 1, 0, 0, 0, 0, 0x00, 0x70]);
    let cost = allocation_counter::measure(|| {
        let error = ProduceRequest::decode(&mut Decoder::new(bytes.into()), 3).unwrap_err();
        assert_eq!(
            (error.kind(), error.path().as_str()),
            (DecodeErrorKind::UnexpectedNull, "TopicData.Name")
        );
    });
    assert!(cost.bytes_max < 256 * 1024, "{} bytes", cost.bytes_max);
}

fn try_message(schema: &MessageSchema, version: i16, bytes: Bytes) {
    let len = bytes.len() as u64;
    let mut d = Decoder::new(bytes);
    let mut decoded = None;
    let cost = allocation_counter::measure(|| decoded = schema.decode(&mut d, version).ok());
    let allowed = MEMORY_BASE + MEMORY_PER_BYTE * len;
    let name = schema.name();
    assert!(cost.bytes_max <= allowed, "{name} version {version}: {} bytes for {len}", cost.bytes_max);

    let Some(message) = decoded else { return };
    let mut e = Encoder::new();
    message.encode(&mut e, version).unwrap_or_else(|error| panic!("{name} version {version}: {error}"));
    let bytes = e.finish_bytes().unwrap();
    let again = schema.decode(&mut Decoder::new(bytes), version).unwrap();
    // NaN is not equal to itself, but its text is.
    assert_eq!(format!("{message:?}"), format!("{again:?}"));
}

fn mutate(bytes: &Bytes, random: &mut Random) -> Bytes {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at] ^= 1 << random.below(8),
            3 => overwrite(&mut bytes[at..], &[0x7f, 0xff, 0xff, 0xff]),
            4 => overwrite(&mut bytes[at..], &[0xff, 0xff, 0xff, 0xff, 0x07]),
            _ => overwrite(&mut bytes[at..], &[0x00, 0x00, 0xff, 0xf0]),
        }
    }
    bytes.into()
}

fn overwrite(bytes: &mut [u8], with: &[u8]) {
    let len = bytes.len().min(with.len());
    bytes[..len].copy_from_slice(&with[..len]);
}
