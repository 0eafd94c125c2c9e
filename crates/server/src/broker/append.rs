//! Appends on their way into a partition: what their producers wait for, and who is told.

use std::sync::Arc;

use ottla_model::{ErrorCode, LeaderEpoch, Millis};
use ottla_record::validate::ValidBatch;

use crate::api::produce::{AppendOutcome, ProduceTicket};

/// What a producer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// No answer at all.
    None,
    /// The leader's log.
    Leader,
    /// Every in-sync replica.
    All,
}

impl Acks {
    /// `None` for a number that is not one of Kafka's.
    pub fn from_wire(acks: i16) -> Option<Self> {
        match acks {
            0 => Some(Acks::None),
            1 => Some(Acks::Leader),
            -1 => Some(Acks::All),
            _ => None,
        }
    }
}

/// What has to be durable before an append is acknowledged (`acks.durability`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Kafka's own meaning: the page cache of the in-sync replicas.
    PageCache,
    /// The disk.
    Fsync,
}

/// A validated batch on its way into a log, and who is told of its outcome.
pub struct StagedAppend {
    pub batch: ValidBatch,
    pub acks: Acks,
    /// When to give up waiting for the replicas; [`Millis::MAX`]: never.
    pub deadline: Millis,
    pub completion: Completion,
}

/// Who is told of an append's outcome.
pub enum Completion {
    /// A part of a produce request.
    Produce { ticket: Arc<ProduceTicket>, index: u32 },
    /// A coordinator, which appends only while the partition is led in `epoch`. `told` is called inside the shard;
    /// it must not block.
    Coordinator { epoch: LeaderEpoch, told: Box<dyn FnOnce(AppendOutcome) + Send> },
}

impl Completion {
    /// Whether the append is meant for a leader in `epoch`.
    pub fn is_for(&self, epoch: LeaderEpoch) -> bool {
        !matches!(self, Completion::Coordinator { epoch: held, .. } if *held != epoch)
    }

    pub fn complete(self, outcome: AppendOutcome) {
        match self {
            Completion::Produce { ticket, index } => ticket.complete(index, outcome),
            Completion::Coordinator { told, .. } => told(outcome),
        }
    }
}

impl StagedAppend {
    pub fn refuse(self, error: ErrorCode) {
        self.completion.complete(AppendOutcome::failed(error));
    }
}
