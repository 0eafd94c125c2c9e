//! Many nodes in one thread: a network that delays, loses, doubles and reorders, disks that sync late and lose what was
//! not synced, crashes and restarts. After every step it checks what Raft promises.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ottla_model::{ErrorCode, LeaderEpoch, Millis, NodeId, Offset, Uuid};

use crate::config::Sabotage;
use crate::random::Random;
use crate::*;

pub const LISTENER: &str = "CONTROLLER";
/// A request is given up after this long.
const REQUEST_TIMEOUT_MS: i64 = 2000;
/// Bytes of a test snapshot, and of the pieces it is fetched in.
const SNAPSHOT_BYTES: i64 = 25;
const PIECE_BYTES: u32 = 10;
const VERSIONS: VersionRange = VersionRange { min: 0, max: 1 };

pub fn key(id: i32) -> ReplicaKey {
    ReplicaKey::new(NodeId(id), Uuid::from_u128(500 + id as u128))
}

pub fn voter(id: i32) -> Voter {
    Voter { key: key(id), endpoints: vec![endpoint(id)], kraft_version: VERSIONS }
}

pub fn endpoint(id: i32) -> Endpoint {
    Endpoint { listener: LISTENER.into(), host: "host".into(), port: id as u16 }
}

/// A batch as it lies on a disk. `mark` stands for its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub base: Offset,
    pub end: Offset,
    pub epoch: LeaderEpoch,
    pub mark: u64,
    pub control: Vec<(Offset, ControlRecord)>,
}

/// What survives a crash: all of it, but for what lies behind `synced`.
#[derive(Clone, Debug)]
struct Disk {
    state: QuorumState,
    start: Offset,
    log: Vec<Batch>,
    synced: Offset,
    snapshots: Vec<(LogPosition, Vec<ControlRecord>)>,
    /// Voters from configuration or from formatting.
    configured: VoterSet,
    formatted: Vec<ControlRecord>,
}

impl Disk {
    fn end(&self) -> LogPosition {
        match (self.log.last(), self.snapshots.last()) {
            (Some(batch), _) => LogPosition { epoch: batch.epoch, offset: batch.end },
            (None, Some((snapshot, _))) => *snapshot,
            (None, None) => LogPosition::START,
        }
    }

    fn history(&self) -> VoterHistory {
        let mut history = VoterHistory::new(self.configured.clone());
        for record in &self.formatted {
            history.observe(Offset::NONE, record);
        }
        if let Some((id, control)) = self.snapshots.last() {
            for record in control {
                history.observe(Offset(id.offset.0 - 1), record);
            }
        }
        for (offset, record) in self.log.iter().flat_map(|batch| &batch.control) {
            history.observe(*offset, record);
        }
        history
    }

    fn shape(&self) -> LogShape {
        let mut epochs: Vec<(LeaderEpoch, Offset)> = Vec::new();
        for batch in &self.log {
            if epochs.last().is_none_or(|(epoch, _)| *epoch < batch.epoch) {
                epochs.push((batch.epoch, batch.base));
            }
        }
        let snapshots = self.snapshots.iter().map(|(id, _)| *id).collect();
        LogShape { start: self.start, end: self.end(), flushed: self.synced, epochs, snapshots }
    }
}

pub struct Node {
    pub raft: Raft,
    /// Ordered and not yet on disk.
    stores: VecDeque<QuorumState>,
    /// Grows when the log is cut: a sync under way says nothing about what comes in the place of what went.
    cuts: u64,
    is_flushing: bool,
    /// Requests under way.
    pending: BTreeSet<RequestId>,
    /// Whom to answer.
    askers: BTreeMap<Token, (i32, RequestId)>,
    tick_at: Millis,
    bytes: i64,
}

enum Happening {
    Request {
        from: i32,
        to: i32,
        id: RequestId,
        request: Request,
    },
    /// `marks` are the bytes of fetched batches.
    Response {
        to: i32,
        id: RequestId,
        result: Result<Response, Failure>,
        marks: Vec<u64>,
    },
    Stored {
        node: i32,
    },
    Flushed {
        node: i32,
        up_to: Offset,
        cuts: u64,
    },
    Tick {
        node: i32,
    },
}

