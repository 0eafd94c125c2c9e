//! Produce (0): versions 3 to 13; version 13 names topics by id.
//!
//! Batches are validated by the connection's own thread, then pushed to their partitions' shards; the ticket
//! holds the request's outcomes until the last one is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use ottla_model::{ErrorCode, Millis, Offset, Uuid};
use ottla_protocol::api::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use ottla_protocol::{Decoder, Message, Records, Str};
use ottla_record::validate::{self, InvalidBatch};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Answer, Rejected, RequestContext, leaders};
use crate::broker::Broker;
use crate::broker::partition::{Acks, Completion, StagedAppend};
use crate::broker::shard::{Shard, Work};
use crate::clock;
use crate::node::Node;

/// From this version on topics are named by id.
const TOPIC_ID_VERSION: i16 = 13;
/// The first version whose clients know KAFKA_STORAGE_ERROR.
const STORAGE_ERROR_VERSION: i16 = 4;

/// What became of one partition's batch.
#[derive(Clone, Debug)]
pub struct AppendOutcome {
    pub error: ErrorCode,
    pub base_offset: Offset,
    pub log_append_time: Millis,
    pub log_start_offset: Offset,
    pub message: Option<Str>,
    pub record_errors: Vec<BatchIndexAndErrorMessage>,
}

impl AppendOutcome {
    pub fn failed(error: ErrorCode) -> Self {
        Self {
            error,
            base_offset: Offset::NONE,
            log_append_time: Millis::NONE,
            log_start_offset: Offset::NONE,
            message: None,
            record_errors: Vec::new(),
        }
    }
}

impl From<InvalidBatch> for AppendOutcome {
    fn from(invalid: InvalidBatch) -> Self {
        Self {
            message: invalid.message.map(Str::from),
            record_errors: invalid
                .record_errors
                .into_iter()
                .map(|error| BatchIndexAndErrorMessage {
                    batch_index: error.index,
                    batch_index_error_message: error.message.map(Str::from),
                })
                .collect(),
            ..Self::failed(invalid.error)
        }
    }
}

/// The outcomes of one request, filled in by the shards.
#[derive(Debug)]
pub struct ProduceTicket {
    remaining: AtomicU32,
    outcomes: Mutex<Vec<Option<AppendOutcome>>>,
    completed: Arc<Notify>,
}

impl ProduceTicket {
    /// Notes what became of the `index`th partition of the request.
    pub fn complete(&self, index: u32, outcome: AppendOutcome) {
        let slot = &mut self.outcomes.lock()[index as usize];
        debug_assert!(slot.is_none(), "a partition of a request completes once");
        *slot = Some(outcome);
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.completed.notify_one();
        }
    }
}

/// A produce request that was pushed to its shards.
pub struct PendingProduce {
    broker: Arc<Broker>,
    context: RequestContext,
    acks: Acks,
    acks_are_valid: bool,
    /// When waiting for replicas ends.
    deadline: Millis,
    ticket: Arc<ProduceTicket>,
    topics: Vec<PendingTopic>,
    shards: Vec<Arc<Shard>>,
}

struct PendingTopic {
    name: Str,
    id: Uuid,
    /// Partition indexes, in the order of the ticket's outcomes.
    partitions: Vec<i32>,
}

/// Decodes and validates a request and pushes its batches; [`PendingProduce::enter_shards`] must follow.
pub fn dispatch(
    node: &Arc<Node>,
    context: RequestContext,
    mut body: Decoder,
    completed: &Arc<Notify>,
) -> Result<PendingProduce, Rejected> {
    let request = ProduceRequest::decode(&mut body, context.api_version)?;
    drop(body);
    let broker = Arc::clone(node.broker());
    let now = clock::now();
    let count = request.topic_data.iter().map(|topic| topic.partition_data.len()).sum::<usize>();
    let ticket = Arc::new(ProduceTicket {
        remaining: AtomicU32::new(count as u32 + 1),
        outcomes: Mutex::new(vec![None; count]),
        completed: Arc::clone(completed),
    });
    let acks = Acks::from_wire(request.acks);
    let mut pending = PendingProduce {
        broker,
        context,
        acks: acks.unwrap_or(Acks::Leader),
        acks_are_valid: acks.is_some(),
        deadline: clock::steady() + i64::from(request.timeout_ms.max(0)),
        ticket,
        topics: Vec::with_capacity(request.topic_data.len()),
        shards: Vec::with_capacity(1),
    };
    let refused = refused_whole(&request);
    let mut index = 0;
    for topic in request.topic_data {
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            partitions.push(data.index);
            let outcome = match refused {
                Some(ref outcome) => Err(outcome.clone()),
                None => pending.push(&topic.name, topic.topic_id, data.index, data.records, index, now),
            };
            if let Err(outcome) = outcome {
                pending.ticket.complete(index, outcome);
            }
            index += 1;
        }
        pending.topics.push(PendingTopic { name: topic.name, id: topic.topic_id, partitions });
    }
    // The one that kept the ticket open while it was filled.
    if pending.ticket.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
        pending.ticket.completed.notify_one();
    }
    Ok(pending)
}

