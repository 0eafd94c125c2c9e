//! Groups whose members are this client, kafka-clients and librdkafka.

use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ottla_client::blocking::{Admin, Consumer, Producer};
use ottla_client::consumer::{Rebalance, RebalanceListener};
use ottla_client::model::TopicPartition;
use ottla_client::{ClientConfig, Record};
use ottla_e2e::node::Node;

use super::{LIMIT, java, librdkafka, of, topic};

const PARTITIONS: i32 = 6;
const RECORDS: i32 = 300;

/// Each assignor shares the partitions evenly among the clients that know it, and every record is read once.
pub fn assignors(node: &Node) -> Result<()> {
    for (assignor, with_librdkafka) in
        [("range", true), ("roundrobin", true), ("sticky", false), ("cooperative-sticky", true)]
    {
        share(node, assignor, with_librdkafka).with_context(|| format!("a group through {assignor}"))?;
    }
    Ok(())
}

fn share(node: &Node, assignor: &str, with_librdkafka: bool) -> Result<()> {
    let (name, bootstrap) = (format!("suite-{assignor}"), node.bootstrap());
    topic(node, &name, PARTITIONS)?;
    let arguments = ["member", &bootstrap, &name, &name, assignor];
    let read = std::thread::scope(|scope| {
        let mut members = vec![
            scope.spawn(|| our_member(&bootstrap, &name, assignor)),
            scope.spawn(|| seen(&java(&arguments)?)),
        ];
        if with_librdkafka {
            members.push(scope.spawn(|| seen(&librdkafka(&arguments)?)));
        }
        let shared = await_shares(&bootstrap, &name, members.len());
        // Whatever happened: the members are told to end.
        fill(&bootstrap, &name)?;
        let read = members.into_iter().map(|member| member.join().expect("a member does not panic"));
        let read: Vec<Vec<(i32, i64)>> = read.collect::<Result<_>>()?;
        shared?;
        anyhow::Ok(read)
    })?;
    for (member, records) in read.iter().enumerate() {
        ensure!(!records.is_empty(), "member {member} has read nothing");
    }
    let all: Vec<_> = read.iter().flatten().collect();
    let different: BTreeSet<_> = all.iter().collect();
    ensure!(
        all.len() == different.len(),
        "{} records were read, {} of them different",
        all.len(),
        different.len()
    );
    ensure!(all.len() == RECORDS as usize, "{} of {RECORDS} records were read", all.len());
    Ok(())
}

fn seen(lines: &str) -> Result<Vec<(i32, i64)>> {
    let pair = |line: &str| {
        let (partition, offset) = line.split_once(' ').with_context(|| format!("{line:?} is no record"))?;
        Ok((partition.parse()?, offset.parse()?))
    };
    lines.lines().map(pair).collect()
}

fn config(bootstrap: &str, group: &str, assignor: &str) -> Result<ClientConfig> {
    let settings = [
        ("bootstrap.servers", bootstrap),
        ("group.id", group),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("session.timeout.ms", "10000"),
        ("heartbeat.interval.ms", "300"),
        ("partition.assignment.strategy", assignor),
    ];
    Ok(ClientConfig::from_pairs(settings)?)
}

/// As the members of the other clients: reads until a record says stop and nothing is left.
fn our_member(bootstrap: &str, topic: &str, assignor: &str) -> Result<Vec<(i32, i64)>> {
    let mut consumer = Consumer::new(&config(bootstrap, topic, assignor)?)?;
    consumer.subscribe([topic])?;
    let (mut read, mut stopped) = (Vec::new(), false);
    let deadline = Instant::now() + LIMIT;
    loop {
        ensure!(Instant::now() < deadline, "no end of the records of {topic}; {} were read", read.len());
        for record in &consumer.poll(Duration::from_millis(100))? {
            match record.value() {
                Some(b"stop") => stopped = true,
                _ => read.push((record.partition(), record.offset().0)),
            }
        }
        match consumer.commit() {
            // The group goes on without what was just read: it is read again, by whoever has the partition then.
            Err(error) if error.code().is_some() => eprintln!("e2e: our member cannot commit: {error}"),
            committed => committed?,
        }
        let assigned: Vec<TopicPartition> = consumer.assignment().into_iter().collect();
        if stopped && is_at_end(&mut consumer, &assigned)? {
            consumer.close()?;
            return Ok(read);
        }
    }
}

