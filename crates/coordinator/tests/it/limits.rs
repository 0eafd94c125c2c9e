//! Bounds on what a client can make the coordinator keep.

use ottla_coordinator::{
    ClientContext, CoordinatorConfig, Event, GroupCoordinator, Request, Response, Ticket,
};
use ottla_model::{ErrorCode, Millis};
use ottla_protocol::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};

fn join(coordinator: &mut GroupCoordinator, now: i64, n: u64) -> i16 {
    let request = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), ..Default::default() }],
        ..Default::default()
    };
    let member_uuid = (u128::from(n) << 96).to_be_bytes();
    let context = ClientContext { version: 9, ..Default::default() };
    let request = Request::JoinGroup { request, member_uuid };
    let actions = coordinator.step(Millis(now), Event::Request { ticket: Ticket(n), context, request });
    let [(_, Response::JoinGroup(response))] = &actions.replies[..] else {
        panic!("one answer to a JoinGroup")
    };
    response.error_code
}

#[test]
fn member_ids_that_nobody_takes_up_are_bounded_and_run_out() {
    let mut coordinator = GroupCoordinator::new(CoordinatorConfig::default(), 1);
    coordinator.loaded(Millis(0));
    for n in 0..CoordinatorConfig::PENDING_MEMBERS_MAX as u64 {
        assert_eq!(join(&mut coordinator, 0, n), ErrorCode::MemberIdRequired.code());
    }
    assert_eq!(join(&mut coordinator, 9_999, 1 << 20), ErrorCode::GroupMaxSizeReached.code());
    coordinator.step(Millis(10_000), Event::Tick);
    assert_eq!(join(&mut coordinator, 10_000, 1 << 21), ErrorCode::MemberIdRequired.code());
}

#[test]
fn a_join_with_very_many_protocols_is_no_work_to_speak_of() {
    let mut coordinator = GroupCoordinator::new(CoordinatorConfig::default(), 1);
    coordinator.loaded(Millis(0));
    let protocols = (0..200_000)
        .map(|n| JoinGroupRequestProtocol { name: format!("p{}", n / 2).into(), ..Default::default() });
    let request = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: protocols.collect(),
        ..Default::default()
    };
    let context = ClientContext { version: 3, ..Default::default() };
    let request = Request::JoinGroup { request, member_uuid: [1; 16] };
    coordinator.step(Millis(0), Event::Request { ticket: Ticket(1), context, request });
    let actions = coordinator.step(Millis(3_000), Event::Tick);
    let [(_, Response::JoinGroup(response))] = &actions.replies[..] else {
        panic!("one answer to a JoinGroup")
    };
    assert_eq!(response.protocol_name.as_deref(), Some("p0"));
}
