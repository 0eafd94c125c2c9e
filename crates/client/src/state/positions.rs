//! Where a consumer is in each of its partitions: positions with their leader epochs, resets, validation, pauses.
//!
//! A position is the offset of the next record for the application, and the epoch of the record before it. In front
//! of it runs the fetch offset: what is between the two lies in the buffer. Every seek, reset and assignment begins a
//! new *run* of the partition; answers and buffered records of older runs are worth nothing and are told apart by the
//! run's number.
//!
//! Invariants:
//! - Positions only go back by a seek, a reset or a truncation that was found by comparing epochs (KIP-320).
//! - A partition is fetched only with a position that is valid in the leader's epoch.

use std::collections::BTreeMap;

use ottla_model::{LeaderEpoch, Millis, NodeId, Offset, TopicPartition};

use super::reset_policy::{OffsetSpec, ResetPolicy};

/// An offset, and the leader epoch of the record in front of it if it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// That of the next record.
    pub offset: Offset,
    /// Epoch of the record before it; [`LeaderEpoch::NONE`] if that is not known, as behind a seek.
    pub epoch: LeaderEpoch,
}

/// A partition's leader, as the metadata tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leader {
    pub node: NodeId,
    pub epoch: LeaderEpoch,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Without a position: the committed offset is asked for, if there is a group.
    New,
    Reset(OffsetSpec),
    /// The leader's epoch changed: has the log been truncated below the position?
    Validating,
    Fetching,
    /// An error that the application has to hear.
    Failed(PositionError),
}

/// Why a partition has no position, and gets none without the application's doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PositionError {
    #[error("no offset is committed and auto.offset.reset is none")]
    NoOffset,
    #[error("offset {0} is out of range and auto.offset.reset is none")]
    OutOfRange(Offset),
    /// The log was truncated below the position; `diverges` is where it differs from what was read, if that is known.
    #[error("the log was truncated below offset {offset}, and auto.offset.reset is none")]
    Truncated { offset: Offset, diverges: Option<Position> },
}

/// Which request is due for a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Ask the group for the committed offset.
    Committed,
    /// Ask the leader for an offset.
    Offset(OffsetSpec),
    /// Ask the leader where `epoch` ends.
    Validate { leader: Leader, epoch: LeaderEpoch },
}

#[derive(Clone, Debug)]
struct Partition {
    run: u64,
    state: State,
    position: Option<Position>,
    /// The next offset to fetch.
    fetch: Offset,
    leader: Option<Leader>,
    paused: bool,
    /// No request for it before this time.
    retry_at: Millis,
    asked: bool,
    high_watermark: Option<Offset>,
    last_stable_offset: Option<Offset>,
    log_start_offset: Option<Offset>,
    preferred: Option<(NodeId, Millis)>,
}

/// All partitions of a consumer; see the module.
#[derive(Debug)]
pub struct Positions {
    policy: ResetPolicy,
    partitions: BTreeMap<TopicPartition, Partition>,
    runs: u64,
}

/// Where to fetch a partition from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchFrom {
    pub node: NodeId,
    pub leader_epoch: LeaderEpoch,
    pub offset: Offset,
    pub run: u64,
}

impl Positions {
    pub fn new(policy: ResetPolicy) -> Self {
        Self { policy, partitions: BTreeMap::new(), runs: 0 }
    }

