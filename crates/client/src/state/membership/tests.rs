//! A member through rebalances, refusals and silence.

use bytes::Bytes;
use ottla_protocol::api::join_group::JoinGroupResponseMember;

use super::*;
use crate::state::assignors::{Subscription, encode_assignment, encode_subscription};

const NOW: Millis = Millis(1_000);

fn config(assignors: &[Assignor]) -> MembershipConfig {
    MembershipConfig {
        group_id: "g".into(),
        group_instance_id: None,
        session_timeout_ms: 45_000,
        heartbeat_interval_ms: 3_000,
        max_poll_interval_ms: 300_000,
        retry_backoff_ms: 100,
        assignors: assignors.to_vec(),
        rack: None,
    }
}

fn partitions(partitions: &[i32]) -> Vec<TopicPartition> {
    partitions.iter().map(|&partition| TopicPartition::new("t", partition)).collect()
}

/// A member that follows in generation `generation` and is assigned `assigned`.
fn follow(member: &mut Membership, now: Millis, generation: i32, assigned: &[i32]) -> Vec<Action> {
    let answer = JoinGroupResponse {
        generation_id: generation,
        protocol_name: Some(member.config.assignors[0].name().into()),
        leader: "other".into(),
        member_id: "me".into(),
        ..Default::default()
    };
    let actions = member.step(now, Event::Joined(member.attempt, Ok(answer)));
    assert!(
        matches!(&actions[..], [Action::Sync(_, request)] if request.assignments.is_empty()),
        "{actions:?}"
    );
    sync(member, now, assigned)
}

fn sync(member: &mut Membership, now: Millis, assigned: &[i32]) -> Vec<Action> {
    let assignment = encode_assignment(&partitions(assigned)).unwrap();
    member
        .step(now, Event::Synced(member.attempt, Ok(SyncGroupResponse { assignment, ..Default::default() })))
}

fn heartbeat(member: &mut Membership, now: Millis, error: ErrorCode) -> Vec<Action> {
    let answer = HeartbeatResponse { error_code: error.code(), ..Default::default() };
    member.step(now, Event::Heartbeat(member.attempt, Ok(answer)))
}

/// Subscribed, polled, with a coordinator: the first JoinGroup is under way.
fn joining(config: MembershipConfig) -> Membership {
    let mut member = Membership::new(config);
    assert_eq!(member.step(NOW, Event::Subscribe(vec!["t".into()])), []);
    member.polled(NOW);
    assert_eq!(member.step(NOW, Event::Tick), [Action::FindCoordinator]);
    let actions = member.step(NOW, Event::Coordinator(Ok(NodeId(1))));
    assert!(
        matches!(&actions[..], [Action::Join(_, request)] if request.member_id.is_empty()),
        "{actions:?}"
    );
    member
}

fn stable(assignor: Assignor, assigned: &[i32]) -> Membership {
    let mut member = joining(config(&[assignor]));
    assert_eq!(follow(&mut member, NOW, 5, assigned), [Action::Assign(partitions(assigned))]);
    member
}

#[test]
fn a_new_member_is_sent_back_for_its_id() {
    let mut member = joining(config(&[Assignor::Range]));
    let answer = JoinGroupResponse {
        error_code: ErrorCode::MemberIdRequired.code(),
        member_id: "me".into(),
        ..Default::default()
    };
    let actions = member.step(NOW, Event::Joined(member.attempt, Ok(answer)));
    assert!(matches!(&actions[..], [Action::Join(_, request)] if request.member_id == "me"), "{actions:?}");
}

