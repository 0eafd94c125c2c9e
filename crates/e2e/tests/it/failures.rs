//! Failures that are not over within seconds: a log directory that is gone while its broker goes on, and partitions all
//! of whose in-sync replicas are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ottla_e2e::cluster::{Cluster, PATIENCE, Shape, pause};
use ottla_e2e::disk::Disk;
use ottla_e2e::load::Load;
use ottla_e2e::node::{Brand, Roles};
use ottla_e2e::tools::Jars;
use ottla_e2e::wire::{Connection, Replicas};
use ottla_e2e::{scenario, tools};

use crate::Named;

pub const TESTS: &[Named] = &[
    ("log_directory", log_directory),
    ("dead_directory", dead_directory),
    ("unclean_election", unclean_election),
    ("killed_leader", killed_leader),
];

const TOPIC: &str = "failures";
const OFFSETS: &str = "__consumer_offsets";

/// Error codes.
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const KAFKA_STORAGE_ERROR: i16 = 56;

/// One of the two log directories of a broker fails: what it led there others lead, what it has in the other one it
/// goes on to lead and to follow; with a repaired disk it is back everywhere.
fn log_directory() -> Result<()> {
    let mut shape = Shape::of(&[Brand::candidate(); 3]);
    shape.disk = Disk::Second(96);
    let mut cluster = Cluster::start(&shape)?;
    let outcome = lose_directory(&mut cluster);
    cluster.explained(outcome)
}

fn lose_directory(cluster: &mut Cluster) -> Result<()> {
    let mut load = begin_load(cluster)?;
    let committed = load.committed()?;
    let victim = lead_in_second_directory(cluster)?;
    let lost = second_directory(cluster, victim)?;
    let before = cluster.metadata()?.partitions;
    let (led, followed): (Vec<_>, Vec<_>) = lost.iter().partition(|name| before[*name].leader == victim);
    ensure!(
        !led.is_empty() && !followed.is_empty(),
        "node {victim} leads {led:?} and follows {followed:?} there"
    );
    let begun = Instant::now();
    cluster.node(victim).disk()?.lose_power()?;
    await_all(cluster, |name, state| match lost.contains(name) {
        true => state.leader >= 0 && state.leader != victim && !state.isr.contains(&victim),
        // What else it led it leads, what else it followed it follows.
        false => state.isr.contains(&victim) && (before[name].leader != victim || state.leader == victim),
    })?;
    eprintln!(
        "e2e: {} led and {} followed partitions are left to others after {:.1} s",
        led.len(),
        followed.len(),
        begun.elapsed().as_secs_f64()
    );
    load.await_progress(300)?;
    load.check_group(&committed)?;
    ensure!(cluster.node_mut(victim).runs(), "node {victim} ended, and had another directory");
    mend_directory(cluster, victim, &lost, load)
}

/// A broker starts while one of its two log directories cannot be read: it leads and follows what it has in the other
/// one, the rest others lead; with a repaired disk it is back everywhere.
fn dead_directory() -> Result<()> {
    let mut shape = Shape::of(&[Brand::candidate(); 3]);
    shape.disk = Disk::Second(96);
    let mut cluster = Cluster::start(&shape)?;
    let outcome = start_without_directory(&mut cluster);
    cluster.explained(outcome)
}

fn start_without_directory(cluster: &mut Cluster) -> Result<()> {
    let mut load = begin_load(cluster)?;
    let victim = 1;
    let lost = second_directory(cluster, victim)?;
    let before = cluster.metadata()?.partitions;
    let led = |name: &&(String, i32)| before[*name].leader == victim;
    let kept = before.keys().filter(led).find(|name| !lost.contains(*name));
    let (topic, partition) = kept.context("find a partition that it leads in the first directory")?;
    ensure!(lost.iter().any(|name| led(&name)), "node {victim} leads nothing in its second directory");

    cluster.node_mut(victim).stop()?;
    cluster.node(victim).disk()?.lose_power()?;
    let begun = Instant::now();
    cluster.launch(&[victim])?;
    await_all(cluster, |name, state| match lost.contains(name) {
        true => state.leader >= 0 && state.leader != victim && !state.isr.contains(&victim),
        false => state.isr.contains(&victim),
    })?;
    eprintln!(
        "e2e: started without {} of {} partitions, and in sync with the others after {:.1} s",
        lost.len(),
        before.len(),
        begun.elapsed().as_secs_f64()
    );
    elect_preferred(cluster, topic, *partition)?;
    cluster.leader_among(topic, *partition, |leader| leader == victim)?;
    let mut connection = Connection::open(cluster.node(victim).address(), Duration::from_secs(20))?;
    let errors = connection.log_dir_errors()?;
    let path = |path: PathBuf| path.display().to_string();
    let (data, second) = (path(cluster.node(victim).data()), path(cluster.node(victim).second()));
    ensure!(errors == BTreeMap::from([(data, 0), (second, KAFKA_STORAGE_ERROR)]), "{errors:?}");
    for (topic, partition) in &lost {
        let (error, _) = connection.fetch(topic, *partition, 0)?;
        ensure!(error == NOT_LEADER_OR_FOLLOWER, "fetch of {topic}-{partition}: {error}");
    }
    load.await_progress(300)?;

    mend_directory(cluster, victim, &lost, load)
}

