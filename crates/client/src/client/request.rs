//! A request on its way: what a connection needs to know of it.

use std::time::Duration;

use bytes::Bytes;
use ottla_protocol::{ApiKey, EncodeError, Request, Segment, Str, Versions, decode_response, encode_request};
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// A request of any API, and what happens with its answer.
pub(crate) trait Outgoing: Send {
    fn key(&self) -> ApiKey;
    /// The versions that this side can speak.
    fn versions(&self) -> Versions;
    fn timeout(&self) -> Duration;
    /// Whether the broker answers at all (not to a produce request with acks=0).
    fn expects_answer(&self) -> bool {
        true
    }
    /// Whether the caller has gone.
    fn is_cancelled(&self) -> bool {
        false
    }
    fn encode(&self, version: i16, correlation_id: i32, client_id: Str) -> Result<Vec<Segment>, EncodeError>;
    /// Called once, on the I/O thread: with the answer's frame, or why there is none.
    fn complete(self: Box<Self>, answer: Result<Bytes>, version: i16, node: &str);
}

/// A request with a caller that waits.
pub(crate) struct Call<R: Request> {
    pub request: R,
    pub version_max: Option<i16>,
    pub timeout: Duration,
    pub reply: oneshot::Sender<Result<R::Response>>,
}

impl<R: Request> Outgoing for Call<R> {
    fn key(&self) -> ApiKey {
        R::KEY
    }

    fn versions(&self) -> Versions {
        let stable = R::KEY.stable_versions();
        match self.version_max {
            Some(max) => stable.intersect(Versions::new(0, max)),
            None => stable,
        }
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn is_cancelled(&self) -> bool {
        self.reply.is_closed()
    }

    fn encode(&self, version: i16, correlation_id: i32, client_id: Str) -> Result<Vec<Segment>, EncodeError> {
        encode_request(&self.request, version, correlation_id, Some(client_id))
    }

    fn complete(self: Box<Self>, answer: Result<Bytes>, version: i16, node: &str) {
        // The caller may have given up meanwhile.
        let _ = self.reply.send(answer.and_then(|frame| decode::<R>(frame, version, node)));
    }
}

/// The answer to an `R`.
pub(crate) fn decode<R: Request>(frame: Bytes, version: i16, node: &str) -> Result<R::Response> {
    let response = decode_response::<R>(frame, version);
    response.map(|(_, response)| response).map_err(|error| malformed(node, error))
}

fn malformed(node: &str, reason: impl std::fmt::Display) -> Error {
    Error::Malformed { node: node.into(), reason: reason.to_string().into() }
}

/// A request that says what its version has no place for: it can be sent to no broker.
pub(crate) fn unencodable(key: ApiKey, error: EncodeError) -> Error {
    Error::invalid(format!("cannot encode {key:?}: {error}"))
}
