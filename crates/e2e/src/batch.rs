//! Record batches v2 built by hand, so that each field can lie.

use crate::wire::Body;

/// A batch whose fields are written as they are given; `None` means the truth.
#[derive(Clone, Debug)]
pub struct Batch {
    pub base_offset: i64,
    pub length: Option<i32>,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: Option<u32>,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
    /// The records, compressed if `attributes` says so.
    pub records: Vec<u8>,
}

/// A recent time that stays the same: records of one run differ in nothing.
pub const TIME: i64 = 1_790_000_000_000;

impl Batch {
    /// A good batch of records with these values.
    pub fn of(values: &[&[u8]]) -> Batch {
        let records = (0..).zip(values).flat_map(|(i, value)| record(i, None, value)).collect();
        let last = values.len() as i32 - 1;
        Batch {
            base_offset: 0,
            length: None,
            leader_epoch: -1,
            magic: 2,
            crc: None,
            attributes: 0,
            last_offset_delta: last,
            base_timestamp: TIME,
            max_timestamp: TIME,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: last + 1,
            records,
        }
    }

    /// The batch's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let covered = Body::new()
            .i16(self.attributes)
            .i32(self.last_offset_delta)
            .i64(self.base_timestamp)
            .i64(self.max_timestamp)
            .i64(self.producer_id)
            .i16(self.producer_epoch)
            .i32(self.base_sequence)
            .i32(self.count)
            .raw(&self.records)
            .0;
        let length = self.length.unwrap_or(covered.len() as i32 + 9);
        let crc = self.crc.unwrap_or_else(|| crc32c(&covered));
        Body::new()
            .i64(self.base_offset)
            .i32(length)
            .i32(self.leader_epoch)
            .i8(self.magic)
            .i32(crc as i32)
            .raw(&covered)
            .0
    }
}

/// One record with its length.
pub fn record(offset_delta: i32, key: Option<&[u8]>, value: &[u8]) -> Vec<u8> {
    let body = Body::new().i8(0).raw(&zigzag(0)).raw(&zigzag(offset_delta.into()));
    let body = match key {
        Some(key) => body.raw(&zigzag(key.len() as i64)).raw(key),
        None => body.raw(&zigzag(-1)),
    };
    let body = body.raw(&zigzag(value.len() as i64)).raw(value).raw(&zigzag(0)).0;
    Body::new().raw(&zigzag(body.len() as i64)).raw(&body).0
}

/// A signed varint.
pub fn zigzag(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// CRC-32C, bit by bit: slow, short, and nobody else's.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 },
        )
    })
}
