//! A nemesis against three nodes under load: each fault is injected, held, healed; afterwards nothing acknowledged is
//! lost, doubled or out of order, no group went back, and the logs of all replicas are equal byte for byte.
//!
//! Faults are dealt from a shuffled deck, so that a sample has seen them all. `E2E_FAULTS` says how many, `E2E_SEED`
//! repeats a deal, `E2E_ONLY` deals only faults whose names contain it, `E2E_NODES` whose programs the nodes run, as
//! `apache,ottla,apache43`; `cargo xtask faults` runs a hundred.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use ottla_e2e::cluster::{Cluster, PATIENCE, Shape, pause};
use ottla_e2e::disk::Disk;
use ottla_e2e::load::Load;
use ottla_e2e::network::CLIENTS;
use ottla_e2e::node::Brand;
use ottla_e2e::wire::Connection;

use crate::Named;

pub const TESTS: &[Named] = &[
    ("nemesis", || nemesis(&named_brands()?.unwrap_or(vec![Brand::candidate(); 3]), DECK.len())),
    ("deposed_leader", deposed_leader),
    ("mixed_brands", || nemesis(&[Brand::candidate(), Brand::Apache, Brand::Apache43], 5)),
];

const TOPIC: &str = "nemesis";
const OFFSETS: &str = "__consumer_offsets";

const OFFSET_OUT_OF_RANGE: i16 = 1;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;

/// Longer than the session of a broker and than the fetch timeout of a quorum.
const OVER_THE_SESSION: Duration = Duration::from_millis(4500);
/// Longer than clients wait for an answer.
const OVER_THE_REQUEST: Duration = Duration::from_millis(5500);

/// What goes wrong; a node is chosen by what it is at that moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Kill(Who),
    KillMajority,
    KillAll,
    /// Stopped for longer than its session: it comes back and believes that it is what it was.
    Pause(Who),
    /// A controlled stop and a start.
    Restart(Who),
    /// Cut off from all other nodes, in both directions.
    Isolate(Who),
    /// It is heard and hears nothing.
    Deafen(Who),
    /// It hears and is not heard.
    Mute(Who),
    /// Leader and one follower do not hear each other; both hear everybody else.
    CutPair,
    /// The leader does not hear one follower.
    CutOneWay,
    /// Cut off from clients only.
    CutClients,
    /// All that it sends and is sent, by clients too, arrives late and in no order.
    Slow(Who),
    /// What the leader sends to one follower arrives when that does not wait for it any more.
    SlowPair,
    /// What clients send to the leader arrives, and is done, after they gave it up and asked again.
    SlowClients,
    FillDisk(Who),
    /// What was not synced is gone.
    LosePower(Who),
    /// Followers fall out of sync one by one, then the leader dies, then the followers come back first.
    LastInSync,
    /// Partitions move while a node that they move to dies.
    Reassign,
}

/// A role that a fault is aimed at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Who {
    Leader,
    Follower,
    Controller,
    Coordinator,
}

const DECK: &[Fault] = &[
    Fault::Kill(Who::Leader),
    Fault::Kill(Who::Follower),
    Fault::Kill(Who::Controller),
    Fault::Kill(Who::Coordinator),
    Fault::KillMajority,
    Fault::KillAll,
    Fault::Pause(Who::Leader),
    Fault::Pause(Who::Controller),
    Fault::Restart(Who::Leader),
    Fault::Restart(Who::Controller),
    Fault::Isolate(Who::Leader),
    Fault::Isolate(Who::Controller),
    Fault::Deafen(Who::Controller),
    Fault::Mute(Who::Controller),
    Fault::Deafen(Who::Leader),
    Fault::Mute(Who::Leader),
    Fault::CutPair,
    Fault::CutOneWay,
    Fault::CutClients,
    Fault::Slow(Who::Leader),
    Fault::Slow(Who::Controller),
    Fault::SlowPair,
    Fault::SlowClients,
    Fault::FillDisk(Who::Leader),
    Fault::FillDisk(Who::Follower),
    Fault::LosePower(Who::Leader),
    Fault::LosePower(Who::Follower),
    Fault::LastInSync,
    Fault::Reassign,
];

