//! What can be wrong with the bytes of a batch.

use ottla_model::ErrorCode;
use thiserror::Error;

use crate::compression::Codec;

/// A batch that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BatchError {
    /// Fewer bytes than the batch claims to have, or than a header needs.
    #[error("batch needs {needed} bytes, {available} are there")]
    Truncated { needed: usize, available: usize },
    /// The length field is too small for any batch, or negative.
    #[error("batch length {0} is below the minimum")]
    Length(i32),
    /// Not format version 2 (0 and 1 are read by [`crate::legacy`]).
    #[error("Invalid magic found in record: {0}")]
    Magic(i8),
    #[error("stored checksum {stored:#010x}, computed {computed:#010x}")]
    Crc { stored: u32, computed: u32 },
    /// Codec bits 5, 6 or 7.
    #[error("unknown compression type id {0}")]
    UnknownCodec(u8),
    #[error("{codec} data cannot be decompressed: {reason}")]
    Decompress { codec: Codec, reason: String },
    /// Decompressing would have gone beyond the caller's cap.
    #[error("decompressed data exceeds {limit} bytes")]
    TooLarge { limit: usize },
    /// A record's length goes on after five bytes, which Kafka calls a server error.
    #[error("record {index}: its length does not end")]
    EndlessLength { index: i32 },
    /// The records do not parse or are not as many as the header says.
    #[error("record {index}: {reason}")]
    Record { index: i32, reason: &'static str },
}

impl BatchError {
    /// The code that a client gets when its batch fails this way.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::Truncated { .. } | Self::Length(_) | Self::Magic(_) | Self::Crc { .. } => {
                ErrorCode::CorruptMessage
            }
            Self::UnknownCodec(_) | Self::Decompress { .. } | Self::EndlessLength { .. } => {
                ErrorCode::UnknownServerError
            }
            Self::TooLarge { .. } | Self::Record { .. } => ErrorCode::InvalidRecord,
        }
    }
}
