use std::time::{Duration, Instant};

use ottla_model::ErrorCode;
use ottla_protocol::ApiKey;
use ottla_protocol::api::describe_groups::DescribeGroupsRequest;
use ottla_protocol::api::heartbeat::HeartbeatRequest;
use ottla_testing::{Fault, TestBroker};

use crate::wire::Wire;

#[tokio::test]
async fn errors_come_as_often_as_asked_for_the_partitions_asked_for() {
    let broker = TestBroker::start().await;
    let mut wire = Wire::to(&broker);
    wire.create_topic("t", 1);
    wire.create_topic("other", 1);
    let now = broker.clock().now();
    let fault = Fault::on(ApiKey::Produce).partition("t", 0).after(1).times(2);
    let armed = broker.inject(fault.error(ErrorCode::NotLeaderOrFollower));
    assert_eq!(wire.produce("t", now, "passes").unwrap(), Ok(0));
    assert_eq!(wire.produce("other", now, "of another topic").unwrap(), Ok(0));
    for _ in 0..2 {
        assert_eq!(wire.produce("t", now, "refused").unwrap(), Err(ErrorCode::NotLeaderOrFollower));
    }
    assert_eq!(wire.produce("t", now, "passes again").unwrap(), Ok(1), "what was refused was not written");
    assert_eq!(armed.hits(), 2);

    broker.inject(Fault::on(ApiKey::Fetch).partition("t", 0).error(ErrorCode::KafkaStorageError));
    assert_eq!(wire.fetch("t", 0).unwrap(), Err(ErrorCode::KafkaStorageError));
    assert_eq!(wire.fetch("other", 0).unwrap().unwrap().1, 1);
    broker.inject(Fault::on(ApiKey::Heartbeat).error(ErrorCode::RebalanceInProgress));
    let answer = wire.ask(4, &HeartbeatRequest { group_id: "g".into(), ..Default::default() }).unwrap();
    assert_eq!(answer.error_code, ErrorCode::RebalanceInProgress.code());
    broker.inject(Fault::on(ApiKey::DescribeGroups).error(ErrorCode::CoordinatorLoadInProgress));
    let request = DescribeGroupsRequest { groups: vec!["a".into(), "b".into()], ..Default::default() };
    let answer = wire.ask(5, &request).unwrap();
    let refused: Vec<_> = answer.groups.iter().map(|group| (&*group.group_id, group.error_code)).collect();
    let code = ErrorCode::CoordinatorLoadInProgress.code();
    assert_eq!(refused, [("a", code), ("b", code)]);
    broker.heal();
    assert_eq!(wire.fetch("t", 0).unwrap().unwrap().1, 2);
}

#[tokio::test]
async fn requests_are_delayed_dropped_and_done_without_an_answer() {
    let broker = TestBroker::start().await;
    let mut wire = Wire::to(&broker);
    wire.create_topic("t", 1);
    let now = broker.clock().now();
    let delay = Duration::from_millis(50);
    broker.inject(Fault::on(ApiKey::Produce).times(1).delay(delay));
    let began = Instant::now();
    assert_eq!(wire.produce("t", now, "late").unwrap(), Ok(0));
    assert!(began.elapsed() >= delay);

    broker.inject(Fault::on(ApiKey::Produce).times(1).drop_connection());
    assert!(wire.produce("t", now, "dropped").is_err());
    let mut wire = Wire::to(&broker);
    assert_eq!(wire.fetch("t", 0).unwrap().unwrap().1, 1);

    broker.inject(Fault::on(ApiKey::Produce).times(1).client_id("somebody else").drop_connection());
    broker.inject(Fault::on(ApiKey::Produce).times(1).lose_answer());
    assert!(wire.produce("t", now, "written").is_err());
    assert_eq!(Wire::to(&broker).fetch("t", 0).unwrap().unwrap().1, 2);
}

#[tokio::test]
async fn a_request_kills_the_broker() {
    let mut broker = TestBroker::start().await;
    let mut wire = Wire::to(&broker);
    wire.create_topic("t", 1);
    let now = broker.clock().now();
    broker.inject(Fault::on(ApiKey::Produce).times(1).kill_broker());
    assert!(wire.produce("t", now, "never seen").is_err());
    broker.restart().await;
    assert_eq!(Wire::to(&broker).produce("t", now, "first").unwrap(), Ok(0));
}
