//! What a replica of a partition knows of the others: the leader's view of its followers, and a follower's of its
//! leader.
//!
//! Owns the rules: who is in sync, how far records are committed, where a follower has to cut its log, who waits for
//! what. Must not know logs, protocol, sockets or clocks: offsets and times are told, what is to be done is returned.
//!
//! Invariants: while a leader's in-sync set is being changed the high watermark satisfies both the old set and the new
//! one; the high watermark never goes down while a leader leads; only the registration of the metadata log makes a
//! replica leader or follower.
//!
//! In reading order: [`Registration`], [`Leader`], [`Purgatory`], [`FollowerState`].

mod follower;
mod leader;
mod purgatory;

use ottla_model::{LeaderEpoch, NodeId, Offset, PartitionEpoch};

pub use follower::{Answer, EpochEnd, FollowerState, Phase, Step, truncation_offset};
pub use leader::{
    AlterAnswer, AlterIsr, FollowerFetch, FollowerProgress, Leader, LeaderConfig, Moved, ReadRefused,
};
pub use purgatory::Purgatory;

/// What the metadata log says of a partition, as far as replication is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
    /// [`NodeId::NONE`] while nobody leads.
    pub leader: NodeId,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
}

/// The ends of a replica's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOffsets {
    pub start: Offset,
    pub high_watermark: Offset,
    /// Behind the last record.
    pub end: Offset,
    /// Everything below is on the disk.
    pub synced: Offset,
}
