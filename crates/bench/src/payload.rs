//! The batches that are sent: records of 100 bytes, compressible about two to one.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ottla_model::Millis;
use ottla_record::{BatchBuilder, Codec, Compression};

/// How large a batch is on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    Large,
    Usual,
    OneRecord,
}

impl Size {
    pub const ALL: [Self; 3] = [Self::Large, Self::Usual, Self::OneRecord];

    pub fn name(self) -> &'static str {
        match self {
            Self::Large => "960k",
            Self::Usual => "16k",
            Self::OneRecord => "1rec",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Large => 960 << 10,
            Self::Usual => 16 << 10,
            Self::OneRecord => 0,
        }
    }
}

pub fn now() -> Millis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(since_epoch.as_millis() as i64)
}

/// A batch as a producer sends it, as near below the size as whole records allow, and how many records it has.
pub fn batch(size: Size, codec: Codec) -> (Bytes, i64) {
    let mut records = 1;
    let mut best = build(records, codec);
    if size != Size::OneRecord {
        // Compressed sizes are nearly proportional: aim, then step back.
        for _ in 0..6 {
            records = (records * size.bytes() / best.len()).max(1);
            best = build(records, codec);
        }
        while best.len() > size.bytes() {
            records -= 1 + records / 1000;
            best = build(records, codec);
        }
    }
    (best, records as i64)
}

fn build(records: usize, codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::of(codec));
    let timestamp = now();
    let mut state = 1u64;
    let mut value = [0; 100];
    for _ in 0..records {
        for pair in value.chunks_exact_mut(2) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            pair[0] = b'a' + (state >> 60) as u8;
            pair[1] = b'0' + (state >> 58) as u8 % 4;
        }
        builder.append(timestamp, None, Some(&value));
    }
    builder.build()
}
