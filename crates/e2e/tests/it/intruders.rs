//! What other nodes may say and must not be believed: each is refused with one clear line, the cluster goes on, and
//! nothing is lost.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ottla_e2e::artifacts;
use ottla_e2e::cluster::{Cluster, PATIENCE, Shape, pause};
use ottla_e2e::load::Load;
use ottla_e2e::node::{Brand, CLUSTER_ID};
use ottla_e2e::wire::{Body, Connection, Cursor, Header, request};

use crate::Named;

pub const TESTS: &[Named] = &[("three_nodes", three_nodes)];

const TOPIC: &str = "intruders";
const STALE_BROKER_EPOCH: i16 = 77;

fn three_nodes() -> Result<()> {
    let mut shape = Shape::of(&[Brand::candidate(); 3]);
    shape.extra = "metadata.log.max.record.bytes.between.snapshots=4096\n".into();
    let mut cluster = Cluster::start(&shape)?;
    let outcome = refuse_all(&mut cluster);
    cluster.explained(outcome)
}

fn refuse_all(cluster: &mut Cluster) -> Result<()> {
    cluster.create_topic(TOPIC, 3, 3)?;
    let home = cluster.node(1).home().to_owned();
    let mut load = Load::over(&cluster.bootstrap(), &home, TOPIC)?;
    load.await_progress(300)?;
    for (name, intrude) in [
        ("a stale broker epoch", stale_broker_epoch as fn(&mut Cluster, &mut Load) -> Result<()>),
        ("a wrong node id", wrong_node_id),
        ("a node of another cluster", another_cluster),
        ("a second node of the same id", duplicate_node),
        ("a voter with another directory id", another_directory),
        ("a corrupt batch from a leader", corrupt_fetch),
        ("a truncated snapshot", truncated_snapshot),
    ] {
        let begun = Instant::now();
        intrude(cluster, &mut load).context(name)?;
        cluster.await_in_sync().context(name)?;
        load.await_progress(100).context(name)?;
        eprintln!("e2e: {name}: {:.1} s", begun.elapsed().as_secs_f64());
    }
    load.finish()?;
    cluster.await_equal_logs(TOPIC)?;
    Ok(())
}

/// Requests in the name of a broker, with an epoch that it does not have.
fn stale_broker_epoch(cluster: &mut Cluster, _: &mut Load) -> Result<()> {
    let active = cluster.active_controller()?;
    let mut connection = Connection::open(cluster.node(active).controller(), Duration::from_secs(5))?;
    let stale = Body::new().i32(2).i64(0);
    // One topic, or directory, of id 0 with nothing in it: a request about nothing is answered without a look.
    let one = [&[2][..], &[0; 16], &[1, 0, 0]].concat();
    for (what, key, version, body) in [
        ("BrokerHeartbeat", 63, 0, stale.clone().i64(0).raw(&[1, 0, 0])),
        ("AlterPartition", 56, 3, stale.clone().raw(&one)),
        ("AssignReplicasToDirs", 73, 0, stale.clone().raw(&one)),
        ("AllocateProducerIds", 67, 0, stale.raw(&[0])),
    ] {
        let answer = connection.ask(&request(key, version, 9, Header::Flexible, body))?;
        let mut cursor = Cursor(&answer);
        let (_tags, _throttle, error) = (cursor.i8()?, cursor.i32()?, cursor.i16()?);
        ensure!(error == STALE_BROKER_EPOCH, "{what} answers error {error}");
    }
    Ok(())
}

/// The settings name another node than the directory.
fn wrong_node_id(cluster: &mut Cluster, load: &mut Load) -> Result<()> {
    cluster.kill(&[3])?;
    let file = cluster.node(3).properties();
    let right = fs::read_to_string(&file).context("read server.properties")?;
    fs::write(&file, right.replace("node.id=3", "node.id=4")).context("write server.properties")?;
    ensure_ends(cluster, 3, &["node.id", "node id", "nodeId"])?;
    fs::write(&file, right).context("write server.properties")?;
    load.await_progress(50)?;
    cluster.launch(&[3])
}

