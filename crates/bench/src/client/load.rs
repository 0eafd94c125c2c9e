//! The load of Ottla's client, in a process of its own: a hidden command of this program.

use std::collections::VecDeque;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ottla_client::blocking::block_on;
use ottla_client::consumer::OffsetSpec;
use ottla_client::model::TopicPartition;
use ottla_client::{ClientConfig, Consumer, Producer, Receipt, Record, TrySendError};

use super::BUFFER_BYTES;
use super::workload::{Latencies, Mode, Round, Workload, print_peak};

pub const COMMAND: &str = "client-load";

/// Records between two looks at the acknowledgements.
const LOOK_EVERY: usize = 1024;

pub fn run(arguments: impl Iterator<Item = String>) -> Result<()> {
    let load = Workload::parse(arguments).context("the arguments of a load")?;
    let mut config = ClientConfig::new(&load.bootstrap);
    for (name, value) in &load.settings {
        config.set(name, value)?;
    }
    match load.mode {
        Mode::Produce => produce(&load, &config)?,
        Mode::Consume => consume(&load, &config)?,
        Mode::Latency => latency(&load, &config)?,
    }
    print_peak();
    Ok(())
}

/// Sends at full speed and sees the acknowledgement of every record.
fn produce(load: &Workload, config: &ClientConfig) -> Result<()> {
    let payloads = load.payloads();
    let producer = Producer::new(config)?;
    // As many as there may be: a queue that doubles would show as memory of the client.
    let mut receipts =
        VecDeque::with_capacity((load.records).min(BUFFER_BYTES / load.record_bytes) + LOOK_EVERY);
    for _ in 0..load.rounds {
        let round = Round::begin();
        for (number, value) in (0..load.records).zip(payloads.iter().cycle()) {
            let record = Record::to(&load.topic).partition(load.partition(number)).value(value);
            receipts.push_back(send(&producer, record)?);
            if number % LOOK_EVERY == 0 {
                take_acknowledged(&mut receipts)?;
            }
        }
        block_on(producer.flush())?;
        take_acknowledged(&mut receipts)?;
        anyhow::ensure!(receipts.is_empty(), "flushed, but {} are not acknowledged", receipts.len());
        round.end();
    }
    Ok(block_on(producer.close(Duration::from_secs(10)))?)
}

/// Waits where the producer has no room.
fn send(producer: &Producer, record: Record<'_>) -> Result<Receipt> {
    match producer.try_send(record) {
        Ok(receipt) => Ok(receipt),
        Err(TrySendError::WouldWait(_)) => Ok(block_on(producer.send(record))?),
        Err(TrySendError::Failed(error)) => Err(error.into()),
    }
}

fn take_acknowledged(receipts: &mut VecDeque<Receipt>) -> Result<()> {
    let mut context = TaskContext::from_waker(Waker::noop());
    while let Some(receipt) = receipts.front_mut() {
        match std::pin::Pin::new(receipt).poll(&mut context) {
            Poll::Ready(acknowledged) => drop(acknowledged?),
            Poll::Pending => break,
        }
        receipts.pop_front();
    }
    Ok(())
}

/// Reads from the beginning in each round.
fn consume(load: &Workload, config: &ClientConfig) -> Result<()> {
    let (mut consumer, partitions) = assigned(load, config)?;
    for _ in 0..load.rounds {
        for partition in &partitions {
            consumer.seek_to(partition, OffsetSpec::Earliest)?;
        }
        let round = Round::begin();
        let (mut records, mut bytes) = (0, 0);
        while records < load.records {
            for record in &block_on(consumer.poll(Duration::from_secs(1)))? {
                bytes += record.value().map_or(0, <[u8]>::len);
                records += 1;
            }
        }
        round.end();
        anyhow::ensure!(bytes == records * load.record_bytes, "{bytes} bytes in {records} records");
    }
    Ok(())
}

/// A record a millisecond, and the time from when it was due until the consumer has it.
fn latency(load: &Workload, config: &ClientConfig) -> Result<()> {
    for _ in 0..load.rounds {
        let (mut consumer, partitions) = assigned(load, config)?;
        for partition in &partitions {
            consumer.seek_to(partition, OffsetSpec::Latest)?;
            block_on(consumer.position(partition))?;
        }
        let begun = Instant::now() + Duration::from_millis(200);
        let (sent, producer_config) = (load.clone(), config.clone());
        let sender = std::thread::spawn(move || -> Result<()> {
            let mut value = vec![b'x'; sent.record_bytes];
            let producer = Producer::new(&producer_config)?;
            for number in 0..sent.records {
                Latencies::wait_until_due(begun, number);
                value[..8].copy_from_slice(&(number as u64).to_be_bytes());
                let record = Record::to(&sent.topic).partition(sent.partition(number)).value(&value);
                drop(send(&producer, record)?);
            }
            Ok(block_on(producer.close(Duration::from_secs(10)))?)
        });
        let mut latencies = Latencies::new(begun, load.records);
        while !latencies.is_complete() {
            for record in &block_on(consumer.poll(Duration::from_secs(1)))? {
                latencies.see(record.value().unwrap_or_default());
            }
        }
        sender.join().ok().context("the sender panicked")??;
        latencies.print();
    }
    Ok(())
}

fn assigned(load: &Workload, config: &ClientConfig) -> Result<(Consumer, Vec<TopicPartition>)> {
    let mut consumer = Consumer::new(config)?;
    let partition = |partition| TopicPartition { topic: load.topic.as_str().into(), partition };
    let partitions: Vec<_> = (0..load.partitions).map(partition).collect();
    consumer.assign(partitions.iter().cloned())?;
    Ok((consumer, partitions))
}
