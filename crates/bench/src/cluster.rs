//! Three nodes with both roles each as one cluster: what replication costs, and how long a failure is felt.
//!
//! CPU is the sum over all nodes. Time without a leader is the gap between acknowledged records (acks=all) of a
//! producer that asks for the leader again after every error, with the same timeouts for both brands.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ottla_model::Uuid;
use ottla_protocol::api::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestPartitionData, DescribeQuorumRequestTopicData,
};
use ottla_protocol::api::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponsePartition};
use ottla_record::Codec;

use crate::Options;
use crate::cells::{await_removal, settle};
use crate::connection::{self, Connection, PRODUCE_VERSION, Topic, produce_request};
use crate::latency::{self, Latencies};
use crate::load::{self, Script};
use crate::payload::{self, Size};
use crate::report::{Report, Target};
use crate::subject::{Brand, Subject, free_ports};
use crate::throughput::{self, CONNECTIONS, Load, Run};

pub const CELLS: [&str; 6] = [
    "rf3-produce-960k-1p-none",
    "rf3-produce-16k-1p-none",
    "rf3-produce-16k-100p-none",
    "rf3-latency",
    "rf3-failover",
    "rf3-partitions",
];

const NODES: usize = 3;
const QUORUM_TOPIC: &str = "__cluster_metadata";
/// Topics of a hundred partitions each for the cell with many partitions.
const MANY_TOPICS: usize = 100;

pub fn run(brand: Brand, home: &Path, ottla: &Path, options: &Options, report: &mut Report) -> Result<()> {
    let wanted = |cell: &str| options.wants(cell);
    if !CELLS.iter().any(|cell| wanted(cell)) {
        return Ok(());
    }
    let mut cluster = Cluster::started(brand, home, ottla)?;
    for (size, partitions) in [(Size::Large, 1), (Size::Usual, 1), (Size::Usual, 100)] {
        let load = Load { size, partitions, codec: Codec::None };
        let cell = format!("rf3-produce-{}", load.name());
        if wanted(&cell) {
            let runs = settle(
                options,
                |n| cluster.produce(load, &format!("{}-{n}", load.name()), options),
                |run| run.cpu.as_secs_f64(),
            )?;
            let best = runs.iter().map(Run::cpu_per_gib).fold(f64::MAX, f64::min);
            let rate = runs.iter().map(Run::mib_per_second).fold(0.0, f64::max);
            report.note(brand, &cell, "s/GiB", Target::OfKafka(0.15), best);
            report.note(brand, &format!("{cell} rate"), "MiB/s", Target::None, rate);
            if let Some(single) = report.value(brand, &format!("produce-{}", load.name())) {
                let name = format!("{cell} by one node's");
                report.note(brand, &name, "ratio", Target::Value(3.5), best / single);
            }
        }
    }
    if wanted("rf3-latency") {
        cluster.latency(options, report)?;
    }
    if wanted("rf3-failover") {
        cluster.failover(report)?;
    }
    // Apache Kafka maps two files of every replica into memory, which the usual limits of a machine do not allow.
    if wanted("rf3-partitions") && brand == Brand::Ottla {
        cluster.many_partitions(options, report)?;
    }
    Ok(())
}

struct Cluster {
    brand: Brand,
    /// Node 1 first.
    nodes: Vec<Subject>,
}

