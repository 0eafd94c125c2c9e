//! A partition's follower: where it fetches next, and what its leader's answers make it do.
//!
//! Owns the fetch position and the state of truncation. The log's offsets are told; what to do with the log is
//! returned.

use ottla_model::{ErrorCode, LeaderEpoch, Millis, Offset};

/// One partition that this broker follows, as its fetcher keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerState {
    leader_epoch: LeaderEpoch,
    offset: Offset,
    /// The epoch of the record before `offset`; -1 if the log knows none.
    last_epoch: LeaderEpoch,
    phase: Phase,
    /// Not to be fetched before.
    delayed_until: Millis,
    /// Delays in a row without anything taken over in between.
    failures: u32,
}

/// The first delay after a failure; each further one is twice as long, up to the configured back-off.
const BACKOFF_MS_MIN: i64 = 5;

/// What a follower does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Fetching,
    /// What it has is not on the disk yet, as it must be before the leader hears of it; nothing is fetched meanwhile.
    Syncing,
    /// Its offset is not in the leader's log; the leader is asked what is.
    OutOfRange,
    /// Nothing, until the metadata names a newer leader epoch.
    Stopped,
}

/// Where an epoch ends, in the leader's log or the follower's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    pub epoch: LeaderEpoch,
    pub end: Offset,
}

/// A leader's answer to a fetch of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Records, perhaps none.
    Records,
    /// The follower's last epoch ends earlier in the leader's log.
    Diverging(EpochEnd),
    Failed(ErrorCode),
}

/// What the follower has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Append what came, then [`FollowerState::advance`].
    Append,
    /// Cut the log at [`truncation_offset`], then [`FollowerState::advance`].
    Truncate(EpochEnd),
    /// Ask the leader where its log ends: if before this one's end, an unclean election took records away and the log
    /// is cut there. Else ask where it begins: behind this one's end, the log restarts there. Then
    /// [`FollowerState::advance`], or [`FollowerState::fail`] if the leader does not answer.
    AskForEnds,
    /// Ask again later; the error is worth a line.
    Retry(ErrorCode),
    /// Wait for the metadata.
    Stop,
}

impl FollowerState {
    /// Follows from now on, in `leader_epoch`. `log_end` and `last_epoch` are the log's.
    pub fn new(leader_epoch: LeaderEpoch, log_end: Offset, last_epoch: LeaderEpoch) -> Self {
        Self {
            leader_epoch,
            offset: log_end,
            last_epoch,
            phase: Phase::Fetching,
            delayed_until: Millis(0),
            failures: 0,
        }
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The offset to fetch from.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The epoch of the record before it.
    pub fn last_epoch(&self) -> LeaderEpoch {
        self.last_epoch
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When it may be fetched next.
    pub fn delayed_until(&self) -> Millis {
        self.delayed_until
    }

    /// Whether it belongs into a fetch that is made now.
    pub fn is_ready(&self, now: Millis) -> bool {
        self.phase == Phase::Fetching && self.delayed_until <= now
    }

    /// Takes a leader's answer to the fetch that asked in `epoch` from `offset`. `None`: the answer is to a question
    /// that nobody asks any more.
    pub fn answered(
        &mut self,
        (epoch, offset): (LeaderEpoch, Offset),
        answer: Answer,
        now: Millis,
        backoff_ms: i64,
    ) -> Option<Step> {
        if epoch != self.leader_epoch || offset != self.offset || self.phase != Phase::Fetching {
            return None;
        }
        Some(match answer {
            Answer::Records => Step::Append,
            Answer::Diverging(end) => Step::Truncate(end),
            Answer::Failed(ErrorCode::OffsetOutOfRange) => {
                self.phase = Phase::OutOfRange;
                Step::AskForEnds
            }
            Answer::Failed(ErrorCode::FencedLeaderEpoch) => {
                self.phase = Phase::Stopped;
                Step::Stop
            }
            Answer::Failed(error) => {
                self.fail(now, backoff_ms);
                Step::Retry(error)
            }
        })
    }

    /// The log now ends at `log_end`, whose last record is of `last_epoch`.
    pub fn advance(&mut self, log_end: Offset, last_epoch: LeaderEpoch) {
        self.offset = log_end;
        self.last_epoch = last_epoch;
        self.failures = 0;
        if self.phase == Phase::OutOfRange {
            self.phase = Phase::Fetching;
        }
    }

    /// What it has must be synced before it is fetched again: the fetch says that it has it.
    pub fn await_sync(&mut self) {
        if self.phase == Phase::Fetching {
            self.phase = Phase::Syncing;
        }
    }

    /// Everything below `offset` is on the disk.
    pub fn synced(&mut self, offset: Offset) {
        if self.phase == Phase::Syncing && offset >= self.offset {
            self.phase = Phase::Fetching;
        }
    }

    /// Not fetched for a while, the longer the more often it failed, but for `backoff_ms` at most: after a change of
    /// leaders the new one often hears of it a moment later than its followers.
    pub fn fail(&mut self, now: Millis, backoff_ms: i64) {
        self.hold(now + (BACKOFF_MS_MIN << self.failures.min(20)).min(backoff_ms));
        self.failures += 1;
    }

    /// Not fetched before `until`.
    pub fn hold(&mut self, until: Millis) {
        self.delayed_until = until;
        if self.phase == Phase::OutOfRange {
            self.phase = Phase::Fetching;
        }
    }

    /// Stops for good: the log is offline.
    pub fn stop(&mut self) {
        self.phase = Phase::Stopped;
    }
}

/// Where to cut a log whose leader says that `leader` is where the follower's last epoch ends, when `local` is where
/// that epoch (or the largest below it) ends in the follower's log.
///
/// The next fetch tells whether the logs agree then; if not, this goes another round.
pub fn truncation_offset(leader: EpochEnd, local: Option<EpochEnd>, log_end: Offset) -> Offset {
    let offset = match (leader.end, local) {
        // The leader knows nothing of the epoch, nor of any below: nothing says that anything is wrong.
        (Offset::NONE, _) => log_end,
        // Nothing below is known here: the leader's word alone.
        (end, None) => end,
        (end, Some(local)) if local.epoch == leader.epoch => end.min(local.end),
        (_, Some(local)) => local.end,
    };
    offset.min(log_end)
}
