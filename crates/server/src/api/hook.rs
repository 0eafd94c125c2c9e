//! The one place where somebody else may step between a request and its handler: test brokers, which delay requests,
//! refuse them and lose answers. A node without a hook pays one branch per request.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;

use super::RequestContext;

/// What becomes of a request instead of its usual handling.
#[derive(Clone, Debug)]
pub enum Intervention {
    /// It is handled, later. What the connection sends behind it waits too.
    Delay(Duration),
    /// The connection is closed; the request is not handled.
    Close,
    /// It is handled, and the connection closed before the answer leaves.
    LoseAnswer,
    /// Another is handled in its place: this body, in the same version.
    Replace(Bytes),
    /// It is not handled; this is the answer: response header and body, without the frame's length.
    Answer(Bytes),
}

/// Is shown every request before its handler.
pub trait RequestHook: Debug + Send + Sync {
    /// `body` is the request without its header, in the version that the context tells.
    fn intervene(&self, request: &RequestContext, body: Bytes) -> Option<Intervention>;
}
