//! Prints what comes in a topic, as a member of a group:
//! `cargo run --example consume -- localhost:9092 orders reports`.
//!
//! A fourth argument is the number of records after which it ends, further ones are settings such as `client.rack=a`.

use std::time::Duration;

use anyhow::Context;
use ottla_client::blocking::block_on;
use ottla_client::{ClientConfig, Consumer};

fn main() -> anyhow::Result<()> {
    run(&std::env::args().skip(1).collect::<Vec<_>>())
}

pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [bootstrap, topic, group, rest @ ..] = arguments else {
        anyhow::bail!("usage: consume BOOTSTRAP TOPIC GROUP [RECORDS [NAME=VALUE ...]]");
    };
    let limit: usize = rest.first().map_or(Ok(usize::MAX), |limit| limit.parse())?;
    let mut config = ClientConfig::from_pairs([
        ("bootstrap.servers", bootstrap.as_str()),
        ("group.id", group),
        ("auto.offset.reset", "earliest"),
        ("partition.assignment.strategy", "cooperative-sticky"),
    ])?;
    for setting in rest.iter().skip(1) {
        let (name, value) = setting.split_once('=').context("a setting is NAME=VALUE")?;
        config.set(name, value)?;
    }
    let mut consumer = Consumer::new(&config)?;
    consumer.subscribe([topic])?;
    let mut count = 0;
    while count < limit {
        for record in &block_on(consumer.poll(Duration::from_secs(1)))? {
            let value = String::from_utf8_lossy(record.value().unwrap_or_default());
            println!("{} {} {value}", record.topic_partition(), record.offset());
            count += 1;
        }
    }
    block_on(consumer.close())?;
    Ok(())
}
