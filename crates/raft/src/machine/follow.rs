//! Following: fetching from the leader, or from whoever may know it.

use ottla_model::{ErrorCode, Millis, Offset};

use super::{Raft, State};
use crate::config::Sabotage;
use crate::peers::{NotReady, Purpose};
use crate::{
    Content, ControlRecord, Destination, Fault, Fetch, FetchSnapshot, Fetched, FetchedBatch, FetchedSnapshot,
    LogPosition, Part, Request, SnapshotPiece, SnapshotProgress,
};

/// How long a leader may let a fetch wait for data.
const FETCH_WAIT_MS_MAX: i64 = 500;

#[derive(Debug)]
pub(super) struct Follower {
    /// When a voter loses patience with the leader.
    pub fetch_by: Millis,
    /// Whether this leader has answered a fetch.
    pub has_fetched: bool,
    snapshot: Option<Snapshot>,
    /// When to look whether the leader knows this node as it is.
    pub update_at: Millis,
    /// It does, as far as kraft.version 0 goes.
    pub has_updated: bool,
}

/// A snapshot that is being fetched.
#[derive(Clone, Copy, Debug)]
struct Snapshot {
    id: LogPosition,
    position: i64,
}

impl Follower {
    pub fn new(fetch_by: Millis) -> Self {
        Self { fetch_by, has_fetched: false, snapshot: None, update_at: fetch_by, has_updated: false }
    }
}

impl Raft {
    pub(super) fn poll_follower(&mut self, now: Millis) {
        let State::Follower(follower) = &self.state else { return };
        let fetch_by = follower.fetch_by;
        if self.may_stand() && self.is_due(now, fetch_by) {
            return self.canvass(now);
        }
        if self.poll_update(now) || !self.may_fetch() {
            return;
        }
        // An observer that hears nothing from the leader asks around, between its attempts.
        if !self.is_voter() && now >= fetch_by {
            let State::Follower(follower) = &mut self.state else { return };
            follower.fetch_by = now + self.config.fetch_timeout_ms;
            return self.fetch_from_bootstrap(now);
        }
        match self.leader_destination() {
            Some(leader) => match self.peers.ready(now, &leader) {
                Ok(()) => self.fetch_from(now, leader),
                Err(NotReady::Busy) => {}
                Err(NotReady::Paused { until }) => {
                    self.is_due(now, until);
                    self.fetch_from_bootstrap(now);
                }
            },
            None => self.fetch_from_bootstrap(now),
        }
        if !self.is_voter() {
            self.is_due(now, fetch_by);
        }
    }

    pub(super) fn leader_destination(&self) -> Option<Destination> {
        self.destination(self.leader?, &self.leader_endpoints)
    }

    /// The leader cannot be reached, which is known at once when its process has ended. A voter that cannot fetch from
    /// it for a moment more asks whether it would be elected; whoever still follows the leader says no (KIP-996).
    pub(super) fn lose_patience(&mut self, now: Millis) {
        if !self.is_voter() {
            return;
        }
        let moment = self.config.election_timeout_ms / 10;
        let stand_at = now + moment + self.random.below(moment.max(1) as u64) as i64;
        if let State::Follower(follower) = &mut self.state {
            follower.fetch_by = follower.fetch_by.min(stand_at);
        }
    }

    /// One fetch at a time. A controller's says that what lies below is synced.
    fn may_fetch(&self) -> bool {
        let is_synced = self.log.flushed >= self.log.end.offset
            || self.config.part == Part::Broker
            || self.config.is_sabotaged(Sabotage::FetchBeforeFlushed);
        self.fetch.is_none() && !self.installing && is_synced
    }

    /// Asks any server that may know the leader.
    pub(super) fn fetch_from_bootstrap(&mut self, now: Millis) {
        if !self.may_fetch() {
            return;
        }
        let known = self.bootstrap_servers();
        let mut ready = Vec::new();
        for to in known {
            match self.peers.ready(now, &to) {
                Ok(()) => ready.push(to),
                Err(NotReady::Paused { until }) => _ = self.is_due(now, until),
                Err(NotReady::Busy) => {}
            }
        }
        if !ready.is_empty() {
            let chosen = self.random.below(ready.len() as u64) as usize;
            self.fetch_from(now, ready.swap_remove(chosen));
        }
    }

    /// `controller.quorum.bootstrap.servers`; without it the voters.
    fn bootstrap_servers(&self) -> Vec<Destination> {
        let configured = self.config.bootstrap.iter();
        let mut servers: Vec<Destination> = configured
            .map(|address| Destination { node: None, host: address.host.clone(), port: address.port })
            .collect();
        if servers.is_empty() {
            let configured = self.history.configured();
            let voters = if configured.is_empty() { self.voters() } else { configured };
            let others = voters.iter().filter(|voter| voter.key.id != self.me().id);
            servers = others.filter_map(|voter| self.destination(voter.key.id, &voter.endpoints)).collect();
        }
        let mine = self.config.me.endpoints.iter().find(|endpoint| endpoint.listener == self.config.listener);
        servers
            .retain(|server| mine.is_none_or(|mine| (&mine.host, mine.port) != (&server.host, server.port)));
        servers
    }

