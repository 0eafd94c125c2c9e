//! The step machine: its states, how it moves between them, and its clock. What it does in each state is in
//! [`election`], [`follow`], [`serve`] and [`membership`].

mod election;
mod follow;
mod membership;
mod serve;

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_model::{ErrorCode, LeaderEpoch, Millis, NodeId, Offset};

use crate::config::Sabotage;
use crate::leader::Leader;
use crate::peers::{NotReady, Peers, Purpose};
use crate::random::Random;
use crate::{
    Actions, Append, Body, Destination, Endpoint, Event, Failure, Fault, Identity, Leadership, LogPosition,
    LogShape, Outgoing, Part, Progress, QuorumState, RaftConfig, ReplicaKey, Request, RequestId, Response,
    ResponseBody, Token, VersionRange, Voter, VoterHistory, VoterSet,
};
use follow::Follower;

/// Why the machine cannot run with what it found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("the log uses kraft.version {found}; this node supports {} to {}", supported.min, supported.max)]
    KRaftVersion { found: i16, supported: VersionRange },
    #[error("neither the log nor the configuration names a voter or a bootstrap server")]
    NobodyToAsk,
}

/// All replicas that a leader knows of, and how far they are.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Replicas {
    pub voters: Vec<(ReplicaKey, Progress)>,
    pub observers: Vec<(ReplicaKey, Progress)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Knows no leader of its epoch.
    Unattached,
    /// Asks whether it would be elected, in the old epoch still.
    Prospective,
    /// Voted for itself.
    Candidate,
    Leader,
    Follower,
    /// Led this epoch once and does not any more.
    Resigned,
}

#[derive(Debug)]
enum State {
    Unattached {
        election_at: Millis,
    },
    Prospective {
        election_at: Millis,
        ballots: Ballots,
    },
    Candidate {
        election_at: Millis,
        ballots: Ballots,
    },
    /// Waits until its victory is stored.
    Elected {
        granting: BTreeSet<NodeId>,
    },
    Leader(Box<Leader>),
    Follower(Follower),
    Resigned {
        election_at: Millis,
        untold: BTreeSet<NodeId>,
        successors: Vec<ReplicaKey>,
    },
}

/// What was answered to a candidate.
#[derive(Debug, Default)]
struct Ballots {
    granted: BTreeSet<NodeId>,
    rejected: BTreeSet<NodeId>,
}

/// The quorum as one node sees it. Owned and stepped by one thread.
#[derive(Debug)]
pub struct Raft {
    config: RaftConfig,
    history: VoterHistory,
    log: LogShape,
    epoch: LeaderEpoch,
    /// Whom this node voted for in this epoch.
    voted: Option<ReplicaKey>,
    /// Who leads this epoch, once known; this node itself also after it has resigned.
    leader: Option<NodeId>,
    leader_endpoints: Arc<[Endpoint]>,
    state: State,
    high_watermark: Option<Offset>,
    /// A snapshot whose bytes have all arrived.
    installing: bool,
    /// The fetch that is under way. Another one may be, whose answer no longer counts.
    fetch: Option<RequestId>,
    peers: Peers,
    random: Random,
    stopping: bool,
    /// Voters that could not be reached when last asked, since this node led or heard of a leader.
    unreached: BTreeSet<NodeId>,
    /// While this node was about to stop, nobody wanted to be elected for an election timeout.
    left_alone: bool,
    /// What was last ordered to be stored, and how many orders are not done.
    stored: QuorumState,
    storing: usize,
    /// What is said when the stores are done.
    held_answers: Vec<(Token, Response)>,
    held_requests: Vec<Outgoing>,
    deadline: Millis,
    /// Why the machine has stopped for good.
    fault: Option<Fault>,
    /// What this step has ordered so far.
    out: Actions,
}

