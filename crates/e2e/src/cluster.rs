//! Several nodes that are one cluster, of any brands and roles, each a host of a [`Network`].
//!
//! Nodes have the ids 1, 2, …, which are their host numbers too; brokers listen on port 9092, controllers on 9093.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::disk::Disk;
use crate::network::{CLIENTS, Network};
use crate::node::{Brand, Node, Place, READY_LIMIT, Roles};
use crate::wire::{Connection, Metadata, Replicas};

/// How the controllers know each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Voters {
    /// `controller.quorum.voters` in every server.properties, kraft.version 0.
    Static,
    /// `--initial-controllers` at the format, kraft.version 1.
    Dynamic,
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Shape {
    pub members: Vec<(Brand, Roles)>,
    pub voters: Voters,
    /// The release whose features it has; 4.3 as soon as a member knows no more.
    pub release: Option<&'static str>,
    /// Further lines of every server.properties, in which `{id}` is the node's.
    pub extra: String,
    pub disk: Disk,
}

impl Shape {
    /// Combined nodes of these brands with dynamic voters on plain disks.
    pub fn of(brands: &[Brand]) -> Shape {
        Shape {
            members: brands.iter().map(|brand| (*brand, Roles::Combined)).collect(),
            voters: Voters::Dynamic,
            release: brands.contains(&Brand::Apache43).then_some("4.3"),
            extra: String::new(),
            disk: Disk::Plain,
        }
    }

    /// Three nodes of a brand, on which no fetch brings all that a replica lacks: a throttle holds a move whatever its
    /// first fetch brought.
    pub fn slow_trio(brand: Brand, voters: Voters) -> Shape {
        Shape { voters, extra: "replica.fetch.max.bytes=16384\n".into(), ..Shape::of(&[brand; 3]) }
    }
}

/// Intervals short enough for faults to matter within seconds.
const QUICK: &str = "broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=4000
replica.fetch.wait.max.ms=200
replica.socket.timeout.ms=3000
min.insync.replicas=2
default.replication.factor=3
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
controller.quorum.request.timeout.ms=1000
";

/// How long a cluster may take to do what it does by itself.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running cluster; killed and removed on drop.
pub struct Cluster {
    // Nodes first: their processes end before their network goes.
    nodes: Vec<Node>,
    network: Network,
    paused: BTreeSet<i32>,
    /// What every server.properties has beside what a node's place says.
    extra: String,
}

impl Cluster {
    /// Formats and starts a cluster and waits until every node is part of it.
    pub fn start(shape: &Shape) -> Result<Cluster> {
        let mut cluster = Cluster::formatted(shape)?;
        let ids: Vec<i32> = cluster.nodes.iter().map(Node::id).collect();
        let outcome = cluster.launch(&ids);
        cluster.explained(outcome)?;
        Ok(cluster)
    }

    /// Formats the nodes of a cluster without starting any.
    pub fn formatted(shape: &Shape) -> Result<Cluster> {
        let network = Network::make(shape.members.len())?;
        let place = |index: usize, roles| {
            let ip = network.address(index + 1);
            Place {
                id: index as i32 + 1,
                roles,
                broker: SocketAddr::from((ip, 9092)),
                controller: SocketAddr::from((ip, 9093)),
                namespace: Some(network.namespace(index + 1)),
                disk: shape.disk,
            }
        };
        let places: Vec<Place> =
            shape.members.iter().enumerate().map(|(index, (_, roles))| place(index, *roles)).collect();
        let controllers = places.iter().filter(|place| place.roles.controller());
        let list = |entry: fn(&Place) -> String| controllers.clone().map(entry).collect::<Vec<_>>().join(",");
        let quorum = match shape.voters {
            Voters::Static => {
                format!(
                    "controller.quorum.voters={}",
                    list(|place| format!("{}@{}", place.id, place.controller))
                )
            }
            Voters::Dynamic => {
                format!("controller.quorum.bootstrap.servers={}", list(|place| place.controller.to_string()))
            }
        };
        let initial = list(|place| format!("{}@{}:{}", place.id, place.controller, directory_id(place.id)));
        let extra = format!("{quorum}\n{QUICK}{}", shape.extra);
        let mut nodes = Vec::new();
        for (place, (brand, roles)) in places.iter().zip(&shape.members) {
            let node = Node::create(*brand, place.clone(), &extra)?;
            let mut format = Vec::new();
            if shape.voters == Voters::Dynamic && roles.controller() {
                format.extend(["--initial-controllers", initial.as_str()]);
            }
            if let Some(release) = shape.release {
                format.extend(["--release-version", release]);
            }
            node.format(&format)?;
            nodes.push(node);
        }
        Ok(Cluster { nodes, network, paused: BTreeSet::new(), extra })
    }

