//! The shape of the log: where it begins and ends, which epoch wrote what, which snapshots there are. The machine keeps
//! it up to date by itself from what it orders; the records are the driver's.

use ottla_model::{LeaderEpoch, Offset};

/// A place in a log: an offset, and the epoch of the record before it. A snapshot is named by where it ends. Orders as
/// elections compare logs: epoch first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    pub epoch: LeaderEpoch,
    pub offset: Offset,
}

impl LogPosition {
    pub const START: Self = Self { epoch: LeaderEpoch(0), offset: Offset::ZERO };
}

impl std::fmt::Display for LogPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.offset, self.epoch)
    }
}

/// The log as the driver found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogShape {
    pub start: Offset,
    pub end: LogPosition,
    /// Everything below is certainly on disk. After a start that did not sync, the log's start.
    pub flushed: Offset,
    /// Where each epoch begins, ascending.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// Without the one that formatting wrote, oldest first.
    pub snapshots: Vec<LogPosition>,
}
