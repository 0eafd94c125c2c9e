//! Message sets of formats 0 and 1, which old segments may still hold. Read only.
//!
//! ```text
//! i64 offset | i32 size | u32 crc32 (IEEE, from magic on) | i8 magic | i8 attributes | [i64 timestamp, format 1]
//! | i32 key length | key | i32 value length | value
//! ```
//! A compressed message's value is a message set; in format 1 its inner offsets are relative and the outer one is
//! the last inner record's absolute one.

use bytes::Bytes;
use ottla_model::{Millis, Offset};

use crate::compression::{self, Codec};
use crate::error::BatchError;
use crate::record::Record;

/// Offset, size, checksum, magic and attributes.
const FIXED_BYTES: usize = 18;
/// The smallest size field: everything of an empty format-0 message behind the size.
const MIN_SIZE: i32 = 14;

/// One entry of a legacy message set: a message, or a compressed wrapper of several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LegacyEntry {
    /// The last record's offset.
    pub offset: Offset,
    pub magic: i8,
    pub attributes: i8,
    /// The largest timestamp within; -1 in format 0.
    pub timestamp: Millis,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    crc: u32,
    /// The whole entry.
    pub bytes: Bytes,
}

impl LegacyEntry {
    const LOG_APPEND_TIME: i8 = 0x08;

    /// Splits the first entry off; `None` if only a part of it is there.
    ///
    /// Errors: [`BatchError::Magic`] for other formats, [`BatchError::Length`], [`BatchError::Record`].
    pub fn split_first(bytes: &Bytes) -> Result<Option<(Self, Bytes)>, BatchError> {
        if bytes.len() < FIXED_BYTES {
            return Ok(None);
        }
        let size = i32::from_be_bytes(field(bytes, 8));
        let magic = bytes[16] as i8;
        if size < MIN_SIZE {
            return Err(BatchError::Length(size));
        }
        if !(0..=1).contains(&magic) {
            return Err(BatchError::Magic(magic));
        }
        let end = 12 + size as usize;
        if bytes.len() < end {
            return Ok(None);
        }
        let entry = bytes.slice(..end);
        let mut at = FIXED_BYTES;
        let bad = |reason| BatchError::Record { index: 0, reason };
        let mut timestamp = Millis::NONE;
        if magic == 1 {
            let raw = entry.get(at..at + 8).ok_or(bad("no room for a timestamp"))?;
            timestamp = Millis(i64::from_be_bytes(field(raw, 0)));
            at += 8;
        }
        let key = sized(&entry, &mut at).ok_or(bad("key reaches beyond the message"))?;
        let value = sized(&entry, &mut at).ok_or(bad("value reaches beyond the message"))?;
        let parsed = Self {
            offset: Offset(i64::from_be_bytes(field(&entry, 0))),
            magic,
            attributes: entry[17] as i8,
            timestamp,
            key,
            value,
            crc: u32::from_be_bytes(field(&entry, 12)),
            bytes: entry,
        };
        Ok(Some((parsed, bytes.slice(end..))))
    }

    /// Compares the stored checksum (CRC-32, not CRC-32C) with the computed one.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = crc32fast::hash(&self.bytes[16..]);
        if computed == self.crc { Ok(()) } else { Err(BatchError::Crc { stored: self.crc, computed }) }
    }

    /// The codec of a wrapper.
    pub fn codec(&self) -> Result<Codec, BatchError> {
        let id = self.attributes as u8 & 0x07;
        Codec::from_id(id).filter(|codec| *codec != Codec::Zstd).ok_or(BatchError::UnknownCodec(id))
    }

    /// The message itself, or the messages of the wrapper, with absolute offsets.
    pub fn records(&self, max_decompressed_bytes: usize) -> Result<Vec<Record>, BatchError> {
        let codec = self.codec()?;
        if codec == Codec::None {
            return Ok(vec![self.record()]);
        }
        let wrapped = self.value.clone().unwrap_or_default();
        let mut rest = if codec == Codec::Lz4 {
            compression::decompress_legacy_lz4(&wrapped, max_decompressed_bytes)?.into()
        } else {
            Bytes::from(compression::decompress(codec, &wrapped, max_decompressed_bytes)?)
        };
        let mut records = Vec::new();
        while let Some((inner, behind)) = Self::split_first(&rest)? {
            let index = records.len() as i32;
            if inner.codec()? != Codec::None || inner.magic != self.magic {
                return Err(BatchError::Record { index, reason: "inner message of another format" });
            }
            rest = behind;
            let mut record = inner.record();
            if self.magic == 1 && self.attributes & Self::LOG_APPEND_TIME != 0 {
                record.timestamp = self.timestamp;
            }
            records.push(record);
        }
        if records.is_empty() || !rest.is_empty() {
            let index = records.len() as i32;
            return Err(BatchError::Record { index, reason: "compressed message set is cut off" });
        }
        if self.magic == 1 {
            // Some old clients wrote absolute offsets here; relative to the last one both are right.
            let shift = self.offset.0.wrapping_sub(records[records.len() - 1].offset.0);
            for record in &mut records {
                record.offset = Offset(record.offset.0.wrapping_add(shift));
            }
        }
        Ok(records)
    }

    fn record(&self) -> Record {
        Record {
            attributes: 0,
            timestamp: self.timestamp,
            offset: self.offset,
            key: self.key.clone(),
            value: self.value.clone(),
            headers: Vec::new(),
        }
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk::<N>()).copied().unwrap_or([0; N])
}

fn sized(bytes: &Bytes, at: &mut usize) -> Option<Option<Bytes>> {
    let length = i32::from_be_bytes(*bytes.get(*at..)?.first_chunk::<4>()?);
    *at += 4;
    if length < 0 {
        return Some(None);
    }
    let end = at.checked_add(length as usize).filter(|end| *end <= bytes.len())?;
    let slice = bytes.slice(*at..end);
    *at = end;
    Some(Some(slice))
}