    /// A node with the id of another, formatted with a directory of its own and not started: on the other's host, at
    /// other ports.
    pub fn twin(&self, id: i32) -> Result<Node> {
        let node = self.node(id);
        let ip = node.address().ip();
        let place = Place {
            id,
            roles: node.roles(),
            broker: SocketAddr::from((ip, 9192)),
            controller: SocketAddr::from((ip, 9193)),
            namespace: Some(self.network.namespace(id as usize)),
            disk: Disk::Plain,
        };
        let twin = Node::create(node.brand(), place, &self.extra)?;
        twin.format(&["--no-initial-controllers"])?;
        Ok(twin)
    }

    pub fn node(&self, id: i32) -> &Node {
        &self.nodes[id as usize - 1]
    }

    pub fn node_mut(&mut self, id: i32) -> &mut Node {
        &mut self.nodes[id as usize - 1]
    }

    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Ids of all nodes with the broker role.
    pub fn brokers(&self) -> Vec<i32> {
        self.ids(Roles::broker)
    }

    /// Ids of all nodes with the controller role.
    pub fn controllers(&self) -> Vec<i32> {
        self.ids(Roles::controller)
    }

    fn ids(&self, role: fn(Roles) -> bool) -> Vec<i32> {
        self.nodes.iter().filter(|node| role(node.roles())).map(Node::id).collect()
    }

    /// All brokers as clients are told.
    pub fn bootstrap(&self) -> String {
        self.brokers().iter().map(|id| self.node(*id).bootstrap()).collect::<Vec<_>>().join(",")
    }

    /// All controllers as tools are told.
    pub fn bootstrap_controllers(&self) -> String {
        let controllers = self.controllers();
        controllers.iter().map(|id| self.node(*id).controller().to_string()).collect::<Vec<_>>().join(",")
    }

