//! Whole batches: one, a run of them, and one that is ready to be written.

use bytes::Bytes;
use ottla_model::{LeaderEpoch, Offset};

use crate::compression;
use crate::crc::crc32c;
use crate::error::BatchError;
use crate::header::{BatchHeader, CRC_START, HEADER_BYTES};
use crate::record::RecordIter;

/// A batch and its bytes; `bytes` is as long as the header says. The checksum has not been looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    pub header: BatchHeader,
    pub bytes: Bytes,
}

impl Batch {
    /// What [`Self::records`] decompresses at most.
    pub const MAX_DECOMPRESSED_BYTES: usize = 256 << 20;

    /// Takes the batch that `bytes` begins with. Errors as [`BatchHeader::parse`], and
    /// [`BatchError::Truncated`] if its end is not there.
    pub fn parse(bytes: &Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let size = header.size_bytes();
        if bytes.len() < size {
            return Err(BatchError::Truncated { needed: size, available: bytes.len() });
        }
        Ok(Self { header, bytes: bytes.slice(..size) })
    }

    /// Splits the first batch off a run of batches; `None` if only a part of it is there.
    pub fn split_first(bytes: &Bytes) -> Result<Option<(Self, Bytes)>, BatchError> {
        match Self::parse(bytes) {
            Ok(batch) => {
                let rest = bytes.slice(batch.bytes.len()..);
                Ok(Some((batch, rest)))
            }
            Err(BatchError::Truncated { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Compares the stored checksum with the computed one.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c(self.bytes.get(CRC_START..).unwrap_or_default());
        if computed == self.header.crc {
            Ok(())
        } else {
            Err(BatchError::Crc { stored: self.header.crc, computed })
        }
    }

    /// What follows the header: the records, compressed or not.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES.min(self.bytes.len())..)
    }

    /// The records; keys and values are slices of the batch, or of one buffer into which it was decompressed.
    ///
    /// Errors: [`BatchError::UnknownCodec`], [`BatchError::Decompress`], and [`BatchError::TooLarge`] beyond
    /// [`Self::MAX_DECOMPRESSED_BYTES`].
    pub fn records(&self) -> Result<RecordIter, BatchError> {
        self.records_within(Self::MAX_DECOMPRESSED_BYTES)
    }

    /// As [`Self::records`] with a cap of the caller's.
    pub fn records_within(&self, max_decompressed_bytes: usize) -> Result<RecordIter, BatchError> {
        let data = match self.header.codec()? {
            compression::Codec::None => self.payload(),
            codec => compression::decompress(codec, &self.payload(), max_decompressed_bytes)?.into(),
        };
        Ok(RecordIter::new(&self.header, data))
    }
}

/// The batches of a run of bytes, such as a fetch response or a segment. Stops in front of an incomplete tail, and
/// after the first error.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
    failed: bool,
}

impl Batches {
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes, failed: false }
    }

    /// What has not been iterated over; the incomplete tail, once the iterator is at its end.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match Batch::split_first(&self.rest) {
            Ok(Some((batch, rest))) => {
                self.rest = rest;
                Some(Ok(batch))
            }
            Ok(None) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

/// A batch with its final header, as the log writes it: `head`, then `body`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StampedBatch {
    pub header: BatchHeader,
    /// `header` as bytes.
    pub head: [u8; HEADER_BYTES],
    /// The batch from byte 61 on; shares the buffer in which the batch was received.
    pub body: Bytes,
}

impl StampedBatch {
    pub(crate) fn new(header: BatchHeader, mut bytes: Bytes) -> Self {
        let head = header.to_array();
        let skip = HEADER_BYTES.min(bytes.len());
        bytes::Buf::advance(&mut bytes, skip);
        Self { header, head, body: bytes }
    }

    /// A batch that this node or its leader has made, under another offset and epoch. The checksum covers neither.
    pub fn restamp(batch: Batch, base_offset: Offset, leader_epoch: LeaderEpoch) -> Self {
        let header = BatchHeader { base_offset, leader_epoch, ..batch.header };
        Self::new(header, batch.bytes)
    }

    /// Size of the whole batch.
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// The batch as one buffer (copies).
    pub fn to_bytes(&self) -> Bytes {
        [&self.head[..], &self.body[..]].concat().into()
    }
}

impl From<Batch> for StampedBatch {
    /// A batch as it is: what a follower writes.
    fn from(batch: Batch) -> Self {
        Self::new(batch.header, batch.bytes)
    }
}