#[test]
fn the_leader_assigns_when_it_knows_the_topics_and_again_when_they_grow() {
    let mut member = joining(config(&[Assignor::Range]));
    let metadata =
        encode_subscription(&Subscription { topics: vec!["t".into()], ..Default::default() }).unwrap();
    let listed = |id: &str| JoinGroupResponseMember {
        member_id: id.into(),
        group_instance_id: None,
        metadata: metadata.clone(),
    };
    let answer = JoinGroupResponse {
        generation_id: 1,
        protocol_name: Some("range".into()),
        leader: "me".into(),
        member_id: "me".into(),
        members: vec![listed("me"), listed("other")],
        ..Default::default()
    };
    let actions = member.step(NOW, Event::Joined(member.attempt, Ok(answer)));
    assert_eq!(actions, [Action::WatchTopics(vec!["t".into()])]);
    // `u` is not the group's.
    let topics = |count, rack: &str| {
        let racks = vec![assignors::Racks::from([rack.into()]); count];
        Event::Topics([(Arc::from("t"), racks), (Arc::from("u"), Vec::new())].into())
    };
    let actions = member.step(NOW, topics(3, "a"));
    let [Action::Sync(_, request)] = &actions[..] else { panic!("{actions:?}") };
    let assigned: Vec<_> = request.assignments.iter().map(|a| a.assignment.clone()).collect();
    assert_eq!(assigned, [&[0, 1][..], &[2]].map(|p| encode_assignment(&partitions(p)).unwrap()));
    sync(&mut member, NOW, &[0, 1]);
    // Racks are of interest to a leader that has one itself.
    assert_eq!(member.step(NOW, topics(3, "b")), []);
    assert_eq!(member.step(NOW, topics(4, "b")), [Action::Revoke(partitions(&[0, 1]))]);
}

#[test]
fn eager_members_give_up_everything_before_they_join() {
    let mut member = stable(Assignor::Range, &[0, 1]);
    assert_eq!(
        heartbeat(&mut member, NOW, ErrorCode::RebalanceInProgress),
        [Action::Revoke(partitions(&[0, 1]))]
    );
    assert!(member.owned().is_empty());
    let actions = member.step(NOW, Event::Released);
    assert!(matches!(&actions[..], [Action::Join(_, request)] if request.member_id == "me"), "{actions:?}");
    assert_eq!(follow(&mut member, NOW, 6, &[1]), [Action::Assign(partitions(&[1]))]);
}