    /// Starts stopped nodes together, each as the brand it last was, and waits until all are ready.
    pub fn launch(&mut self, ids: &[i32]) -> Result<()> {
        for id in ids {
            let brand = self.node(*id).brand();
            self.node_mut(*id).spawn_as(brand)?;
        }
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let mut all = true;
            for id in ids {
                all &= self.node_mut(*id).ready(deadline).with_context(|| format!("start node {id}"))?;
            }
            if all {
                return Ok(());
            }
            pause();
        }
    }

    pub fn kill(&mut self, ids: &[i32]) -> Result<()> {
        ids.iter().try_for_each(|id| self.node_mut(*id).kill())
    }

    pub fn pause(&mut self, id: i32) -> Result<()> {
        self.paused.insert(id);
        self.node(id).pause()
    }

    pub fn resume(&mut self, id: i32) -> Result<()> {
        self.paused.remove(&id);
        self.node(id).resume()
    }

    /// Nothing that one of `from` sends reaches one of `to`.
    pub fn cut(&self, from: &[i32], to: &[i32]) -> Result<()> {
        for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))) {
            if from != to {
                self.network.cut(from as usize, to as usize)?;
            }
        }
        Ok(())
    }

    /// Cuts clients off from a node, in both directions.
    pub fn cut_clients(&self, id: i32) -> Result<()> {
        self.network.cut(id as usize, CLIENTS)?;
        self.network.cut(CLIENTS, id as usize)
    }

    /// Every other node.
    pub fn others(&self, id: i32) -> Vec<i32> {
        self.nodes.iter().map(Node::id).filter(|other| *other != id).collect()
    }

    /// Has a topic created and waits until every broker sees all its replicas in sync.
    pub fn create_topic(&mut self, name: &str, partitions: i32, replicas: i16) -> Result<()> {
        let broker = self.brokers()[0];
        Connection::open(self.node(broker).address(), Duration::from_secs(20))?.request_topic(
            name,
            partitions,
            replicas,
            &[],
        )?;
        let deadline = Instant::now() + PATIENCE;
        for id in self.brokers() {
            let seen = |metadata: Metadata| {
                metadata.partitions.keys().filter(|(topic, _)| topic == name).count() == partitions as usize
            };
            while !ask(self.node(id).address(), Connection::metadata).is_ok_and(seen) {
                ensure!(Instant::now() < deadline, "node {id} does not see {name}");
                pause();
            }
        }
        self.await_in_sync()
    }

    /// The versions of each key that a broker offers, after it has passed a request on: Apache Kafka's brokers learn
    /// who is the active controller only then.
    pub fn offered(&self, id: i32) -> Result<BTreeMap<i16, (i16, i16)>> {
        ask(self.node(id).address(), Connection::quorum_leader)?;
        ask(self.node(id).address(), Connection::offered)
    }

    /// The cluster as the first broker sees it that can be asked.
    pub fn metadata(&mut self) -> Result<Metadata> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = anyhow::anyhow!("no broker runs");
        loop {
            for id in self.awake(Roles::broker) {
                match ask(self.node(id).address(), Connection::metadata) {
                    Ok(metadata) => return Ok(metadata),
                    Err(error) => last = error,
                }
            }
            if Instant::now() > deadline {
                return Err(last.context("no broker answers"));
            }
            pause();
        }
    }

    /// A partition as the brokers see it.
    pub fn partition(&mut self, topic: &str, partition: i32) -> Result<Replicas> {
        let mut metadata = self.metadata()?;
        metadata
            .partitions
            .remove(&(topic.into(), partition))
            .with_context(|| format!("find {topic}-{partition}"))
    }

    /// Waits until the partition has a leader and returns it, -1 excluded.
    pub fn leader(&mut self, topic: &str, partition: i32) -> Result<i32> {
        self.leader_among(topic, partition, |leader| leader >= 0)
    }

    /// Waits until the partition's leader is one of those wanted.
    pub fn leader_among(&mut self, topic: &str, partition: i32, wanted: impl Fn(i32) -> bool) -> Result<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leader = self.partition(topic, partition)?.leader;
            if leader >= 0 && wanted(leader) {
                return Ok(leader);
            }
            ensure!(Instant::now() < deadline, "{topic}-{partition} is led by {leader}");
            pause();
        }
    }

    /// The active controller, waited for: who leads the quorum in the highest epoch.
    pub fn active_controller(&mut self) -> Result<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let controllers = self.awake(Roles::controller);
            let claims = controllers.iter().filter_map(|id| {
                let (leader, epoch) = ask(self.node(*id).controller(), Connection::quorum_leader).ok()?;
                (leader == *id).then_some((epoch, leader))
            });
            if let Some((_, leader)) = claims.max() {
                return Ok(leader);
            }
            ensure!(Instant::now() < deadline, "no active controller among {controllers:?}");
            pause();
        }
    }

    /// Waits until every broker sees every broker, and every partition with a leader and all replicas in sync.
    pub fn await_in_sync(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.in_sync() {
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => pause(),
                Ok(()) => return Ok(()),
            }
        }
    }

    fn in_sync(&self) -> Result<()> {
        let brokers = self.brokers();
        for id in &brokers {
            let metadata = ask(self.node(*id).address(), Connection::metadata)
                .with_context(|| format!("ask node {id}"))?;
            let seen: Vec<i32> = metadata.brokers.keys().copied().collect();
            ensure!(seen == brokers, "node {id} sees the brokers {seen:?}");
            for ((topic, partition), state) in metadata.partitions {
                ensure!(
                    state.leader >= 0 && state.isr.len() == state.replicas.len(),
                    "node {id} sees {topic}-{partition} as {state:?}"
                );
            }
        }
        Ok(())
    }

    /// Nodes that run and are not paused.
    fn awake(&mut self, role: fn(Roles) -> bool) -> Vec<i32> {
        let paused = self.paused.clone();
        let nodes = self.nodes.iter_mut().filter(|node| role(node.roles()));
        nodes.filter_map(|node| (node.runs() && !paused.contains(&node.id())).then(|| node.id())).collect()
    }

    /// Waits until the logs of every partition of a topic are equal on all its replicas, byte for byte up to the log
    /// end, and returns how many bytes were compared.
    pub fn await_equal_logs(&mut self, topic: &str) -> Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.equal_logs(topic) {
                Ok(bytes) => return Ok(bytes),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => pause(),
            }
        }
    }

    fn equal_logs(&mut self, topic: &str) -> Result<usize> {
        let mut bytes = 0;
        for ((name, partition), state) in self.metadata()?.partitions {
            if name == topic {
                let (equal, ends) = self.compare_logs(&format!("{topic}-{partition}"), &state.replicas)?;
                ensure!(
                    ends.windows(2).all(|pair| pair[0] == pair[1]),
                    "{topic}-{partition} ends at {ends:?}"
                );
                bytes += equal;
            }
        }
        ensure!(bytes > 0, "{topic} has no bytes to compare");
        Ok(bytes)
    }

    /// Compares the batches that the logs of these nodes have in common; returns their bytes and where each log ends.
    pub fn compare_logs(&self, dir: &str, nodes: &[i32]) -> Result<(usize, Vec<i64>)> {
        let logs = nodes.iter().map(|id| Ok((*id, batches(&self.node(*id).log_of(dir))?)));
        let logs: Vec<(i32, BTreeMap<i64, Vec<u8>>)> = logs.collect::<Result<_>>()?;
        let start = logs.iter().filter_map(|(_, log)| log.keys().next()).max().copied().unwrap_or(0);
        let end = logs.iter().map(|(_, log)| log.keys().last().copied().unwrap_or(-1)).min().unwrap_or(-1);
        let mut bytes = 0;
        let (first, log) = logs.first().context("compare at least one log")?;
        let common = if start <= end { start..end + 1 } else { 0..0 };
        for (other, copy) in &logs[1..] {
            let (ours, theirs) = (log.range(common.clone()), copy.range(common.clone()));
            for (ours, theirs) in ours.zip(theirs) {
                ensure!(
                    ours == theirs,
                    "{dir} differs between nodes {first} and {other} at offset {}",
                    ours.0
                );
                bytes += ours.1.len();
            }
            let count = |log: &BTreeMap<i64, Vec<u8>>| log.range(common.clone()).count();
            ensure!(
                count(log) == count(copy),
                "{dir} has more batches on one of the nodes {first} and {other}"
            );
        }
        Ok((bytes, logs.iter().map(|(_, log)| log.keys().last().copied().unwrap_or(-1)).collect()))
    }

    /// Adds the last lines of every node's log to what went wrong.
    pub fn explained<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| {
            let tail =
                |node: &Node| format!("\n--- node {} ({:?}):\n{}", node.id(), node.brand(), node.log_tail());
            let tails: String = self.nodes.iter().map(tail).collect();
            anyhow::anyhow!("{error:#}{tails}")
        })
    }

    /// The bytes of a log on a node, without what is allocated ahead.
    pub fn log_size(&self, dir: &str, id: i32) -> Result<u64> {
        let batches = batches(&self.node(id).log_of(dir))?;
        Ok(batches.values().map(|batch| batch.len() as u64).sum())
    }
}

