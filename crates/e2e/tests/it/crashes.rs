//! kill -9 under load: nothing acknowledged is lost or doubled, and groups never go back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ottla_e2e::load::Load;
use ottla_e2e::node::{Brand, Node};

use crate::Named;

pub const TESTS: &[Named] = &[("twenty_kills", twenty_kills)];

const CYCLES: usize = 20;

fn twenty_kills() -> Result<()> {
    let mut node = Node::start(
        Brand::candidate(),
        "offsets.topic.num.partitions=5\nbroker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500",
    )?;
    let mut load = Load::start(&node, "crash")?;
    load.await_progress(100)?;
    let (mut restarts, begun) = (Vec::new(), Instant::now());
    for cycle in 0..CYCLES {
        // Kills fall at different moments of the load: after 1 to 600 further records.
        load.await_progress(1 + cycle * 211 % 600)?;
        node.kill()?;
        let committed = load.committed()?;
        restarts.push(node.launch().with_context(|| format!("restart after kill {}", cycle + 1))?);
        load.check_group(&committed).with_context(|| format!("after kill {}", cycle + 1))?;
    }
    load.await_progress(100)?;
    let audit = load.finish()?;
    let (longest, sum) =
        (restarts.iter().max().copied().unwrap_or_default(), restarts.iter().sum::<Duration>());
    eprintln!(
        "e2e: {CYCLES} kills in {:.0} s: {audit}; restart {:.0} ms on average, {:.0} at most",
        begun.elapsed().as_secs_f64(),
        sum.as_secs_f64() * 1000.0 / CYCLES as f64,
        longest.as_secs_f64() * 1000.0
    );
    Ok(())
}
