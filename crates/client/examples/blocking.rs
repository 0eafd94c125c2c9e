//! No async anywhere: creates a topic, sends records with a function that hears of each, reads them back one by one:
//! `cargo run --example blocking -- localhost:9092 greetings`.

use std::sync::mpsc::channel;
use std::time::Duration;

use ottla_client::admin::NewTopic;
use ottla_client::blocking::{Admin, Consumer, Producer};
use ottla_client::config::OffsetReset;
use ottla_client::{ClientConfig, Record};

const GREETINGS: [&str; 3] = ["hello", "hei", "terve"];

fn main() -> anyhow::Result<()> {
    run(&std::env::args().skip(1).collect::<Vec<_>>())
}

pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [bootstrap, topic] = arguments else { anyhow::bail!("usage: blocking BOOTSTRAP TOPIC") };
    let config = ClientConfig::new(bootstrap);
    let admin = Admin::new(&config)?;
    admin.create_topic(&NewTopic { name: topic.clone(), partitions: Some(1), ..NewTopic::default() })?;

    let producer = Producer::new(&config)?;
    let (told, hears) = channel();
    for greeting in GREETINGS {
        let told = told.clone();
        producer.send_with(Record::to(topic).value(greeting), move |outcome| {
            // The other end is in this function.
            let _ = told.send(outcome);
        })?;
    }
    for _ in GREETINGS {
        println!("sent to offset {}", hears.recv()??.offset);
    }
    producer.close(Duration::from_secs(10))?;

    let group = format!("{topic}-readers");
    let config =
        ClientConfig::builder(bootstrap).group(&group).offset_reset(OffsetReset::Earliest).build()?;
    let mut consumer = Consumer::new(&config)?;
    consumer.subscribe([topic])?;
    for record in consumer.by_ref().take(GREETINGS.len()) {
        let record = record?;
        println!(
            "{} {}",
            record.offset,
            String::from_utf8_lossy(record.value.as_deref().unwrap_or_default())
        );
    }
    consumer.close()?;
    Ok(())
}
