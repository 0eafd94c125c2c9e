//! The quorum's messages in Kafka's requests and responses.
//!
//! `serve` reads what others ask and writes the answers, `ask` the other way round. Checks what the step machine leaves
//! to it: the cluster, and that exactly the one partition of the metadata topic is meant. Must not know who leads.

pub mod ask;
pub mod serve;

use ottla_commit_log::METADATA_TOPIC;
use ottla_model::Uuid;
use ottla_protocol::Records;
use ottla_raft::Response;

/// The id of the metadata topic.
pub const METADATA_TOPIC_ID: Uuid = Uuid::ONE;

/// An answer with what it carries past the step machine: batches of a Fetch, bytes of a FetchSnapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub response: Response,
    pub records: Records,
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self { response, records: Records::EMPTY }
    }
}

fn is_metadata_topic(name: &str) -> bool {
    name == METADATA_TOPIC
}
