//! Walking over the batches of a segment file.
//!
//! Reads ahead in chunks; a walk over headers skips bodies that lie beyond what was read. Stops at the first thing that
//! cannot be a batch: what that means (a torn tail, corruption) is for the caller to say. Entries of the legacy formats
//! 0 and 1 are walked over like batches of one offset.

use std::io;
use std::sync::Arc;

use ottla_model::{LeaderEpoch, Millis, Offset};
use ottla_record::crc::crc32c;
use ottla_record::{BatchHeader, HEADER_BYTES, LOG_OVERHEAD_BYTES};

use crate::disk::DiskFile;

/// What [`Walk::Headers`] reads at a time: a few index intervals.
const HEADER_CHUNK_BYTES: usize = 16 << 10;
/// Batches of this size are skipped one by one.
const LARGE_BATCH_BYTES: usize = 4096;
/// What [`Walk::Bodies`] reads at a time.
const BODY_CHUNK_BYTES: usize = 1 << 20;
/// The smallest thing that is an entry: overhead and a legacy record without payload.
const MIN_ENTRY_BYTES: usize = LOG_OVERHEAD_BYTES + 14;
const CRC_START: usize = 21;

/// What the caller needs of each batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Walk {
    Headers,
    /// Whole batches; [`BatchAt::bytes`] is filled.
    Bodies,
}

/// One batch in a file.
#[derive(Debug)]
pub(crate) struct BatchAt<'a> {
    pub position: u64,
    pub header: BatchHeader,
    /// Format: 2, or 0 and 1 (then only offsets and size of `header` mean something).
    pub magic: i8,
    /// The whole batch, or only its beginning for [`Walk::Headers`].
    pub bytes: &'a [u8],
}

impl BatchAt<'_> {
    pub(crate) fn size(&self) -> usize {
        self.header.size_bytes()
    }

    pub(crate) fn crc_matches(&self) -> bool {
        match self.magic {
            2 => self.bytes.get(CRC_START..).is_some_and(|body| crc32c(body) == self.header.crc),
            _ => {
                let bytes = bytes::Bytes::copy_from_slice(self.bytes);
                let entry = ottla_record::legacy::LegacyEntry::split_first(&bytes);
                matches!(entry, Ok(Some((entry, _))) if entry.verify_crc().is_ok())
            }
        }
    }
}

/// A walk over `[position, end)` of a file.
pub(crate) struct BatchScan {
    file: Arc<dyn DiskFile>,
    walk: Walk,
    chunk: Vec<u8>,
    /// File position of `chunk[0]`, and how much of it is filled and used up.
    chunk_position: u64,
    filled: usize,
    used: usize,
    end: u64,
    /// Whether the last batch was so large that reading ahead is a waste for [`Walk::Headers`].
    large: bool,
}

impl BatchScan {
    pub(crate) fn new(file: Arc<dyn DiskFile>, position: u64, end: u64, walk: Walk) -> Self {
        Self {
            file,
            walk,
            chunk: Vec::new(),
            chunk_position: position,
            filled: 0,
            used: 0,
            end,
            large: false,
        }
    }

    /// Where the next batch begins: behind the last good one.
    pub(crate) fn position(&self) -> u64 {
        self.chunk_position + self.used as u64
    }

    /// The next batch; `None` at the end or at something that is no whole batch.
    pub(crate) fn next(&mut self) -> io::Result<Option<BatchAt<'_>>> {
        let remaining = self.end.saturating_sub(self.position());
        if remaining < MIN_ENTRY_BYTES as u64 {
            return Ok(None);
        }
        let head_bytes = HEADER_BYTES.min(remaining as usize);
        if !self.fill(head_bytes)? {
            return Ok(None);
        }
        let Some((header, magic)) = parse_any(&self.chunk[self.used..self.filled]) else { return Ok(None) };
        let size = header.size_bytes();
        if size as u64 > remaining {
            return Ok(None);
        }
        if self.walk == Walk::Bodies && !self.fill(size)? {
            return Ok(None);
        }
        self.large = size >= LARGE_BATCH_BYTES;
        let (start, position) = (self.used, self.position());
        let end = (start + size).min(self.filled);
        if start + size <= self.filled {
            self.used += size;
        } else {
            // Skip the rest of the body without reading it.
            self.chunk_position = position + size as u64;
            (self.used, self.filled) = (0, 0);
        }
        Ok(Some(BatchAt { position, header, magic, bytes: &self.chunk[start..end] }))
    }

    /// Makes at least `needed` bytes from the current place available.
    fn fill(&mut self, needed: usize) -> io::Result<bool> {
        if self.filled - self.used >= needed {
            return Ok(true);
        }
        self.chunk.copy_within(self.used..self.filled, 0);
        self.chunk_position += self.used as u64;
        self.filled -= self.used;
        self.used = 0;
        let wanted = match self.walk {
            Walk::Headers if self.large => HEADER_BYTES,
            Walk::Headers => HEADER_CHUNK_BYTES,
            Walk::Bodies => BODY_CHUNK_BYTES,
        };
        let left = usize::try_from(self.end - self.chunk_position).unwrap_or(usize::MAX);
        let wanted = wanted.max(needed).min(left);
        if self.chunk.len() < wanted {
            self.chunk.resize(wanted, 0);
        }
        while self.filled < wanted {
            let position = self.chunk_position + self.filled as u64;
            match self.file.read_at(&mut self.chunk[self.filled..wanted], position)? {
                0 => break,
                n => self.filled += n,
            }
        }
        Ok(self.filled >= needed)
    }
}

/// A header of any format; of formats 0 and 1 only offset, size and (format 1, uncompressed) timestamp are known.
fn parse_any(bytes: &[u8]) -> Option<(BatchHeader, i8)> {
    let magic = *bytes.get(16)? as i8;
    match magic {
        2 => {
            let header = BatchHeader::parse(bytes).ok()?;
            (header.last_offset_delta >= 0 && header.record_count >= 0).then_some((header, magic))
        }
        0 | 1 => {
            let base_offset = Offset(i64::from_be_bytes(*bytes.first_chunk()?));
            let batch_length = i32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
            let max_timestamp = if magic == 1 {
                Millis(i64::from_be_bytes(*bytes.get(18..)?.first_chunk()?))
            } else {
                Millis::NONE
            };
            let header = BatchHeader {
                base_offset,
                batch_length,
                leader_epoch: LeaderEpoch::NONE,
                max_timestamp,
                base_timestamp: max_timestamp,
                record_count: 1,
                ..BatchHeader::default()
            };
            (batch_length >= 14).then_some((header, magic))
        }
        _ => None,
    }
}