fn nemesis(brands: &[Brand], sample: usize) -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let seed = number("E2E_SEED").unwrap_or_else(|| clock() as u64);
    let count = number("E2E_FAULTS").map_or(sample, |count| count as usize);
    eprintln!("e2e: {count} faults of {brands:?}, E2E_SEED={seed}");
    let only = std::env::var("E2E_ONLY").unwrap_or_default();
    let full: Vec<Fault> =
        DECK.iter().copied().filter(|fault| format!("{fault:?}").contains(&only)).collect();
    ensure!(!full.is_empty(), "E2E_ONLY={only} names no fault");
    let mut chance = Chance(seed | 1);
    let mut shape = Shape::of(brands);
    shape.disk = Disk::Loop(192);
    let mut cluster = Cluster::start(&shape)?;
    cluster.create_topic(TOPIC, 3, 3)?;
    // Nothing is ever written here: its replicas have to come back in sync all the same.
    cluster.create_topic("idle", 6, 3)?;
    let home = cluster.node(1).home().to_owned();
    let mut load = Load::over(&cluster.bootstrap(), &home, TOPIC)?;
    load.await_progress(500)?;
    cluster.await_in_sync()?;
    let (begun, mut deck, mut story) = (Instant::now(), Vec::new(), String::new());
    for round in 1..=count {
        if deck.is_empty() {
            deck = full.clone();
        }
        let fault = deck.swap_remove(chance.below(deck.len()));
        let committed = load.committed()?;
        let started = Instant::now();
        let mut step = || -> Result<()> {
            strike(&mut cluster, fault, &mut chance, &mut load).context("strike")?;
            let healed = Instant::now();
            cluster.await_in_sync().context("come back in sync")?;
            let whole = healed.elapsed();
            load.await_progress(100)?;
            load.check_group(&committed)?;
            let _ = write!(story, "{fault:?} ");
            eprintln!(
                "e2e: {round} {fault:?}: {:.1} s, in sync {:.1} s after it was healed",
                started.elapsed().as_secs_f64(),
                whole.as_secs_f64()
            );
            Ok(())
        };
        let outcome = step();
        let outcome =
            outcome.with_context(|| format!("fault {round}, {fault:?}, E2E_SEED={seed}, after: {story}"));
        cluster.explained(outcome)?;
    }
    let audit = load.finish().with_context(|| format!("E2E_SEED={seed}, after: {story}"))?;
    let all_ottla = cluster.others(0).iter().all(|id| cluster.node(*id).brand() == Brand::Ottla);
    ensure!(audit.strange == 0 || !all_ottla, "{} unknown server errors", audit.strange);
    cluster.await_in_sync()?;
    let bytes = cluster.await_equal_logs(TOPIC)? + cluster.await_equal_logs(OFFSETS)?;
    let everybody = cluster.controllers();
    let (metadata, _) = cluster.compare_logs("__cluster_metadata-0", &everybody)?;
    eprintln!(
        "e2e: {count} faults in {:.0} s: {audit}; {bytes} bytes of logs and {metadata} of the metadata log equal on \
         all replicas",
        begun.elapsed().as_secs_f64(),
    );
    Ok(())
}

fn named_brands() -> Result<Option<Vec<Brand>>> {
    let Ok(names) = std::env::var("E2E_NODES") else { return Ok(None) };
    let brand = |name| Brand::named(name).with_context(|| format!("{name} is no brand"));
    names.split(',').map(brand).collect::<Result<_>>().map(Some)
}