/// How rough the world is. Chances are per thousand.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub delay_ms_max: u64,
    pub disk_ms_max: u64,
    pub lost: u64,
    pub doubled: u64,
    /// A fetch brings so many batches at most.
    pub batches_max: u64,
}

pub const CALM: Weather = Weather { delay_ms_max: 1, disk_ms_max: 1, lost: 0, doubled: 0, batches_max: 3 };

pub struct World {
    pub now: Millis,
    pub weather: Weather,
    pub random: Random,
    pub sabotage: Option<Sabotage>,
    pub auto_join: bool,
    pub part: BTreeMap<i32, Part>,
    pub nodes: BTreeMap<i32, Node>,
    disks: BTreeMap<i32, Disk>,
    /// Links that are cut, one way each.
    pub cut: BTreeSet<(i32, i32)>,
    /// By time and order; with the life of the node that it is for, 0 for any.
    agenda: BTreeMap<(Millis, u64), (u64, Happening)>,
    /// How often each node was started: what was ordered before is void.
    lives: BTreeMap<i32, u64>,
    sequence: u64,
    marks: u64,
    /// What a tool was told, by its token's number.
    pub told: BTreeMap<u64, Response>,
    // What the checks know.
    leaders: BTreeMap<LeaderEpoch, (i32, u64)>,
    pub committed: Vec<Batch>,
    /// The epoch that each of them was committed in.
    committed_in: Vec<LeaderEpoch>,
    /// Every batch ever written, with its bytes and what it followed on.
    written: BTreeMap<(Offset, LeaderEpoch), (u64, LogPosition)>,
    watermarks: BTreeMap<i32, Offset>,
    pub news: Vec<String>,
    roles: BTreeMap<i32, String>,
    pub faults: BTreeMap<i32, Fault>,
}

