//! How leaders come and go: asking for votes, granting them, taking over, resigning.

use std::collections::BTreeSet;

use ottla_model::{ErrorCode, LeaderEpoch, Millis, NodeId, Offset};

use super::{Ballots, Raft, State};
use crate::config::Sabotage;
use crate::leader::Leader;
use crate::peers::Purpose;
use crate::{
    Ballot, BeginQuorumEpoch, Body, ControlRecord, EndQuorumEpoch, Leadership, Part, Request, ResponseBody,
    Token, Vote,
};

impl Ballots {
    pub(super) fn of(me: NodeId) -> Self {
        Self { granted: BTreeSet::from([me]), rejected: BTreeSet::new() }
    }
}

impl Raft {
    pub(super) fn poll_unattached(&mut self, now: Millis, election_at: Millis) {
        if self.may_stand() && (self.voters().is_only_voter(self.me()) || self.is_due(now, election_at)) {
            return self.canvass(now);
        }
        self.fetch_from_bootstrap(now);
    }

    /// Whether this node may try to become leader at all. One that was removed still may until it knows that to be
    /// committed: it may have the only log that is long enough.
    pub(super) fn may_stand(&self) -> bool {
        let committed = self.high_watermark.unwrap_or(Offset::ZERO);
        let was_voter = || {
            self.history.latest_offset().is_some_and(|at| at >= committed)
                && self.history.previous().contains(self.me())
        };
        let votes =
            self.config.part == Part::Controller && (self.voters().contains(self.me()) || was_voter());
        votes && !self.installing && !self.stopping
    }

    /// Becomes prospective: asks whether it would be elected, at once, whatever else has failed just now.
    pub(super) fn canvass(&mut self, now: Millis) {
        let election_at = self.election_time(now);
        self.fetch = None;
        self.peers.forget_pauses();
        self.enter(State::Prospective { election_at, ballots: Ballots::of(self.me().id) });
        self.count(now);
    }

    /// Becomes candidate in a new epoch.
    pub(super) fn stand(&mut self, now: Millis) {
        let election_at = self.election_time(now);
        self.enter_epoch(LeaderEpoch(self.epoch.0 + 1));
        self.voted = Some(self.me());
        self.enter(State::Candidate { election_at, ballots: Ballots::of(self.me().id) });
        self.count(now);
    }

    pub(super) fn poll_prospective(&mut self, now: Millis, election_at: Millis) {
        if self.is_due(now, election_at) || !self.may_stand() {
            return self.give_up(now);
        }
        self.ask_for_votes(now, Ballot::PreVote);
    }

    pub(super) fn poll_candidate(&mut self, now: Millis, election_at: Millis) {
        if self.is_due(now, election_at) {
            return self.canvass(now);
        }
        self.count(now);
        if matches!(self.state, State::Candidate { .. }) {
            self.ask_for_votes(now, Ballot::Vote);
        }
    }

    /// Nobody wants this node as leader: back to the one it knows, or to waiting.
    fn give_up(&mut self, now: Millis) {
        match self.leader {
            Some(leader) if !self.leader_endpoints.is_empty() => {
                self.follow(now, self.epoch, leader, self.leader_endpoints.clone());
            }
            _ => self.detach(now, self.epoch, None),
        }
    }

    fn ask_for_votes(&mut self, now: Millis, kind: Ballot) {
        let (State::Prospective { ballots, .. } | State::Candidate { ballots, .. }) = &self.state else {
            return;
        };
        let answered = |id: &NodeId| ballots.granted.contains(id) || ballots.rejected.contains(id);
        let unasked: Vec<NodeId> = self.voters().ids().filter(|id| !answered(id)).collect();
        for voter in unasked {
            let Some(to) = self.voter_destination(voter) else { continue };
            self.send(now, to, Purpose::Vote { kind, epoch: self.epoch, voter }, |raft| {
                Request::Vote(Vote {
                    kind,
                    epoch: raft.epoch,
                    candidate: raft.me(),
                    voter: raft.voters().get(voter).map(|voter| voter.key),
                    log_end: raft.log.end,
                })
            });
        }
    }

    pub(super) fn ballot(&mut self, now: Millis, kind: Ballot, voter: NodeId, granted: bool) {
        let ballots = match (&mut self.state, kind) {
            (State::Prospective { ballots, .. }, Ballot::PreVote) => ballots,
            (State::Candidate { ballots, .. }, Ballot::Vote) => ballots,
            _ => return,
        };
        if granted {
            ballots.granted.insert(voter)
        } else {
            ballots.rejected.insert(voter)
        };
        self.count(now);
    }

    fn count(&mut self, now: Millis) {
        let majority = self.voters().majority();
        let of_voters =
            |ids: &BTreeSet<NodeId>| ids.iter().filter(|id| self.voters().get(**id).is_some()).count();
        let (won, lost) = match &self.state {
            State::Prospective { ballots, .. } | State::Candidate { ballots, .. } => {
                (of_voters(&ballots.granted) >= majority, of_voters(&ballots.rejected) >= majority)
            }
            _ => return,
        };
        match &mut self.state {
            State::Prospective { .. } if won => self.stand(now),
            State::Prospective { .. } if lost => self.give_up(now),
            // A candidate that has lost waits for its timer: another may be about to win.
            State::Candidate { ballots, .. } if won => {
                let granting = std::mem::take(&mut ballots.granted);
                self.leader = Some(self.me().id);
                self.leader_endpoints = self.config.me.endpoints.clone().into();
                self.enter(State::Elected { granting });
            }
            _ => {}
        }
    }

