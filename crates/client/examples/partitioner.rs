//! Chooses partitions by hand: keys that begin with `vip` have the last partition to themselves.
//! `cargo run --example partitioner -- localhost:9092 orders`.

use std::time::Duration;

use ottla_client::blocking::Producer;
use ottla_client::{Choice, ClientConfig, Partitioner, Record};

struct VipLast;

impl Partitioner for VipLast {
    fn choose(&self, _: &str, key: Option<&[u8]>, _: Option<&[u8]>, partitions: usize) -> Choice {
        match key {
            Some(key) if key.starts_with(b"vip") => Choice::Partition(partitions - 1),
            Some(key) => {
                let sum: usize = key.iter().copied().map(usize::from).sum();
                Choice::Partition(sum % (partitions - 1).max(1))
            }
            // One partition after the other, a batch each.
            None => Choice::Sticky,
        }
    }
}

fn main() -> anyhow::Result<()> {
    run(&std::env::args().skip(1).collect::<Vec<_>>())
}

pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [bootstrap, topic] = arguments else { anyhow::bail!("usage: partitioner BOOTSTRAP TOPIC") };
    let producer = Producer::with_partitioner(&ClientConfig::new(bootstrap), VipLast)?;
    for key in ["vip-1", "bread", "vip-2", "milk"] {
        let receipt = producer.send(Record::to(topic).key(key).value("an order"))?;
        println!("{key} went to partition {}", receipt.wait()?.partition);
    }
    producer.close(Duration::from_secs(10))?;
    Ok(())
}
