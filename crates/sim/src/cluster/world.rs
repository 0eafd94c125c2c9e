//! Time and order: hosts and clients run a millisecond each, one after the other, and what they send arrives later.

use std::sync::Arc;

use bytes::Bytes;
use ottla_commit_log::FirstBatch;
use ottla_commit_log::disk::{CrashImage, SimFault};
use ottla_model::Offset;
use ottla_server::node::Node;
use ottla_server::random;
use ottla_server::rpc::RpcNetwork;

use super::client::{self, PARTITIONS, Shared, TOPIC, lock};
use super::host::{Driven, Host};
use super::net::Net;
use super::trouble;
use crate::random::Random;
use crate::sabotage::Sabotage;
use crate::world::Failure;

const HOSTS: i32 = 3;
/// The host that the clients run on.
const CLIENTS: i32 = 100;
/// Before anything goes wrong.
const QUIET_MS: u64 = 6_000;
/// How long a healed cluster may take until all replicas are in sync and equal.
const RECOVERY_MS: u64 = 90_000;

/// What a seed came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Of every byte that arrived anywhere, and when.
    pub trace: u64,
    pub acknowledged: usize,
    pub reads: usize,
    pub crashes: usize,
    pub stops: usize,
}

pub struct World {
    pub now_ms: u64,
    pub random: Random,
    pub net: Net,
    pub hosts: Vec<Host>,
    clients: Driven,
    ledger: Shared,
    crashes: usize,
    stops: usize,
    /// When a host that is down comes back.
    due: Vec<(u64, i32)>,
    /// When a broken disk is replaced.
    repairs: Vec<(u64, i32)>,
    /// The host that lost power last, until all replicas are in sync again.
    lost_power: Option<i32>,
    story: Vec<String>,
}

/// Plays one seed for so many simulated seconds, then heals everything and audits.
pub fn play(seed: u64, seconds: u64, sabotage: Option<Sabotage>) -> Result<Report, Failure> {
    random::set_for_thread(Some(seed));
    let mut world = World::new(seed, sabotage);
    let outcome = world.run(seconds * 1000);
    random::set_for_thread(None);
    ottla_server::clock::set_for_thread(None);
    if let Err(what) = &outcome {
        world.note(what.clone());
        world.describe();
    }
    let World { net, ledger, crashes, stops, story, .. } = &mut world;
    let ledger = lock(ledger);
    match outcome {
        Ok(()) => Ok(Report {
            trace: net.trace(),
            acknowledged: ledger.acknowledgements(),
            reads: ledger.reads(),
            crashes: *crashes,
            stops: *stops,
        }),
        Err(what) => Err(Failure { seed, what, story: std::mem::take(story) }),
    }
}

