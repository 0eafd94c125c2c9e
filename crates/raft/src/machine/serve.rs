//! Serving fetches: what a leader answers to those who follow.

use ottla_model::{ErrorCode, LeaderEpoch, Millis, Offset};

use super::{Raft, State};
use crate::config::Sabotage;
use crate::leader::Parked;
use crate::log::Position;
use crate::{Content, Fetch, FetchSnapshot, Fetched, FetchedSnapshot, ResponseBody, Token};

impl Raft {
    /// The body of a refused fetch.
    pub(super) fn empty_fetch(&self) -> ResponseBody {
        ResponseBody::Fetch(Fetched {
            high_watermark: Offset::NONE,
            log_start: Offset::ZERO,
            content: Content::Read { from: Offset::ZERO, bytes_max: 0 },
        })
    }

    /// Why a request made in `epoch` is not for this node.
    pub(super) fn not_leader_of(&self, epoch: LeaderEpoch) -> Option<ErrorCode> {
        if epoch < self.epoch {
            Some(ErrorCode::FencedLeaderEpoch)
        } else if epoch > self.epoch {
            Some(ErrorCode::UnknownLeaderEpoch)
        } else {
            (!self.is_leader()).then_some(ErrorCode::NotLeaderOrFollower)
        }
    }

    pub(super) fn serve_fetch(&mut self, now: Millis, token: Token, fetch: Fetch) {
        let Fetch { position, epoch, wait_ms_max, .. } = fetch;
        let is_invalid = wait_ms_max < 0
            || position.offset < Offset::ZERO
            || !position.epoch.is_some()
            || (epoch.is_some() && position.epoch > epoch);
        let invalid = is_invalid.then_some(ErrorCode::InvalidRequest);
        if let Some(error) = invalid.or_else(|| self.not_leader_of(epoch)) {
            return self.answer(token, error, self.empty_fetch());
        }
        let until = now + wait_ms_max;
        if let Some(fetch) = self.try_fetch(now, token, fetch, now < until)
            && let State::Leader(leader) = &mut self.state
        {
            leader.parked.push(Parked { token, fetch, until });
        }
    }

    /// Answers a fetch, or returns it if it may wait and there is nothing to say.
    fn try_fetch(&mut self, now: Millis, token: Token, fetch: Fetch, may_wait: bool) -> Option<Fetch> {
        let position = fetch.position;
        let is_at_ease = self.config.is_sabotaged(Sabotage::SkipPositionCheck);
        let content = match self.log.check(position) {
            Position::Diverging(end) if is_at_ease && position.offset <= self.log.end.offset => {
                self.replica_at(now, &fetch);
                Content::Diverging(end)
            }
            Position::Diverging(end) => Content::Diverging(end),
            Position::Snapshot(snapshot) => Content::Snapshot(snapshot),
            Position::Valid => {
                self.replica_at(now, &fetch);
                let has_data = position.offset < self.log.end.offset;
                let State::Leader(leader) = &self.state else {
                    // Its own removal was committed by this very fetch.
                    self.answer(token, ErrorCode::NotLeaderOrFollower, self.empty_fetch());
                    return None;
                };
                let has_news = fetch.high_watermark < leader.high_watermark.unwrap_or(Offset::NONE);
                if may_wait && !has_data && !has_news {
                    return Some(fetch);
                }
                let bytes_max = if has_data { fetch.bytes_max.max(1) } else { 0 };
                Content::Read { from: position.offset, bytes_max }
            }
        };
        let State::Leader(leader) = &self.state else { return None };
        let high_watermark = leader.high_watermark.unwrap_or(Offset::NONE);
        let body = ResponseBody::Fetch(Fetched { high_watermark, log_start: self.log.start, content });
        self.answer(token, ErrorCode::None, body);
        None
    }

    fn replica_at(&mut self, now: Millis, fetch: &Fetch) {
        let (replica, end) = (fetch.replica, fetch.position.offset);
        if !replica.id.is_some() || replica.id == self.me().id {
            return;
        }
        self.heard_of(now, replica);
        if let State::Leader(leader) = &mut self.state {
            leader.progressed(now, replica, end, self.log.end.offset);
            self.advance(now);
        }
    }

    /// Something was appended or committed: whoever waited for that is answered.
    pub(super) fn wake_fetches(&mut self, now: Millis) {
        let State::Leader(leader) = &mut self.state else { return };
        for parked in std::mem::take(&mut leader.parked) {
            self.try_fetch(now, parked.token, parked.fetch, false);
        }
    }

    pub(super) fn expire_fetches(&mut self, now: Millis) {
        let State::Leader(leader) = &mut self.state else { return };
        let (expired, parked): (Vec<_>, Vec<_>) =
            std::mem::take(&mut leader.parked).into_iter().partition(|parked| parked.until <= now);
        let next = parked.iter().map(|parked| parked.until).min();
        leader.parked = parked;
        for Parked { token, fetch, .. } in expired {
            self.try_fetch(now, token, fetch, false);
        }
        if let Some(next) = next {
            self.is_due(now, next);
        }
    }

    pub(super) fn serve_snapshot(&mut self, now: Millis, token: Token, fetch: FetchSnapshot) {
        let FetchSnapshot { replica, epoch, snapshot, position, bytes_max } = fetch;
        let body =
            |bytes| ResponseBody::FetchSnapshot(FetchedSnapshot { snapshot, position, bytes, size: 0 });
        let error = self.not_leader_of(epoch).or_else(|| {
            if !self.log.snapshots.contains(&snapshot) {
                Some(ErrorCode::SnapshotNotFound)
            } else {
                (position < 0).then_some(ErrorCode::PositionOutOfRange)
            }
        });
        if let Some(error) = error {
            return self.answer(token, error, body(0));
        }
        self.heard_of(now, replica);
        self.answer(token, ErrorCode::None, body(bytes_max));
    }
}