    /// Replaces the assignment; partitions that stay keep everything.
    pub fn assign<'a>(&mut self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        let mut old = std::mem::take(&mut self.partitions);
        for partition in partitions {
            let state = old.remove(partition).unwrap_or_else(|| {
                self.runs += 1;
                Partition::new(self.runs)
            });
            self.partitions.insert(partition.clone(), state);
        }
    }

    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.keys()
    }

    pub fn contains(&self, partition: &TopicPartition) -> bool {
        self.partitions.contains_key(partition)
    }

    /// The next record for the application; `None` as long as it is not known.
    pub fn position(&self, partition: &TopicPartition) -> Option<Position> {
        self.partitions.get(partition)?.position
    }

    /// What would be committed: every known position.
    pub fn consumed(&self) -> impl Iterator<Item = (&TopicPartition, Position)> {
        self.partitions.iter().filter_map(|(partition, state)| Some((partition, state.position?)))
    }

    /// Whether `run` is the current one of the partition.
    pub fn is_current(&self, partition: &TopicPartition, run: u64) -> bool {
        self.partitions.get(partition).is_some_and(|state| state.run == run)
    }

    /// Whether `offset` is what the run of the partition fetches next.
    pub fn is_next(&self, partition: &TopicPartition, run: u64, offset: Offset) -> bool {
        self.partitions.get(partition).is_some_and(|state| state.run == run && state.fetch == offset)
    }

    pub fn is_paused(&self, partition: &TopicPartition) -> bool {
        self.partitions.get(partition).is_some_and(|state| state.paused)
    }

    /// Whether it is assigned.
    pub fn pause(&mut self, partition: &TopicPartition, paused: bool) -> bool {
        self.partitions.get_mut(partition).map(|state| state.paused = paused).is_some()
    }

    /// Records up to `next` were given to the application.
    pub fn consumed_to(&mut self, partition: &TopicPartition, next: Position) {
        if let Some(state) = self.partitions.get_mut(partition) {
            state.position = Some(next);
        }
    }

    /// Goes to an offset. A known epoch is validated against the leader first. Whether it is assigned.
    pub fn seek(&mut self, partition: &TopicPartition, to: Position) -> bool {
        self.begin(partition, State::Fetching).map(|state| state.go_to(to)).is_some()
    }

    /// Goes to an offset that the leader is asked for. Whether it is assigned.
    pub fn seek_to(&mut self, partition: &TopicPartition, spec: OffsetSpec) -> bool {
        self.begin(partition, State::Reset(spec)).is_some()
    }

    fn begin(&mut self, partition: &TopicPartition, state: State) -> Option<&mut Partition> {
        self.runs += 1;
        let run = self.runs;
        let partition = self.partitions.get_mut(partition)?;
        *partition = Partition {
            leader: partition.leader,
            paused: partition.paused,
            preferred: partition.preferred,
            log_start_offset: partition.log_start_offset,
            high_watermark: partition.high_watermark,
            last_stable_offset: partition.last_stable_offset,
            state,
            ..Partition::new(run)
        };
        Some(partition)
    }

    /// The metadata shows a leader, or none.
    pub fn see_leader(&mut self, partition: &TopicPartition, leader: Option<Leader>) {
        let next_run = self.runs + 1;
        let Some(state) = self.partitions.get_mut(partition) else { return };
        let (Some(new), Some(old)) = (leader, state.leader) else {
            // Old metadata of a node that lags behind does not take a leader away.
            state.leader = leader.or(state.leader);
            return;
        };
        if new.epoch < old.epoch || new == old {
            return;
        }
        state.leader = leader;
        state.preferred = None;
        if state.state == State::Fetching && new.epoch > old.epoch && state.fetch_epoch_known() {
            // What is buffered may be of a part that the new leader lacks; it is fetched again.
            self.runs = next_run;
            state.run = next_run;
            state.state = State::Validating;
            state.asked = false;
            state.fetch = state.position.map_or(state.fetch, |position| position.offset);
        }
    }

    /// The requests due at `now`, each once until it is answered or failed. Without a group nothing is committed.
    pub fn due(&mut self, now: Millis, wall_clock: Millis, group: bool) -> Vec<(TopicPartition, u64, Due)> {
        let policy = self.policy;
        let mut due = Vec::new();
        for (partition, state) in &mut self.partitions {
            if state.state == State::New && !group {
                state.reset(policy, wall_clock, PositionError::NoOffset);
            }
            if state.asked || state.retry_at > now {
                continue;
            }
            let what = match (state.state, state.leader, state.position) {
                (State::New, ..) => Due::Committed,
                (State::Reset(spec), Some(_), _) => Due::Offset(spec),
                (State::Validating, Some(leader), Some(position)) => {
                    Due::Validate { leader, epoch: position.epoch }
                }
                _ => continue,
            };
            state.asked = true;
            due.push((partition.clone(), state.run, what));
        }
        due
    }

    /// When requests that failed are due again.
    pub fn next_retry(&self) -> Option<Millis> {
        let waits =
            |state: &&Partition| !state.asked && !matches!(state.state, State::Fetching | State::Failed(_));
        self.partitions.values().filter(waits).map(|state| state.retry_at).min()
    }

    /// A request for the partition failed and may be tried again.
    pub fn failed(&mut self, partition: &TopicPartition, run: u64, retry_at: Millis) {
        if let Some(state) = self.current(partition, run) {
            state.asked = false;
            state.retry_at = retry_at;
        }
    }

    /// The group's committed offset, or that there is none.
    pub fn committed(
        &mut self,
        partition: &TopicPartition,
        run: u64,
        offset: Option<Position>,
        wall_clock: Millis,
    ) {
        let policy = self.policy;
        let Some(state) = self.current(partition, run).filter(|state| state.state == State::New) else {
            return;
        };
        match offset {
            Some(position) => {
                state.state = State::Fetching;
                state.go_to(position);
            }
            None => state.reset(policy, wall_clock, PositionError::NoOffset),
        }
    }

    /// The offset a reset asked for; `None` when no record is that young: then it is the end.
    pub fn offset_found(&mut self, partition: &TopicPartition, run: u64, offset: Option<Position>) {
        let Some(state) = self.current(partition, run) else { return };
        let State::Reset(_) = state.state else { return };
        state.asked = false;
        match offset {
            // The offset comes from the leader itself: nothing to validate.
            Some(position) => {
                state.state = State::Fetching;
                state.position = Some(position);
                state.fetch = position.offset;
            }
            None => state.state = State::Reset(OffsetSpec::Latest),
        }
    }

    /// Where the epoch of a position ends on the leader; `None`: the leader does not know the epoch.
    /// Returns whether the partition went back.
    pub fn validated(
        &mut self,
        partition: &TopicPartition,
        run: u64,
        end: Option<Position>,
        wall_clock: Millis,
    ) -> bool {
        let policy = self.policy;
        let Some(state) = self.current(partition, run).filter(|state| state.state == State::Validating)
        else {
            return false;
        };
        state.asked = false;
        let Some(position) = state.position else { return false };
        match end {
            Some(end) if end.offset >= position.offset => {
                state.state = State::Fetching;
                false
            }
            _ if policy == ResetPolicy::None => {
                let offset = position.offset;
                state.state = State::Failed(PositionError::Truncated { offset, diverges: end });
                true
            }
            Some(end) => self.seek(partition, Position { offset: end.offset, epoch: end.epoch }),
            None => {
                state.reset(policy, wall_clock, PositionError::NoOffset);
                true
            }
        }
    }

    /// The leader says that the offset asked for does not exist.
    pub fn out_of_range(&mut self, partition: &TopicPartition, run: u64, offset: Offset, wall_clock: Millis) {
        let policy = self.policy;
        let Some(state) = self.current(partition, run).filter(|state| state.fetch == offset) else { return };
        state.reset(policy, wall_clock, PositionError::OutOfRange(offset));
    }

    /// Where to fetch the partition from, if it can be fetched at all.
    pub fn fetch_from(&self, partition: &TopicPartition, now: Millis) -> Option<FetchFrom> {
        let state = self.partitions.get(partition)?;
        if state.paused || state.state != State::Fetching || state.retry_at > now {
            return None;
        }
        let leader = state.leader?;
        let node = state.preferred.filter(|(_, until)| *until > now).map_or(leader.node, |(node, _)| node);
        Some(FetchFrom { node, leader_epoch: leader.epoch, offset: state.fetch, run: state.run })
    }

    /// Fetch answered for the partition: everything below `next` is in the buffer.
    pub fn fetched(&mut self, partition: &TopicPartition, run: u64, next: Offset) {
        if let Some(state) = self.current(partition, run) {
            state.fetch = state.fetch.max(next);
        }
    }

    /// What a Fetch answer tells about the ends of the log; negative offsets tell nothing.
    pub fn see_ends(
        &mut self,
        partition: &TopicPartition,
        high_watermark: i64,
        last_stable: i64,
        start: i64,
    ) {
        let Some(state) = self.partitions.get_mut(partition) else { return };
        let known = |offset: i64| (offset >= 0).then_some(Offset(offset));
        state.high_watermark = known(high_watermark).or(state.high_watermark);
        state.last_stable_offset = known(last_stable).or(state.last_stable_offset);
        state.log_start_offset = known(start).or(state.log_start_offset);
    }

    /// A replica near the consumer's rack serves the partition until `until` (KIP-392); `None`: the leader again.
    pub fn prefer(&mut self, partition: &TopicPartition, replica: Option<(NodeId, Millis)>) {
        if let Some(state) = self.partitions.get_mut(partition) {
            state.preferred = replica;
        }
    }

    /// Records between the position and the end that readers see, as far as the last Fetch answer told.
    pub fn lag(&self, partition: &TopicPartition, read_committed: bool) -> Option<i64> {
        let state = self.partitions.get(partition)?;
        let end = if read_committed { state.last_stable_offset } else { state.high_watermark };
        Some((end? - state.position?.offset).max(0))
    }

    /// The first partition whose error the application has not heard; it hears it once per call until it seeks.
    pub fn first_error(&self) -> Option<(&TopicPartition, PositionError)> {
        self.partitions.iter().find_map(|(partition, state)| match state.state {
            State::Failed(error) => Some((partition, error)),
            _ => None,
        })
    }

    fn current(&mut self, partition: &TopicPartition, run: u64) -> Option<&mut Partition> {
        self.partitions.get_mut(partition).filter(|state| state.run == run)
    }
}

impl Partition {
    fn new(run: u64) -> Self {
        Self {
            run,
            state: State::New,
            position: None,
            fetch: Offset::NONE,
            leader: None,
            paused: false,
            retry_at: Millis(0),
            asked: false,
            high_watermark: None,
            last_stable_offset: None,
            log_start_offset: None,
            preferred: None,
        }
    }

    fn fetch_epoch_known(&self) -> bool {
        self.position.is_some_and(|position| position.epoch.is_some())
    }

    fn go_to(&mut self, position: Position) {
        self.asked = false;
        self.position = Some(position);
        self.fetch = position.offset;
        if position.epoch.is_some() {
            self.state = State::Validating;
        }
    }

    fn reset(&mut self, policy: ResetPolicy, wall_clock: Millis, otherwise: PositionError) {
        self.asked = false;
        self.state = match policy.spec(wall_clock) {
            Some(spec) => State::Reset(spec),
            None => State::Failed(otherwise),
        };
    }
}

#[cfg(test)]
mod tests;