/// The directory belongs to another cluster: the quorum and the controller refuse it, whether it then ends or waits.
fn another_cluster(cluster: &mut Cluster, load: &mut Load) -> Result<()> {
    cluster.kill(&[3])?;
    let file = cluster.node(3).data().join("meta.properties");
    let right = fs::read_to_string(&file).context("read meta.properties")?;
    let other = right.replace(CLUSTER_ID, "otherClusterIdAAAAAAAA");
    ensure!(other != right, "meta.properties has another cluster id than the suites'");
    fs::write(&file, other).context("write meta.properties")?;
    // It is out as soon as its session is over, and does not come in again.
    await_brokers(cluster, &[1, 2])?;
    let brand = cluster.node(3).brand();
    cluster.node_mut(3).spawn_as(brand)?;
    await_logged(cluster, 3, &["INCONSISTENT_CLUSTER_ID", "cluster id", "clusterId"])?;
    ensure!(!cluster.metadata()?.brokers.contains_key(&3), "a node of another cluster was let in");
    load.await_progress(50)?;
    if cluster.node_mut(3).runs() {
        cluster.kill(&[3])?;
    }
    fs::write(&file, right).context("write meta.properties")?;
    cluster.launch(&[3])
}

/// A second process with the id of a live broker and a directory of its own, at the address of node 2's host.
fn duplicate_node(cluster: &mut Cluster, load: &mut Load) -> Result<()> {
    let before = cluster.metadata()?.brokers;
    let mut second = cluster.twin(3)?;
    second.spawn_as(cluster.node(3).brand())?;
    let deadline = Instant::now() + PATIENCE;
    // Apache Kafka does not warn of it.
    while second.brand() == Brand::Ottla && !second.logged().contains("another process has this broker's id")
    {
        ensure!(Instant::now() < deadline, "the second node 3 says nothing:\n{}", second.log_tail());
        pause();
    }
    // More than a session.
    load.await_progress(8000)?;
    ensure!(cluster.metadata()?.brokers == before, "the second node 3 took the first one's place");
    Ok(())
}

/// A voter's id with a directory that the quorum does not know watches, and has no vote: with it and one of two other
/// voters there is no leader.
fn another_directory(cluster: &mut Cluster, load: &mut Load) -> Result<()> {
    cluster.kill(&[3])?;
    await_brokers(cluster, &[1, 2])?;
    let mut other = cluster.twin(3)?;
    other.spawn_as(cluster.node(3).brand())?;
    await_brokers(cluster, &[1, 2, 3])?;
    load.await_progress(50)?;
    let active = cluster.active_controller()?;
    let rest = [cluster.node(3 - active).controller(), other.controller()];
    cluster.pause(active)?;
    // Time for several elections.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut leader = None;
    while leader.is_none() && Instant::now() < deadline {
        pause();
        let ask = |address| Connection::open(address, Duration::from_secs(1))?.quorum_leader();
        leader = rest.iter().find_map(|address| ask(*address).ok());
    }
    cluster.resume(active)?;
    ensure!(leader.is_none(), "{leader:?} leads the quorum by the vote of a directory that is no voter's");
    await_brokers(cluster, &[1, 2, 3])?;
    drop(other);
    // Its session is over: what comes back is not taken for it.
    await_brokers(cluster, &[1, 2])?;
    load.await_progress(50)?;
    cluster.launch(&[3])
}