impl Raft {
    /// `stored` is what `quorum-state` says, `log` what the log holds and `history` its voters.
    pub fn new(
        config: RaftConfig,
        stored: QuorumState,
        log: LogShape,
        history: VoterHistory,
    ) -> Result<Self, StartError> {
        let (found, supported) = (history.kraft_version(), config.me.kraft_version);
        if !supported.contains(found) {
            return Err(StartError::KRaftVersion { found, supported });
        }
        if history.latest().is_empty() && config.bootstrap.is_empty() && history.configured().is_empty() {
            return Err(StartError::NobodyToAsk);
        }
        let random = Random::new(config.seed);
        Ok(Self {
            history,
            log,
            epoch: stored.epoch,
            voted: stored.voted,
            leader: stored.leader,
            leader_endpoints: Arc::new([]),
            state: State::Unattached { election_at: Millis::MAX },
            high_watermark: None,
            installing: false,
            fetch: None,
            peers: Peers::default(),
            random,
            stopping: false,
            unreached: BTreeSet::new(),
            left_alone: false,
            stored,
            storing: 0,
            held_answers: Vec::new(),
            held_requests: Vec::new(),
            deadline: Millis::MAX,
            fault: None,
            out: Actions::default(),
            config,
        })
    }

    pub fn step(&mut self, now: Millis, event: Event) -> Actions {
        self.deadline = Millis::MAX;
        if self.fault.is_some() {
            return self.finish();
        }
        match event {
            Event::Start => self.start(now),
            Event::Tick => {}
            Event::Stored => self.storing -= 1,
            Event::Flushed { end } => self.flushed_to(now, end),
            Event::Propose { records } => self.propose(now, records),
            Event::Request { token, request } => self.requested(now, token, request),
            Event::Answered { id, result } => self.answered(now, id, result),
            Event::SnapshotInstalled { snapshot, control } => self.snapshot_installed(snapshot, &control),
            Event::SnapshotsChanged { log_start, snapshots } => {
                self.log.snapshots = snapshots;
                self.log.move_start(log_start);
                self.history.trim(log_start);
            }
            Event::SetKRaftVersion(version) => self.set_kraft_version(now, version),
            Event::Resign => self.resign(now),
            Event::Shutdown => {
                self.stopping = true;
                self.resign(now);
            }
        }
        self.poll(now);
        self.finish()
    }

    pub fn role(&self) -> Role {
        match self.state {
            State::Unattached { .. } => Role::Unattached,
            State::Prospective { .. } => Role::Prospective,
            State::Candidate { .. } | State::Elected { .. } => Role::Candidate,
            State::Leader(_) => Role::Leader,
            State::Follower(_) => Role::Follower,
            State::Resigned { .. } => Role::Resigned,
        }
    }

    pub fn is_leader(&self) -> bool {
        self.role() == Role::Leader
    }

