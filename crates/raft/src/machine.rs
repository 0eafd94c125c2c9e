//! The step machine.

use ottla_model::{LeaderEpoch, Millis, NodeId, Offset};

use crate::leader::Leader;
use crate::{
    Actions, Append, Body, ControlRecord, Endpoint, Event, Identity, LogPosition, LogShape, Progress,
    QuorumState, RaftConfig, ReplicaKey, VersionRange, Voter, VoterHistory, VoterSet,
};

/// Why the machine cannot run with what it found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("the quorum has no voters: format this node with --standalone or --initial-controllers")]
    NoVoters,
    #[error("{me} is not among the voters {voters:?}: its directory was formatted for another quorum")]
    NotAVoter { me: ReplicaKey, voters: Vec<ReplicaKey> },
    #[error("the quorum has {0} voters; this version of Ottla runs quorums of one")]
    ManyVoters(usize),
    #[error("the log uses kraft.version {found}; this node supports {} to {}", supported.min, supported.max)]
    KRaftVersion { found: i16, supported: VersionRange },
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
    Unattached,
    Candidate,
    Leader(Leader),
    Resigned,
}

/// The quorum as one node sees it. Owned and stepped by one thread.
#[derive(Debug)]
pub struct Raft {
    me: Identity,
    history: VoterHistory,
    epoch: LeaderEpoch,
    state: State,
    end: LogPosition,
}

impl Raft {
    /// `stored` is what `quorum-state` says, `log` what the log holds and `history` its voters.
    pub fn new(
        config: RaftConfig,
        stored: QuorumState,
        log: LogShape,
        history: VoterHistory,
    ) -> Result<Self, StartError> {
        let (me, end) = (config.me, log.end);
        let voters = history.latest();
        if voters.is_empty() {
            return Err(StartError::NoVoters);
        }
        if !voters.contains(me.key) {
            let voters = voters.iter().map(|voter| voter.key).collect();
            return Err(StartError::NotAVoter { me: me.key, voters });
        }
        if voters.len() > 1 {
            return Err(StartError::ManyVoters(voters.len()));
        }
        let (found, supported) = (history.kraft_version(), me.kraft_version);
        if found < supported.min || found > supported.max {
            return Err(StartError::KRaftVersion { found, supported });
        }
        let epoch = stored.epoch.max(end.epoch).max(LeaderEpoch(0));
        Ok(Self { me, history, epoch, state: State::Unattached, end })
    }

    pub fn step(&mut self, now: Millis, event: Event) -> Actions {
        match event {
            Event::Start => self.campaign(),
            Event::Stored => self.lead(now),
            Event::Flushed { end } => self.progressed(now, self.me.key, end),
            Event::Fetched { replica, end } if replica.id != self.me.key.id => {
                self.progressed(now, replica, end)
            }
            Event::Fetched { .. } => Actions::default(),
            Event::Propose { records } => self.append(Body::Proposed { records }),
            Event::SetKRaftVersion(version) => self.set_kraft_version(version),
            Event::Resign => {
                if matches!(self.state, State::Leader(_) | State::Candidate) {
                    self.state = State::Resigned;
                }
                Actions::default()
            }
            _ => Actions::default(),
        }
    }

    /// When [`Event::Tick`] is due; [`Millis::MAX`]: never.
    pub fn deadline(&self) -> Millis {
        Millis::MAX
    }

    /// Whether the node may end after [`Event::Shutdown`]: it is not a leader whose successor is not yet known.
    pub fn may_stop(&self) -> bool {
        true
    }

    /// Where the leader is reached, by listener; empty where not known.
    pub fn leader_endpoints(&self) -> &[Endpoint] {
        if self.is_leader() { &self.me.endpoints } else { &[] }
    }

    pub fn role(&self) -> Role {
        match self.state {
            State::Unattached => Role::Unattached,
            State::Candidate => Role::Candidate,
            State::Leader(_) => Role::Leader,
            State::Resigned => Role::Resigned,
        }
    }

    pub fn is_leader(&self) -> bool {
        self.role() == Role::Leader
    }

    /// The leader of [`Self::epoch`], if this node knows it.
    pub fn leader(&self) -> Option<NodeId> {
        self.is_leader().then_some(self.me.key.id)
    }

    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Where the next batch goes.
    pub fn end(&self) -> LogPosition {
        self.end
    }

