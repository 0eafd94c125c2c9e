//! A partition from its assignment through resets, changes of leader and seeks.

use super::*;

const NOW: Millis = Millis(5_000);
const WALL: Millis = Millis(1_700_000_000_000);

fn t(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn leader(node: i32, epoch: i32) -> Option<Leader> {
    Some(Leader { node: NodeId(node), epoch: LeaderEpoch(epoch) })
}

fn at(offset: i64, epoch: i32) -> Position {
    Position { offset: Offset(offset), epoch: LeaderEpoch(epoch) }
}

/// One partition under leader 1 in epoch 3, in the middle of reading at offset 10 of that epoch, fetched up to 30.
fn reading(policy: ResetPolicy) -> (Positions, u64) {
    let mut positions = Positions::new(policy);
    positions.assign([&t(0)]);
    positions.see_leader(&t(0), leader(1, 3));
    positions.seek(&t(0), at(10, -1));
    let from = positions.fetch_from(&t(0), NOW).unwrap();
    positions.fetched(&t(0), from.run, Offset(30));
    positions.consumed_to(&t(0), at(10, 3));
    (positions, from.run)
}

#[test]
fn a_committed_offset_is_validated_where_its_epoch_is_known() {
    let mut positions = Positions::new(ResetPolicy::Latest);
    positions.assign([&t(0), &t(1), &t(2)]);
    for partition in 0..3 {
        positions.see_leader(&t(partition), leader(1, 3));
    }
    let due = positions.due(NOW, WALL, true);
    assert!(due.iter().all(|(.., due)| *due == Due::Committed));
    assert_eq!(positions.due(NOW, WALL, true), [], "asked once");
    positions.committed(&t(0), due[0].1, Some(at(7, 2)), WALL);
    positions.committed(&t(1), due[1].1, Some(at(7, -1)), WALL);
    positions.committed(&t(2), due[2].1, None, WALL);
    assert_eq!(positions.fetch_from(&t(0), NOW), None);
    assert_eq!(positions.fetch_from(&t(1), NOW).unwrap().offset, Offset(7));
    let due = positions.due(NOW, WALL, true);
    let Due::Validate { epoch, .. } = due[0].2 else { panic!("{due:?}") };
    assert_eq!((epoch, due[1].2), (LeaderEpoch(2), Due::Offset(OffsetSpec::Latest)));
    assert!(!positions.validated(&t(0), due[0].1, Some(at(9, 2)), WALL));
    positions.offset_found(&t(2), due[1].1, Some(at(100, 3)));
    assert_eq!(positions.fetch_from(&t(0), NOW).unwrap().offset, Offset(7));
    assert_eq!(positions.fetch_from(&t(2), NOW).unwrap().offset, Offset(100));
}

#[test]
fn a_new_leader_that_lacks_what_was_read_takes_the_consumer_back() {
    let (mut positions, before) = reading(ResetPolicy::Latest);
    positions.see_leader(&t(0), leader(2, 4));
    assert_eq!(positions.fetch_from(&t(0), NOW), None);
    let due = positions.due(NOW, WALL, true);
    let run = due[0].1;
    assert_ne!(run, before, "what is buffered may be of a part that is gone");
    assert_eq!(due[0].2, Due::Validate { leader: leader(2, 4).unwrap(), epoch: LeaderEpoch(3) });
    assert!(positions.validated(&t(0), run, Some(at(8, 2)), WALL));
    assert!(!positions.is_current(&t(0), run));
    assert_eq!(positions.position(&t(0)), Some(at(8, 2)));
    // The new position is of an epoch, too: it is compared before it is fetched.
    assert_eq!(positions.fetch_from(&t(0), NOW), None);
}

#[test]
fn without_a_policy_a_truncation_is_an_error_until_a_seek() {
    let (mut positions, _) = reading(ResetPolicy::None);
    positions.see_leader(&t(0), leader(2, 4));
    let run = positions.due(NOW, WALL, true)[0].1;
    assert!(positions.validated(&t(0), run, Some(at(8, 2)), WALL));
    let error = PositionError::Truncated { offset: Offset(10), diverges: Some(at(8, 2)) };
    assert_eq!(positions.first_error(), Some((&t(0), error)));
    positions.seek(&t(0), at(8, -1));
    assert_eq!(positions.first_error(), None);
    assert_eq!(positions.fetch_from(&t(0), NOW).unwrap().offset, Offset(8));
}

#[test]
fn a_new_leader_that_has_everything_changes_nothing_for_the_application() {
    let (mut positions, _) = reading(ResetPolicy::Latest);
    positions.see_leader(&t(0), leader(2, 4));
    let run = positions.due(NOW, WALL, true)[0].1;
    assert!(!positions.validated(&t(0), run, Some(at(10, 3)), WALL));
    let from = positions.fetch_from(&t(0), NOW).unwrap();
    assert_eq!((from.node, from.offset, from.run), (NodeId(2), Offset(10), run));
    // A node that lags behind shows the old leader.
    positions.see_leader(&t(0), leader(1, 3));
    assert_eq!(positions.fetch_from(&t(0), NOW).unwrap().node, NodeId(2));
}

#[test]
fn an_offset_out_of_range_is_reset_or_an_error() {
    for (policy, due) in [
        (ResetPolicy::Earliest, Some(Due::Offset(OffsetSpec::Earliest))),
        (ResetPolicy::ByDuration { ms: 1_000 }, Some(Due::Offset(OffsetSpec::At(WALL + -1_000)))),
        (ResetPolicy::None, None),
    ] {
        let (mut positions, run) = reading(policy);
        positions.out_of_range(&t(0), run, Offset(10), WALL);
        assert_eq!(positions.due(NOW, WALL, true), [], "an answer to an older fetch");
        positions.out_of_range(&t(0), run, Offset(30), WALL);
        let asked = positions.due(NOW, WALL, true).first().map(|(.., due)| *due);
        assert_eq!(asked, due);
        let error = positions.first_error().map(|(_, error)| error);
        assert_eq!(error, due.is_none().then_some(PositionError::OutOfRange(Offset(30))));
    }
}

#[test]
fn nothing_young_enough_is_the_end() {
    let (mut positions, run) = reading(ResetPolicy::ByDuration { ms: 1 });
    positions.out_of_range(&t(0), run, Offset(30), WALL);
    positions.due(NOW, WALL, true);
    positions.offset_found(&t(0), run, None);
    assert_eq!(positions.due(NOW, WALL, true)[0].2, Due::Offset(OffsetSpec::Latest));
}

#[test]
fn a_seek_begins_a_new_run() {
    let (mut positions, run) = reading(ResetPolicy::Latest);
    positions.pause(&t(0), true);
    assert!(positions.seek(&t(0), at(2, -1)));
    positions.fetched(&t(0), run, Offset(40));
    positions.out_of_range(&t(0), run, Offset(2), WALL);
    assert_eq!(positions.fetch_from(&t(0), NOW), None, "still paused");
    positions.pause(&t(0), false);
    assert_eq!(positions.fetch_from(&t(0), NOW).unwrap().offset, Offset(2));
    assert!(!positions.seek(&t(1), at(0, -1)), "not assigned");
}

#[test]
fn a_replica_nearby_serves_until_its_time_is_over() {
    let (mut positions, _) = reading(ResetPolicy::Latest);
    positions.prefer(&t(0), Some((NodeId(7), NOW + 10)));
    assert_eq!(positions.fetch_from(&t(0), NOW).unwrap().node, NodeId(7));
    assert_eq!(positions.fetch_from(&t(0), NOW + 10).unwrap().node, NodeId(1));
}

#[test]
fn lag_is_what_readers_of_the_isolation_level_see() {
    let (mut positions, _) = reading(ResetPolicy::Latest);
    assert_eq!(positions.lag(&t(0), false), None);
    positions.see_ends(&t(0), 50, 40, 0);
    assert_eq!((positions.lag(&t(0), false), positions.lag(&t(0), true)), (Some(40), Some(30)));
}