    /// The leader of [`Self::epoch`], if this node leads or follows it.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader.filter(|_| matches!(self.state, State::Leader(_) | State::Follower(_)))
    }

    /// Where the leader is reached, by listener; empty where not known.
    pub fn leader_endpoints(&self) -> &[Endpoint] {
        &self.leader_endpoints
    }

    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Where the next batch goes.
    pub fn end(&self) -> LogPosition {
        self.log.end
    }

    /// Everything of the log below is known to be synced.
    pub fn flushed(&self) -> Offset {
        self.log.flushed
    }

    /// Everything below is committed. Never goes back; `None` until something is known to be.
    pub fn high_watermark(&self) -> Option<Offset> {
        self.high_watermark
    }

    /// First offset of this leader's epoch.
    pub fn epoch_start(&self) -> Option<Offset> {
        match &self.state {
            State::Leader(leader) => Some(leader.epoch_start),
            _ => None,
        }
    }

    pub fn voters(&self) -> &VoterSet {
        self.history.latest()
    }

    pub fn history(&self) -> &VoterHistory {
        &self.history
    }

    /// When [`Event::Tick`] is due; [`Millis::MAX`]: never.
    pub fn deadline(&self) -> Millis {
        self.deadline
    }

    /// Whether the node may end after [`Event::Shutdown`]: nobody waits for it to see a successor elected, or there is
    /// nobody left who could be.
    pub fn may_stop(&self) -> bool {
        !self.is_voter()
            || self.voters().is_only_voter(self.me())
            || matches!(self.state, State::Follower(_))
            || self.left_alone
            || self.is_cut_off()
    }

    /// Whether so few voters could be reached that none of them can lead.
    pub fn is_cut_off(&self) -> bool {
        let reached = self.voters().ids().filter(|id| !self.unreached.contains(id)).count();
        self.is_voter() && reached < self.voters().majority()
    }

    /// Voters and observers with their progress, for DescribeQuorum; empty unless leader. The leader itself is
    /// as far as its log, synced or not, and is always caught up.
    pub fn progress(&self, now: Millis) -> Replicas {
        let State::Leader(leader) = &self.state else { return Replicas::default() };
        let me = self.me();
        let voters = leader.voters().map(|(key, progress)| {
            if key.id != me.id {
                return (key, progress);
            }
            (key, Progress { end_offset: self.log.end.offset, last_fetch: now, last_caught_up: now })
        });
        Replicas { voters: voters.collect(), observers: leader.observers(now).collect() }
    }

    fn me(&self) -> ReplicaKey {
        self.config.me.key
    }

    fn is_voter(&self) -> bool {
        self.config.part == Part::Controller && self.voters().contains(self.me())
    }

    fn my_entry(&self) -> Voter {
        let Identity { key, endpoints, kraft_version } = self.config.me.clone();
        Voter { key, endpoints, kraft_version }
    }

    fn start(&mut self, now: Millis) {
        assert_eq!(self.storing, 0, "started twice");
        let election_at = self.election_time(now);
        let log_epoch = self.log.end.epoch;
        if self.epoch < log_epoch {
            (self.epoch, self.voted, self.leader) = (log_epoch, None, None);
        }
        if self.leader == Some(self.me().id) && self.config.is_sabotaged(Sabotage::LeadAgain) {
            let granting = self.voters().ids().collect();
            self.state = State::Elected { granting };
        } else if self.leader == Some(self.me().id) {
            let untold = self.other_voters();
            self.state = State::Resigned { election_at, untold, successors: Vec::new() };
        } else if self.may_stand() && self.leader.is_none() && self.voted == Some(self.stored_form(self.me()))
        {
            self.state = State::Candidate { election_at, ballots: Ballots::of(self.me().id) };
        } else if let Some(leader) = self.leader
            && let Some(voter) = self.voters().get(leader)
            && !voter.endpoints.is_empty()
        {
            let endpoints = voter.endpoints.clone().into();
            self.follow(now, self.epoch, leader, endpoints);
        } else {
            self.state = State::Unattached { election_at };
        }
        if self.voters().is_only_voter(self.me()) && self.may_stand() && self.role() != Role::Candidate {
            self.canvass(now);
        }
    }

    /// A key as `quorum-state` keeps it: without the directory while kraft.version is 0.
    fn stored_form(&self, key: ReplicaKey) -> ReplicaKey {
        if self.history.kraft_version() == 0 { ReplicaKey::new(key.id, ottla_model::Uuid::ZERO) } else { key }
    }

    /// What must survive a crash from here on.
    fn durable(&self) -> QuorumState {
        let voted = self.voted.map(|key| self.stored_form(key)).filter(|_| self.leader != Some(self.me().id));
        QuorumState { epoch: self.epoch, leader: self.leader, voted }
    }

    fn election_time(&mut self, now: Millis) -> Millis {
        let timeout = self.config.election_timeout_ms;
        now + timeout + self.random.below(timeout as u64) as i64
    }

    /// Leaves the state for another; what waited for a leader is told that it is none any more.
    fn enter(&mut self, state: State) {
        if let State::Leader(leader) = std::mem::replace(&mut self.state, state) {
            for parked in leader.parked {
                self.answer(parked.token, ErrorCode::NotLeaderOrFollower, self.empty_fetch());
            }
            if let Some(change) = leader.change {
                self.answer_change(&change, ErrorCode::NotLeaderOrFollower, None);
            }
        }
    }

    /// Enters an epoch that is above this node's.
    fn enter_epoch(&mut self, epoch: LeaderEpoch) {
        assert!(epoch > self.epoch);
        (self.epoch, self.voted, self.leader) = (epoch, None, None);
        self.leader_endpoints = Arc::new([]);
    }

    /// In this epoch or a new one; `leader` is one that cannot be reached.
    fn detach(&mut self, now: Millis, epoch: LeaderEpoch, leader: Option<NodeId>) {
        let election_at = match &self.state {
            State::Unattached { election_at }
            | State::Candidate { election_at, .. }
            | State::Resigned { election_at, .. } => *election_at,
            State::Prospective { election_at, ballots } if ballots.rejected.is_empty() => *election_at,
            _ => self.election_time(now),
        };
        if epoch > self.epoch {
            self.enter_epoch(epoch);
            self.leader = leader;
        }
        self.fetch = None;
        self.enter(State::Unattached { election_at });
    }

    fn follow(&mut self, now: Millis, epoch: LeaderEpoch, leader: NodeId, endpoints: Arc<[Endpoint]>) {
        if epoch > self.epoch {
            self.enter_epoch(epoch);
        }
        self.leader = Some(leader);
        self.leader_endpoints = endpoints;
        self.fetch = None;
        self.enter(State::Follower(Follower::new(now + self.config.fetch_timeout_ms)));
    }

    /// Takes note of who leads, as another node says. An epoch has one leader: false if this says otherwise.
    fn adopt(&mut self, now: Millis, heard: &Leadership) -> bool {
        let Leadership { epoch, leader, .. } = *heard;
        if epoch < self.epoch {
            return true;
        }
        let endpoints = match leader.and_then(|leader| self.voters().get(leader)) {
            Some(voter) if heard.endpoints.is_empty() => voter.endpoints.clone().into(),
            _ => heard.endpoints.clone(),
        };
        match leader {
            Some(leader) if leader == self.me().id => epoch == self.epoch && self.leader == Some(leader),
            Some(leader) if epoch == self.epoch && self.leader.is_some_and(|known| known != leader) => false,
            Some(leader) if endpoints.is_empty() => {
                if epoch > self.epoch {
                    self.detach(now, epoch, Some(leader));
                }
                true
            }
            Some(leader) => {
                // One who asks for votes because this leader is silent goes on asking.
                let is_known = epoch == self.epoch && self.leader == Some(leader);
                if !is_known || endpoints.len() > self.leader_endpoints.len() {
                    self.follow(now, epoch, leader, endpoints);
                }
                true
            }
            None => {
                if epoch > self.epoch {
                    self.detach(now, epoch, None);
                }
                true
            }
        }
    }

    fn leadership(&self) -> Leadership {
        Leadership { epoch: self.epoch, leader: self.leader, endpoints: self.leader_endpoints.clone() }
    }

    fn answer(&mut self, token: Token, error: ErrorCode, body: ResponseBody) {
        let response = Response { error, message: None, leadership: self.leadership(), body };
        self.out.answers.push((token, response));
    }

    fn requested(&mut self, now: Millis, token: Token, request: Request) {
        match request {
            Request::Vote(vote) => self.asked_for_vote(now, token, vote),
            Request::BeginQuorumEpoch(begin) => self.told_of_epoch(now, token, begin),
            Request::EndQuorumEpoch(end) => self.told_of_end(now, token, end),
            Request::Fetch(fetch) => self.serve_fetch(now, token, fetch),
            Request::FetchSnapshot(fetch) => self.serve_snapshot(now, token, fetch),
            Request::AddVoter(add) => self.add_voter(now, token, add),
            Request::RemoveVoter(key) => self.remove_voter(now, token, key),
            Request::UpdateVoter(update) => self.update_voter(now, token, update),
            Request::ApiVersions => {
                let kraft_version = Some(self.config.me.kraft_version);
                self.answer(token, ErrorCode::None, ResponseBody::ApiVersions { kraft_version });
            }
        }
    }

    /// What all answers have in common, then what each is for.
    fn answered(&mut self, now: Millis, id: RequestId, result: Result<Response, Failure>) {
        let Some((to, purpose)) = self.peers.answered(id) else { return };
        let is_fetch = self.fetch == Some(id);
        if is_fetch {
            self.fetch = None;
        }
        let failed = !matches!(&result, Ok(response) if response.error == ErrorCode::None);
        // A fetch that was given up for something else, such as an election, holds that back no more.
        let is_given_up = matches!(purpose, Purpose::Fetch { .. }) && !is_fetch;
        if failed && !is_given_up {
            self.peers.pause(to.clone(), now + self.config.request_backoff_ms);
        }
        let response = match result {
            Ok(response) => response,
            Err(Failure::UnsupportedVersion) => return self.unsupported(now, purpose),
            Err(Failure::Unreachable) => {
                if self.leader_destination() == Some(to) {
                    self.lose_patience(now);
                }
                return self.unreachable(now, purpose);
            }
        };
        if let Some(voter) = purpose.voter() {
            self.unreached.remove(&voter);
        }
        if !matches!(purpose, Purpose::Join | Purpose::Versions) {
            if response.error == ErrorCode::InvalidRequest {
                return self.fault(Fault::Refused(purpose.name()));
            }
            if response.leadership.epoch < self.epoch || response.error == ErrorCode::UnknownLeaderEpoch {
                return;
            }
            if !self.adopt(now, &response.leadership) {
                let Leadership { epoch, leader, .. } = response.leadership;
                let (me, other) = (self.me().id, leader.unwrap_or(NodeId::NONE));
                return self.fault(match self.leader {
                    Some(known) if other != me => Fault::TwoLeaders { epoch, known, other },
                    _ => Fault::LeadsElsewhere { epoch, me },
                });
            }
        }
        match (purpose, response.body) {
            (Purpose::Vote { kind, epoch, voter }, ResponseBody::Vote { granted }) if epoch == self.epoch => {
                if matches!(response.error, ErrorCode::None | ErrorCode::InvalidVoterKey) {
                    self.ballot(now, kind, voter, granted);
                }
            }
            (Purpose::Begin { epoch, voter }, _)
                if !failed || response.error == ErrorCode::InvalidVoterKey =>
            {
                if epoch == self.epoch
                    && let State::Leader(leader) = &mut self.state
                {
                    leader.untold.remove(&voter);
                }
            }
            (Purpose::End { epoch, voter }, _) if !failed => {
                if epoch == self.epoch
                    && let State::Resigned { untold, .. } = &mut self.state
                {
                    untold.remove(&voter);
                }
            }
            (Purpose::Fetch { epoch, position }, ResponseBody::Fetch(fetched))
                if !failed && epoch == self.epoch =>
            {
                self.unreached.clear();
                self.fetched(now, position, fetched);
            }
            (Purpose::FetchSnapshot { epoch, snapshot, position }, ResponseBody::FetchSnapshot(piece))
                if epoch == self.epoch =>
            {
                self.fetched_snapshot(now, snapshot, position, response.error, piece);
            }
            (Purpose::UpdateVoter { epoch }, _) if epoch == self.epoch => self.updated(response.error),
            (Purpose::Versions, ResponseBody::ApiVersions { kraft_version }) => {
                self.versions_known(now, response.error, kraft_version);
            }
            _ => {}
        }
    }

    fn unsupported(&mut self, now: Millis, purpose: Purpose) {
        match purpose {
            // A peer that cannot be asked beforehand is asked right away (KIP-996).
            Purpose::Vote { kind: crate::Ballot::PreVote, epoch, .. } if epoch == self.epoch => {
                if matches!(self.state, State::Prospective { .. }) {
                    self.stand(now);
                }
            }
            Purpose::UpdateVoter { epoch } if epoch == self.epoch => {
                self.updated(ErrorCode::UnsupportedVersion)
            }
            other => self.unreachable(now, other),
        }
    }

    fn unreachable(&mut self, now: Millis, purpose: Purpose) {
        if purpose == Purpose::Versions {
            self.versions_known(now, ErrorCode::BrokerNotAvailable, None);
        }
        if let Some(voter) = purpose.voter() {
            self.unreached.insert(voter);
        }
    }

    fn flushed_to(&mut self, now: Millis, end: Offset) {
        assert!(end <= self.log.end.offset, "{end} of a log that ends at {} was synced", self.log.end);
        self.log.flushed = self.log.flushed.max(end);
        if let State::Leader(leader) = &mut self.state
            && self.history.latest().contains(self.config.me.key)
        {
            leader.progressed(now, self.config.me.key, self.log.flushed, self.log.end.offset);
            if self.config.is_sabotaged(Sabotage::CommitAlone) {
                self.committed(self.log.end.offset);
            }
            self.advance(now);
        }
    }

    fn propose(&mut self, now: Millis, records: u32) {
        if self.is_leader() {
            self.append(now, Body::Proposed { records });
        }
    }

    /// Appends as leader; returns the offset of the batch's last record.
    fn append(&mut self, now: Millis, body: Body) -> Offset {
        let State::Leader(leader) = &mut self.state else { unreachable!("only a leader appends") };
        let base = self.log.end.offset;
        let count = match &body {
            Body::Control(records) => records.len() as i64,
            Body::Proposed { records } => i64::from(*records),
        };
        assert!(count > 0, "an empty batch takes no offset");
        self.log.append(self.epoch, base + count);
        if let Body::Control(records) = &body {
            for (offset, record) in (base.0..).zip(records) {
                self.history.observe(Offset(offset), record);
            }
            leader.set_voters(self.history.latest());
        }
        self.out.append.push(Append { base, epoch: self.epoch, body });
        self.wake_fetches(now);
        base + (count - 1)
    }

    /// Moves the high watermark of a leader, and what waits for it.
    fn advance(&mut self, now: Millis) {
        let State::Leader(leader) = &mut self.state else { return };
        let Some(moved) = leader.advance() else { return };
        self.committed(moved);
        self.wake_fetches(now);
        self.change_committed(now, moved);
    }

    fn committed(&mut self, high_watermark: Offset) {
        if self.high_watermark.is_none_or(|known| known < high_watermark) {
            self.high_watermark = Some(high_watermark);
            self.out.high_watermark = Some(high_watermark);
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// Does what is due, until nothing is.
    fn poll(&mut self, now: Millis) {
        while self.fault.is_none() {
            let before = (self.role(), self.epoch);
            self.give_up_waiting(now);
            match self.state {
                State::Unattached { election_at } => self.poll_unattached(now, election_at),
                State::Prospective { election_at, .. } => self.poll_prospective(now, election_at),
                State::Candidate { election_at, .. } => self.poll_candidate(now, election_at),
                State::Elected { .. } => self.poll_elected(now),
                State::Leader(_) => self.poll_leader(now),
                State::Follower(_) => self.poll_follower(now),
                State::Resigned { election_at, .. } => self.poll_resigned(now, election_at),
            }
            if before == (self.role(), self.epoch) {
                break;
            }
        }
    }

    /// About to stop, waits for a successor no longer than for an election.
    fn give_up_waiting(&mut self, now: Millis) {
        if let State::Unattached { election_at } | State::Resigned { election_at, .. } = self.state
            && self.stopping
            && self.is_due(now, election_at)
        {
            self.left_alone = true;
        }
    }

    /// Whether `at` has come; if not, the machine wants to be woken then.
    fn is_due(&mut self, now: Millis, at: Millis) -> bool {
        if now < at {
            self.deadline = self.deadline.min(at);
        }
        now >= at
    }

    /// Sends if the destination is free; if it is paused, wakes up when the pause is over.
    fn send(
        &mut self,
        now: Millis,
        to: Destination,
        purpose: Purpose,
        request: impl FnOnce(&Self) -> Request,
    ) -> bool {
        match self.peers.ready(now, &to) {
            Ok(()) => {
                let request = request(self);
                let id = self.peers.send(to.clone(), purpose);
                if matches!(purpose, Purpose::Fetch { .. } | Purpose::FetchSnapshot { .. }) {
                    self.fetch = Some(id);
                }
                self.out.requests.push(Outgoing { id, to, request });
                true
            }
            Err(NotReady::Paused { until }) => {
                self.is_due(now, until);
                false
            }
            Err(NotReady::Busy) => false,
        }
    }

    /// Where a node is reached over the listener of the quorum.
    fn destination(&self, node: NodeId, endpoints: &[Endpoint]) -> Option<Destination> {
        let endpoint = endpoints.iter().find(|endpoint| endpoint.listener == self.config.listener)?;
        Some(Destination { node: Some(node), host: endpoint.host.clone(), port: endpoint.port })
    }

    fn voter_destination(&self, voter: NodeId) -> Option<Destination> {
        self.destination(voter, &self.voters().get(voter)?.endpoints)
    }

    fn other_voters(&self) -> BTreeSet<NodeId> {
        self.voters().ids().filter(|id| *id != self.me().id).collect()
    }

    /// Takes the orders of this step. What others may rely on waits for the stores.
    fn finish(&mut self) -> Actions {
        if self.fault.is_some() {
            return Actions { fault: self.fault.clone(), ..Actions::default() };
        }
        let durable = self.durable();
        if durable != self.stored {
            self.stored = durable.clone();
            self.storing += 1;
            self.out.store = Some(durable);
        }
        let mut out = std::mem::take(&mut self.out);
        self.held_answers.append(&mut out.answers);
        self.held_requests.append(&mut out.requests);
        if self.storing == 0 || self.config.is_sabotaged(Sabotage::AnswerBeforeStored) {
            out.answers = std::mem::take(&mut self.held_answers);
            out.requests = std::mem::take(&mut self.held_requests);
        }
        out
    }
}
