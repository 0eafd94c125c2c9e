//! Time and order: what happens next, to whom. One thread, one seed.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use ottla_commit_log::SyncJob;
use ottla_commit_log::disk::CrashImage;
use ottla_model::{Millis, Uuid};
use ottla_raft::{Content, Failure as NoAnswer, Outgoing, Request, RequestId, ResponseBody};
use ottla_server::quorum::wire::Reply;

use crate::auditor::Auditor;
use crate::invariants::Invariants;
use crate::net::{OUTSIDE, SimNet};
use crate::node::Node;
use crate::random::Random;
use crate::sabotage::Sabotage;
use crate::workload::{Operation, Workload};

/// A request that is not answered by then is given up, by nodes and clients alike.
const REQUEST_TIMEOUT_MS: i64 = 2000;
/// How long the cluster has to find itself again when all is well.
const HEALING_MS: i64 = 40_000;
/// Lines of a trace that a failure shows.
const STORY_LINES: usize = 120;

/// What a node answered.
#[derive(Clone, Debug)]
pub enum Answer {
    Quorum(Reply),
    Created {
        error: i16,
        id: Uuid,
    },
    Deleted {
        error: i16,
    },
    Configured {
        error: i16,
    },
    Ids {
        error: i16,
        start: i64,
        len: i64,
    },
    Registered {
        error: i16,
        epoch: i64,
    },
    Beat {
        error: i16,
    },
    /// The node is not the active controller, or stops.
    Refused,
}

enum Happening {
    /// Another node's quorum, or a tool, asks.
    Ask {
        from: i32,
        to: i32,
        number: u64,
        request: Request,
    },
    /// A client or a broker asks the controller.
    Do {
        to: i32,
        number: u64,
        operation: Operation,
    },
    /// `None`: there is none and will be none.
    Answer {
        number: u64,
        answer: Option<Answer>,
    },
    Tick {
        node: i32,
        life: u64,
    },
    /// A sync is done now: what was written until now is on the disk.
    Sync {
        node: i32,
        life: u64,
        job: SyncJob,
    },
    Work,
    Trouble,
}

/// Who waits for an answer.
enum Waiting {
    Node { node: i32, life: u64, id: RequestId },
    Client(Operation),
}

/// What a seed did, for comparing and for believing that it did something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub trace: u64,
    pub steps: u64,
    pub epochs: i32,
    pub committed: i64,
    pub acknowledged: usize,
    pub crashes: u64,
}

/// What was found, and what happened before.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub what: String,
    pub story: Vec<String>,
}

pub struct World {
    pub seed: u64,
    pub now: Millis,
    pub random: Random,
    pub net: SimNet,
    /// Controllers, and a broker behind them.
    pub nodes: Vec<Node>,
    pub sabotage: Option<Sabotage>,
    /// What a sync takes at most.
    disk_ms_max: i64,
    agenda: BTreeMap<(Millis, u64), Happening>,
    sequence: u64,
    waiting: BTreeMap<u64, Waiting>,
    workload: Workload,
    auditor: Auditor,
    invariants: Invariants,
    /// No trouble and no work any more.
    calm: bool,
    story: Vec<String>,
    trace: DefaultHasher,
    steps: u64,
    pub crashes: u64,
}

