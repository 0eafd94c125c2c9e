use std::time::{Duration, Instant};

use ottla_model::{ErrorCode, Millis};
use ottla_protocol::api::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use ottla_testing::TestBroker;

use crate::wire::Wire;

#[tokio::test]
async fn it_starts_at_once_and_keeps_what_it_was_given_over_kills_and_stops() {
    for builder in [TestBroker::builder(), TestBroker::builder().on_disk()] {
        let mut broker = builder.start().await;
        let address = broker.address();
        let mut wire = Wire::to(&broker);
        wire.create_topic("t", 1);
        let now = broker.clock().now();
        assert_eq!(wire.produce("t", now, "a").unwrap(), Ok(0));
        broker.kill().await;
        assert!(!broker.is_running());
        assert!(wire.produce("t", now, "lost").is_err(), "a killed broker's connections are broken");
        broker.restart().await;
        assert_eq!(broker.address(), address);
        assert_eq!(Wire::to(&broker).produce("t", now, "b").unwrap(), Ok(1));
        broker.stop().await;
        broker.restart().await;
        let (start, end, bytes) = Wire::to(&broker).fetch("t", 0).unwrap().unwrap();
        assert!((start, end) == (0, 2) && bytes > 0, "{start} {end} {bytes}");
    }
}

/// The best of some starts, as the machine may be busy with other tests.
#[tokio::test]
async fn starting_takes_milliseconds() {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        let broker = TestBroker::start().await;
        best = best.min(began.elapsed());
        drop(broker);
    }
    println!("started in {best:?}");
    // Without optimization and beside other tests; a release build takes a fraction of it.
    assert!(best < Duration::from_millis(50), "{best:?}");
}

#[tokio::test]
async fn records_expire_when_the_clock_says_so() {
    // The second record is of another segment, so the first one's can go.
    let builder = TestBroker::builder()
        .property("log.retention.check.interval.ms", 1000)
        .property("log.retention.ms", 3_600_000)
        .property("log.roll.ms", 60_000)
        .property("log.segment.delete.delay.ms", 0);
    let broker = builder.start().await;
    let mut wire = Wire::to(&broker);
    wire.create_topic("t", 1);
    let hour = 3_600_000;
    let now = broker.clock().now();
    assert_eq!(wire.produce("t", now, "old").unwrap(), Ok(0));
    broker.advance(Duration::from_millis(hour / 2)).await;
    let later = broker.clock().now();
    // What was idle for so long is closed.
    let mut wire = Wire::to(&broker);
    assert!(later >= Millis(now.0 + hour as i64 / 2));
    assert_eq!(wire.produce("t", later, "young").unwrap(), Ok(1));
    assert_eq!(wire.fetch("t", 0).unwrap().unwrap().0, 0, "nothing is old enough");
    broker.advance(Duration::from_millis(hour * 3 / 4)).await;
    let mut wire = Wire::to(&broker);
    // The cleaner was told of the time; when it is done is its own.
    let deadline = Instant::now() + Duration::from_secs(10);
    while wire.fetch("t", 1).unwrap().unwrap().0 != 1 {
        assert!(Instant::now() < deadline, "the old record is still there");
        broker.advance(Duration::from_millis(1000)).await;
    }
    assert_eq!(wire.fetch("t", 0).unwrap(), Err(ErrorCode::OffsetOutOfRange));
    let partition = DeleteRecordsPartition { partition_index: 0, offset: -1 };
    let topic = DeleteRecordsTopic { name: "t".into(), partitions: vec![partition] };
    let answer = wire.ask(2, &DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1000 }).unwrap();
    assert_eq!(answer.topics[0].partitions[0].low_watermark, 2, "{answer:?}");
}