/// A byte of the leader's file is flipped where a follower has yet to fetch it: the follower takes nothing from there
/// on, and goes on when the byte is right again.
fn corrupt_fetch(cluster: &mut Cluster, load: &mut Load) -> Result<()> {
    // Of a partition that another node leads.
    cluster.kill(&[3])?;
    await_brokers(cluster, &[1, 2])?;
    let leader = cluster.leader(TOPIC, 0)?;
    let segment = |cluster: &Cluster, id: i32| -> Result<PathBuf> {
        let dir = cluster.node(id).data().join(format!("{TOPIC}-0"));
        artifacts::sorted(&dir, "log")?.pop().context("find a segment")
    };
    let (ours, theirs) = (segment(cluster, 3)?, segment(cluster, leader)?);
    let (_, before) = cluster.compare_logs(&format!("{TOPIC}-0"), &[3])?;
    let size = cluster.log_size(&format!("{TOPIC}-0"), 3)?;
    load.await_progress(2000)?;
    ensure!(ours.file_name() == theirs.file_name(), "the logs have rolled");
    let file =
        fs::File::options().read(true).write(true).open(&theirs).context("open the leader's segment")?;
    // In the records of the first batch that the follower lacks: behind its header of 61 bytes.
    let (position, mut byte) = (size + 65, [0]);
    file.read_exact_at(&mut byte, position).context("read a byte")?;
    file.write_all_at(&[!byte[0]], position).context("flip a byte")?;
    cluster.launch(&[3])?;
    await_logged(cluster, 3, &["corrupt", "Corrupt", "CRC", "crc", "checksum", "invalid messages"])?;
    let (_, after) = cluster.compare_logs(&format!("{TOPIC}-0"), &[3])?;
    ensure!(before == after, "the follower took a corrupt batch: it ended at {before:?}, now at {after:?}");
    file.write_all_at(&byte, position).context("put the byte back")
}

/// The newest snapshot ends in the middle: a node may refuse to start or do without, and must not be wrong.
fn truncated_snapshot(cluster: &mut Cluster, load: &mut Load) -> Result<()> {
    cluster.kill(&[3])?;
    let dir = cluster.node(3).data().join("__cluster_metadata-0");
    let snapshot = artifacts::sorted(&dir, "checkpoint")?.pop().context("find a snapshot")?;
    let bytes = fs::read(&snapshot).context("read a snapshot")?;
    ensure!(bytes.len() > 500, "{} is too short to be cut", snapshot.display());
    fs::write(&snapshot, &bytes[..bytes.len() / 2]).context("cut a snapshot")?;
    let outcome = cluster.launch(&[3]);
    if let Err(error) = outcome {
        ensure!(!cluster.node_mut(3).runs(), "neither refused nor started: {error:#}");
        let said = cluster.node(3).log_tail();
        ensure!(said.contains("checkpoint") || said.contains("snapshot"), "no word of the snapshot:\n{said}");
        fs::write(&snapshot, &bytes).context("put the snapshot back")?;
        cluster.launch(&[3])?;
    }
    load.await_progress(50)
}

fn ensure_ends(cluster: &mut Cluster, id: i32, words: &[&str]) -> Result<()> {
    let brand = cluster.node(id).brand();
    cluster.node_mut(id).spawn_as(brand)?;
    let deadline = Instant::now() + PATIENCE;
    while cluster.node_mut(id).runs() {
        ensure!(Instant::now() < deadline, "node {id} goes on");
        pause();
    }
    let said = cluster.node(id).log_tail();
    ensure!(words.iter().any(|word| said.contains(word)), "the reason is not told:\n{said}");
    Ok(())
}

/// Waits until what the node has logged since its start contains one of these words.
fn await_logged(cluster: &mut Cluster, id: i32, words: &[&str]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = cluster.node(id).logged();
        if words.iter().any(|word| said.contains(word)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("node {id} says none of {words:?}:\n{}", cluster.node(id).log_tail());
        }
        pause();
    }
}

fn await_brokers(cluster: &mut Cluster, ids: &[i32]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let brokers: Vec<i32> = cluster.metadata()?.brokers.into_keys().collect();
        if brokers == ids {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the brokers are {brokers:?}");
        pause();
    }
}
