//! Deliberate faults in a broker's handling of requests: it handles another one, or none.

use bytes::Bytes;
use ottla_protocol::api::alter_partition::{
    AlterPartitionRequest, AlterPartitionResponse, AlterPartitionResponsePartitionData,
    AlterPartitionResponseTopicData,
};
use ottla_protocol::api::fetch::FetchRequest;
use ottla_protocol::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use ottla_protocol::{ApiKey, Decoder, Encoder, Message, Segment, encode_response};
use ottla_server::api::{Intervention, RequestContext, RequestHook};

use crate::sabotage::Sabotage;

/// A broker with one of the faults.
#[derive(Debug)]
pub struct Tamper(pub Sabotage);

impl RequestHook for Tamper {
    fn intervene(&self, context: &RequestContext, body: Bytes) -> Option<Intervention> {
        let is_of_quorum = &*context.listener == "CONTROLLER";
        match (self.0, context.api_key) {
            (Sabotage::SkipDivergence, ApiKey::Fetch) if !is_of_quorum => {
                replace(context, body, |request: &mut FetchRequest| {
                    request.topics.iter_mut().flat_map(|topic| &mut topic.partitions).for_each(|partition| {
                        partition.last_fetched_epoch = -1;
                    });
                })
            }
            (Sabotage::AssumeInSync, ApiKey::AlterPartition) => {
                answer(context, &granted(&decode(context, body)?))
            }
            (Sabotage::ForgetCommits, ApiKey::OffsetCommit) => {
                let request: OffsetCommitRequest = decode(context, body)?;
                let offset = request.topics.first()?.partitions.first()?.committed_offset;
                if offset % 16 == 15 { answer(context, &committed(&request)) } else { None }
            }
            _ => None,
        }
    }
}

fn decode<M: Message>(context: &RequestContext, body: Bytes) -> Option<M> {
    M::decode(&mut Decoder::new(body), context.api_version).ok()
}

fn replace<M: Message>(
    context: &RequestContext,
    body: Bytes,
    change: impl FnOnce(&mut M),
) -> Option<Intervention> {
    let mut request = decode(context, body)?;
    change(&mut request);
    let mut e = Encoder::new();
    request.encode(&mut e, context.api_version).ok()?;
    Some(Intervention::Replace(e.finish_bytes().ok()?))
}

fn answer<M: Message>(context: &RequestContext, response: &M) -> Option<Intervention> {
    let (key, version) = (context.api_key, context.api_version);
    let segments = encode_response(key, version, context.correlation_id, response).ok()?;
    // Without the frame's length.
    Some(Intervention::Answer(joined(segments).slice(4..)))
}

fn joined(segments: Vec<Segment>) -> Bytes {
    let mut bytes = Vec::new();
    for segment in segments {
        if let Segment::Bytes(part) = segment {
            bytes.extend_from_slice(&part);
        }
    }
    bytes.into()
}

fn granted(request: &AlterPartitionRequest) -> AlterPartitionResponse {
    let topics = request.topics.iter().map(|topic| AlterPartitionResponseTopicData {
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| AlterPartitionResponsePartitionData {
                partition_index: partition.partition_index,
                leader_id: request.broker_id,
                leader_epoch: partition.leader_epoch,
                isr: partition.new_isr_with_epochs.iter().map(|broker| broker.broker_id).collect(),
                partition_epoch: partition.partition_epoch + 1,
                ..Default::default()
            })
            .collect(),
    });
    AlterPartitionResponse { topics: topics.collect(), ..Default::default() }
}

fn committed(request: &OffsetCommitRequest) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                ..Default::default()
            })
            .collect(),
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}
