//! What can go wrong, one enum per operation. Each variant knows the code that a client gets.

use std::io;
use std::path::PathBuf;

use ottla_model::{ErrorCode, Offset, ProducerEpoch, ProducerId};
use thiserror::Error;

/// A fault of the disk or of what lies on it. The log directory goes offline; nothing is retried.
#[derive(Debug, Error)]
pub enum StorageError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is corrupt: {reason}", path.display())]
    Corrupt { path: PathBuf, reason: String },
    /// The disk is fine, but what lies on it no broker has left there: somebody has to look before anything is served.
    #[error("{}: {reason}", path.display())]
    Foreign { path: PathBuf, reason: String },
    /// An earlier fault made the log read-only until the process restarts.
    #[error("the log is offline after an earlier fault")]
    Offline,
}

impl StorageError {
    pub fn error_code(&self) -> ErrorCode {
        ErrorCode::KafkaStorageError
    }

    pub(crate) fn corrupt(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Corrupt { path: path.into(), reason: reason.into() }
    }
}

/// Adds what was being done, and to what, to an I/O error.
pub(crate) trait IoContext<T> {
    fn during(self, action: &'static str, path: impl FnOnce() -> PathBuf) -> Result<T, StorageError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn during(self, action: &'static str, path: impl FnOnce() -> PathBuf) -> Result<T, StorageError> {
        self.map_err(|source| StorageError::Io { action, path: path(), source })
    }
}

/// An append that was refused. Nothing of the batch is in the log.
#[derive(Debug, Error)]
pub enum AppendError {
    #[error(
        "Message batch size is {size} bytes in append to partition which exceeds the maximum configured segment size of {limit}."
    )]
    BatchTooLarge { size: usize, limit: usize },
    #[error("append at offset {first} to a log that ends at {log_end}")]
    UnexpectedOffset { first: Offset, log_end: Offset },
    #[error("Invalid producer epoch {epoch} of producer id {producer_id}: the current epoch is {current}")]
    InvalidProducerEpoch { producer_id: ProducerId, epoch: ProducerEpoch, current: ProducerEpoch },
    #[error(
        "Out of order sequence number for producer {producer_id}: {sequence} (incoming seq. number), {last} (current end sequence number)"
    )]
    OutOfOrderSequence { producer_id: ProducerId, sequence: i32, last: i32 },
    #[error("Expected transactional write from producer {producer_id}")]
    NotTransactional { producer_id: ProducerId },
    #[error("Record was not part of an ongoing transaction")]
    NotVerified { producer_id: ProducerId },
    #[error("Invalid coordinator epoch {epoch} for producer id {producer_id}, {current} is known")]
    CoordinatorFenced { producer_id: ProducerId, epoch: i32, current: i32 },
    #[error("the batch cannot be read: {0}")]
    Corrupt(String),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl AppendError {
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::BatchTooLarge { .. } => ErrorCode::RecordListTooLarge,
            Self::UnexpectedOffset { .. } => ErrorCode::UnknownServerError,
            Self::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            Self::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            Self::NotTransactional { .. } | Self::NotVerified { .. } => ErrorCode::InvalidTxnState,
            Self::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
            Self::Corrupt(_) => ErrorCode::CorruptMessage,
            Self::Storage(error) => error.error_code(),
        }
    }
}

/// A read that was refused.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("offset {offset} is outside of {log_start} to {log_end}")]
    OffsetOutOfRange { offset: Offset, log_start: Offset, log_end: Offset },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ReadError {
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Storage(error) => error.error_code(),
        }
    }
}