    /// Takes over once the victory is stored.
    pub(super) fn poll_elected(&mut self, now: Millis) {
        if self.storing > 0 || self.durable() != self.stored {
            return;
        }
        let State::Elected { granting } = &mut self.state else { return };
        let granting: Vec<NodeId> = std::mem::take(granting).into_iter().collect();
        let voters = self.history.latest();
        let mut leader = Leader::new(now, self.log.end.offset, self.check_quorum_time(now), voters);
        leader.untold = self.other_voters();
        leader.commits_old_epochs = self.config.is_sabotaged(Sabotage::CommitOldEpochs);
        self.log.begin_epoch(self.epoch);
        let mut records = vec![ControlRecord::LeaderChange {
            leader: self.me().id,
            voters: voters.ids().collect(),
            granting,
        }];
        let version = self.history.kraft_version();
        let from_formatting = self.history.latest_offset() == Some(Offset::NONE);
        let me = self.my_entry();
        if version >= 1 && (from_formatting || voters.get(me.key.id) != Some(&me)) {
            records.push(ControlRecord::KRaftVersion(version));
            records.push(ControlRecord::Voters(voters.with(me)));
        }
        self.enter(State::Leader(Box::new(leader)));
        self.unreached.clear();
        self.append(now, Body::Control(records));
        self.flushed_to(now, self.log.flushed);
    }

    fn check_quorum_time(&self, now: Millis) -> Millis {
        now + self.config.fetch_timeout_ms * 3 / 2
    }

    /// A voter follows this leader.
    pub(super) fn heard_of(&mut self, now: Millis, replica: crate::ReplicaKey) {
        let voters = self.history.latest();
        if replica.id == self.me().id || !voters.contains(replica) {
            return;
        }
        let enough = voters.majority() - usize::from(voters.contains(self.me()));
        let next = self.check_quorum_time(now);
        if let State::Leader(leader) = &mut self.state
            && leader.hear(replica.id, enough)
        {
            leader.check_quorum_at = next;
        }
    }

    pub(super) fn poll_leader(&mut self, now: Millis) {
        let State::Leader(leader) = &self.state else { return };
        if self.stopping {
            // Elected after all, by votes that it had asked for before.
            return self.resign(now);
        }
        let (check_quorum_at, tell_at) = (leader.check_quorum_at, leader.tell_at);
        let has_others = self.voters().ids().any(|id| id != self.me().id);
        if has_others && self.is_due(now, check_quorum_at) {
            let alone = self.voters().majority() <= usize::from(self.voters().contains(self.me()));
            if !alone {
                return self.resign(now);
            }
        }
        let period = self.config.fetch_timeout_ms / 2;
        if has_others && self.is_due(now, tell_at) {
            let me = self.me().id;
            let State::Leader(leader) = &mut self.state else { return };
            leader.tell_at = now + period;
            let silent: Vec<NodeId> = leader.silent_voters(me, now + -period).collect();
            leader.untold.extend(silent);
            self.is_due(now, now + period);
        }
        self.tell_of_epoch(now);
        self.expire_fetches(now);
        self.poll_change(now);
    }

    fn tell_of_epoch(&mut self, now: Millis) {
        let State::Leader(leader) = &self.state else { return };
        for voter in leader.untold.clone() {
            let Some(to) = self.voter_destination(voter) else { continue };
            self.send(now, to, Purpose::Begin { epoch: self.epoch, voter }, |raft| {
                Request::BeginQuorumEpoch(BeginQuorumEpoch {
                    epoch: raft.epoch,
                    leader: raft.me().id,
                    voter: raft.voters().get(voter).map(|voter| voter.key),
                    endpoints: raft.config.me.endpoints.clone(),
                })
            });
        }
    }

    /// Stops leading, in this epoch for good.
    pub(super) fn resign(&mut self, now: Millis) {
        let State::Leader(leader) = &self.state else { return };
        let (successors, untold) = (leader.successors(self.me().id), self.other_voters());
        let election_at = self.election_time(now);
        self.enter(State::Resigned { election_at, untold, successors });
    }

    pub(super) fn poll_resigned(&mut self, now: Millis, election_at: Millis) {
        if !self.stopping && self.is_due(now, election_at) {
            return self.detach(now, LeaderEpoch(self.epoch.0 + 1), None);
        }
        let State::Resigned { untold, .. } = &self.state else { return };
        for voter in untold.clone() {
            let Some(to) = self.voter_destination(voter) else { continue };
            self.send(now, to, Purpose::End { epoch: self.epoch, voter }, |raft| {
                let State::Resigned { successors, .. } = &raft.state else { unreachable!("checked above") };
                Request::EndQuorumEpoch(EndQuorumEpoch {
                    epoch: raft.epoch,
                    leader: raft.me().id,
                    preferred: successors.clone(),
                })
            });
        }
    }