    pub fn high_watermark(&self) -> Option<Offset> {
        match &self.state {
            State::Leader(leader) => leader.high_watermark,
            _ => None,
        }
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

    /// Voters and observers with their progress, for DescribeQuorum; empty unless leader. The leader itself is
    /// as far as its log, synced or not, and is always caught up.
    pub fn progress(&self, now: Millis) -> Replicas {
        let State::Leader(leader) = &self.state else { return Replicas::default() };
        let me = self.me.key;
        let voters = leader.voters().map(|(key, progress)| {
            if key.id != me.id {
                return (key, progress);
            }
            (key, Progress { end_offset: self.end.offset, last_fetch: now, last_caught_up: now })
        });
        Replicas { voters: voters.collect(), observers: leader.observers(now).collect() }
    }

    /// Forgets voter sets that only matter below `start`, where the log now begins.
    pub fn trim(&mut self, start: Offset) {
        self.history.trim(start);
    }

    /// The only voter votes for itself in a new epoch and has won. One write of the outcome is enough: no other
    /// node can have asked for a vote in between.
    fn campaign(&mut self) -> Actions {
        assert!(matches!(self.state, State::Unattached), "started twice");
        assert!(self.history.latest().is_only_voter(self.me.key), "elections among voters are not there yet");
        self.epoch = LeaderEpoch(self.epoch.0 + 1);
        self.state = State::Candidate;
        let store = QuorumState { epoch: self.epoch, leader: Some(self.me.key.id), voted: None };
        Actions { store: Some(store), ..Actions::default() }
    }

    fn lead(&mut self, _now: Millis) -> Actions {
        if !matches!(self.state, State::Candidate) {
            return Actions::default();
        }
        let voters = self.history.latest();
        self.state = State::Leader(Leader::new(self.end.offset, voters));
        let ids: Vec<NodeId> = voters.ids().collect();
        let mut records =
            vec![ControlRecord::LeaderChange { leader: self.me.key.id, voters: ids.clone(), granting: ids }];
        let version = self.history.kraft_version();
        if version >= 1 && (self.history.latest_offset() == Some(Offset::NONE) || self.my_entry_is_outdated())
        {
            records.push(ControlRecord::KRaftVersion(version));
            records.push(ControlRecord::Voters(voters.with(self.my_entry())));
        }
        self.append(Body::Control(records))
    }

    fn my_entry(&self) -> Voter {
        Voter { key: self.me.key, endpoints: self.me.endpoints.clone(), kraft_version: self.me.kraft_version }
    }

    fn my_entry_is_outdated(&self) -> bool {
        self.history.latest().get(self.me.key.id) != Some(&self.my_entry())
    }

    /// Raises `kraft.version` to 1: from here on the voters are in the log. Whether the level is allowed is the
    /// caller's to check; going back is not.
    fn set_kraft_version(&mut self, version: i16) -> Actions {
        if version <= self.history.kraft_version() {
            return Actions::default();
        }
        let voters = self.history.latest().with(self.my_entry());
        self.append(Body::Control(vec![ControlRecord::KRaftVersion(version), ControlRecord::Voters(voters)]))
    }

    fn append(&mut self, body: Body) -> Actions {
        let State::Leader(leader) = &mut self.state else { return Actions::default() };
        let base = self.end.offset;
        let count = match &body {
            Body::Control(records) => records.len() as i64,
            Body::Proposed { records } => i64::from(*records),
        };
        assert!(count > 0, "an empty batch takes no offset");
        if let Body::Control(records) = &body {
            for (offset, record) in (base.0..).zip(records) {
                self.history.observe(Offset(offset), record);
            }
            leader.set_voters(self.history.latest());
        }
        self.end = LogPosition { offset: base + count, epoch: self.epoch };
        Actions { append: vec![Append { base, epoch: self.epoch, body }], ..Actions::default() }
    }

    fn progressed(&mut self, now: Millis, replica: ReplicaKey, end: Offset) -> Actions {
        let State::Leader(leader) = &mut self.state else { return Actions::default() };
        assert!(end <= self.end.offset, "{replica} claims {end} of a log that ends at {}", self.end.offset);
        leader.progressed(now, replica, end, self.end.offset);
        Actions { high_watermark: leader.advance(), ..Actions::default() }
    }
}
