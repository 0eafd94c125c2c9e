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

/// What a replica that wants to go on from a position is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    Valid,
    Diverging(LogPosition),
    Snapshot(LogPosition),
}

impl LogShape {
    pub(crate) fn latest_snapshot(&self) -> Option<LogPosition> {
        self.snapshots.last().copied()
    }

    /// Where `epoch` ends here: the largest epoch not above it that is known, and the offset behind its last record.
    fn end_of(&self, epoch: LeaderEpoch) -> LogPosition {
        let higher = self.epochs.iter().find(|(known, _)| *known > epoch);
        let floor = self.epochs.iter().rev().find(|(known, _)| *known <= epoch);
        match (floor, higher) {
            (Some(&(epoch, _)), Some(&(_, offset))) => LogPosition { epoch, offset },
            (None, Some(&(_, offset))) => match self.snapshots.first() {
                Some(snapshot) if snapshot.offset == offset => *snapshot,
                _ => LogPosition { epoch, offset },
            },
            _ => self.end,
        }
    }

    /// Whether a log that ends at `position` is the beginning of this one.
    pub(crate) fn check(&self, position: LogPosition) -> Position {
        if position.offset == Offset::ZERO
            && let Some(latest) = self.latest_snapshot()
        {
            return Position::Snapshot(latest);
        }
        if self.start == Offset::ZERO && position.offset == Offset::ZERO {
            return Position::Valid;
        }
        if let (Some(earliest), Some(latest)) = (self.snapshots.first(), self.latest_snapshot()) {
            let below = position.offset < self.start
                || (position.offset == self.start && position.epoch != earliest.epoch)
                || position.epoch < earliest.epoch;
            if below {
                return Position::Snapshot(latest);
            }
        }
        let end = self.end_of(position.epoch);
        if end.epoch == position.epoch && end.offset >= position.offset {
            Position::Valid
        } else {
            Position::Diverging(end)
        }
    }

    /// Where to cut this log when the leader's ends its part in common at `leaders`.
    pub(crate) fn truncation_point(&self, leaders: LogPosition) -> Offset {
        if leaders.epoch == LeaderEpoch(0) {
            return leaders.offset.min(self.end.offset);
        }
        let own = self.end_of(leaders.epoch);
        if own.epoch == leaders.epoch { own.offset.min(leaders.offset) } else { own.offset }
    }

    pub(crate) fn begin_epoch(&mut self, epoch: LeaderEpoch) {
        if self.epochs.last().is_none_or(|(last, _)| *last < epoch) {
            self.epochs.retain(|(_, start)| *start < self.end.offset);
            self.epochs.push((epoch, self.end.offset));
        }
    }

    /// A batch up to `end` follows.
    pub(crate) fn append(&mut self, epoch: LeaderEpoch, end: Offset) {
        self.begin_epoch(epoch);
        self.end = LogPosition { epoch, offset: end };
    }

    pub(crate) fn truncate(&mut self, offset: Offset) {
        self.epochs.retain(|(_, start)| *start < offset);
        let below = self.snapshots.iter().rev().find(|snapshot| snapshot.offset <= offset);
        let epoch = match (self.epochs.last(), below) {
            (Some((epoch, _)), _) => *epoch,
            (None, Some(snapshot)) => snapshot.epoch,
            (None, None) => LeaderEpoch(0),
        };
        self.end = LogPosition { epoch, offset };
        self.flushed = self.flushed.min(offset);
    }

    /// The log is empty and begins where `snapshot` ends.
    pub(crate) fn begin_at(&mut self, snapshot: LogPosition) {
        *self = Self {
            start: snapshot.offset,
            end: snapshot,
            flushed: snapshot.offset,
            epochs: Vec::new(),
            snapshots: vec![snapshot],
        };
    }

    pub(crate) fn move_start(&mut self, start: Offset) {
        self.start = start;
        if let Some(covering) = self.epochs.iter().rposition(|(_, begins)| *begins <= start) {
            self.epochs.drain(..covering);
            self.epochs[0].1 = start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64, epoch: i32) -> LogPosition {
        LogPosition { epoch: LeaderEpoch(epoch), offset: Offset(offset) }
    }

    fn shape() -> LogShape {
        LogShape {
            start: Offset(0),
            end: at(30, 5),
            flushed: Offset(30),
            epochs: [(1, 0), (2, 10), (5, 20)].map(|(e, o)| (LeaderEpoch(e), Offset(o))).to_vec(),
            snapshots: Vec::new(),
        }
    }

    #[test]
    fn positions_are_compared_by_epoch() {
        let mut log = shape();
        for (position, expected) in [
            (at(0, 0), Position::Valid),
            (at(10, 1), Position::Valid),
            (at(11, 1), Position::Diverging(at(10, 1))),
            (at(7, 0), Position::Diverging(at(0, 0))),
            (at(15, 4), Position::Diverging(at(20, 2))),
            (at(30, 5), Position::Valid),
            (at(31, 5), Position::Diverging(at(30, 5))),
            (at(31, 6), Position::Diverging(at(30, 5))),
        ] {
            assert_eq!(log.check(position), expected, "{position}");
        }
        log.snapshots = vec![at(12, 2), at(22, 5)];
        log.move_start(Offset(12));
        assert_eq!(log.epochs[0], (LeaderEpoch(2), Offset(12)));
        for (position, expected) in [
            (at(0, 0), Position::Snapshot(at(22, 5))),
            (at(11, 2), Position::Snapshot(at(22, 5))),
            (at(12, 1), Position::Snapshot(at(22, 5))),
            (at(12, 2), Position::Valid),
            (at(25, 1), Position::Snapshot(at(22, 5))),
            (at(25, 2), Position::Diverging(at(20, 2))),
        ] {
            assert_eq!(log.check(position), expected, "{position}");
        }
    }

    #[test]
    fn a_log_is_cut_where_it_parts_from_the_leaders() {
        let mut log = shape();
        assert_eq!(log.truncation_point(at(0, 0)), Offset(0));
        assert_eq!(log.truncation_point(at(15, 2)), Offset(15));
        assert_eq!(log.truncation_point(at(40, 2)), Offset(20));
        assert_eq!(log.truncation_point(at(25, 4)), Offset(20));
        log.truncate(Offset(20));
        assert_eq!((log.end, log.flushed), (at(20, 2), Offset(20)));
        log.begin_at(at(50, 7));
        assert_eq!(log.check(at(50, 7)), Position::Valid);
        log.begin_epoch(LeaderEpoch(9));
        log.append(LeaderEpoch(9), Offset(52));
        assert_eq!(log.check(at(50, 7)), Position::Valid);
        log.truncate(Offset(50));
        assert_eq!(log.end, at(50, 7));
    }
}