fn is_at_end(consumer: &mut Consumer, assigned: &[TopicPartition]) -> Result<bool> {
    let ends = ottla_client::blocking::block_on(consumer.end_offsets(assigned))?;
    for (partition, end) in ends {
        if consumer.position(&partition)? < end {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Waits until so many members have an equal share each.
fn await_shares(bootstrap: &str, group: &str, members: usize) -> Result<()> {
    let admin = Admin::new(&ClientConfig::new(bootstrap))?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let described = admin.describe_group(group);
        if let Ok(described) = &described
            && described.state == "Stable"
            && described.members.len() == members
            && described.members.iter().all(|member| member.partitions.len() == PARTITIONS as usize / members)
        {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no equal shares: {described:?}");
        ottla_e2e::cluster::pause();
    }
}

fn fill(bootstrap: &str, topic: &str) -> Result<()> {
    let producer = Producer::new(&ClientConfig::new(bootstrap))?;
    for i in 0..RECORDS {
        producer.send(Record::to(topic).value("v").partition(i % PARTITIONS))?;
    }
    // Who is told to stop finds all records there.
    producer.flush()?;
    for partition in 0..PARTITIONS {
        producer.send(Record::to(topic).value("stop").partition(partition))?;
    }
    producer.close(Duration::from_secs(20))?;
    Ok(())
}

struct Heard(std::sync::mpsc::Sender<(&'static str, usize)>);

impl RebalanceListener for Heard {
    fn assigned(&mut self, _: &mut Rebalance<'_>, partitions: &[TopicPartition]) {
        // Nobody listens at the very end.
        let _ = self.0.send(("assigned", partitions.len()));
    }

    fn revoked(&mut self, _: &mut Rebalance<'_>, partitions: &[TopicPartition]) {
        let _ = self.0.send(("revoked", partitions.len()));
    }
}

/// A static member that comes back within its session gets what it had, and the other hears nothing of it.
pub fn static_membership(node: &Node) -> Result<()> {
    topic(node, "suite-static", 4)?;
    let member = |instance: &str| {
        let config =
            config(&node.bootstrap(), "suite-static", "range")?.with("group.instance.id", instance)?;
        let mut consumer = Consumer::new(&config)?;
        consumer.subscribe(["suite-static"])?;
        anyhow::Ok(consumer)
    };
    let (told, heard) = channel();
    let (mut first, mut second) = (member("one")?, member("two")?);
    first.set_listener(Heard(told));
    let deadline = Instant::now() + LIMIT;
    while first.assignment().len() != 2 || second.assignment().len() != 2 {
        ensure!(Instant::now() < deadline, "no equal shares");
        first.poll(Duration::from_millis(50))?;
        second.poll(Duration::from_millis(50))?;
    }
    while heard.try_recv().is_ok() {}
    let had = second.assignment();
    second.close()?;
    let mut second = member("two")?;
    while second.assignment().is_empty() {
        ensure!(Instant::now() < deadline, "the member that came back got nothing");
        first.poll(Duration::from_millis(50))?;
        second.poll(Duration::from_millis(50))?;
    }
    ensure!(second.assignment() == had, "{:?} instead of {had:?}", second.assignment());
    let told: Vec<_> = heard.try_iter().collect();
    ensure!(told.is_empty(), "the other member was told {told:?}");
    let all: BTreeSet<_> = first.assignment().union(&had).cloned().collect();
    ensure!(all == of("suite-static", 4).into_iter().collect(), "not all partitions have a member: {all:?}");
    Ok(())
}