impl World {
    pub fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let mut random = Random::new(seed);
        let controllers = 3 + random.below(3) as i32;
        let voters = if random.chance(500) { controllers } else { 3 };
        let nodes = (1..=controllers + 1).map(|id| Node::format(id, controllers, voters, sabotage)).collect();
        let mut net = SimNet::default();
        (net.delay_ms_max, net.lost, net.doubled) =
            (1 + random.below(200), random.below(60), random.below(60));
        let disk_ms_max = random.below(150);
        Self {
            seed,
            now: Millis(1_700_000_000_000),
            random,
            net,
            nodes,
            sabotage,
            disk_ms_max,
            agenda: BTreeMap::new(),
            sequence: 0,
            waiting: BTreeMap::new(),
            workload: Workload::default(),
            auditor: Auditor::default(),
            invariants: Invariants::default(),
            calm: false,
            story: Vec::new(),
            trace: DefaultHasher::new(),
            steps: 0,
            crashes: 0,
        }
    }

    /// So many seconds of trouble, then healing, then the audit.
    pub fn play(mut self, seconds: i64) -> Result<Report, Failure> {
        let played = self.trouble(seconds).and_then(|()| self.heal());
        match played {
            Ok(()) => Ok(Report {
                trace: self.trace.finish(),
                steps: self.steps,
                epochs: self.invariants.epochs(),
                committed: self.invariants.committed(),
                acknowledged: self.auditor.acknowledged(),
                crashes: self.crashes,
            }),
            Err(what) => {
                let from = self.story.len().saturating_sub(STORY_LINES);
                Err(Failure { seed: self.seed, what, story: self.story.split_off(from) })
            }
        }
    }

    fn trouble(&mut self, seconds: i64) -> Result<(), String> {
        for id in 1..=self.nodes.len() as i32 {
            self.start(id)?;
        }
        self.later(0, Happening::Work);
        let quiet = if self.random.chance(300) { 0 } else { 3000 };
        self.later(quiet, Happening::Trouble);
        self.run_until(self.now + seconds * 1000)
    }

    /// All is well again: the quorum must find itself, and everybody must agree.
    fn heal(&mut self) -> Result<(), String> {
        self.note("all is well from here on".into());
        self.net.calm();
        self.disk_ms_max = 5;
        for id in 1..=self.nodes.len() as i32 {
            let node = self.node(id);
            node.skew_ms = 0;
            node.paused_until = Millis(0);
            node.disk.heal();
            node.disk_is_broken = false;
            if node.process.is_none() {
                self.start(id)?;
            }
        }
        self.calm = true;
        self.run_until(self.now + HEALING_MS)?;
        let active = self.active().ok_or("no controller when all is well")?;
        let due = self.node(active).process.as_ref().map(|process| process.metadata.offset());
        self.run_until(self.now + 5000)?;
        for node in &self.nodes {
            let process = node.process.as_ref().ok_or_else(|| format!("node {} ended", node.id))?;
            if Some(process.metadata.offset()) < due {
                return Err(format!("node {} does not know what is committed", node.id));
            }
            self.auditor.audit(node.id, &process.metadata.image())?;
        }
        self.invariants.compare_logs(&self.nodes)
    }

    fn run_until(&mut self, until: Millis) -> Result<(), String> {
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), happening) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(happening)?;
        }
        self.now = until;
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Work => {
                if !self.calm {
                    let pause = 20 + self.random.below(200);
                    self.later(pause, Happening::Work);
                    let operation = self.workload.next(&mut self.random);
                    self.ask_controller(operation);
                }
            }
            Happening::Trouble => {
                if !self.calm {
                    let pause = 200 + self.random.below(4000);
                    self.later(pause, Happening::Trouble);
                    crate::nemesis::strike(self)?;
                }
            }
            Happening::Tick { node, life } => {
                let now = self.now;
                let node = self.node(node);
                if node.life == life && node.runs(now) {
                    node.tick_at = Millis::MAX;
                    let id = node.id;
                    self.pass(id)?;
                } else if node.life == life && node.process.is_some() {
                    let (id, pause) = (node.id, node.paused_until - now);
                    self.later(pause, Happening::Tick { node: id, life });
                }
            }
            Happening::Sync { node: id, life, job } => {
                let now = self.now;
                let node = self.node(id);
                if node.life == life && node.runs(now) {
                    if let Some(process) = &node.process {
                        process.sync(job);
                    }
                    self.pass(id)?;
                } else if node.life == life && node.process.is_some() {
                    let pause = node.paused_until - now;
                    self.later(pause, Happening::Sync { node: id, life, job });
                }
            }
            Happening::Ask { from, to, number, request } => self.asked(from, to, number, request)?,
            Happening::Do { to, number, operation } => {
                let now = self.now;
                if self.node(to).runs(now) {
                    let sabotage = self.sabotage;
                    if let Some(answer) = self.workload.early(sabotage, &operation) {
                        self.later(0, Happening::Answer { number, answer: Some(answer) });
                    }
                    let node = self.node(to);
                    let controller = node.process.as_ref().map(|process| process.controller.clone());
                    let controller = controller.expect("it runs");
                    node.ask(number, OUTSIDE, operation.perform(controller));
                    self.pass(to)?;
                } else {
                    self.later(1, Happening::Answer { number, answer: None });
                }
            }
            Happening::Answer { number, answer } => self.answered(number, answer)?,
        }
        Ok(())
    }

    fn asked(&mut self, from: i32, to: i32, number: u64, mut request: Request) -> Result<(), String> {
        let (now, sabotage) = (self.now, self.sabotage);
        let node = self.node(to);
        if node.process.is_some() && !node.runs(now) {
            let pause = node.paused_until - now;
            self.later(pause, Happening::Ask { from, to, number, request });
            return Ok(());
        }
        let Some(process) = &node.process else {
            self.answer(to, from, number, None);
            return Ok(());
        };
        if let (Some(Sabotage::SkipEpochOfLog), Request::Fetch(fetch)) = (sabotage, &mut request)
            && (fetch.epoch, fetch.position.offset) == (process.raft().epoch(), process.raft().end().offset)
        {
            fetch.position = process.raft().end();
        }
        let controller = process.controller.clone();
        let answer = async move {
            match controller.ask_quorum(request).await {
                Ok(reply) => Answer::Quorum(reply),
                Err(_) => Answer::Refused,
            }
        };
        node.ask(number, from, Box::pin(answer));
        self.pass(to)
    }

    fn answered(&mut self, number: u64, answer: Option<Answer>) -> Result<(), String> {
        match self.waiting.remove(&number) {
            Some(Waiting::Node { node: id, life, id: request }) => {
                let now = self.now;
                let node = self.node(id);
                if node.life != life || node.process.is_none() {
                    return Ok(());
                }
                if !node.runs(now) {
                    let pause = node.paused_until - now;
                    self.waiting.insert(number, Waiting::Node { node: id, life, id: request });
                    self.later(pause, Happening::Answer { number, answer });
                    return Ok(());
                }
                let result = match answer {
                    Some(Answer::Quorum(reply)) => Ok(arrived(reply)),
                    _ => Err(NoAnswer::Unreachable),
                };
                if let Some(process) = &node.process {
                    process.answered(request, result);
                }
                self.pass(id)
            }
            Some(Waiting::Client(operation)) => {
                self.note(format!("{operation:?}: {answer:?}"));
                self.workload.answered(&operation, answer.as_ref());
                self.auditor.answered(&operation, answer.as_ref())
            }
            None => Ok(()),
        }
    }

    /// Lets a node do what there is to do, and looks at what it did.
    fn pass(&mut self, id: i32) -> Result<(), String> {
        self.steps += 1;
        let now = self.now;
        let node = self.node(id);
        let clock = node.clock(now);
        node.disk.set_clock_ms(clock.0);
        let process = node.process.as_mut().expect("only running nodes do something");
        if let Err(fault) = process.pass(clock) {
            let is_broken = node.disk_is_broken;
            self.note(format!("node {id} ends: {fault}"));
            if !is_broken {
                return Err(format!("node {id} ends: {fault}"));
            }
            self.crash(id, CrashImage::LoseUnsynced);
            return Ok(());
        }
        let requests = process.take_requests();
        let sync = process.take_sync();
        let due = process.deadline();
        let answers = node.take_answers();
        let (life, skew) = (node.life, node.skew_ms);
        if let Some(job) = sync {
            let delay = self.random.below(self.disk_ms_max + 1);
            self.later(delay, Happening::Sync { node: id, life, job });
        }
        for outgoing in requests {
            self.request(id, outgoing);
        }
        for (number, from, answer) in answers {
            self.answer(id, from, number, Some(answer));
        }
        let at = Millis((due.0.saturating_sub(skew)).max(now.0 + 1));
        if due != Millis::MAX && at < self.node(id).tick_at {
            self.node(id).tick_at = at;
            self.later(at - now, Happening::Tick { node: id, life });
        }
        let line = self.invariants.check(&self.nodes[id as usize - 1], life)?;
        if let Some(line) = line {
            self.note(line);
        }
        Ok(())
    }

    fn request(&mut self, from: i32, outgoing: Outgoing) {
        let Outgoing { id, to, request } = outgoing;
        let life = self.node(from).life;
        let to: i32 = to.host.trim_start_matches("node").parse().expect("hosts are named after their node");
        let number = self.wait(Waiting::Node { node: from, life, id });
        for delay in self.net.send(&mut self.random, from, to) {
            self.later(delay, Happening::Ask { from, to, number, request: request.clone() });
        }
    }

    fn wait(&mut self, waiting: Waiting) -> u64 {
        self.sequence += 1;
        let number = self.sequence;
        self.waiting.insert(number, waiting);
        self.later(REQUEST_TIMEOUT_MS, Happening::Answer { number, answer: None });
        number
    }

    fn answer(&mut self, from: i32, to: i32, number: u64, answer: Option<Answer>) {
        for delay in self.net.send(&mut self.random, from, to) {
            let mut answer = answer.clone();
            if let (Some(Sabotage::GrantEveryVote), Some(Answer::Quorum(reply))) =
                (self.sabotage, &mut answer)
                && let ResponseBody::Vote { granted } = &mut reply.response.body
            {
                *granted = true;
            }
            self.later(delay, Happening::Answer { number, answer });
        }
    }

    /// A client asks: mostly the active controller, sometimes anybody.
    pub fn ask_controller(&mut self, operation: Operation) {
        let anybody = 1 + self.random.below(self.nodes.len() as i64) as i32;
        let to = self.active().filter(|_| self.random.clone().below(10) > 0).unwrap_or(anybody);
        self.auditor.asked(&operation);
        let number = self.wait(Waiting::Client(operation.clone()));
        // A client's connection neither doubles nor loses within the time that it waits, but it may break.
        let delay = self.random.below(self.net.delay_ms_max + 1);
        self.later(delay, Happening::Do { to, number, operation });
    }

    /// A tool asks the quorum; nobody waits for the answer.
    pub fn ask_quorum(&mut self, to: i32, request: Request) {
        self.sequence += 1;
        self.later(1, Happening::Ask { from: OUTSIDE, to, number: self.sequence, request });
    }

    /// The controller that decides, if there is one; of two the later.
    pub fn active(&self) -> Option<i32> {
        let active = |node: &&Node| {
            let process = node.process.as_ref().filter(|_| node.runs(self.now));
            process.is_some_and(|process| process.is_active())
        };
        let epoch = |node: &&Node| node.process.as_ref().map(|process| process.raft().epoch());
        self.nodes.iter().filter(active).max_by_key(epoch).map(|node| node.id)
    }

    pub fn node(&mut self, id: i32) -> &mut Node {
        &mut self.nodes[id as usize - 1]
    }

    pub fn start(&mut self, id: i32) -> Result<(), String> {
        let (now, seed) = (self.now, self.random.number());
        self.note(format!("node {id} starts"));
        self.node(id).disk.heal();
        self.node(id).disk_is_broken = false;
        self.node(id).start(now, seed).map_err(|error| format!("node {id} cannot start: {error}"))?;
        self.pass(id)
    }

    pub fn crash(&mut self, id: i32, image: CrashImage) {
        self.note(format!("node {id} crashes: {image:?}"));
        self.crashes += 1;
        let node = self.node(id);
        let cut_off: Vec<(u64, i32)> = node.asked.iter().map(|asked| (asked.number, asked.from)).collect();
        node.crash(image);
        self.invariants.crashed(id);
        for (number, from) in cut_off {
            self.answer(id, from, number, None);
        }
    }

    pub fn note(&mut self, line: String) {
        line.hash(&mut self.trace);
        self.now.hash(&mut self.trace);
        self.story.push(format!("{:>9.3} {line}", (self.now.0 - 1_700_000_000_000) as f64 / 1000.0));
    }

    fn later(&mut self, delay_ms: i64, happening: Happening) {
        self.sequence += 1;
        self.agenda.insert((self.now + delay_ms.max(0), self.sequence), happening);
    }
}

/// An answer as the asker's shell reads it from the wire.
fn arrived(mut reply: Reply) -> Reply {
    if let ResponseBody::Fetch(fetched) = &mut reply.response.body
        && let Content::Read { .. } = fetched.content
    {
        fetched.content = Content::Batches(Vec::new());
    }
    reply
}