#[test]
fn cooperative_members_give_up_what_moves_and_join_again() {
    let mut member = stable(Assignor::CooperativeSticky, &[0, 1]);
    let actions = heartbeat(&mut member, NOW, ErrorCode::RebalanceInProgress);
    assert!(matches!(&actions[..], [Action::Join(..)]), "{actions:?}");
    assert_eq!(follow(&mut member, NOW, 6, &[1, 2]), [Action::Revoke(partitions(&[0]))]);
    assert_eq!(member.owned().iter().cloned().collect::<Vec<_>>(), partitions(&[1]));
    let actions = member.step(NOW, Event::Released);
    let [Action::Assign(added), Action::Join(_, request)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(*added, partitions(&[2]));
    let said = assignors::decode_subscription(request.protocols[0].metadata.clone()).unwrap();
    assert_eq!((said.owned, said.generation), (partitions(&[1, 2]), 6));
}

#[test]
fn who_is_unknown_loses_everything_and_begins_anew() {
    for (error, id) in [(ErrorCode::UnknownMemberId, ""), (ErrorCode::IllegalGeneration, "me")] {
        for assignor in [Assignor::Range, Assignor::CooperativeSticky] {
            let mut member = stable(assignor, &[0]);
            assert_eq!(heartbeat(&mut member, NOW, error), [Action::Lose(partitions(&[0]))]);
            assert_eq!(member.identity().0, -1);
            let actions = member.step(NOW, Event::Released);
            assert!(
                matches!(&actions[..], [Action::Join(_, request)] if request.member_id == id),
                "{actions:?}"
            );
        }
    }
}

#[test]
fn a_fenced_instance_never_joins_again() {
    let mut member = stable(Assignor::Range, &[0]);
    let actions = heartbeat(&mut member, NOW, ErrorCode::FencedInstanceId);
    assert_eq!(actions, [Action::Lose(partitions(&[0])), Action::Fail(ErrorCode::FencedInstanceId)]);
    member.polled(NOW);
    assert_eq!(member.step(NOW, Event::Released), []);
    assert_eq!(member.next_deadline(), Millis::MAX);
}

#[test]
fn a_refused_member_tries_again_at_the_next_poll() {
    let mut member = joining(config(&[Assignor::Range]));
    let refused =
        JoinGroupResponse { error_code: ErrorCode::GroupMaxSizeReached.code(), ..Default::default() };
    let actions = member.step(NOW, Event::Joined(member.attempt, Ok(refused)));
    assert_eq!(actions, [Action::Fail(ErrorCode::GroupMaxSizeReached)]);
    assert_eq!(member.step(NOW + 10_000, Event::Tick), []);
    member.polled(NOW + 10_000);
    assert!(matches!(&member.step(NOW + 10_000, Event::Tick)[..], [Action::Join(..)]));
}

#[test]
fn a_slow_application_leaves_and_comes_back() {
    let mut member = stable(Assignor::CooperativeSticky, &[0]);
    for second in (3..300).step_by(3) {
        let now = NOW + second * 1_000;
        assert!(matches!(&member.step(now, Event::Tick)[..], [Action::Heartbeat(..)]), "at {second} s");
        assert_eq!(heartbeat(&mut member, now, ErrorCode::None), []);
    }
    let late = NOW + 300_000;
    let actions = member.step(late, Event::Tick);
    let [Action::Leave(request), Action::Lose(lost)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((request.members[0].member_id.as_str(), &lost[..]), ("me", &partitions(&[0])[..]));
    assert_eq!(member.step(late, Event::Released), []);
    member.polled(late + 1);
    let actions = member.step(late + 1, Event::Tick);
    assert!(
        matches!(&actions[..], [Action::Join(_, request)] if request.member_id.is_empty()),
        "{actions:?}"
    );
}

#[test]
fn static_members_do_not_leave() {
    let mut member =
        joining(MembershipConfig { group_instance_id: Some("i".into()), ..config(&[Assignor::Range]) });
    follow(&mut member, NOW, 5, &[0]);
    assert_eq!(member.step(NOW, Event::Close), []);
}

#[test]
fn a_silent_coordinator_is_looked_for_within_the_session() {
    let mut member = stable(Assignor::Range, &[0]);
    assert!(matches!(&member.step(NOW + 3_000, Event::Tick)[..], [Action::Heartbeat(..)]));
    assert_eq!(member.step(NOW + 44_999, Event::Tick), []);
    assert_eq!(member.step(NOW + 45_000, Event::Tick), [Action::FindCoordinator]);
    let found = member.step(NOW + 45_001, Event::Coordinator(Ok(NodeId(2))));
    assert!(matches!(&found[..], [Action::Heartbeat(..)]), "{found:?}");
    assert_eq!(member.owned().len(), 1);
    // A coordinator that has moved is looked for after the back-off.
    let now = NOW + 46_000;
    assert_eq!(heartbeat(&mut member, now, ErrorCode::NotCoordinator), []);
    assert_eq!(member.step(now + 100, Event::Tick), [Action::FindCoordinator]);
}

#[test]
fn answers_to_an_attempt_given_up_change_nothing() {
    let mut member = joining(config(&[Assignor::Range]));
    let old = member.attempt;
    let lost = member.step(NOW, Event::Joined(old, Err(ErrorCode::NetworkException)));
    assert_eq!(lost, []);
    assert_eq!(member.step(NOW + 100, Event::Tick), [Action::FindCoordinator]);
    assert!(matches!(&member.step(NOW + 100, Event::Coordinator(Ok(NodeId(2))))[..], [Action::Join(..)]));
    let late = JoinGroupResponse { generation_id: 9, leader: "x".into(), ..Default::default() };
    assert_eq!(member.step(NOW + 100, Event::Joined(old, Ok(late))), []);
    assert_eq!(member.identity().0, -1);
}

#[test]
fn an_assignment_that_cannot_be_read_is_an_error() {
    let mut member = joining(config(&[Assignor::Range]));
    let answer = JoinGroupResponse {
        generation_id: 1,
        protocol_name: Some("range".into()),
        leader: "other".into(),
        member_id: "me".into(),
        ..Default::default()
    };
    member.step(NOW, Event::Joined(member.attempt, Ok(answer)));
    let answer = SyncGroupResponse { assignment: Bytes::from_static(b"?"), ..Default::default() };
    let actions = member.step(NOW, Event::Synced(member.attempt, Ok(answer)));
    assert_eq!(actions, [Action::Fail(ErrorCode::InconsistentGroupProtocol)]);
}
