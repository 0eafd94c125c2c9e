//! Time and order: hosts and clients run a millisecond each, one after the other, and what they send arrives later.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla_commit_log::FirstBatch;
use ottla_commit_log::disk::{CrashImage, SimFault};
use ottla_model::{NodeId, Offset};
use ottla_server::node::Node;
use ottla_server::random;
use ottla_server::rpc::RpcNetwork;

use super::client::{self, OFFSETS_PARTITIONS, OFFSETS_TOPIC, PARTITIONS, Shared, TOPIC, lock};
use super::host::{Driven, Host, Layout};
use super::invariants::Invariants;
use super::net::Net;
use super::trouble;
use crate::random::Random;
use crate::sabotage::Sabotage;
use crate::world::Failure;

const BROKERS: i32 = 3;
/// Beside the one that also holds the metadata log, on hosts that have two.
const SECOND_DIR: &str = "/data2";
/// The host that the clients run on.
const CLIENTS: i32 = 100;
/// Before anything goes wrong, mostly.
const QUIET_MS: u64 = 6_000;
const INVARIANTS_EVERY_MS: u64 = 10;
/// How long a healed cluster may take until all replicas are in sync and equal.
const RECOVERY_MS: u64 = 90_000;

/// What a seed came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Of every byte that arrived anywhere, and when.
    pub trace: u64,
    pub acknowledged: usize,
    pub reads: usize,
    pub generations: usize,
    /// Features that were raised, and votes that were taken away.
    pub changes: usize,
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
    invariants: Invariants,
    /// By host: the last image that was looked at.
    images: BTreeMap<i32, Offset>,
    crashes: usize,
    stops: usize,
    /// When a host that is down comes back.
    due: Vec<(u64, i32)>,
    /// When a host's power fails.
    power_cuts: Vec<(u64, i32)>,
    /// When a broken disk is replaced.
    repairs: Vec<(u64, i32)>,
    /// Whether no power loss takes away what was acknowledged.
    pub synced: bool,
    /// The host that lost power last, and with it what was acknowledged, until all replicas are in sync again.
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
            generations: ledger.generations(),
            changes: ledger.features() + ledger.voters_changed,
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
        // Of a stream of its own, so that the rest of a story does not hang on what is decided here.
        let mut apart = Random::new(!seed);
        let layout = Layout {
            brokers: 1..=BROKERS,
            controllers: if random.chance(400) { BROKERS + 1..=BROKERS + 3 } else { 1..=BROKERS },
            release: [None, Some("4.1"), Some("4.2"), Some("4.3")][random.below(4) as usize],
            static_voters: random.chance(300),
            log_dirs: if random.chance(300) { &["/data", SECOND_DIR] } else { &["/data"] },
            synced: apart.chance(300) || sabotage == Some(Sabotage::ForgetRecords),
            sync_ms_max: [0, 0, 30, 400][apart.below(4) as usize],
            sent_arrives: apart.chance(500),
            replaces_controllers: apart.chance(500),
            sync_seed: apart.number(),
        };
        let synced = layout.synced;
        let hosts: Vec<Host> = layout.hosts().map(|id| Host::format(id, &layout, &net, sabotage)).collect();
        let ledger = Shared::default();
        let clients = Driven::new(0, 0, 0);
        let rpc = RpcNetwork::over(net.of(CLIENTS));
        let acks = if sabotage == Some(Sabotage::AnswerEarly) { 1 } else { -1 };
        for task in client::tasks(&rpc, &layout, &mut random, &ledger, acks) {
            clients.spawn(task);
        }
        let (due, story) = (layout.hosts().map(|id| (1, id)).collect(), vec![format!("{layout:?}")]);
        let (crashes, stops, power_cuts, repairs, lost_power) = (0, 0, Vec::new(), Vec::new(), None);
        Self {
            now_ms: 0,
            random,
            net,
            hosts,
            clients,
            ledger,
            invariants: Invariants::default(),
            images: BTreeMap::new(),
            crashes,
            stops,
            due,
            power_cuts,
            repairs,
            synced,
            lost_power,
            story,
        }
    }

    fn run(&mut self, ms: u64) -> Result<(), String> {
        let mut trouble_at = if self.random.chance(300) { 0 } else { QUIET_MS };
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
            && !(self.is_whole()
                && lock(&self.ledger).all_vote
                && lock(&self.ledger).acknowledgements() > progress + 20)
        {
            self.step()?;
        }
        if !self.is_whole() {
            return Err(format!("replicas are not in sync {RECOVERY_MS} ms after everything healed"));
        }
        if !lock(&self.ledger).all_vote {
            return Err(format!(
                "not every controller has its vote {RECOVERY_MS} ms after everything healed"
            ));
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
        let cut: Vec<i32> = self.power_cuts.extract_if(.., |(at, _)| *at <= now).map(|(_, id)| id).collect();
        for id in cut {
            // Back before its session is over.
            self.crash_for(id, CrashImage::LoseUnsynced, 1_000);
        }
        let repaired: Vec<i32> =
            self.repairs.extract_if(.., |(at, _)| *at <= now).map(|(_, id)| id).collect();
        for id in repaired {
            let host = &self.hosts[id as usize - 1];
            if host.disk_is_broken || host.dir_is_broken {
                self.crash(id, CrashImage::ProcessKilled);
            }
        }
        self.replace_disk();
        self.net.deliver(now);
        let first = self.random.below(self.hosts.len() as i64) as usize;
        let count = self.hosts.len();
        for index in (0..count).map(|index| (first + index) % count) {
            self.hosts[index].run_until(now);
            self.look_after(index)?;
        }
        self.clients.run_until(now);
        let is_due = self.power_cuts.is_empty() && now.is_multiple_of(100);
        if self.lost_power.is_some() && is_due && self.all_in_sync() {
            self.lost_power = None;
        }
        if now.is_multiple_of(INVARIANTS_EVERY_MS) {
            self.invariants.check(&self.hosts)?;
        }
        self.note_metadata();
        match lock(&self.ledger).broken() {
            Some(broken) => Err(broken.to_owned()),
            None => Ok(()),
        }
    }

    /// Tells the ledger what hosts have heard from the metadata log, at once.
    fn note_metadata(&mut self) {
        for (host, node) in self.hosts.iter().filter_map(|host| Some((host.id, host.node()?))) {
            let image = node.image();
            let offset = image.provenance.offset;
            if self.images.insert(host, offset) == Some(offset) {
                continue;
            }
            let mut ledger = lock(&self.ledger);
            for known in (1..=BROKERS).filter_map(|broker| image.cluster.broker(NodeId(broker))) {
                ledger.knows(host, known.id.0, known.epoch.0);
            }
            let partitions =
                image.topics.by_name(OFFSETS_TOPIC).into_iter().flat_map(|topic| &topic.partitions);
            for (index, partition) in partitions {
                ledger.coordinates(*index, partition.leader.0, offset);
            }
        }
    }

    /// Takes away what has ended.
    fn look_after(&mut self, index: usize) -> Result<(), String> {
        let id = index as i32 + 1;
        if self.hosts[index].has_stopped() {
            self.stops += 1;
            self.note(format!("host {id} has stopped"));
            self.hosts[index].crash(CrashImage::ProcessKilled);
            self.comes_back(id, 9_000);
        }
        match self.hosts[index].ended() {
            Some(reason) if self.hosts[index].disk_is_broken || self.led_before(id, &reason) => {
                self.note(format!("node {id} ends: {reason}"));
                self.crash(id, CrashImage::ProcessKilled);
                Ok(())
            }
            Some(reason) => Err(format!("node {id} ends: {reason}")),
            None => Ok(()),
        }
    }

    /// Whether a controller ends for having led before its disk was emptied: it must not act as who it was, which the
    /// others take for their leader until they elect another.
    fn led_before(&self, id: i32, reason: &str) -> bool {
        lock(&self.ledger).newcomer == Some(id) && reason.contains("was emptied while it led")
    }

    pub fn crash(&mut self, id: i32, image: CrashImage) {
        self.crash_for(id, image, 9_000);
    }

    /// It comes back within `ms_max`.
    fn crash_for(&mut self, id: i32, image: CrashImage, ms_max: i64) {
        let host = &mut self.hosts[id as usize - 1];
        if !host.is_up() {
            return;
        }
        host.crash(image);
        if image != CrashImage::ProcessKilled && !self.synced {
            self.lost_power = Some(id);
        }
        self.crashes += 1;
        self.note(format!("host {id} crashes: {image:?}"));
        self.comes_back(id, ms_max);
    }

    /// What the operator asked for: a controller's machine is gone with all that it had, and another takes its place.
    fn replace_disk(&mut self) {
        let Some(id) = lock(&self.ledger).to_replace.take() else { return };
        self.crash(id, CrashImage::ProcessKilled);
        let times = lock(&self.ledger).new_disks(id);
        self.note(format!("host {id} gets an empty disk"));
        self.hosts[id as usize - 1].replace_disk(times);
    }

    fn comes_back(&mut self, id: i32, ms_max: i64) {
        let at = self.now_ms + 50 + self.random.below(ms_max) as u64;
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
        self.is_repaired(id);
    }

    /// One directory of several fails, and is whole when the node starts again.
    pub fn break_dir(&mut self, id: i32) {
        self.note(format!("{SECOND_DIR} of host {id} fails"));
        let host = &mut self.hosts[id as usize - 1];
        host.disk.fail_dir(Path::new(SECOND_DIR));
        host.dir_is_broken = true;
        self.is_repaired(id);
    }

    fn is_repaired(&mut self, id: i32) {
        let at = self.now_ms + 500 + self.random.below(9000) as u64;
        self.repairs.push((at, id));
    }

    /// All brokers but one pause until they are fenced, and that one loses its power when it is the last in sync.
    pub fn lose_last_in_sync(&mut self, id: i32) {
        self.note(format!("all brokers but {id} pause, and it will lose its power"));
        for other in (1..=BROKERS).filter(|other| *other != id) {
            let ms = 3_500 + self.random.below(4_000) as u64;
            self.hosts[other as usize - 1].paused_until = self.now_ms + ms;
        }
        // Nobody else is to lose anything until then.
        self.lost_power = Some(id);
        let at = self.now_ms + 2_000 + self.random.below(2_000) as u64;
        self.power_cuts.push((at, id));
    }

    pub fn stop(&mut self, id: i32) {
        self.note(format!("host {id} is to stop"));
        self.hosts[id as usize - 1].stop();
    }

    /// Whether a host's power may fail.
    pub fn may_lose_power(&self) -> bool {
        if self.synced { !self.has_lost_power() } else { self.is_whole() }
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
                && !host.dir_is_broken
                && host.node().is_some_and(|node| {
                    let image = node.image();
                    let mut partitions =
                        image.topics.iter().flat_map(|topic| topic.partitions.values()).peekable();
                    partitions.peek().is_some()
                        && partitions.all(|partition| {
                            partition.leader.0 > 0 && partition.isr.len() == BROKERS as usize
                        })
                })
        })
    }

    /// In the end every replica holds the same bytes, and all that was acknowledged.
    fn audit(&mut self) -> Result<(), String> {
        // Nobody writes any more; followers get the rest.
        self.clients = Driven::new(self.now_ms, 0, 0);
        self.net.crash(CLIENTS, false);
        for _ in 0..3_000 {
            self.step()?;
        }
        let nodes: Vec<(i32, Arc<Node>)> =
            self.hosts[..BROKERS as usize].iter().filter_map(|host| Some((host.id, host.node()?))).collect();
        for (topic, partition) in (0..PARTITIONS)
            .map(|partition| (TOPIC, partition))
            .chain((0..OFFSETS_PARTITIONS).map(|partition| (OFFSETS_TOPIC, partition)))
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
        for host in &self.hosts {
            if let Some(node) = host.node() {
                lock(&self.ledger).audit_features(host.id, &node.image().features);
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
                        "host {id}, image {}: {}-{index} is led by {} in epoch {}, in sync {:?}, partition epoch {}, eligible {:?}, last known {:?}, log {log:?}",
                        image.provenance.offset, topic.name, known.leader, known.leader_epoch, known.isr, known.partition_epoch, known.elr, known.last_known_elr
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
