//! Record batches as they travel and as they lie on disk (format version 2), and what a leader does to them.
//!
//! Owns the byte layout of batches and records, CRC-32C, the four compression codecs, control records, the
//! validation of produced batches, and reading the two legacy formats. Must not know logs, partitions' state or
//! sockets; has no I/O and no clock.
//!
//! Invariants:
//! - Bytes from outside never panic, and never make it allocate more than a stated cap.
//! - The checksum of a received batch is computed once; later header changes adjust it.
//! - A produced batch is never copied: only its 61-byte header is rewritten, into a small array.

mod batch;
mod builder;
pub mod compression;
pub mod control;
pub mod crc;
mod encode;
mod error;
mod header;
pub mod legacy;
mod record;
pub mod validate;
pub mod varint;

pub use batch::{Batch, Batches, StampedBatch};
pub use builder::BatchBuilder;
pub use compression::{Codec, Compression};
pub use encode::encode_record;
pub use error::BatchError;
pub use header::{Attributes, BatchHeader, HEADER_BYTES, LOG_OVERHEAD_BYTES, TimestampType, last_sequence};
pub use record::{Header, Record, RecordIter, RecordView};
pub use validate::{InvalidBatch, ProduceRules, RecordError, ValidBatch};