impl Cluster {
    fn started(brand: Brand, home: &Path, ottla: &Path) -> Result<Self> {
        let mut ports = Vec::new();
        for _ in 0..NODES {
            ports.push(free_ports()?);
        }
        let controllers: Vec<String> = ports.iter().map(|[_, controller]| controller.to_string()).collect();
        let voters: Vec<String> = (1u128..)
            .zip(&controllers)
            .map(|(id, controller)| format!("{id}@{controller}:{}", Uuid::from_u128(id << 64 | 1 << 63)))
            .collect();
        let mut nodes = Vec::new();
        for (id, [address, controller]) in (1..).zip(&ports) {
            let home = home.join(format!("{}-rf3-{id}", brand.name()));
            let properties = format!(
                "process.roles=broker,controller\n\
                 node.id={id}\n\
                 controller.quorum.bootstrap.servers={}\n\
                 listeners=PLAINTEXT://{address},CONTROLLER://{controller}\n\
                 advertised.listeners=PLAINTEXT://{address},CONTROLLER://{controller}\n\
                 controller.listener.names=CONTROLLER\n\
                 listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
                 log.dirs={}\n\
                 min.insync.replicas=2\n",
                controllers.join(","),
                home.join("data").display(),
            );
            let format = ["--initial-controllers", &voters.join(",")];
            nodes.push(Subject::with_properties(brand, home, ottla, *address, &properties, &format)?);
        }
        let mut cluster = Self { brand, nodes };
        for node in &mut cluster.nodes {
            node.start()?;
        }
        for node in 0..NODES {
            cluster.await_joined(node)?;
        }
        Ok(cluster)
    }

