//! Clusters of Apache Kafka 4.4.0, 4.3.1 and the candidate: every brand leads and follows, in both roles; a cluster of
//! Apache Kafka is migrated node by node under load, and back.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ottla_e2e::cluster::{Cluster, PATIENCE, Shape, Voters, pause};
use ottla_e2e::load::Load;
use ottla_e2e::node::{Brand, Roles};
use ottla_e2e::tools::Jars;
use ottla_e2e::{artifacts, process, tools};

use crate::Named;

pub const TESTS: &[Named] = &[
    ("every_brand_leads_and_follows", every_brand_leads_and_follows),
    ("rolling_migration", || rolling_migration(Brand::Apache)),
    ("rolling_migration_of_the_release_before", || rolling_migration(Brand::Apache43)),
    ("controller_of_apache", || apart(Brand::Apache, [Brand::candidate(); 3], Voters::Static)),
    ("brokers_of_apache", || {
        apart(Brand::candidate(), [Brand::Apache, Brand::Apache43, Brand::candidate()], Voters::Dynamic)
    }),
];

const TOPIC: &str = "mixed";
const OFFSETS: &str = "__consumer_offsets";

/// Leaders return to where they are preferred within seconds; snapshots are made of a few records.
const LIVELY: &str = "leader.imbalance.check.interval.seconds=2
metadata.log.max.record.bytes.between.snapshots=4096
";

/// A mixed quorum elects each brand, and each brand leads a partition that the others follow.
fn every_brand_leads_and_follows() -> Result<()> {
    let mut shape = Shape::of(&[Brand::candidate(), Brand::Apache, Brand::Apache43]);
    shape.extra = LIVELY.into();
    let mut cluster = Cluster::start(&shape)?;
    let outcome = rotate(&mut cluster);
    cluster.explained(outcome)
}

fn rotate(cluster: &mut Cluster) -> Result<()> {
    let mut load = loaded(cluster)?;
    let mut active = BTreeSet::new();
    for round in 1.. {
        let id = cluster.active_controller()?;
        active.insert(id);
        compare_offers(cluster, id)?;
        cluster.create_topic(&format!("made-{round}-by-{id}"), 1, 3)?;
        if active.len() == 3 {
            break;
        }
        ensure!(round < 30, "only {active:?} became the active controller");
        // The others elect one of them; the paused one finds itself deposed.
        let committed = load.committed()?;
        cluster.pause(id)?;
        cluster.active_controller()?;
        cluster.resume(id)?;
        cluster.await_in_sync()?;
        load.check_group(&committed)?;
    }
    await_spread(cluster)?;
    load.await_progress(300)?;
    finish(cluster, load)?;
    verify_replicas(cluster)
}

/// What brokers pass on they offer as far as the active controller serves it: in the end both newest brands say the
/// same.
fn compare_offers(cluster: &Cluster, active: i32) -> Result<()> {
    // All that are passed on but those of security.
    let passed_on = [19, 20, 33, 37, 43, 44, 45, 46, 49, 55, 57, 64, 80, 81, 94];
    let deadline = Instant::now() + PATIENCE;
    loop {
        let offered = |id| {
            let offered = cluster.offered(id)?;
            anyhow::Ok(passed_on.map(|key| (key, offered.get(&key).copied())))
        };
        let outcome = offered(1).and_then(|ours| Ok((ours, offered(2)?)));
        if outcome.as_ref().is_ok_and(|(ours, theirs)| ours == theirs) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "under {active} the offers differ: {outcome:?}");
        pause();
    }
}

/// Stop one, start the other on its directory, wait until in sync, next; then back. Apache's tools read what the
/// other one wrote.
fn rolling_migration(from: Brand) -> Result<()> {
    let mut shape = Shape::of(&[from; 3]);
    // The newest features that Apache's metadata shell knows.
    shape.release = Some("4.3");
    shape.extra = LIVELY.into();
    let mut cluster = Cluster::start(&shape)?;
    let outcome = migrate(&mut cluster, from);
    cluster.explained(outcome)
}

fn migrate(cluster: &mut Cluster, from: Brand) -> Result<()> {
    let mut load = loaded(cluster)?;
    for (way, brand) in [("there", Brand::candidate()), ("back", from)] {
        for id in 1..=3 {
            let committed = load.committed()?;
            cluster.node_mut(id).stop()?;
            cluster.node_mut(id).launch_as(brand)?;
            cluster.await_in_sync().with_context(|| format!("after node {id} became {brand:?}"))?;
            load.await_progress(200)?;
            load.check_group(&committed)?;
        }
        // All three are of this brand: it leads everything, and writes a snapshot of its own.
        cluster.create_topic(&format!("made-{way}"), 6, 3)?;
        await_spread(cluster)?;
        for id in 1..=3 {
            read_metadata(cluster, id).with_context(|| format!("what {brand:?} wrote on node {id}"))?;
        }
    }
    finish(cluster, load)
}

/// A controller of one brand, brokers of others, one of which is killed and comes back.
fn apart(controller: Brand, brokers: [Brand; 3], voters: Voters) -> Result<()> {
    let mut shape = Shape::of(&brokers);
    shape.members = brokers.iter().map(|brand| (*brand, Roles::Broker)).collect();
    shape.members.push((controller, Roles::Controller));
    shape.voters = voters;
    shape.extra = LIVELY.into();
    let mut cluster = Cluster::start(&shape)?;
    let outcome = (|| {
        let mut load = loaded(&mut cluster)?;
        for id in [3, 4] {
            cluster.kill(&[id])?;
            load.await_progress(100)?;
            cluster.launch(&[id])?;
            cluster.await_in_sync()?;
            load.await_progress(100)?;
        }
        await_spread(&mut cluster)?;
        load.await_progress(100)?;
        finish(&mut cluster, load)
    })();
    cluster.explained(outcome)
}