/// Partitions for each broker to lead and to follow in each of its directories, and a load on some of them.
fn begin_load(cluster: &mut Cluster) -> Result<Load> {
    cluster.create_topic(TOPIC, 3, 3)?;
    cluster.create_topic("more", 24, 3)?;
    let home = cluster.node(1).home().to_owned();
    let mut load = Load::over(&cluster.bootstrap(), &home, TOPIC)?;
    load.await_progress(300)?;
    cluster.await_in_sync()?;
    Ok(load)
}

/// Restarts a node on its repaired disk: it has all that was `lost` where it was, and nothing is missing anywhere.
fn mend_directory(
    cluster: &mut Cluster,
    victim: i32,
    lost: &BTreeSet<(String, i32)>,
    mut load: Load,
) -> Result<()> {
    cluster.node_mut(victim).stop()?;
    cluster.node(victim).disk()?.restore()?;
    cluster.launch(&[victim])?;
    cluster.await_in_sync()?;
    ensure!(
        second_directory(cluster, victim)? == *lost,
        "replicas have moved between the directories of node {victim}"
    );
    load.await_progress(100)?;
    let audit = load.finish()?;
    cluster.await_in_sync()?;
    let bytes = cluster.await_equal_logs(TOPIC)? + cluster.await_equal_logs(OFFSETS)?;
    eprintln!("e2e: {audit}; {bytes} bytes equal on all replicas");
    Ok(())
}

/// Has a partition that is written to led by a node on which it lies in the second directory.
fn lead_in_second_directory(cluster: &mut Cluster) -> Result<i32> {
    // Each directory got one of three partitions at least.
    let there = second_directory(cluster, 1)?;
    let (_, partition) = there
        .into_iter()
        .find(|(topic, _)| topic == TOPIC)
        .context("find a partition in the second directory")?;
    if cluster.leader(TOPIC, partition)? != 1 {
        let address = cluster.node(1).address();
        Connection::open(address, Duration::from_secs(20))?.reassign(TOPIC, partition, &[1, 2, 3])?;
        elect_preferred(cluster, TOPIC, partition)?;
        cluster.leader_among(TOPIC, partition, |leader| leader == 1)?;
    }
    Ok(1)
}

/// Has the first replica of a partition made its leader.
fn elect_preferred(cluster: &Cluster, topic: &str, partition: i32) -> Result<()> {
    let bootstrap = cluster.bootstrap();
    let number = partition.to_string();
    let arguments = ["--election-type", "preferred", "--topic", topic, "--partition", &number];
    let arguments = [&["--bootstrap-server", &bootstrap], &arguments[..]].concat();
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let limit = Duration::from_secs(40);
    let outcome = tools::runner()?.tool(Jars::Tools, "kafka-leader-election", &arguments, b"", limit)?;
    ensure!(outcome.status == 0, "elect a preferred leader: {outcome:?}");
    Ok(())
}

/// The partitions that lie in a node's second directory.
fn second_directory(cluster: &Cluster, id: i32) -> Result<BTreeSet<(String, i32)>> {
    let dir = cluster.node(id).second();
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some((topic, partition)) = name.rsplit_once('-')
            && let Ok(partition) = partition.parse()
        {
            found.insert((topic.to_owned(), partition));
        }
    }
    Ok(found)
}

fn await_all(cluster: &mut Cluster, wanted: impl Fn(&(String, i32), &Replicas) -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let partitions = cluster.metadata()?.partitions;
        let strange = partitions.iter().find(|(name, state)| !wanted(name, state));
        let Some(strange) = strange else { return Ok(()) };
        ensure!(Instant::now() < deadline, "still {strange:?}");
        pause();
    }
}

/// The kernel closes the connections of a broker that is killed: its partitions have other leaders when a third of its
/// session is over.
fn killed_leader() -> Result<()> {
    let mut shape = Shape::of(&[Brand::candidate(); 3]);
    shape.extra = "broker.session.timeout.ms=15000\nbroker.heartbeat.interval.ms=2000\n".into();
    let mut cluster = Cluster::start(&shape)?;
    let outcome = kill_leader(&mut cluster);
    cluster.explained(outcome)
}

fn kill_leader(cluster: &mut Cluster) -> Result<()> {
    cluster.create_topic(TOPIC, 6, 3)?;
    cluster.await_in_sync()?;
    let controller = cluster.active_controller()?;
    let victim = cluster.others(controller)[0];
    let begun = Instant::now();
    cluster.kill(&[victim])?;
    await_all(cluster, |(topic, _), state| topic != TOPIC || state.leader >= 0 && state.leader != victim)?;
    let took = begun.elapsed();
    eprintln!("e2e: others lead after {:.1} s", took.as_secs_f64());
    // A heartbeat may have come just before: silence alone would take 13 seconds at least.
    ensure!((5.0..9.0).contains(&took.as_secs_f64()), "others lead after {took:?}");
    cluster.launch(&[victim])?;
    cluster.await_in_sync()
}

/// A controller and three brokers, of which two go, the one that is in sync last.
fn unclean_election() -> Result<()> {
    let shape = |brand| {
        let mut shape = Shape::of(&[brand; 4]);
        for (_, roles) in &mut shape.members[..3] {
            *roles = Roles::Broker;
        }
        shape.members[3].1 = Roles::Controller;
        shape
    };
    let mut judge = Cluster::start(&shape(Brand::Apache))?;
    let mut candidate = Cluster::start(&shape(Brand::candidate()))?;
    let outcome = scenario::compare("unclean", &mut judge, &mut candidate);
    candidate.explained(outcome)
}
