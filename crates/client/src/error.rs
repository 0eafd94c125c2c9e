//! Why something failed, and what can be done about it.

use std::sync::Arc;
use std::time::Duration;

use ottla_model::ErrorCode;
use ottla_protocol::ApiKey;

use crate::config::ConfigError;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a client's call. Cheap to clone: all records of a batch share one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// A broker's answer.
    #[error("{}{code}", .message.as_ref().map(|message| format!("{message}: ")).unwrap_or_default())]
    Broker { code: ErrorCode, message: Option<Arc<str>> },
    /// No connection, or none any more. What was sent may or may not have arrived.
    #[error("no connection to {node}: {reason}")]
    Disconnected { node: Arc<str>, reason: Arc<str> },
    #[error(
        "{what} took longer than {} ms{}",
        .after.as_millis(),
        .last.as_ref().map(|last| format!("; last failure: {last}")).unwrap_or_default()
    )]
    TimedOut { what: Arc<str>, after: Duration, last: Option<Arc<str>> },
    /// The broker is too old or too new.
    #[error("{node} serves no version of {key:?} that this client knows")]
    Unsupported { key: ApiKey, node: Arc<str> },
    /// An answer, or records, that no Kafka broker sends.
    #[error("{node}: {reason}")]
    Malformed { node: Arc<str>, reason: Arc<str> },
    #[error("a record of {bytes} bytes is larger than {limit} ({setting})")]
    RecordTooLarge { bytes: usize, limit: usize, setting: &'static str },
    #[error("all of buffer.memory ({bytes_max} bytes) is used by records that are not delivered yet")]
    BufferFull { bytes_max: usize },
    /// A call that makes no sense: the reason says which.
    #[error("{0}")]
    Invalid(Arc<str>),
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// A broker's error with its own words, if it had any.
    pub fn broker(code: ErrorCode, message: Option<impl AsRef<str>>) -> Self {
        let message = message.map(|message| Arc::from(message.as_ref()));
        Self::Broker { code, message: message.filter(|message: &Arc<str>| !message.is_empty()) }
    }

    /// The error of a code in an answer; unknown numbers are UNKNOWN_SERVER_ERROR.
    pub fn from_code(code: i16) -> Self {
        ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError).into()
    }

    /// `Err` unless the code of an answer is 0.
    pub fn check(code: i16, message: Option<impl AsRef<str>>) -> Result<()> {
        match ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError) {
            ErrorCode::None => Ok(()),
            code => Err(Self::broker(code, message)),
        }
    }

    pub fn invalid(reason: impl AsRef<str>) -> Self {
        Self::Invalid(Arc::from(reason.as_ref()))
    }

    /// The broker's error code, where it was the broker who refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Broker { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Broker { code, .. } => code.is_retriable(),
            Self::Disconnected { .. } | Self::TimedOut { .. } | Self::BufferFull { .. } => true,
            _ => false,
        }
    }

    /// Whether this client object is of no use any more.
    pub fn is_fatal(&self) -> bool {
        use ErrorCode::*;
        match self {
            Self::Closed | Self::Config(_) | Self::Unsupported { .. } => true,
            Self::Broker { code, .. } => matches!(
                code,
                ProducerFenced
                    | InvalidProducerEpoch
                    | FencedInstanceId
                    | ClusterAuthorizationFailed
                    | TransactionalIdAuthorizationFailed
                    | SaslAuthenticationFailed
                    | UnsupportedVersion
                    | UnsupportedForMessageFormat
            ),
            _ => false,
        }
    }

    /// Whether the transaction under way can only be aborted, after which the client is as good as before.
    pub fn is_abortable(&self) -> bool {
        self.code() == Some(ErrorCode::TransactionAbortable)
    }
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        Self::Broker { code, message: None }
    }
}