fn loaded(cluster: &mut Cluster) -> Result<Load> {
    cluster.create_topic(TOPIC, 3, 3)?;
    let home = cluster.node(1).home().to_owned();
    let mut load = Load::over(&cluster.bootstrap(), &home, TOPIC)?;
    load.await_progress(300)?;
    Ok(load)
}

fn finish(cluster: &mut Cluster, load: Load) -> Result<()> {
    let audit = load.finish()?;
    cluster.await_in_sync()?;
    let bytes = cluster.await_equal_logs(TOPIC)? + cluster.await_equal_logs(OFFSETS)?;
    let (metadata, _) = cluster.compare_logs("__cluster_metadata-0", &cluster.controllers())?;
    eprintln!("e2e: {audit}; {bytes} bytes of logs and {metadata} of the metadata log equal on all replicas");
    Ok(())
}

/// Waits until each broker leads one partition of the topic.
fn await_spread(cluster: &mut Cluster) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metadata = cluster.metadata()?;
        let leaders: BTreeSet<i32> =
            (0..3).filter_map(|p| Some(metadata.partitions.get(&(TOPIC.into(), p))?.leader)).collect();
        if leaders == BTreeSet::from([1, 2, 3]) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{TOPIC} is led by {leaders:?} only");
        pause();
    }
}

/// Apache's tools on a node's metadata log and its newest snapshot.
fn read_metadata(cluster: &Cluster, id: i32) -> Result<()> {
    let dir = cluster.node(id).data().join("__cluster_metadata-0");
    let log = artifacts::sorted(&dir, "log")?.pop().context("find a segment of the metadata log")?;
    let snapshot = newest_snapshot(&dir)?;
    for file in [&log, &snapshot] {
        let told =
            tool("kafka-dump-log", &["--cluster-metadata-decoder", "--files", &file.display().to_string()])?;
        ensure!(told.contains("payload: {\"type\":"), "no record in {}:\n{told}", file.display());
        for word in ["Could not", "Error", "error", "isvalid: false"] {
            ensure!(!told.contains(word), "{word:?} in {}:\n{told}", file.display());
        }
    }
    // The shell wants the directory's lock, so it gets a copy. It does not end on snapshots, whoever wrote them.
    let copy = cluster.node(id).home().join("copy");
    std::fs::create_dir_all(&copy).context("create a directory for a segment")?;
    let file = copy.join(log.file_name().context("a segment has a name")?);
    std::fs::copy(&log, &file).context("copy a segment")?;
    let arguments = ["--snapshot", &file.display().to_string(), "ls", "/image/topics/byName"];
    let deadline = Instant::now() + Duration::from_secs(20);
    // It reads while it answers.
    while !tool("kafka-metadata-shell", &arguments)?.contains(TOPIC) {
        ensure!(Instant::now() < deadline, "the shell finds no {TOPIC} in {}", file.display());
    }
    Ok(())
}

/// Apache's kafka-replica-verification reads every replica, wherever it lies, and compares them until it is ended.
fn verify_replicas(cluster: &Cluster) -> Result<()> {
    let said = cluster.node(1).home().join("verification");
    let file = File::create(&said).context("create a file for what the tool says")?;
    let mut java = process::bound("java");
    java.args(["-cp", &artifacts::jars("tools")?, "org.apache.kafka.tools.ReplicaVerificationTool"]);
    java.args(["--broker-list", &cluster.bootstrap(), "--topics-include", TOPIC]);
    java.args(["--report-interval-ms", "500"]);
    java.stdout(file.try_clone().context("share a file")?).stderr(file);
    let mut child = process::spawn(java)?;
    let deadline = Instant::now() + PATIENCE;
    let outcome = loop {
        let text = std::fs::read_to_string(&said).context("read what the tool says")?;
        // Twice, so that a round is whole.
        if text.matches("max lag is 0 for").count() > 1 {
            break Ok(());
        }
        if Instant::now() > deadline || !matches!(child.try_wait(), Ok(None)) {
            break Err(anyhow::anyhow!("kafka-replica-verification finds no end of lag:\n{text}"));
        }
        pause();
    };
    let _ = child.kill();
    child.wait().context("wait for the tool's end")?;
    outcome
}

fn newest_snapshot(dir: &Path) -> Result<PathBuf> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The first one holds what the directory was formatted with.
        let bootstrap = "00000000000000000000-0000000000.checkpoint";
        let snapshots = artifacts::sorted(dir, "checkpoint")?;
        if let Some(path) = snapshots.into_iter().rfind(|path| !path.ends_with(bootstrap)) {
            return Ok(path);
        }
        ensure!(Instant::now() < deadline, "no snapshot in {}", dir.display());
        pause();
    }
}

fn tool(script: &str, arguments: &[&str]) -> Result<String> {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let outcome = tools::runner()?.tool(Jars::Tools, script, &arguments, b"", Duration::from_secs(40))?;
    ensure!(outcome.status == 0, "{script} {arguments:?} failed: {}{}", outcome.stdout, outcome.stderr);
    Ok(outcome.stdout)
}