    /// Waits until `node` shows all brokers.
    fn await_joined(&mut self, node: usize) -> Result<()> {
        let begun = Instant::now();
        loop {
            let request = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
            let answer = self.nodes[node].connect()?.call(&request, 12);
            if answer.is_ok_and(|response| response.brokers.len() == NODES) {
                return Ok(());
            }
            ensure!(begun.elapsed() < Duration::from_secs(120), "node {} sees no cluster", node + 1);
            pause();
        }
    }

    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.nodes.iter().filter(|node| node.is_running()).map(|node| node.address)
    }

    /// A connection to a node that runs.
    fn any(&self) -> Result<Connection> {
        Connection::open(self.addresses().next().context("a node that runs")?)
    }

    fn cpu(&self) -> Result<Duration> {
        self.nodes.iter().filter(|node| node.is_running()).map(Subject::cpu).sum()
    }

    fn address_of(&self, id: i32) -> Option<SocketAddr> {
        self.nodes.get(usize::try_from(id - 1).ok()?).map(|node| node.address)
    }

    /// A topic of three replicas each, all of them in sync.
    fn create(&mut self, name: &str, partitions: i32) -> Result<Topic> {
        let configs = [("file.delete.delay.ms", "1000")];
        let topic = self.any()?.ask_for_topic(name, partitions, NODES as i16, &configs)?;
        self.await_in_sync(&[&topic.name])?;
        let partitions = partitions_of(&mut self.any()?, name)?;
        for (id, node) in (1..).zip(&mut self.nodes) {
            node.connect()?.await_led(&topic, &led_by(id, &partitions))?;
        }
        Ok(topic)
    }

    fn await_in_sync(&mut self, topics: &[&str]) -> Result<()> {
        let begun = Instant::now();
        for topic in topics {
            for address in self.addresses().collect::<Vec<_>>() {
                let mut connection = Connection::open(address)?;
                loop {
                    let partitions = partitions_of(&mut connection, topic)?;
                    let whole = |p: &MetadataResponsePartition| p.leader_id > 0 && p.isr_nodes.len() == NODES;
                    if !partitions.is_empty() && partitions.iter().all(whole) {
                        break;
                    }
                    ensure!(begun.elapsed() < Duration::from_secs(180), "{topic} is not in sync");
                    pause();
                }
            }
        }
        Ok(())
    }

    fn produce(&mut self, load: Load, name: &str, options: &Options) -> Result<Run> {
        let (batch, _) = payload::batch(load.size, Codec::None);
        let topic = self.create(name, load.partitions)?;
        let leaders = partitions_of(&mut self.any()?, name)?;
        // Each connection goes to one node and fills the partitions that it leads.
        let mut scripts = Vec::new();
        for (id, node) in (1..).zip(&self.nodes) {
            let led = led_by(id, &leaders);
            let share = led.len() as f64 / f64::from(load.partitions);
            let connections = (CONNECTIONS as f64 * share).ceil() as usize;
            for connection in 0..connections {
                let mut turn = led.clone();
                turn.rotate_left(connection * led.len() / connections);
                let frames = turn.into_iter().map(|partition| {
                    connection::frame(&produce_request(&topic, partition, &batch), PRODUCE_VERSION)
                });
                scripts.push(Script {
                    address: node.address,
                    frames: frames.collect::<Result<_>>()?,
                    requests: (load.requests(options) as f64 * share) as usize / connections,
                    in_flight: load.in_flight(),
                    until: None,
                    answers: throughput::answers_of(self.brand),
                });
            }
        }
        let before = self.cpu()?;
        let (requests, wall) = load::run(scripts)?;
        let cpu = self.cpu()?.saturating_sub(before);
        self.any()?.delete_topic(&topic)?;
        await_removal();
        Ok(Run { cpu, wall, bytes: (requests * batch.len()) as u64, requests: requests as u64 })
    }

    fn latency(&mut self, options: &Options, report: &mut Report) -> Result<()> {
        let runs = settle(
            options,
            |n| {
                let topic = self.create(&format!("latency-{n}"), 1)?;
                let leader = self.leader(&topic)?.context("a leader")?;
                let latencies = latency::run(leader, &topic, options, || self.cpu())?;
                self.any()?.delete_topic(&topic)?;
                Ok(latencies)
            },
            |latencies| latencies.cpu_us,
        )?;
        let best = |figure: fn(&Latencies) -> f64| runs.iter().map(figure).fold(f64::MAX, f64::min);
        let mut note = |name, target, value| report.note(self.brand, name, "us", target, value);
        note("rf3 1000/s cpu per record", Target::OfKafka(0.2), best(|l| l.cpu_us));
        note("rf3 1000/s to ack p50", Target::None, best(|l| l.to_ack.p50));
        note("rf3 1000/s to ack p99", Target::OfKafka(0.3), best(|l| l.to_ack.p99));
        note("rf3 1000/s to ack p99.9", Target::None, best(|l| l.to_ack.p999));
        note("rf3 1000/s to consumer p99", Target::None, best(|l| l.to_consumer.p99));
        Ok(())
    }

    /// The address of the leader of the topic's only partition, as a node that runs knows it.
    fn leader(&self, topic: &Topic) -> Result<Option<SocketAddr>> {
        let partitions = partitions_of(&mut self.any()?, &topic.name)?;
        Ok(partitions.first().and_then(|partition| self.address_of(partition.leader_id)))
    }

    /// Which node is the active controller, by its place.
    fn active_controller(&self) -> Result<Option<usize>> {
        let request = DescribeQuorumRequest {
            topics: vec![DescribeQuorumRequestTopicData {
                topic_name: QUORUM_TOPIC.into(),
                partitions: vec![DescribeQuorumRequestPartitionData { partition_index: 0 }],
            }],
        };
        let response = self.any()?.call(&request, 2)?;
        let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        let leader = partitions.next().filter(|p| p.error_code == 0).map(|p| p.leader_id);
        Ok(leader.and_then(|id| usize::try_from(id - 1).ok()))
    }

    fn failover(&mut self, report: &mut Report) -> Result<()> {
        let brand = self.brand;
        let mut note = |name, target, value: Duration| {
            report.note(brand, name, "ms", target, value.as_secs_f64() * 1e3);
        };
        let stopped = self.outage(End::Stop)?;
        note("leader stopped, until the next ack", Target::Value(50.0), stopped);
        let killed = self.outage(End::Kill)?;
        note("leader killed, until the next ack", Target::OfKafka(1.0), killed);
        let stopped = self.without_controller(End::Stop)?;
        note("active controller stopped, until the next topic", Target::Value(50.0), stopped);
        let killed = self.without_controller(End::Kill)?;
        note("active controller killed, until the next topic", Target::OfKafka(1.0), killed);
        Ok(())
    }

    /// A topic whose leader is not the active controller too, and the leader's place: one failure at a time.
    fn topic_led_elsewhere(&mut self) -> Result<(Topic, usize)> {
        for n in 0..20 {
            let controller = self.await_controller()?;
            let topic = self.create(&format!("failover-{}-{n}", payload::now().0), 1)?;
            let leader = self.leader(&topic)?.context("a leader")?;
            let place = self.nodes.iter().position(|node| node.address == leader);
            if let Some(place) = place.filter(|place| *place != controller) {
                return Ok((topic, place));
            }
        }
        bail!("the active controller leads every topic")
    }

    fn await_controller(&self) -> Result<usize> {
        let begun = Instant::now();
        loop {
            if let Some(place) = self.active_controller()? {
                return Ok(place);
            }
            ensure!(begun.elapsed() < Duration::from_secs(60), "no active controller");
            pause();
        }
    }

    /// Ends the leader's process and measures the gap between acknowledged records; brings the node back.
    fn outage(&mut self, end: End) -> Result<Duration> {
        let (batch, _) = payload::batch(Size::OneRecord, Codec::None);
        let (topic, place) = self.topic_led_elsewhere()?;
        let leader = self.nodes[place].address;
        let places: Vec<SocketAddr> = self.nodes.iter().map(|node| node.address).collect();
        let prober_topic = topic.clone();
        // Appends a record after the other; tells when the first was acknowledged by another leader, and the gap.
        let (ready, is_ready) = std::sync::mpsc::channel();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let prober = std::thread::spawn(move || -> Result<Duration> {
            let mut target = leader;
            let mut connection = Connection::open(leader)?;
            let mut last = Instant::now();
            let mut acked = 0;
            loop {
                ensure!(last.elapsed() < Duration::from_secs(60), "no leader in 60 s");
                connection.set_patience(Duration::from_millis(500))?;
                if matches!(connection.produce(&prober_topic, 0, &batch), Ok(0)) {
                    if target != leader {
                        ensure!(is_over.load(Ordering::Acquire), "the leader moved before the failure");
                        return Ok(last.elapsed());
                    }
                    last = Instant::now();
                    acked += 1;
                    if acked == 200 {
                        ready.send(())?;
                    }
                    continue;
                }
                // Whoever knows a leader first; before the failure that may be the same one.
                'found: loop {
                    ensure!(last.elapsed() < Duration::from_secs(60), "no leader in 60 s");
                    let is_gone = |address: SocketAddr| address == leader && is_over.load(Ordering::Acquire);
                    for place in places.iter().filter(|place| !is_gone(**place)) {
                        let known = Connection::open(*place)
                            .and_then(|mut connection| partitions_of(&mut connection, &prober_topic.name));
                        let id = known.ok().and_then(|partitions| Some(partitions.first()?.leader_id));
                        let found = id.and_then(|id| places.get(usize::try_from(id - 1).ok()?));
                        if let Some(address) = found.filter(|address| !is_gone(**address))
                            && let Ok(open) = Connection::open(*address)
                        {
                            (target, connection) = (*address, open);
                            break 'found;
                        }
                    }
                    pause();
                }
            }
        });
        if is_ready.recv().is_ok() {
            over.store(true, Ordering::Release);
            self.end(place, end)?;
        }
        let gap = prober
            .join()
            .ok()
            .context("the prober panicked")?
            .context("the gap between acknowledged records")?;
        self.bring_back(place)?;
        self.await_in_sync(&[&topic.name])?;
        self.any()?.delete_topic(&topic)?;
        Ok(gap)
    }

    /// Ends the active controller's process and measures the time until a topic is created; brings the node back.
    fn without_controller(&mut self, end: End) -> Result<Duration> {
        let place = self.await_controller()?;
        let other = self.nodes.iter().enumerate().find(|(n, _)| *n != place);
        let other = other.context("another node")?.1.address;
        let marker = if end == End::Kill { "killed" } else { "stopped" };
        let prober = std::thread::spawn(move || -> Result<(Instant, Vec<Instant>)> {
            let begun = Instant::now();
            let mut created = Vec::new();
            loop {
                ensure!(begun.elapsed() < Duration::from_secs(60), "no topic created in 60 s");
                let name = format!("after-{marker}-{}", created.len());
                let made = Connection::open(other).and_then(|mut connection| {
                    connection.set_patience(Duration::from_secs(2))?;
                    connection.ask_for_topic(&name, 1, 1, &[])
                });
                let known = made.as_ref().is_err_and(|error| error.to_string().contains(": 36 "));
                if made.is_ok() || known {
                    created.push(Instant::now());
                }
                if begun.elapsed() > Duration::from_secs(10) && !created.is_empty() {
                    return Ok((begun, created));
                }
                pause();
            }
        });
        // tidy: thread::sleep, as the load has to run for a while.
        std::thread::sleep(Duration::from_secs(1));
        let begun = Instant::now();
        self.end(place, end)?;
        let ended = Instant::now();
        let (_, created) = prober.join().ok().context("the prober panicked")??;
        self.bring_back(place)?;
        // Of the gaps between topics, those while the process ends: the disk has its own at other times.
        let gaps = created.windows(2).filter(|pair| pair[1] > begun && pair[0] < ended);
        gaps.map(|pair| pair[1] - pair[0]).max().context("topics created before and after")
    }

    fn end(&mut self, place: usize, end: End) -> Result<()> {
        match end {
            End::Kill => self.nodes[place].kill(),
            End::Stop => self.nodes[place].stop(),
        }
    }

    fn bring_back(&mut self, place: usize) -> Result<()> {
        self.nodes[place].start()?;
        self.await_joined(place)
    }

    fn many_partitions(&mut self, options: &Options, report: &mut Report) -> Result<()> {
        let brand = self.brand;
        let count = options.amount(MANY_TOPICS);
        let names: Vec<String> = (0..count).map(|n| format!("many-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let begun = Instant::now();
        for name in &names {
            self.any()?.ask_for_topic(name, 100, NODES as i16, &[])?;
        }
        self.await_in_sync(&names)?;
        let partitions = count * 100;
        let mut note = |name: &str, unit, target, value: f64| {
            report.note(brand, &format!("{partitions} partitions: {name}"), unit, target, value);
        };
        note("created and in sync", "s", Target::None, begun.elapsed().as_secs_f64());
        let resident = self.nodes.iter().map(|node| node.memory_mib("VmRSS"));
        let most = resident.collect::<Result<Vec<_>>>()?.into_iter().fold(0.0, f64::max);
        note("RSS of a node", "MiB", Target::Value(120.0), most);
        let (before, span) = (self.cpu()?, Duration::from_secs(10));
        // tidy: thread::sleep, as idleness takes time.
        std::thread::sleep(span);
        let idle = (self.cpu()? - before).as_secs_f64() / span.as_secs_f64();
        note("idle CPU of all nodes", "% of a core", Target::Value(5.0), idle * 100.0);
        self.nodes[0].stop()?;
        let begun = Instant::now();
        self.nodes[0].start()?;
        self.await_joined(0)?;
        self.await_in_sync(&names)?;
        note("restarted node in sync", "s", Target::None, begun.elapsed().as_secs_f64());
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Kill,
    Stop,
}

/// A topic's partitions as the node shows them; empty if it does not know the topic.
fn partitions_of(connection: &mut Connection, topic: &str) -> Result<Vec<MetadataResponsePartition>> {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some(topic.into()), ..Default::default() }]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    let mut response = connection.call(&request, 12)?;
    Ok(response.topics.pop().map(|topic| topic.partitions).unwrap_or_default())
}

fn led_by(id: i32, partitions: &[MetadataResponsePartition]) -> Vec<i32> {
    partitions.iter().filter(|p| p.leader_id == id).map(|p| p.partition_index).collect()
}

fn pause() {
    // tidy: thread::sleep, as other processes do not tell when something has changed.
    std::thread::sleep(Duration::from_millis(2));
}
