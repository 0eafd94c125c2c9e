//! A producer and its ledger while brokers die and networks fail: what was taken arrives once, in order, at the offset
//! that was told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ottla_client::blocking::{Consumer, Producer};
use ottla_client::{ClientConfig, Receipt, Record};
use ottla_e2e::cluster::{Cluster, Shape, pause};
use ottla_e2e::network::CLIENTS;
use ottla_e2e::node::Brand;

use super::of;

const TOPIC: &str = "suite-disturbed";
const PARTITIONS: i32 = 3;
/// Records on their way at a time, so that a disturbance always meets some and memory stays small.
const UNDER_WAY: usize = 500;

/// Leaders are killed with SIGKILL one after the other, each coming back before the next goes.
pub fn kills(brand: Brand) -> Result<()> {
    let kills: i32 = variable("E2E_KILLS", 3)?;
    disturbed(brand, |cluster| {
        for round in 0..kills {
            let leader = cluster.leader(TOPIC, round % PARTITIONS)?;
            cluster.kill(&[leader])?;
            cluster.leader_among(TOPIC, round % PARTITIONS, |id| id != leader)?;
            cluster.launch(&[leader])?;
            cluster.await_in_sync()?;
        }
        Ok(())
    })
}

/// Answers and requests come late, then not at all, then the connections work again.
pub fn cuts(brand: Brand) -> Result<()> {
    let lasting = Duration::from_secs(variable("E2E_CUT_SECONDS", 20)?);
    disturbed(brand, |cluster| {
        let end = Instant::now() + lasting;
        for round in 0.. {
            let leader = cluster.leader(TOPIC, round % PARTITIONS)?;
            match round % 2 {
                0 => cluster.cut_clients(leader)?,
                _ => {
                    let late = Duration::from_millis(50)..Duration::from_millis(800);
                    cluster
                        .network()
                        .slow(&[(CLIENTS, leader as usize), (leader as usize, CLIENTS)], late)?;
                }
            }
            let until = Instant::now() + Duration::from_secs(4);
            while Instant::now() < until {
                pause();
            }
            cluster.network().heal()?;
            if Instant::now() >= end {
                return Ok(());
            }
        }
        Ok(())
    })
}

fn variable<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    name: &str,
    otherwise: T,
) -> Result<T> {
    match std::env::var(name) {
        Ok(value) => value.parse().with_context(|| format!("{name}={value} is no number")),
        Err(_) => Ok(otherwise),
    }
}

fn disturbed(brand: Brand, disturb: impl FnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
    let mut cluster = Cluster::start(&Shape::of(&[brand; 3]))?;
    let outcome = load(&mut cluster, disturb);
    cluster.explained(outcome)
}

fn load(cluster: &mut Cluster, disturb: impl FnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
    cluster.create_topic(TOPIC, PARTITIONS, 3)?;
    let config = ClientConfig::new(&cluster.bootstrap())
        .with("request.timeout.ms", 5000)?
        .with("batch.size", 2000)?
        .with("compression.type", "lz4")?;
    let ends = AtomicBool::new(false);
    let ledger = std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce(&config, &ends));
        let disturbed = disturb(cluster);
        ends.store(true, Ordering::Release);
        let ledger = producer.join().expect("the producer does not panic");
        disturbed?;
        ledger
    })?;
    eprintln!("e2e: {} records acknowledged while disturbed", ledger.len());
    audit(&config, &ledger)
}

/// The number of each record, by where it was acknowledged. All that was taken must be.
fn produce(config: &ClientConfig, ends: &AtomicBool) -> Result<BTreeMap<(i32, i64), u64>> {
    let producer = Producer::new(config)?;
    let mut ledger = BTreeMap::new();
    let mut under_way: std::collections::VecDeque<(u64, Receipt)> = Default::default();
    let mut settle = |number: u64, receipt: Receipt| {
        let at = receipt.wait().with_context(|| format!("record {number}"))?;
        let before = ledger.insert((at.partition, at.offset.0), number);
        ensure!(before.is_none(), "{number} and {before:?} were told the same offset {}", at.offset);
        Ok(())
    };
    for number in 0.. {
        if ends.load(Ordering::Acquire) {
            break;
        }
        let value = number.to_string();
        let partition = (number % PARTITIONS as u64) as i32;
        under_way.push_back((number, producer.send(Record::to(TOPIC).value(&value).partition(partition))?));
        if under_way.len() >= UNDER_WAY
            && let Some((number, receipt)) = under_way.pop_front()
        {
            settle(number, receipt)?;
        }
    }
    for (number, receipt) in under_way {
        settle(number, receipt)?;
    }
    producer.close(Duration::from_secs(20))?;
    Ok(ledger)
}

/// Reads all there is and compares it with the ledger.
fn audit(config: &ClientConfig, ledger: &BTreeMap<(i32, i64), u64>) -> Result<()> {
    ensure!(ledger.len() > UNDER_WAY, "only {} records were acknowledged", ledger.len());
    let mut consumer = Consumer::new(&config.clone().with("auto.offset.reset", "earliest")?)?;
    let partitions = of(TOPIC, PARTITIONS);
    consumer.assign(partitions.clone())?;
    let ends = ottla_client::blocking::block_on(consumer.end_offsets(&partitions))?;
    let mut last = BTreeMap::new();
    let mut read = BTreeMap::new();
    let deadline = Instant::now() + Duration::from_secs(120);
    for partition in &partitions {
        while consumer.position(partition)? < ends[partition] {
            ensure!(Instant::now() < deadline, "{partition} is not read to its end");
            for record in &consumer.poll(Duration::from_millis(500))? {
                let value = std::str::from_utf8(record.value().context("a record without a value")?)?;
                let number: u64 = value.parse().context("a value that was not sent")?;
                let before = last.insert(record.partition(), number);
                ensure!(before.is_none_or(|before| before < number), "{number} comes behind {before:?}");
                read.insert((record.partition(), record.offset().0), number);
            }
        }
    }
    ensure!(read.len() == ledger.len(), "{} records are there, {} were sent", read.len(), ledger.len());
    ensure!(read == *ledger, "records are not at the offsets that were told");
    Ok(())
}
