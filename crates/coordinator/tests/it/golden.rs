//! Replays the `__consumer_offsets` partition that Apache Kafka 4.4.0 wrote (testdata/golden/internal): all record
//! types, committed and aborted transactions.

use bytes::Bytes;
use ottla_coordinator::{
    ClientContext, CoordinatorConfig, Event, GroupCoordinator, Replayed, Request, Response, Ticket,
    TransactionResult,
};
use ottla_model::Millis;
use ottla_protocol::api::list_groups::ListGroupsRequest;
use ottla_protocol::api::offset_fetch::OffsetFetchRequestGroup;
use ottla_record::Batches;
use ottla_record::control::{self, EndTxnMarker};

const LOG: &[u8] =
    include_bytes!("../../../../testdata/golden/internal/__consumer_offsets-0/00000000000000000000.log");

fn replayed(batches: usize) -> GroupCoordinator {
    let mut coordinator = GroupCoordinator::new(CoordinatorConfig::default(), 1);
    for batch in Batches::new(Bytes::from_static(LOG)).take(batches) {
        let batch = batch.unwrap();
        for record in batch.records().unwrap() {
            let record = record.unwrap();
            let key = record.key.unwrap();
            if batch.header.is_control() {
                let result = match EndTxnMarker::parse(&key, &record.value.unwrap()).unwrap().result {
                    control::TransactionResult::Commit => TransactionResult::Commit,
                    control::TransactionResult::Abort => TransactionResult::Abort,
                };
                coordinator.replay_end_transaction(batch.header.producer_id, result);
            } else {
                let producer = batch.header.is_transactional().then_some(batch.header.producer_id);
                let outcome = coordinator.replay(record.offset, producer, &key, record.value.as_ref());
                assert_eq!(outcome.unwrap(), Replayed::Applied, "offset {}", record.offset);
            }
        }
    }
    let actions = coordinator.loaded(Millis(1_795_364_800_000));
    assert!(actions.appends.is_empty() && actions.replies.is_empty());
    coordinator
}

fn ask(coordinator: &mut GroupCoordinator, request: Request) -> Response {
    let context = ClientContext { version: 6, ..Default::default() };
    let event = Event::Request { ticket: Ticket(1), context, request };
    let mut actions = coordinator.step(Millis(1_795_364_800_000), event);
    actions.replies.remove(0).1
}

fn list(coordinator: &mut GroupCoordinator) -> Vec<String> {
    let Response::ListGroups(groups) = ask(coordinator, Request::ListGroups(ListGroupsRequest::default()))
    else {
        panic!("not an answer to ListGroups");
    };
    let mut groups: Vec<String> = groups
        .iter()
        .map(|group| format!("{} {} {}", group.group_id, group.group_type, group.group_state))
        .collect();
    groups.sort();
    groups
}

fn offsets(coordinator: &mut GroupCoordinator, group: &str) -> Vec<(String, i64)> {
    let group = OffsetFetchRequestGroup { group_id: group.into(), ..Default::default() };
    let Response::OffsetFetch(group) = ask(coordinator, Request::OffsetFetch { group, require_stable: true })
    else {
        panic!("not an answer to OffsetFetch");
    };
    let of_topic = |topic: ottla_protocol::api::offset_fetch::OffsetFetchResponseTopics| {
        topic
            .partitions
            .into_iter()
            .map(move |p| (format!("{}-{}", topic.name, p.partition_index), p.committed_offset))
    };
    group.topics.into_iter().flat_map(of_topic).collect()
}

#[test]
fn the_whole_partition_gives_the_groups_that_kafka_had() {
    let mut coordinator = replayed(usize::MAX);
    assert_eq!(
        list(&mut coordinator),
        [
            "g-classic classic Empty",
            "g-classic-static classic Empty",
            "g-new consumer Empty",
            "g-share share Empty",
            "g-streams streams Empty",
            "g-tx classic Empty",
            "sw-cg0 consumer Empty",
            "sw-cg1 consumer Empty",
            "sw-join classic Empty",
            "sweep-g classic Empty",
        ]
    );
    let committed = |n| vec![("codec-gzip-0".to_owned(), n), ("codec-none-0".to_owned(), n)];
    assert_eq!(offsets(&mut coordinator, "g-classic"), committed(15));
    assert_eq!(offsets(&mut coordinator, "g-classic-static"), committed(15));
    // Committed in the second of two transactions; the offset of sweep-g ended as a tombstone.
    assert_eq!(offsets(&mut coordinator, "g-tx").len(), 1);
    assert_eq!(offsets(&mut coordinator, "sweep-g"), []);
}

#[test]
fn members_of_other_group_types_keep_the_group_from_being_empty() {
    // Up to the batch in which the second consumer joined.
    let mut coordinator = replayed(13);
    assert!(list(&mut coordinator).contains(&"g-new consumer Stable".to_owned()));
    let Response::DeleteGroups(results) = ask(&mut coordinator, Request::DeleteGroups(vec!["g-new".into()]))
    else {
        panic!("not an answer to DeleteGroups");
    };
    assert_eq!(results[0].error_code, 68);
}
