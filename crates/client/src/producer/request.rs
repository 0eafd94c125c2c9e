//! A produce request on its way, and its answer on the way back to the sender.

use bytes::Bytes;
use ottla_model::NodeId;
use ottla_protocol::api::produce::{ProduceRequest, ProduceResponse};
use ottla_protocol::{ApiKey, EncodeError, Request, Segment, Str, Versions, encode_request};
use tokio::sync::mpsc::UnboundedSender;

use crate::client::{Outgoing, decode};
use crate::error::Result;

/// A batch in a request: which partition of the sender's, which slot of its window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub partition: usize,
    pub slot: u64,
}

/// What came of a request. `answer` is `None` where none was asked for.
pub(super) struct Completed {
    pub node: NodeId,
    /// In the order of the request's partitions.
    pub sent: Vec<Sent>,
    pub answer: Result<Option<ProduceResponse>>,
}

pub(super) struct ProduceCall {
    pub request: ProduceRequest,
    /// 12 where a topic has no id: later versions know topics by their ids only.
    pub version_max: i16,
    pub timeout: std::time::Duration,
    pub node: NodeId,
    pub sent: Vec<Sent>,
    pub completed: UnboundedSender<Completed>,
}

impl Outgoing for ProduceCall {
    fn key(&self) -> ApiKey {
        ApiKey::Produce
    }

    fn versions(&self) -> Versions {
        ProduceRequest::KEY.stable_versions().intersect(Versions::new(3, self.version_max))
    }

    fn timeout(&self) -> std::time::Duration {
        self.timeout
    }

    fn expects_answer(&self) -> bool {
        self.request.acks != 0
    }

    fn encode(&self, version: i16, correlation_id: i32, client_id: Str) -> Result<Vec<Segment>, EncodeError> {
        encode_request(&self.request, version, correlation_id, Some(client_id))
    }

    fn complete(self: Box<Self>, answer: Result<Bytes>, version: i16, node: &str) {
        let asked = self.expects_answer();
        let answer = match answer {
            Ok(_) if !asked => Ok(None),
            Ok(frame) => decode::<ProduceRequest>(frame, version, node).map(Some),
            Err(error) => Err(error),
        };
        // The sender is gone when the producer is; its batches have said so.
        let _ = self.completed.send(Completed { node: self.node, sent: self.sent, answer });
    }
}