    pub(super) fn asked_for_vote(&mut self, now: Millis, token: Token, vote: Vote) {
        let rejected = ResponseBody::Vote { granted: false };
        let Vote { kind, epoch, candidate, log_end, .. } = vote;
        let impossible = match kind {
            Ballot::PreVote => log_end.epoch > epoch,
            Ballot::Vote => log_end.epoch >= epoch,
        };
        if log_end.offset < Offset::ZERO || !log_end.epoch.is_some() || impossible {
            return self.answer(token, ErrorCode::InvalidRequest, rejected);
        }
        if epoch < self.epoch {
            return self.answer(token, ErrorCode::FencedLeaderEpoch, rejected);
        }
        if !candidate.id.is_some() {
            return self.answer(token, ErrorCode::InvalidRequest, rejected);
        }
        if epoch > self.epoch {
            self.detach(now, epoch, None);
        }
        if !self.is_meant(vote.voter) {
            return self.answer(token, ErrorCode::InvalidVoterKey, rejected);
        }
        let granted = self.grants(&vote);
        if granted && kind == Ballot::Vote {
            self.voted = Some(candidate);
            let next = self.election_time(now);
            if let State::Unattached { election_at } | State::Prospective { election_at, .. } =
                &mut self.state
            {
                *election_at = next;
            }
        }
        self.answer(token, ErrorCode::None, ResponseBody::Vote { granted });
    }

    /// Whether a request that names its voter means this replica.
    fn is_meant(&self, voter: Option<crate::ReplicaKey>) -> bool {
        let me = self.me();
        voter.is_none_or(|key| key.id == me.id && (key.directory.is_zero() || key.directory == me.directory))
    }

    fn grants(&self, vote: &Vote) -> bool {
        let is_up_to_date =
            vote.log_end >= self.log.end || self.config.is_sabotaged(Sabotage::VoteForShortLogs);
        if self.config.is_sabotaged(Sabotage::VoteTwice) && !self.is_leader() {
            return is_up_to_date;
        }
        match (&self.state, vote.kind) {
            (State::Leader(_) | State::Elected { .. }, _) => false,
            (State::Follower(follower), Ballot::PreVote) => is_up_to_date && !follower.has_fetched,
            (_, Ballot::PreVote) => is_up_to_date,
            (State::Unattached { .. } | State::Prospective { .. }, Ballot::Vote) => match self.voted {
                Some(voted) => {
                    let (voted, same) = (voted.directory, voted.id == vote.candidate.id);
                    same && (voted.is_zero() || voted == vote.candidate.directory)
                }
                None => self.leader.is_none() && is_up_to_date,
            },
            _ => false,
        }
    }

    pub(super) fn told_of_epoch(&mut self, now: Millis, token: Token, begin: BeginQuorumEpoch) {
        let body = ResponseBody::BeginQuorumEpoch;
        if begin.epoch < self.epoch {
            return self.answer(token, ErrorCode::FencedLeaderEpoch, body);
        }
        let heard =
            Leadership { epoch: begin.epoch, leader: Some(begin.leader), endpoints: begin.endpoints.into() };
        if !begin.leader.is_some() || !self.adopt(now, &heard) {
            return self.answer(token, ErrorCode::InvalidRequest, body);
        }
        let error = if self.is_meant(begin.voter) { ErrorCode::None } else { ErrorCode::InvalidVoterKey };
        self.answer(token, error, body);
    }

    pub(super) fn told_of_end(&mut self, now: Millis, token: Token, end: EndQuorumEpoch) {
        let body = ResponseBody::EndQuorumEpoch;
        if end.epoch < self.epoch {
            return self.answer(token, ErrorCode::FencedLeaderEpoch, body);
        }
        let heard = Leadership { epoch: end.epoch, leader: Some(end.leader), endpoints: [].into() };
        if !end.leader.is_some() || !self.adopt(now, &heard) {
            return self.answer(token, ErrorCode::InvalidRequest, body);
        }
        let wait = self.successor_wait(&end.preferred);
        if let State::Follower(follower) = &mut self.state {
            follower.fetch_by = now + wait;
            // That leader is no reason any more to refuse a successor.
            follower.has_fetched = false;
        }
        self.answer(token, ErrorCode::None, body);
    }

    /// How long to wait before standing after the leader has resigned: the best successor first, so that the others do
    /// not get in its way.
    fn successor_wait(&self, preferred: &[crate::ReplicaKey]) -> i64 {
        let me = self.me();
        let is_me = |key: &crate::ReplicaKey| key.id == me.id && (key.directory.is_zero() || *key == me);
        let most = self.config.election_backoff_ms_max;
        match preferred.iter().position(is_me) {
            Some(0) => 0,
            Some(place) => {
                let least = most.checked_shr(preferred.len() as u32 - 1).unwrap_or(0);
                least.checked_shl(place as u32 - 1).unwrap_or(most).min(most)
            }
            None => most,
        }
    }
}
