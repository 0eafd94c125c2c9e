//! Why something failed, and what can be done about it.

use std::sync::Arc;
use std::time::Duration;

use ottla_model::ErrorCode;
use ottla_protocol::ApiKey;

use crate::config::ConfigError;

/// What calls of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a client's call. Cheap to clone: all records of a batch share one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot be; nothing was sent.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// A broker's answer.
    #[error("{}{code}", .message.as_ref().map(|message| format!("{message}: ")).unwrap_or_default())]
    Broker {
        /// Kafka's error code.
        code: ErrorCode,
        /// What the broker adds, or what was asked for.
        message: Option<Arc<str>>,
    },
    /// No connection, or none any more. What was sent may or may not have arrived.
    #[error("no connection to {node}: {reason}")]
    Disconnected {
        /// `host:port`, or the broker's id where no address is known.
        node: Arc<str>,
        /// The system's words, or what the peer seems to be if it is no broker.
        reason: Arc<str>,
    },
    /// The time of a call or of a record was over: `default.api.timeout.ms`, `max.block.ms`, `delivery.timeout.ms` or
    /// the caller's. What was sent may or may not have arrived.
    #[error(
        "{what} took longer than {} ms{}",
        .after.as_millis(),
        .last.as_ref().map(|last| format!("; last failure: {last}")).unwrap_or_default()
    )]
    TimedOut {
        /// What was being done.
        what: Arc<str>,
        /// The time that it had.
        after: Duration,
        /// The last failure of an attempt, which tells what is wrong.
        last: Option<Arc<str>>,
    },
    /// The broker is too old or too new.
    #[error("{node} serves no version of {key:?} that this client knows")]
    Unsupported {
        /// The kind of request.
        key: ApiKey,
        /// `host:port` of the broker.
        node: Arc<str>,
    },
    /// An answer, or records, that no Kafka broker sends.
    #[error("{node}: {reason}")]
    Malformed {
        /// `host:port` of the broker, or the partition whose records they are.
        node: Arc<str>,
        /// Which field or offset, and what is wrong there.
        reason: Arc<str>,
    },
    /// A record that was not taken; the broker's own limit is [`ErrorCode::MessageTooLarge`].
    #[error("a record of {bytes} bytes is larger than {limit} ({setting})")]
    RecordTooLarge {
        /// The most that it takes in a batch.
        bytes: usize,
        /// The value of the setting.
        limit: usize,
        /// `max.request.size` or `buffer.memory`.
        setting: &'static str,
    },
    /// There is no room for a record now; [`Producer::send`](crate::Producer::send) waits for some.
    #[error("all of buffer.memory ({bytes_max} bytes) is used by records that are not delivered yet")]
    BufferFull {
        /// `buffer.memory`
        bytes_max: usize,
    },
    /// A call that makes no sense: the reason says which.
    #[error("{0}")]
    Invalid(Arc<str>),
    /// The client, producer or consumer was closed, here or by another handle. What was not delivered then is given
    /// up.
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

    /// A call that makes no sense, with the reason.
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
