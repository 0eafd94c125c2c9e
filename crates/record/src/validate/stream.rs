//! The pass over records that are too many to be decompressed at once: byte for byte, skipping keys and values.

use std::io::{BufReader, Read};

use super::walk::{Fields, Walk};
use crate::compression::{self, Codec};
use crate::error::BatchError;

pub(super) fn walk(walk: &mut Walk, codec: Codec, input: &[u8]) -> Result<(), BatchError> {
    let mut source = Source {
        reader: BufReader::with_capacity(64 << 10, compression::reader(codec, input)),
        codec,
        budget: walk.max_batch_bytes,
        limit: walk.max_batch_bytes,
    };
    while !walk.is_complete() {
        record(walk, &mut source)?;
    }
    match source.reader.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(walk.error("Incorrect declared batch size, records still remaining in file")),
        Err(error) => Err(source.failed(&error)),
    }
}

fn record(walk: &mut Walk, source: &mut Source<'_>) -> Result<(), BatchError> {
    let size = source.varint(&mut { u64::MAX })?.ok_or_else(|| walk.error("bad record length"))?;
    let size = u64::try_from(size).map_err(|_| walk.error("negative record size"))?;
    walk.check_size(size as usize)?;
    let rest = &mut { size };
    let bad = |walk: &Walk| walk.error("Found invalid record structure");
    source.skip(1, rest)?.ok_or_else(|| bad(walk))?;
    let timestamp_delta = source.varint(rest)?.ok_or_else(|| bad(walk))?;
    let offset_delta = source.varint_i32(rest)?.ok_or_else(|| bad(walk))?;
    let key_len = source.sized(rest)?.ok_or_else(|| bad(walk))?;
    let value_len = source.sized(rest)?.ok_or_else(|| bad(walk))?;
    let headers = source.varint_i32(rest)?.ok_or_else(|| bad(walk))?;
    if headers < 0 || headers as u64 > *rest {
        return Err(walk.error("Found invalid number of record headers"));
    }
    for _ in 0..headers {
        let key = source.sized(rest)?.ok_or_else(|| bad(walk))?;
        key.ok_or_else(|| walk.error("Invalid negative header key size"))?;
        source.sized(rest)?.ok_or_else(|| bad(walk))?;
    }
    if *rest != 0 {
        return Err(walk.error("Invalid record size"));
    }
    walk.record(Fields { timestamp_delta, offset_delta, key_len, value_len });
    Ok(())
}

struct Source<'a> {
    reader: BufReader<Box<dyn Read + 'a>>,
    codec: Codec,
    /// What may still be decompressed.
    budget: u64,
    limit: u64,
}

/// The inner `None` stands for a record that ends too early or is malformed.
type Parsed<T> = Result<Option<T>, BatchError>;

impl Source<'_> {
    fn failed(&self, error: &std::io::Error) -> BatchError {
        BatchError::Decompress { codec: self.codec, reason: error.to_string() }
    }

    fn spend(&mut self, bytes: u64, rest: &mut u64) -> Parsed<()> {
        let Some(left) = rest.checked_sub(bytes) else { return Ok(None) };
        *rest = left;
        match self.budget.checked_sub(bytes) {
            Some(left) => self.budget = left,
            None => return Err(BatchError::TooLarge { limit: self.limit as usize }),
        }
        Ok(Some(()))
    }

    fn byte(&mut self, rest: &mut u64) -> Parsed<u8> {
        if self.spend(1, rest)?.is_none() {
            return Ok(None);
        }
        let mut byte = [0];
        match self.reader.read_exact(&mut byte) {
            Ok(()) => Ok(Some(byte[0])),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn varint(&mut self, rest: &mut u64) -> Parsed<i64> {
        let mut raw = 0u64;
        for shift in (0..70).step_by(7) {
            let Some(byte) = self.byte(rest)? else { return Ok(None) };
            raw |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(Some((raw >> 1) as i64 ^ -((raw & 1) as i64)));
            }
        }
        Ok(None)
    }

    fn varint_i32(&mut self, rest: &mut u64) -> Parsed<i32> {
        Ok(self.varint(rest)?.and_then(|value| i32::try_from(value).ok()))
    }

    fn skip(&mut self, bytes: u64, rest: &mut u64) -> Parsed<()> {
        if self.spend(bytes, rest)?.is_none() {
            return Ok(None);
        }
        match std::io::copy(&mut self.reader.by_ref().take(bytes), &mut std::io::sink()) {
            Ok(skipped) => Ok((skipped == bytes).then_some(())),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// A length and so many bytes; the length, or `None` for a negative one.
    fn sized(&mut self, rest: &mut u64) -> Parsed<Option<usize>> {
        let Some(len) = self.varint_i32(rest)? else { return Ok(None) };
        let Ok(len) = u64::try_from(len) else { return Ok(Some(None)) };
        Ok(self.skip(len, rest)?.map(|()| Some(len as usize)))
    }
}