impl World {
    fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let mut random = Random::new(seed);
        let net = Net::new(random.number(), 3);
        let hosts = (1..=HOSTS).map(|id| Host::format(id, HOSTS, &net, sabotage)).collect();
        let ledger = Shared::default();
        let clients = Driven::new(0);
        let rpc = RpcNetwork::over(net.of(CLIENTS));
        let acks = if sabotage == Some(Sabotage::AnswerEarly) { 1 } else { -1 };
        for task in client::tasks(&rpc, HOSTS, &mut random, &ledger, acks) {
            clients.spawn(task);
        }
        let (due, story) = ((1..=HOSTS).map(|id| (1, id)).collect(), Vec::new());
        let (crashes, stops, repairs, lost_power) = (0, 0, Vec::new(), None);
        Self {
            now_ms: 0,
            random,
            net,
            hosts,
            clients,
            ledger,
            crashes,
            stops,
            due,
            repairs,
            lost_power,
            story,
        }
    }

    fn run(&mut self, ms: u64) -> Result<(), String> {
        let mut trouble_at = QUIET_MS;
        while self.now_ms < ms {
            if self.now_ms >= trouble_at {
                trouble_at = self.now_ms + 200 + self.random.below(5000) as u64;
                trouble::strike(self);
            }
            self.step()?;
        }
        self.note("everything heals".to_owned());
        self.net.heal();
        self.net.set_delay(3);
        self.hosts.iter_mut().for_each(|host| host.paused_until = 0);
        lock(&self.ledger).winds_down = true;
        let until = self.now_ms + RECOVERY_MS;
        let progress = lock(&self.ledger).acknowledgements();
        while self.now_ms < until
            && !(self.is_whole() && lock(&self.ledger).acknowledgements() > progress + 20)
        {
            self.step()?;
        }
        if !self.is_whole() {
            return Err(format!("replicas are not in sync {RECOVERY_MS} ms after everything healed"));
        }
        if lock(&self.ledger).acknowledgements() <= progress + 20 {
            return Err(format!("nothing is acknowledged {RECOVERY_MS} ms after everything healed"));
        }
        self.audit()
    }

    /// A millisecond.
    fn step(&mut self) -> Result<(), String> {
        self.now_ms += 1;
        let now = self.now_ms;
        let due: Vec<i32> = self.due.extract_if(.., |(at, _)| *at <= now).map(|(_, id)| id).collect();
        for id in due {
            self.note(format!("host {id} starts"));
            self.hosts[id as usize - 1].start(now);
        }
        let repaired: Vec<i32> =
            self.repairs.extract_if(.., |(at, _)| *at <= now).map(|(_, id)| id).collect();
        for id in repaired {
            if self.hosts[id as usize - 1].disk_is_broken {
                self.crash(id, CrashImage::ProcessKilled);
            }
        }
        self.net.deliver(now);
        let first = self.random.below(self.hosts.len() as i64) as usize;
        let count = self.hosts.len();
        for index in (0..count).map(|index| (first + index) % count) {
            self.hosts[index].run_until(now);
            self.look_after(index)?;
        }
        self.clients.run_until(now);
        if self.lost_power.is_some() && now.is_multiple_of(100) && self.all_in_sync() {
            self.lost_power = None;
        }
        match lock(&self.ledger).broken() {
            Some(broken) => Err(broken.to_owned()),
            None => Ok(()),
        }
    }

    /// Takes away what has ended.
    fn look_after(&mut self, index: usize) -> Result<(), String> {
        let id = index as i32 + 1;
        if self.hosts[index].has_stopped() {
            self.stops += 1;
            self.note(format!("host {id} has stopped"));
            self.hosts[index].crash(CrashImage::ProcessKilled);
            self.comes_back(id);
        }
        match self.hosts[index].ended() {
            Some(reason) if self.hosts[index].disk_is_broken => {
                self.note(format!("node {id} ends: {reason}"));
                self.crash(id, CrashImage::ProcessKilled);
                Ok(())
            }
            Some(reason) => Err(format!("node {id} ends: {reason}")),
            None => Ok(()),
        }
    }

    pub fn crash(&mut self, id: i32, image: CrashImage) {
        let host = &mut self.hosts[id as usize - 1];
        if !host.is_up() {
            return;
        }
        host.crash(image);
        if image != CrashImage::ProcessKilled {
            self.lost_power = Some(id);
        }
        self.crashes += 1;
        self.note(format!("host {id} crashes: {image:?}"));
        self.comes_back(id);
    }

    fn comes_back(&mut self, id: i32) {
        let at = self.now_ms + 50 + self.random.below(9000) as u64;
        self.due.push((at, id));
    }

    /// A disk fails, and is whole when the node starts again. What a failed sync was for counts as lost.
    pub fn break_disk(&mut self, id: i32, fault: SimFault) {
        self.note(format!("the disk of host {id} fails: {fault:?}"));
        let host = &mut self.hosts[id as usize - 1];
        host.disk.inject(fault);
        host.disk_is_broken = true;
        if matches!(fault, SimFault::FailSync(_)) {
            self.lost_power = Some(id);
        }
        let at = self.now_ms + 500 + self.random.below(9000) as u64;
        self.repairs.push((at, id));
    }

    pub fn stop(&mut self, id: i32) {
        self.note(format!("host {id} is to stop"));
        self.hosts[id as usize - 1].stop();
    }

    /// Whether nothing would be lost with one host's page cache.
    pub fn is_whole(&self) -> bool {
        self.lost_power.is_none() && self.all_in_sync()
    }

    /// Whether a host that lost power may still lack what was acknowledged.
    pub fn has_lost_power(&self) -> bool {
        self.lost_power.is_some()
    }

    /// Whether every host runs, and says that all replicas of everything are in sync.
    fn all_in_sync(&self) -> bool {
        self.hosts.iter().all(|host| {
            !host.disk_is_broken
                && host.node().is_some_and(|node| {
                    let image = node.image();
                    let mut partitions =
                        image.topics.iter().flat_map(|topic| topic.partitions.values()).peekable();
                    partitions.peek().is_some()
                        && partitions
                            .all(|partition| partition.leader.0 > 0 && partition.isr.len() == HOSTS as usize)
                })
        })
    }

    /// In the end every replica holds the same bytes, and all that was acknowledged.
    fn audit(&mut self) -> Result<(), String> {
        // Nobody writes any more; followers get the rest.
        self.clients = Driven::new(self.now_ms);
        self.net.crash(CLIENTS);
        for _ in 0..3_000 {
            self.step()?;
        }
        let nodes: Vec<(i32, Arc<Node>)> =
            self.hosts.iter().filter_map(|host| Some((host.id, host.node()?))).collect();
        for (topic, partition) in (0..PARTITIONS)
            .map(|partition| (TOPIC, partition))
            .chain((0..2).map(|partition| ("__consumer_offsets", partition)))
        {
            let mut first: Option<Bytes> = None;
            for (id, node) in &nodes {
                let log = content(node, topic, partition)
                    .map_err(|error| format!("host {id}, {topic}: {error}"))?;
                if topic == TOPIC {
                    lock(&self.ledger).audit(*id, partition, log.clone());
                }
                // The cleaner has its own pace on each broker.
                if topic == TOPIC && *first.get_or_insert_with(|| log.clone()) != log {
                    return Err(format!("host {id} holds other bytes of {topic}-{partition} than host 1"));
                }
            }
        }
        lock(&self.ledger).broken().map_or(Ok(()), |broken| Err(broken.to_owned()))
    }

    /// What every host knows of the partitions, for whoever has to find out why.
    fn describe(&mut self) {
        let nodes: Vec<_> = self.hosts.iter().filter_map(|host| Some((host.id, host.node()?))).collect();
        for (id, node) in nodes {
            let image = node.image();
            for topic in image.topics.iter() {
                for (index, known) in &topic.partitions {
                    let handle = node.broker().partition_by_name(&topic.name, *index).ok();
                    let log = handle.map(|handle| {
                        let view = handle.view();
                        (view.log_start_offset(), view.high_watermark(), view.log_end_offset())
                    });
                    self.note(format!(
                        "host {id}, image {}: {}-{index} is led by {} in epoch {}, in sync {:?}, partition epoch {}, log {log:?}",
                        image.provenance.offset, topic.name, known.leader, known.leader_epoch, known.isr, known.partition_epoch
                    ));
                }
            }
        }
    }

    pub fn note(&mut self, line: String) {
        self.story.push(format!("{:>9.3} {line}", self.now_ms as f64 / 1000.0));
    }
}

/// A replica's log from its beginning to its end.
fn content(node: &Node, topic: &str, partition: i32) -> Result<Bytes, String> {
    let handle = node.broker().partition_by_name(topic, partition).map_err(|code| code.name().to_owned())?;
    let view = handle.view();
    let (mut at, end) = (view.log_start_offset(), view.log_end_offset());
    let mut content = Vec::new();
    while at < end {
        let plan = view.read(at, end, 1 << 20, FirstBatch::Whole).map_err(|error| error.to_string())?;
        let bytes = plan.to_bytes().map_err(|error| error.to_string())?;
        let mut next = at;
        for batch in ottla_record::Batches::new(bytes.clone()) {
            next = Offset(batch.map_err(|error| error.to_string())?.header.last_offset().0 + 1);
        }
        if next == at {
            break;
        }
        content.extend_from_slice(&bytes);
        at = next;
    }
    Ok(content.into())
}
