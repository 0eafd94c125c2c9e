//! A thousand records a second, each in a request of its own: from the time a record is due to its
//! acknowledgement, and to a consumer that waits for it with long polls.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ottla_protocol::api::fetch::FetchRequest;
use ottla_record::{Batches, Codec};

use crate::Options;
use crate::connection::{
    Connection, FETCH_VERSION, PRODUCE_VERSION, Topic, fetch_request, frame, produce_request,
};
use crate::payload::{self, Size};

const INTERVAL: Duration = Duration::from_millis(1);

/// What one way has taken, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Percentiles {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Percentiles {
    fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let at = |share: f64| {
            let index = ((samples.len() as f64 * share) as usize).min(samples.len().saturating_sub(1));
            samples.get(index).map_or(0.0, |sample| sample.as_secs_f64() * 1e6)
        };
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Latencies {
    pub to_ack: Percentiles,
    pub to_consumer: Percentiles,
    /// The node's CPU time per record, produce and long poll together, in microseconds.
    pub cpu_us: f64,
}

/// To the only partition of `topic`, which the node at `leader` leads; `cpu` is the time that all nodes have used.
pub fn run(
    leader: SocketAddr,
    topic: &Topic,
    options: &Options,
    cpu: impl Fn() -> Result<Duration>,
) -> Result<Latencies> {
    let records = options.amount(10_000);
    let (batch, _) = payload::batch(Size::OneRecord, Codec::None);
    let request = frame(&produce_request(topic, 0, &batch), PRODUCE_VERSION)?.concat();

    let consumer = Connection::open(leader)?;
    let consumed = {
        let topic = topic.clone();
        std::thread::spawn(move || consume(consumer, &topic, records))
    };
    let producer = Connection::open(leader)?.into_stream();
    let acks = Connection::of(producer.try_clone()?);
    let acked = std::thread::spawn(move || await_acks(acks, records));

    let before = cpu()?;
    let start = Instant::now() + Duration::from_millis(20);
    let mut stream = producer;
    for n in 0..records {
        wait_until(start + INTERVAL * n as u32);
        stream.write_all(&request).context("send a record")?;
    }
    let acked = acked.join().ok().context("the ack thread panicked")??;
    let consumed = consumed.join().ok().context("the consumer thread panicked")??;
    let cpu = cpu()?.saturating_sub(before);

    let since_due = |times: Vec<Instant>| {
        let due = (0..).map(|n| start + INTERVAL * n);
        times.into_iter().zip(due).map(|(at, due)| at.saturating_duration_since(due)).collect()
    };
    Ok(Latencies {
        to_ack: Percentiles::of(since_due(acked)),
        to_consumer: Percentiles::of(since_due(consumed)),
        cpu_us: cpu.as_secs_f64() * 1e6 / records as f64,
    })
}

/// Sleeps, and spins for the last stretch, which the timer would miss.
fn wait_until(due: Instant) {
    const SPIN: Duration = Duration::from_micros(70);
    let now = Instant::now();
    if due > now + SPIN {
        // tidy: thread::sleep, as records are due at points in time.
        std::thread::sleep(due - now - SPIN);
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}

fn await_acks(mut connection: Connection, records: usize) -> Result<Vec<Instant>> {
    let mut times = Vec::with_capacity(records);
    for _ in 0..records {
        let answer = connection.read_frame()?;
        times.push(Instant::now());
        crate::throughput::check_produced(answer)?;
    }
    Ok(times)
}

fn consume(mut connection: Connection, topic: &Topic, records: usize) -> Result<Vec<Instant>> {
    let mut times = Vec::with_capacity(records);
    while times.len() < records {
        let request = fetch_request(topic, 0, times.len() as i64, 1 << 20);
        let response = connection.call::<FetchRequest>(&request, FETCH_VERSION)?;
        let now = Instant::now();
        let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        for partition in partitions {
            ensure!(partition.error_code == 0, "fetch: {}", partition.error_code);
            let bytes = partition.records.as_ref().and_then(|records| records.to_bytes()).unwrap_or_default();
            for batch in Batches::new(bytes) {
                let header = batch?.header;
                ensure!(header.base_offset.0 <= times.len() as i64, "a gap before {}", header.base_offset);
                while times.len() as i64 <= header.last_offset().0 {
                    times.push(now);
                }
            }
        }
    }
    Ok(times)
}
