//! Thousands of connections that say nothing or stop half way: others keep their latency, the node its memory.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ottla_e2e::batch::Batch;
use ottla_e2e::node::{Brand, Node};
use ottla_e2e::wire::{Body, Connection, Header, request};
use ottla_e2e::world;

/// Connections of each kind: idle, and with the head of a frame.
const EACH: usize = 1000;

pub fn crowd() -> Result<()> {
    let node = world::candidate()?;
    Connection::open(node.address(), Duration::from_secs(20))?.create_topic("hostile-crowd", 1, &[])?;
    let (quiet, memory) = (latencies(&node)?, node.rss_kib()?);
    // Apache Kafka takes memory for a frame as soon as its length is there: a GiB of promises ends it.
    let promised = if node.brand() == Brand::Ottla { 1 << 20 } else { 64 << 10 };
    let mut crowd = Vec::new();
    for i in 0..2 * EACH {
        let mut connection = Connection::open(node.address(), Duration::from_secs(5))?;
        if i % 2 == 1 {
            connection.send(&Body::new().i32(promised).raw(&[0, 3, 0, 1, 0, 0, 0, 5]).0);
        }
        crowd.push(connection);
    }
    let (crowded, held) = (latencies(&node)?, node.rss_kib()?);
    drop(crowd);
    let after = latencies(&node)?;
    let ms = |times: &[Duration], at: usize| times[(times.len() - 1) * at / 100].as_secs_f64() * 1000.0;
    for (name, times) in [("quiet", &quiet), ("crowded", &crowded), ("after", &after)] {
        eprintln!(
            "e2e: produce and ask, {name}: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            ms(times, 50),
            ms(times, 99),
            ms(times, 100)
        );
    }
    eprintln!("e2e: memory {} MiB before, {} MiB with {} connections", memory >> 10, held >> 10, 2 * EACH);
    // A JVM's memory says nothing; the bound is for the node under test.
    if node.brand() == Brand::Ottla {
        ensure!(held < memory + (64 << 10), "2,000 silent connections cost {} MiB", (held - memory) >> 10);
        // Generous, as the machine may be busy; a node that waits for the crowd takes seconds.
        ensure!(ms(&crowded, 99) < 250.0, "with the crowd a request takes {:.0} ms", ms(&crowded, 99));
    }
    Ok(())
}

/// Times of 300 produce requests with a metadata request each, on one connection, sorted.
fn latencies(node: &Node) -> Result<Vec<Duration>> {
    let mut connection = Connection::open(node.address(), Duration::from_secs(10))?;
    let batch = Batch::of(&[b"beside the crowd"]).encode();
    let body =
        Body::new().i16(-1).i16(-1).i32(5000).i32(1).string("hostile-crowd").i32(1).i32(0).bytes(&batch);
    let produce = request(0, 3, 5, Header::Plain, body);
    let mut times = Vec::new();
    for _ in 0..300 {
        let begun = Instant::now();
        connection.ask(&produce)?;
        ensure!(connection.metadata()?.brokers.len() == 1, "the node lost itself");
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}