/// What fails every partition of a request at once, as Kafka looks at all first batches before anything else.
fn refused_whole(request: &ProduceRequest) -> Option<AppendOutcome> {
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let mut transactional = false;
    for data in partitions {
        if let Some(Records::Bytes(records)) = &data.records {
            match validate::is_transactional(records) {
                Ok(is_transactional) => transactional |= is_transactional,
                Err(invalid) => return Some(AppendOutcome::from(invalid)),
            }
        }
    }
    // Without an id transactional batches are refused for good; with one too, as transactions are not served yet.
    transactional.then(|| AppendOutcome::failed(ErrorCode::TransactionalIdAuthorizationFailed))
}

impl PendingProduce {
    fn push(
        &mut self,
        name: &Str,
        id: Uuid,
        partition: i32,
        records: Option<Records>,
        index: u32,
        now: Millis,
    ) -> Result<(), AppendOutcome> {
        let handle = if self.context.api_version >= TOPIC_ID_VERSION {
            self.broker.partition_by_id(id, partition)
        } else {
            self.broker.partition_by_name(name, partition)
        }
        .map_err(AppendOutcome::failed)?;
        if handle.is_internal && self.context.client_id.as_deref() != Some("__admin_client") {
            return Err(AppendOutcome::failed(ErrorCode::InvalidTopicException));
        }
        let records = match records {
            Some(Records::Bytes(records)) => records,
            _ => Bytes::new(),
        };
        let rules = handle.rules.load();
        let batch = validate::request_batch(&records, self.context.api_version)?;
        if !self.acks_are_valid {
            return Err(AppendOutcome::failed(ErrorCode::InvalidRequiredAcks));
        }
        let batch = validate::produce_batch(batch, &rules, &handle.name, now).map_err(|invalid| {
            // Kafka tells where the log starts for what its log refuses, and not for what is found before.
            let log_start_offset = match invalid.error {
                ErrorCode::CorruptMessage | ErrorCode::MessageTooLarge => Offset::NONE,
                _ => handle.log_start_offset(),
            };
            AppendOutcome { log_start_offset, ..AppendOutcome::from(invalid) }
        })?;
        let completion = Completion::Produce { ticket: Arc::clone(&self.ticket), index };
        let append = StagedAppend { batch, acks: self.acks, deadline: self.deadline, completion };
        handle.shard.push(Work::Append { slot: handle.slot, append });
        if !self.shards.iter().any(|shard| Arc::ptr_eq(shard, &handle.shard)) {
            self.shards.push(Arc::clone(&handle.shard));
        }
        Ok(())
    }

    /// Lets the shards do what was pushed.
    pub fn enter_shards(&self) {
        for shard in &self.shards {
            shard.enter();
        }
    }

    pub fn is_complete(&self) -> bool {
        self.ticket.remaining.load(Ordering::Acquire) == 0
    }

    /// The answer, once complete: none for a request without acknowledgement, whose failure closes the
    /// connection so that the client looks for the leader again.
    pub fn answer(self) -> Result<Option<Answer>, Rejected> {
        let outcomes = std::mem::take(&mut *self.ticket.outcomes.lock());
        let mut outcomes = outcomes.into_iter().flatten();
        if self.acks == Acks::None {
            return match outcomes.all(|outcome| outcome.error.is_ok()) {
                true => Ok(None),
                false => Err(Rejected::UnacknowledgedFailure),
            };
        }
        let responses = Vec::with_capacity(self.topics.len());
        let mut response = ProduceResponse { responses, ..Default::default() };
        for topic in self.topics {
            let partition_responses = topic
                .partitions
                .into_iter()
                .zip(&mut outcomes)
                .map(|(index, outcome)| partition_response(index, outcome, self.context.api_version))
                .collect();
            response.responses.push(TopicProduceResponse {
                name: topic.name,
                topic_id: topic.id,
                partition_responses,
            });
        }
        leaders::tell_producer(&self.broker.image(), &self.context, &mut response);
        Answer::new(&self.context, &response).map(Some)
    }
}

fn partition_response(index: i32, outcome: AppendOutcome, version: i16) -> PartitionProduceResponse {
    let error = match outcome.error {
        ErrorCode::KafkaStorageError if version < STORAGE_ERROR_VERSION => ErrorCode::NotLeaderOrFollower,
        error => error,
    };
    PartitionProduceResponse {
        index,
        error_code: error.code(),
        base_offset: outcome.base_offset.0,
        log_append_time_ms: outcome.log_append_time.0,
        log_start_offset: outcome.log_start_offset.0,
        record_errors: outcome.record_errors,
        error_message: outcome.message,
        ..Default::default()
    }
}