/// The directory id that a controller is formatted with: voters name each other by it.
fn directory_id(id: i32) -> String {
    format!("e2eDirectory{id}AAAAAAAAA")
}

fn ask<T>(address: SocketAddr, question: impl Fn(&mut Connection) -> Result<T>) -> Result<T> {
    question(&mut Connection::open(address, Duration::from_secs(2))?)
}

/// Between two looks at other processes: nothing tells us (tidy: thread::sleep).
pub fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// The batches of a log by base offset, without what is allocated ahead.
fn batches(dir: &Path) -> Result<BTreeMap<i64, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for segment in crate::artifacts::sorted(dir, "log")? {
        let bytes = fs::read(&segment).with_context(|| format!("read {}", segment.display()))?;
        let mut rest = bytes.as_slice();
        while let Some((head, _)) = rest.split_at_checked(12) {
            let base = i64::from_be_bytes(head[..8].try_into()?);
            let length = i32::from_be_bytes(head[8..].try_into()?);
            let Some((batch, after)) = rest.split_at_checked(12 + length.max(0) as usize) else { break };
            if length <= 0 {
                break;
            }
            let twice = all.insert(base, batch.to_vec()).is_some();
            ensure!(!twice, "{} has two batches at offset {base}", dir.display());
            rest = after;
        }
    }
    Ok(all)
}
