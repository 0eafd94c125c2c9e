use std::time::{Duration, Instant};

use ottla_model::Millis;
use ottla_testing::{ErrorCode, TestCluster};

use crate::wire::Wire;

#[tokio::test]
async fn three_brokers_replicate_and_outlive_one_of_them() {
    let began = Instant::now();
    let mut cluster = TestCluster::start().await;
    assert_eq!(cluster.bootstrap_servers().split(',').count(), 3);
    let mut wire = Wire::to(cluster.broker(1));
    wire.create_topic("t", 3);
    let now = cluster.broker(1).clock().now();
    // The controller has answered; the broker that is asked hears of the topic a moment later.
    let leader = loop {
        assert!(began.elapsed() < Duration::from_secs(30), "a new topic has a leader");
        if let Some(leader) = wire.leader("t") {
            break leader;
        }
    };
    let mut wire = Wire::to(cluster.broker(leader));
    let produced = produce(&mut wire, now);
    assert_eq!(produced, Ok(0));
    cluster.broker(leader).kill().await;
    // The others find out by its heartbeats that do not come; time is theirs alone to wait for, so it is moved.
    let alive = leader % 3 + 1;
    let mut wire = Wire::to(cluster.broker(alive));
    let next = loop {
        match wire.leader("t") {
            Some(next) if next != leader => break next,
            _ => cluster.advance(Duration::from_millis(500)).await,
        }
    };
    let produced = produce(&mut Wire::to(cluster.broker(next)), now);
    assert_eq!(produced, Ok(1), "what was acknowledged by all is there");
    cluster.broker(leader).restart().await;
    let produced = produce(&mut Wire::to(cluster.broker(next)), now);
    assert_eq!(produced, Ok(2), "a broker is back on its directory");
}

/// Produces as every client does: the leader may hear of its topic later than the broker that was asked who it is.
fn produce(wire: &mut Wire, now: Millis) -> Result<i64, ErrorCode> {
    loop {
        match wire.produce("t", now, "record").unwrap() {
            Err(ErrorCode::UnknownTopicOrPartition | ErrorCode::NotLeaderOrFollower) => {}
            produced => return produced,
        }
    }
}

/// The best of some starts, as the machine may be busy with other tests.
#[tokio::test]
async fn three_brokers_start_at_once() {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        let cluster = TestCluster::start().await;
        best = best.min(began.elapsed());
        drop(cluster);
    }
    println!("three brokers in {best:?}");
    assert!(best < Duration::from_millis(100), "{best:?}");
}
