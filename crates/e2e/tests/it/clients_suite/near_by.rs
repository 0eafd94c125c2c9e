//! Consumers read from the replica in their rack (KIP-392), also when the leader is out of their reach.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ottla_client::blocking::{Consumer, Producer};
use ottla_client::{ClientConfig, Record};
use ottla_e2e::cluster::{Cluster, Shape};
use ottla_e2e::node::Brand;

use super::{LIMIT, of};

const TOPIC: &str = "suite-near-by";
const RECORDS: usize = 60;
const RACKS: &str = "broker.rack=rack-{id}
replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector
";

pub fn follower(brand: Brand) -> Result<()> {
    let mut cluster = Cluster::start(&Shape { extra: RACKS.into(), ..Shape::of(&[brand; 3]) })?;
    let outcome = read_beside_the_leader(&mut cluster);
    cluster.explained(outcome)
}

fn read_beside_the_leader(cluster: &mut Cluster) -> Result<()> {
    cluster.create_topic(TOPIC, 1, 3)?;
    let config = ClientConfig::new(&cluster.bootstrap()).with("auto.offset.reset", "earliest")?;
    let producer = Producer::new(&config)?;
    for number in 0..RECORDS {
        // A batch each, so that a fetch brings but one.
        producer.send(Record::to(TOPIC).value(&number.to_string()))?.wait()?;
    }
    let leader = cluster.leader(TOPIC, 0)?;
    let near = cluster.others(leader)[0];
    let consumer = |rack: i32| -> Result<Consumer> {
        let config = config
            .clone()
            .with("client.rack", format!("rack-{rack}"))?
            .with("max.partition.fetch.bytes", 1)?
            .with("request.timeout.ms", 3000)?;
        let mut consumer = Consumer::new(&config)?;
        consumer.assign(of(TOPIC, 1))?;
        Ok(consumer)
    };
    let (mut beside, mut at_the_leader) = (consumer(near)?, consumer(leader)?);
    let mut read = first(&mut beside)?;
    let mut read_at_the_leader = first(&mut at_the_leader)?;
    cluster.cut_clients(leader)?;
    let deadline = Instant::now() + LIMIT;
    while read.len() < RECORDS {
        ensure!(Instant::now() < deadline, "only {read:?} came from the follower");
        read.extend(values(&mut beside)?);
    }
    ensure!(read.iter().copied().eq(0..RECORDS), "{read:?} came from the follower");
    // Who reads at the leader has nothing but what was on its way: the cut is what it is taken for.
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        read_at_the_leader.extend(values(&mut at_the_leader)?);
    }
    let count = read_at_the_leader.len();
    ensure!(count < RECORDS, "all records came from a leader that cannot be reached");
    cluster.network().heal()?;
    let deadline = Instant::now() + LIMIT;
    while read_at_the_leader.len() < RECORDS {
        ensure!(Instant::now() < deadline, "{count} records came before the cut, then no more");
        read_at_the_leader.extend(values(&mut at_the_leader)?);
    }
    Ok(())
}

fn first(consumer: &mut Consumer) -> Result<Vec<usize>> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let values = values(consumer)?;
        if !values.is_empty() {
            return Ok(values);
        }
        ensure!(Instant::now() < deadline, "no record comes");
    }
}

fn values(consumer: &mut Consumer) -> Result<Vec<usize>> {
    let records = consumer.poll(Duration::from_millis(200))?;
    let number = |bytes: Option<&[u8]>| Ok(std::str::from_utf8(bytes.unwrap_or_default())?.parse()?);
    records.iter().map(|record| number(record.value())).collect()
}