    fn fetch_from(&mut self, now: Millis, to: Destination) {
        let epoch = self.epoch;
        let snapshot = match &self.state {
            State::Follower(follower) => follower.snapshot,
            _ => None,
        };
        if let Some(Snapshot { id, position }) = snapshot
            && Some(&to) == self.leader_destination().as_ref()
        {
            self.send(now, to, Purpose::FetchSnapshot { epoch, snapshot: id, position }, |raft| {
                Request::FetchSnapshot(FetchSnapshot {
                    replica: raft.me(),
                    epoch,
                    snapshot: id,
                    position,
                    bytes_max: raft.config.fetch_snapshot_bytes_max,
                })
            });
            return;
        }
        let position = self.log.end;
        self.send(now, to, Purpose::Fetch { epoch, position }, |raft| {
            Request::Fetch(Fetch {
                replica: raft.me(),
                epoch,
                position,
                high_watermark: raft.high_watermark.unwrap_or(Offset::NONE),
                wait_ms_max: FETCH_WAIT_MS_MAX,
                bytes_max: raft.config.fetch_bytes_max,
            })
        });
    }

    /// An answer of the leader of this epoch to a fetch from `position`.
    pub(super) fn fetched(&mut self, now: Millis, position: LogPosition, fetched: Fetched) {
        if position != self.log.end || self.installing {
            return;
        }
        let fetch_by = now + self.config.fetch_timeout_ms;
        let State::Follower(follower) = &mut self.state else { return };
        follower.fetch_by = fetch_by;
        follower.has_fetched = true;
        follower.snapshot = None;
        match fetched.content {
            Content::Diverging(_) if self.config.is_sabotaged(Sabotage::KeepDiverged) => {}
            Content::Diverging(leaders) => self.truncate(self.log.truncation_point(leaders)),
            Content::Snapshot(id) => {
                if !self.log.snapshots.contains(&id) && id.offset > self.log.start {
                    follower.snapshot = Some(Snapshot { id, position: 0 });
                }
            }
            Content::Batches(batches) => {
                self.take(&batches);
                let high_watermark = fetched.high_watermark.min(self.log.end.offset);
                if high_watermark > Offset::ZERO {
                    self.committed(high_watermark);
                }
            }
            Content::Read { .. } => {}
        }
    }

    fn truncate(&mut self, offset: Offset) {
        let high_watermark = self.high_watermark.unwrap_or(Offset::ZERO);
        if offset < high_watermark {
            return self.fault(Fault::CommittedLost { at: offset, high_watermark });
        }
        self.log.truncate(offset);
        self.history.truncate(offset);
        self.out.truncate = Some(offset);
    }

    /// Takes those batches that follow on the log and each other, of no later epoch than the one fetched in: a leader
    /// that was replaced meanwhile may send such.
    fn take(&mut self, batches: &[FetchedBatch]) {
        for batch in batches {
            let LogPosition { epoch, offset } = self.log.end;
            if batch.base != offset || batch.end <= offset || batch.epoch < epoch || batch.epoch > self.epoch
            {
                break;
            }
            self.log.append(batch.epoch, batch.end);
            for (offset, record) in &batch.control {
                self.history.observe(*offset, record);
            }
            self.out.take += 1;
        }
    }

    pub(super) fn fetched_snapshot(
        &mut self,
        now: Millis,
        id: LogPosition,
        position: i64,
        error: ErrorCode,
        piece: FetchedSnapshot,
    ) {
        let fetch_by = now + self.config.fetch_timeout_ms;
        let State::Follower(follower) = &mut self.state else { return };
        if !follower.snapshot.is_some_and(|snapshot| snapshot.id == id && snapshot.position == position) {
            return;
        }
        let next = position + i64::from(piece.bytes);
        let fits =
            piece.snapshot == id && piece.position == position && next <= piece.size && piece.bytes > 0;
        if error != ErrorCode::None || !fits {
            follower.snapshot = None;
            return;
        }
        follower.fetch_by = fetch_by;
        let progress = if next < piece.size {
            follower.snapshot = Some(Snapshot { id, position: next });
            SnapshotProgress::More
        } else {
            follower.snapshot = None;
            self.installing = true;
            SnapshotProgress::Complete
        };
        self.out.snapshot = Some(SnapshotPiece { snapshot: id, position, progress });
    }

    pub(super) fn snapshot_installed(&mut self, snapshot: LogPosition, control: &[ControlRecord]) {
        self.installing = false;
        self.log.begin_at(snapshot);
        self.history.restart(snapshot.offset, control);
        self.committed(snapshot.offset);
    }
}
