//! Sends numbered records and says where they went: `cargo run --example produce -- localhost:9092 orders 1000`.

use std::time::Duration;

use ottla_client::blocking::block_on;
use ottla_client::config::{Acks, Compression};
use ottla_client::{ClientConfig, Header, Producer, Record};

fn main() -> anyhow::Result<()> {
    run(&std::env::args().skip(1).collect::<Vec<_>>())
}

pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [bootstrap, topic, count] = arguments else {
        anyhow::bail!("usage: produce BOOTSTRAP TOPIC RECORDS")
    };
    let config = ClientConfig::builder(bootstrap)
        .acks(Acks::All)
        .compression(Compression::Zstd(None))
        .linger(Duration::from_millis(10))
        .build()?;
    let producer = Producer::new(&config)?;
    block_on(async {
        let headers = [Header::new("example", b"produce")];
        let mut receipts = Vec::new();
        for number in 0..count.parse::<u32>()? {
            let (key, value) = (format!("key-{}", number % 10), format!("value {number}"));
            let record = Record::to(topic).key(&key).value(&value).headers(&headers);
            // Waits only when the buffer is full; the receipt is a future of its own.
            receipts.push(producer.send(record).await?);
        }
        for receipt in receipts {
            let at = receipt.await?;
            println!("{}-{} {}", at.topic, at.partition, at.offset);
        }
        producer.close(Duration::from_secs(10)).await?;
        anyhow::Ok(())
    })
}