/// Injects a fault, holds it, and heals it.
fn strike(cluster: &mut Cluster, fault: Fault, chance: &mut Chance, load: &mut Load) -> Result<()> {
    let partition = chance.below(3) as i32;
    let state = cluster.partition(TOPIC, partition)?;
    let leader = cluster.leader(TOPIC, partition)?;
    let followers: Vec<i32> = state.replicas.into_iter().filter(|id| *id != leader).collect();
    let follower = followers[chance.below(followers.len())];
    let mut find = |who: Who| match who {
        Who::Leader => Ok(leader),
        Who::Follower => Ok(follower),
        Who::Controller => cluster.active_controller(),
        Who::Coordinator => cluster.leader(OFFSETS, group_partition(&format!("{TOPIC}-group"), 3)),
    };
    let moment = Duration::from_millis(100 + chance.below(3000) as u64);
    match fault {
        Fault::Kill(who) => {
            let id = find(who)?;
            cluster.kill(&[id])?;
            // Most partitions go on without it.
            load.await_progress(100)?;
            cluster.launch(&[id])
        }
        Fault::KillMajority => {
            let dead = [leader, follower];
            cluster.kill(&dead)?;
            hold(moment);
            cluster.launch(&dead)
        }
        Fault::KillAll => {
            let all = cluster.brokers();
            cluster.kill(&all)?;
            cluster.launch(&all)
        }
        Fault::Pause(who) => {
            let id = find(who)?;
            cluster.pause(id)?;
            hold(OVER_THE_SESSION + moment);
            cluster.resume(id)
        }
        Fault::Restart(who) => {
            let id = find(who)?;
            cluster.node_mut(id).stop()?;
            load.await_progress(100)?;
            cluster.launch(&[id])
        }
        Fault::Isolate(who) => {
            let id = find(who)?;
            let others = cluster.others(id);
            cluster.cut(&[id], &others)?;
            cluster.cut(&others, &[id])?;
            hold(OVER_THE_SESSION + moment);
            cluster.network().heal()
        }
        Fault::Deafen(who) => {
            let id = find(who)?;
            cluster.cut(&cluster.others(id), &[id])?;
            hold(OVER_THE_SESSION + moment);
            cluster.network().heal()
        }
        Fault::Mute(who) => {
            let id = find(who)?;
            cluster.cut(&[id], &cluster.others(id))?;
            hold(OVER_THE_SESSION + moment);
            cluster.network().heal()
        }
        Fault::CutPair => {
            cluster.cut(&[leader], &[follower])?;
            cluster.cut(&[follower], &[leader])?;
            hold(OVER_THE_SESSION + moment);
            cluster.network().heal()
        }
        Fault::CutOneWay => {
            cluster.cut(&[follower], &[leader])?;
            hold(OVER_THE_SESSION + moment);
            cluster.network().heal()
        }
        Fault::CutClients => {
            cluster.cut_clients(leader)?;
            hold(moment);
            cluster.network().heal()
        }
        Fault::Slow(who) => {
            let id = find(who)?;
            let far = cluster.others(id).into_iter().map(|other| other as usize).chain([CLIENTS]);
            let links: Vec<_> = far.flat_map(|far| [(id as usize, far), (far, id as usize)]).collect();
            let least = Duration::from_millis(20);
            cluster.network().slow(&links, least..15 * least)?;
            let asked = Instant::now();
            Connection::open(cluster.node(id).address(), Duration::from_secs(20))?.metadata()?;
            ensure!(
                asked.elapsed() > 4 * least,
                "node {id} answers in {:?}: it is not slow",
                asked.elapsed()
            );
            hold(OVER_THE_SESSION + moment);
            cluster.network().heal()
        }
        Fault::SlowPair => {
            let link = (leader as usize, follower as usize);
            cluster.network().slow(&[link], OVER_THE_SESSION - Duration::from_secs(1)..OVER_THE_SESSION)?;
            hold(2 * OVER_THE_SESSION);
            cluster.network().heal()
        }
        Fault::SlowClients => {
            let link = (CLIENTS, leader as usize);
            cluster.network().slow(&[link], OVER_THE_REQUEST..OVER_THE_REQUEST + moment)?;
            hold(OVER_THE_REQUEST + moment);
            cluster.network().heal()
        }
        Fault::FillDisk(who) => {
            let id = find(who)?;
            cluster.node(id).disk()?.fill()?;
            hold(OVER_THE_SESSION);
            cluster.node(id).disk()?.free()?;
            // A node whose only directory failed ends, or stays without it: it is started again either way.
            if cluster.node_mut(id).runs() {
                cluster.kill(&[id])?;
            }
            cluster.launch(&[id])
        }
        Fault::LosePower(who) => {
            let id = find(who)?;
            cluster.node(id).disk()?.lose_power()?;
            if cluster.node_mut(id).runs() {
                cluster.kill(&[id])?;
            }
            cluster.node(id).disk()?.restore()?;
            cluster.launch(&[id])
        }
        Fault::LastInSync => {
            cluster.kill(&followers[..1])?;
            await_isr(cluster, partition, 2)?;
            // The quorum needs a second node: this one lives on and cannot replicate.
            cluster.network().close_port(followers[1] as usize, leader as usize, 9092)?;
            await_isr(cluster, partition, 1)?;
            cluster.kill(&[leader])?;
            cluster.network().heal()?;
            cluster.launch(&followers[..1])?;
            hold(moment);
            cluster.launch(&[leader])
        }
        Fault::Reassign => {
            let address = cluster.node(leader).address();
            let reassign = |partition, replicas: &[i32]| -> Result<()> {
                Connection::open(address, Duration::from_secs(20))?.reassign(TOPIC, partition, replicas)
            };
            reassign(partition, &[leader, followers[1 - usize::from(follower == followers[1])]])?;
            await_replicas(cluster, partition, 2)?;
            load.await_progress(100)?;
            reassign(partition, &[follower, leader, followers[usize::from(follower == followers[0])]])?;
            let target = followers[chance.below(2)];
            cluster.kill(&[target])?;
            hold(moment);
            cluster.launch(&[target])?;
            await_replicas(cluster, partition, 3)
        }
    }
}