/// The one who asks for voter changes; not a node.
pub const TOOL: i32 = 0;

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            now: Millis(1_000_000),
            weather: CALM,
            random: Random::new(seed),
            sabotage: None,
            auto_join: false,
            part: BTreeMap::new(),
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
            cut: BTreeSet::new(),
            agenda: BTreeMap::new(),
            lives: BTreeMap::new(),
            sequence: 0,
            marks: 0,
            told: BTreeMap::new(),
            leaders: BTreeMap::new(),
            committed: Vec::new(),
            committed_in: Vec::new(),
            written: BTreeMap::new(),
            watermarks: BTreeMap::new(),
            news: Vec::new(),
            roles: BTreeMap::new(),
            faults: BTreeMap::new(),
        }
    }

    /// Formats a node: with these voters in its log, or with them in its configuration.
    pub fn format(&mut self, id: i32, voters: &[i32], in_log: bool) {
        let set: VoterSet = voters.iter().map(|id| voter(*id)).collect();
        let (mut configured, mut formatted) = (VoterSet::default(), Vec::new());
        if in_log {
            formatted.push(ControlRecord::KRaftVersion(1));
            if !set.is_empty() {
                formatted.push(ControlRecord::Voters(set));
            }
        } else {
            let nameless = |voter: &Voter| Voter {
                key: ReplicaKey::new(voter.key.id, Uuid::ZERO),
                kraft_version: VersionRange { min: 0, max: 0 },
                ..voter.clone()
            };
            configured = set.iter().map(nameless).collect();
        }
        let (state, log, snapshots) = (QuorumState::default(), Vec::new(), Vec::new());
        let (start, synced) = (Offset::ZERO, Offset::ZERO);
        self.disks.insert(id, Disk { state, start, log, synced, snapshots, configured, formatted });
    }

    pub fn start(&mut self, id: i32) {
        let disk = &self.disks[&id];
        let part = self.part.get(&id).copied().unwrap_or(Part::Controller);
        let endpoints = if part == Part::Broker { Vec::new() } else { vec![endpoint(id)] };
        let mut config = RaftConfig::new(Identity { key: key(id), endpoints, kraft_version: VERSIONS });
        config.part = part;
        config.seed = self.random.below(u64::MAX);
        config.auto_join = self.auto_join;
        config.sabotage = self.sabotage;
        config.bootstrap =
            self.disks.keys().map(|id| Address { host: "host".into(), port: *id as u16 }).collect();
        config.fetch_snapshot_bytes_max = PIECE_BYTES;
        let raft = Raft::new(config, disk.state.clone(), disk.shape(), disk.history()).unwrap();
        *self.lives.entry(id).or_default() += 1;
        let node = Node {
            raft,
            stores: VecDeque::new(),
            cuts: 0,
            is_flushing: false,
            pending: BTreeSet::new(),
            askers: BTreeMap::new(),
            tick_at: Millis::MAX,
            bytes: 0,
        };
        self.nodes.insert(id, node);
        self.step(id, Event::Start);
    }

    /// The node is gone at once. Of what was not synced a part may be left.
    pub fn crash(&mut self, id: i32) {
        let Some(node) = self.nodes.remove(&id) else { return };
        let disk = self.disks.get_mut(&id).expect("every node has a disk");
        let unsynced = disk.log.iter().filter(|batch| batch.end > disk.synced).count() as u64;
        for _ in 0..self.random.below(unsynced + 1) {
            disk.log.pop();
        }
        // What is left is on the disk now, for the next start to find.
        disk.synced = disk.synced.min(disk.end().offset);
        if let Some(state) = node.stores.back()
            && self.random.below(2) == 0
        {
            disk.state = state.clone();
        }
        self.watermarks.remove(&id);
        self.roles.remove(&id);
        let pending: Vec<(i32, RequestId)> = node.askers.into_values().collect();
        for (asker, request) in pending {
            self.respond(id, asker, request, Err(Failure::Unreachable), Vec::new());
        }
    }

    /// Nothing of its disk is left.
    pub fn wipe(&mut self, id: i32) {
        self.crash(id);
        let disk = self.disks.get_mut(&id).expect("every node has a disk");
        (disk.state, disk.start, disk.synced) = (QuorumState::default(), Offset::ZERO, Offset::ZERO);
        (disk.log, disk.snapshots) = (Vec::new(), Vec::new());
    }

    pub fn leader(&self) -> Option<i32> {
        let leaders = self.nodes.iter().filter(|(_, node)| node.raft.is_leader());
        leaders.max_by_key(|(_, node)| node.raft.epoch()).map(|(id, _)| *id)
    }

    pub fn propose(&mut self, id: i32, records: u32) {
        if self.nodes.contains_key(&id) {
            self.step(id, Event::Propose { records });
        }
    }

    /// A snapshot of what is committed; the log is cut behind it.
    pub fn snapshot(&mut self, id: i32) {
        let Some(node) = self.nodes.get(&id) else { return };
        let high_watermark = node.raft.high_watermark().unwrap_or(Offset::ZERO);
        let disk = self.disks.get_mut(&id).expect("every node has a disk");
        let Some(last) = disk.log.iter().rfind(|batch| batch.end <= high_watermark) else { return };
        let snapshot = LogPosition { epoch: last.epoch, offset: last.end };
        let (voters, version) = node.raft.history().at(snapshot.offset);
        let mut control = vec![ControlRecord::KRaftVersion(version)];
        control.extend(voters.map(|voters| ControlRecord::Voters(voters.clone())));
        disk.snapshots = vec![(snapshot, control)];
        disk.log.retain(|batch| batch.base >= snapshot.offset);
        disk.start = snapshot.offset;
        disk.synced = disk.synced.max(snapshot.offset);
        self.step(id, Event::SnapshotsChanged { log_start: snapshot.offset, snapshots: vec![snapshot] });
    }

    /// A tool asks; the answer goes to [`Self::told`] under the number returned.
    pub fn ask(&mut self, id: i32, request: Request) -> u64 {
        self.sequence += 1;
        let number = self.sequence;
        if self.nodes.contains_key(&id) {
            self.requested(TOOL, id, RequestId(number), request);
        }
        number
    }

    /// Lets the node run until nothing happens before `until`.
    pub fn run_until(&mut self, until: Millis) {
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), (life, happening)) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(life, happening);
        }
        self.now = until;
    }

    fn happen(&mut self, life: u64, happening: Happening) {
        let is_alive =
            |world: &Self, node| world.nodes.contains_key(&node) && world.lives.get(&node) == Some(&life);
        match happening {
            Happening::Tick { node } if is_alive(self, node) => self.step(node, Event::Tick),
            Happening::Stored { node } if is_alive(self, node) => {
                let done = self.nodes.get_mut(&node).and_then(|node| node.stores.pop_front());
                self.disk(node).state = done.expect("it was ordered");
                self.step(node, Event::Stored);
            }
            Happening::Flushed { node, up_to, cuts } if is_alive(self, node) => {
                let running = self.nodes.get_mut(&node).expect("it is alive");
                if running.cuts == cuts {
                    running.is_flushing = false;
                    let disk = self.disk(node);
                    disk.synced = disk.synced.max(up_to);
                    self.step(node, Event::Flushed { end: up_to });
                }
            }
            Happening::Request { from, to, id, request } => {
                if self.nodes.contains_key(&to) {
                    self.requested(from, to, id, request);
                } else {
                    self.respond(to, from, id, Err(Failure::Unreachable), Vec::new());
                }
            }
            Happening::Response { to: TOOL, id, result: Ok(response), .. } => {
                self.told.insert(id.0, response);
            }
            Happening::Response { to, id, result, marks, .. } if is_alive(self, to) => {
                let node = self.nodes.get_mut(&to).expect("it is alive");
                if node.pending.remove(&id) {
                    self.answered(to, id, result, marks);
                }
            }
            _ => {}
        }
    }

    fn disk(&mut self, id: i32) -> &mut Disk {
        self.disks.get_mut(&id).expect("every node has a disk")
    }

    fn later(&mut self, delay_ms: i64, life: u64, happening: Happening) {
        self.sequence += 1;
        self.agenda.insert((self.now + delay_ms, self.sequence), (life, happening));
    }

    fn delay(&mut self, ms_max: u64) -> i64 {
        self.random.below(ms_max + 1) as i64
    }

    /// Whether a message is lost on its way.
    fn is_lost(&mut self, from: i32, to: i32) -> bool {
        self.cut.contains(&(from, to)) || self.random.below(1000) < self.weather.lost
    }

    fn request(&mut self, from: i32, outgoing: Outgoing) {
        let Outgoing { id, to, request } = outgoing;
        let to = i32::from(to.port);
        let life = self.lives[&from];
        self.nodes.get_mut(&from).expect("it sends").pending.insert(id);
        let result = Err(Failure::Unreachable);
        self.later(REQUEST_TIMEOUT_MS, life, Happening::Response { to: from, id, result, marks: Vec::new() });
        let copies = 1 + u64::from(self.random.below(1000) < self.weather.doubled);
        for _ in 0..copies {
            if !self.is_lost(from, to) {
                let delay = self.delay(self.weather.delay_ms_max);
                self.later(delay, 0, Happening::Request { from, to, id, request: request.clone() });
            }
        }
    }

    fn respond(
        &mut self,
        from: i32,
        to: i32,
        id: RequestId,
        result: Result<Response, Failure>,
        marks: Vec<u64>,
    ) {
        if !self.is_lost(from, to) {
            let delay = self.delay(self.weather.delay_ms_max);
            let life = self.lives.get(&to).copied().unwrap_or(0);
            self.later(delay, life, Happening::Response { to, id, result, marks });
        }
    }

    fn requested(&mut self, from: i32, to: i32, id: RequestId, request: Request) {
        self.sequence += 1;
        let token = Token(self.sequence);
        self.nodes.get_mut(&to).expect("it is running").askers.insert(token, (from, id));
        self.step(to, Event::Request { token, request });
    }

    pub fn step(&mut self, id: i32, event: Event) {
        let node = self.nodes.get_mut(&id).expect("only running nodes are stepped");
        let actions = node.raft.step(self.now, event);
        self.perform(id, actions, None, &[]);
    }

    fn answered(&mut self, node: i32, id: RequestId, result: Result<Response, Failure>, marks: Vec<u64>) {
        let response = result.as_ref().ok().cloned();
        let raft = &mut self.nodes.get_mut(&node).expect("it is alive").raft;
        let actions = raft.step(self.now, Event::Answered { id, result });
        self.perform(node, actions, response, &marks);
    }

    fn perform(&mut self, id: i32, actions: Actions, response: Option<Response>, marks: &[u64]) {
        let Actions { store, truncate, append, take, snapshot, high_watermark: _, answers, requests, fault } =
            actions;
        if let Some(fault) = fault {
            self.news.push(format!("{id}: {fault}"));
            self.faults.insert(id, fault);
            self.crash(id);
            return;
        }
        let life = self.lives[&id];
        if let Some(state) = store {
            self.nodes.get_mut(&id).expect("it runs").stores.push_back(state);
            // Stores are done in order.
            let delay = self.weather.disk_ms_max as i64;
            self.later(delay, life, Happening::Stored { node: id });
        }
        if let Some(offset) = truncate {
            self.nodes.get_mut(&id).expect("it runs").cuts += 1;
            self.nodes.get_mut(&id).expect("it runs").is_flushing = false;
            let disk = self.disk(id);
            disk.log.retain(|batch| batch.end <= offset);
            disk.synced = disk.synced.min(offset);
        }
        for Append { base, epoch, body } in append {
            self.marks += 1;
            let mark = self.marks;
            let (count, control) = match body {
                Body::Control(records) => {
                    (records.len() as i64, (base.0..).map(Offset).zip(records).collect())
                }
                Body::Proposed { records } => (i64::from(records), Vec::new()),
            };
            self.write(id, Batch { base, end: base + count, epoch, mark, control });
        }
        if let Some(Response {
            body: ResponseBody::Fetch(Fetched { content: Content::Batches(batches), .. }),
            ..
        }) = &response
        {
            for (FetchedBatch { base, end, epoch, control }, mark) in batches.iter().zip(marks).take(take) {
                let (base, end, epoch) = (*base, *end, *epoch);
                self.write(id, Batch { base, end, epoch, mark: *mark, control: control.clone() });
            }
        } else {
            assert_eq!(take, 0, "node {id} takes batches of nothing");
        }
        if let Some(piece) = snapshot {
            self.receive_snapshot(id, piece, response.as_ref());
        }
        self.flush(id);
        for (token, response) in answers {
            self.answer(id, token, response);
        }
        for outgoing in requests {
            self.request(id, outgoing);
        }
        self.check(id);
        if let Some(node) = self.nodes.get_mut(&id) {
            let deadline = node.raft.deadline();
            if deadline != Millis::MAX && (deadline != node.tick_at || deadline <= self.now) {
                assert!(deadline > self.now, "node {id} wants to be woken at once, for ever");
                node.tick_at = deadline;
                self.later(deadline - self.now, life, Happening::Tick { node: id });
            }
        }
    }

    fn write(&mut self, id: i32, batch: Batch) {
        let disk = self.disk(id);
        let before = disk.end();
        assert_eq!(batch.base, before.offset, "node {id} appends where its log ends");
        disk.log.push(batch.clone());
        let known = self.written.entry((batch.base, batch.epoch)).or_insert((batch.mark, before));
        assert_eq!(*known, (batch.mark, before), "logs match: {batch:?} on node {id}");
    }

    fn flush(&mut self, id: i32) {
        let end = self.disk(id).end().offset;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.is_flushing || node.raft.flushed() >= end {
            return;
        }
        node.is_flushing = true;
        let cuts = node.cuts;
        let (delay, life) = (self.delay(self.weather.disk_ms_max), self.lives[&id]);
        self.later(delay, life, Happening::Flushed { node: id, up_to: end, cuts });
    }

    fn answer(&mut self, id: i32, token: Token, mut response: Response) {
        let asker = self.nodes.get_mut(&id).and_then(|node| node.askers.remove(&token));
        let (asker, request) = asker.expect("a request is answered once");
        let mut marks = Vec::new();
        let disk = &self.disks[&id];
        match &mut response.body {
            ResponseBody::Fetch(Fetched { content, .. }) => {
                if let Content::Read { from, bytes_max } = *content {
                    let wanted = disk.log.iter().filter(|batch| bytes_max > 0 && batch.base >= from);
                    let batches: Vec<&Batch> = wanted.take(self.weather.batches_max as usize).collect();
                    marks = batches.iter().map(|batch| batch.mark).collect();
                    let fetched = |batch: &&Batch| FetchedBatch {
                        base: batch.base,
                        end: batch.end,
                        epoch: batch.epoch,
                        control: batch.control.clone(),
                    };
                    *content = Content::Batches(batches.iter().map(fetched).collect());
                }
            }
            ResponseBody::FetchSnapshot(piece) if response.error == ErrorCode::None => {
                if piece.position >= SNAPSHOT_BYTES {
                    response.error = ErrorCode::PositionOutOfRange;
                }
                piece.size = SNAPSHOT_BYTES;
                piece.bytes = piece.bytes.min((SNAPSHOT_BYTES - piece.position).max(0) as u32);
            }
            _ => {}
        }
        self.respond(id, asker, request, Ok(response), marks);
    }

    /// What a snapshot says is what was committed up to it.
    fn receive_snapshot(&mut self, id: i32, piece: SnapshotPiece, response: Option<&Response>) {
        let SnapshotPiece { snapshot, position, progress } = piece;
        let Some(Response { body: ResponseBody::FetchSnapshot(fetched), .. }) = response else {
            panic!("node {id} writes a snapshot of nothing")
        };
        let node = self.nodes.get_mut(&id).expect("it runs");
        if position == 0 {
            node.bytes = 0;
        }
        assert_eq!(node.bytes, position, "pieces follow on each other");
        node.bytes += i64::from(fetched.bytes);
        if progress == SnapshotProgress::More {
            return;
        }
        assert_eq!(node.bytes, SNAPSHOT_BYTES);
        node.cuts += 1;
        node.is_flushing = false;
        let mut history = VoterHistory::new(VoterSet::default());
        let initial =
            self.disks.values().find(|disk| disk.formatted.len() > 1).map(|disk| disk.formatted.clone());
        for record in initial.unwrap_or_default() {
            history.observe(Offset::NONE, &record);
        }
        for (offset, record) in self.committed.iter().flat_map(|batch| &batch.control) {
            history.observe(*offset, record);
        }
        let (voters, version) = history.at(snapshot.offset);
        let mut control = vec![ControlRecord::KRaftVersion(version)];
        control.extend(voters.map(|voters| ControlRecord::Voters(voters.clone())));
        let disk = self.disk(id);
        disk.log.clear();
        (disk.start, disk.synced) = (snapshot.offset, snapshot.offset);
        disk.snapshots = vec![(snapshot, control.clone())];
        self.step(id, Event::SnapshotInstalled { snapshot, control });
    }

    /// What Raft promises, as far as this node's last step could have broken it.
    fn check(&mut self, id: i32) {
        let Some(node) = self.nodes.get(&id) else { return };
        let (disk, raft) = (&self.disks[&id], &node.raft);
        assert_eq!(raft.end(), disk.end(), "node {id} knows its log's end");
        let role = format!("{:?} epoch={}", raft.role(), raft.epoch());
        if self.roles.get(&id) != Some(&role) {
            let leader = raft.leader().map_or(String::new(), |leader| format!(" leader={leader}"));
            self.news.push(format!("{id}: {role}{leader}"));
            if raft.is_leader() {
                let life = self.lives[&id];
                let known = self.leaders.entry(raft.epoch()).or_insert((id, life));
                assert_eq!(*known, (id, life), "epoch {} has one leader, once", raft.epoch());
                // A late leader of an old epoch need not have what a newer one has committed.
                let due = self.committed_in.partition_point(|epoch| *epoch < raft.epoch());
                let mut due = self.committed[..due].iter();
                let lost = due.rfind(|batch| batch.base >= disk.start && !disk.log.contains(batch));
                assert!(lost.is_none(), "leader {id} lacks what is committed: {lost:?}");
            }
            self.roles.insert(id, role);
        }
        let before = self.watermarks.get(&id).copied().unwrap_or(Offset::ZERO);
        let high_watermark = raft.high_watermark().unwrap_or(Offset::ZERO);
        assert!(high_watermark >= before, "the high watermark of node {id} never goes back");
        if high_watermark == before {
            return;
        }
        self.watermarks.insert(id, high_watermark);
        let moved = disk.log.iter().filter(|batch| batch.end > before && batch.end <= high_watermark);
        let moved: Vec<Batch> = moved.cloned().collect();
        for batch in moved {
            match self.committed.binary_search_by_key(&batch.base, |known| known.base) {
                Ok(at) => {
                    assert_eq!(self.committed[at], batch, "node {id} believes another record committed")
                }
                Err(at) => {
                    assert_eq!(at, self.committed.len(), "committed records have no holes");
                    self.commit(id, batch);
                }
            }
        }
    }

    /// A batch is committed for the first time, on this node's word.
    fn commit(&mut self, id: i32, batch: Batch) {
        let voters = self.nodes[&id].raft.voters();
        let holds = |id: NodeId| {
            let disk = self.disks.get(&id.0);
            disk.is_some_and(|disk| {
                disk.synced >= batch.end && (disk.start >= batch.end || disk.log.contains(&batch))
            })
        };
        let holders = voters.ids().filter(|id| holds(*id)).count();
        assert!(
            holders >= voters.majority(),
            "node {id} commits {batch:?} that {holders} of {} have",
            voters.len()
        );
        self.committed_in.push(self.nodes[&id].raft.epoch());
        self.committed.push(batch);
    }

    pub fn status(&self) -> Vec<String> {
        let line = |(id, node): (&i32, &Node)| {
            let raft = &node.raft;
            let leader = raft.leader().map_or("-".to_string(), |leader| leader.to_string());
            let high_watermark = raft.high_watermark().unwrap_or(Offset::NONE);
            format!(
                "{id} {:?} epoch={} leader={leader} end={} hw={high_watermark} voters={}",
                raft.role(),
                raft.epoch(),
                raft.end(),
                names(raft.voters().ids())
            )
        };
        self.nodes.iter().map(line).collect()
    }

    pub fn log(&self, id: i32) -> Vec<String> {
        let disk = &self.disks[&id];
        let snapshots = disk.snapshots.iter().map(|(id, _)| format!("snapshot {id}"));
        let batches = disk.log.iter().map(|batch| {
            let mut line = format!("{}..{}@{}", batch.base, batch.end, batch.epoch);
            for (_, record) in &batch.control {
                line += &match record {
                    ControlRecord::LeaderChange { leader, granting, .. } => {
                        format!(" LeaderChange({leader} by {})", names(granting.iter().copied()))
                    }
                    ControlRecord::KRaftVersion(version) => format!(" KRaftVersion({version})"),
                    ControlRecord::Voters(voters) => format!(" Voters({})", names(voters.ids())),
                };
            }
            line
        });
        snapshots.chain(batches).collect()
    }
}

fn names(ids: impl Iterator<Item = NodeId>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(",")
}