/// A leader that the other nodes do not hear any more, and consumers do: of an offset behind its log's end, which its
/// successor may have written, it does not say that there is none. A consumer would begin anew and commit that: its
/// group went back. (Apache Kafka's leader says so.) It is the active controller, which goes on for a time to take its
/// own heartbeats.
fn deposed_leader() -> Result<()> {
    let mut cluster = Cluster::start(&Shape::of(&[Brand::candidate(); 3]))?;
    cluster.create_topic(TOPIC, 3, 3)?;
    let leader = cluster.active_controller()?;
    let ours = cluster.metadata()?.partitions.into_iter().find(|(_, state)| state.leader == leader);
    let ((_, partition), _) = ours.context("each node leads a partition")?;
    let (address, others) = (cluster.node(leader).address(), cluster.others(leader));
    let ask =
        || anyhow::Ok(Connection::open(address, Duration::from_secs(5))?.fetch(TOPIC, partition, 1000)?.0);
    let deadline = Instant::now() + PATIENCE;
    while ask()? != OFFSET_OUT_OF_RANGE {
        ensure!(Instant::now() < deadline, "node {leader} does not lead {TOPIC}-{partition}");
        pause();
    }
    cluster.cut(&[leader], &others)?;
    cluster.cut(&others, &[leader])?;
    let elsewhere = cluster.node(others[0]).address();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metadata = Connection::open(elsewhere, Duration::from_secs(5))?.metadata()?;
        if metadata.partitions[&(TOPIC.into(), partition)].leader != leader {
            break;
        }
        ensure!(Instant::now() < deadline, "nobody takes over from node {leader}");
        pause();
    }
    let error = ask()?;
    let right = match Brand::candidate() {
        Brand::Ottla => NOT_LEADER_OR_FOLLOWER,
        Brand::Apache | Brand::Apache43 => OFFSET_OUT_OF_RANGE,
    };
    ensure!(error == right, "a deposed leader answers error {error}");
    cluster.network().heal()?;
    cluster.await_in_sync()
}

fn await_isr(cluster: &mut Cluster, partition: i32, size: usize) -> Result<()> {
    await_state(cluster, partition, |state| state.isr.len() <= size)
}

fn await_replicas(cluster: &mut Cluster, partition: i32, count: usize) -> Result<()> {
    await_state(cluster, partition, |state| state.replicas.len() == count && state.isr.len() == count)
}

fn await_state(
    cluster: &mut Cluster,
    partition: i32,
    wanted: impl Fn(&ottla_e2e::wire::Replicas) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = cluster.partition(TOPIC, partition)?;
        if wanted(&state) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{TOPIC}-{partition} stays {state:?}");
        pause();
    }
}

/// A fault lasts a time: there is nothing to wait for (tidy: thread::sleep).
fn hold(time: Duration) {
    std::thread::sleep(time);
}

/// The partition of the offsets topic that a group belongs to: Java's hash of its id.
fn group_partition(group: &str, partitions: i32) -> i32 {
    let hash = group.bytes().fold(0i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    (hash & i32::MAX) % partitions
}

/// Marsaglia's xorshift: the same seed, the same deal.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }
}
