//! Random histories of a leader with two followers: what must hold whatever happens.

use ottla_model::{BrokerEpoch, ErrorCode, LeaderEpoch, Millis, NodeId, Offset, PartitionEpoch};
use ottla_replication::{
    AlterAnswer, AlterIsr, FollowerFetch, Leader, LeaderConfig, LogOffsets, Registration,
};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    Append(i64),
    /// The leader has synced so much of what it has, in sixteenths.
    Sync(i64),
    /// A follower has written so much of what is there, in sixteenths.
    Fetch {
        follower: usize,
        sixteenths: i64,
        eligible: bool,
    },
    Time(i64),
    Shrink,
    /// The controller takes the change, and its answer comes.
    Accept,
    /// The controller takes the change, and its answer is lost; the metadata tells.
    AcceptSilently,
    Refuse(usize),
    /// The controller fences a follower.
    Fence(usize),
}

const REFUSALS: [ErrorCode; 4] = [
    ErrorCode::IneligibleReplica,
    ErrorCode::InvalidUpdateVersion,
    ErrorCode::RequestTimedOut,
    ErrorCode::UnknownServerError,
];

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1i64..5).prop_map(Event::Append),
        3 => (0i64..17).prop_map(Event::Sync),
        6 => (0usize..2, 0i64..17, any::<bool>())
            .prop_map(|(follower, sixteenths, eligible)| Event::Fetch { follower, sixteenths, eligible }),
        2 => (1i64..40).prop_map(Event::Time),
        2 => Just(Event::Shrink),
        2 => Just(Event::Accept),
        1 => Just(Event::AcceptSilently),
        1 => (0usize..REFUSALS.len()).prop_map(Event::Refuse),
        1 => (0usize..2).prop_map(Event::Fence),
    ]
}

/// The metadata log's truth, and the followers' logs.
struct World {
    leader: Leader,
    now: Millis,
    log_end: i64,
    synced: i64,
    durable: bool,
    ends: [i64; 2],
    isr: Vec<NodeId>,
    partition_epoch: i32,
    asked: Option<AlterIsr>,
}

impl World {
    fn registration(&self) -> Registration {
        Registration {
            replicas: vec![NodeId(1), NodeId(2), NodeId(3)],
            isr: self.isr.clone(),
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(self.partition_epoch),
        }
    }

    /// The controller decides on what was asked, if it is still about its present state.
    fn decide(&mut self) -> Option<AlterIsr> {
        let asked = self.asked.take()?;
        if asked.partition_epoch.0 != self.partition_epoch {
            return None;
        }
        self.isr = asked.isr.iter().map(|(id, _)| *id).collect();
        self.partition_epoch += 1;
        Some(asked)
    }

    /// What nothing takes away from a replica.
    fn end_of(&self, id: NodeId) -> i64 {
        match id.0 {
            1 if self.durable => self.synced,
            1 => self.log_end,
            id => self.ends[id as usize - 2],
        }
    }

    fn step(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Append(count) => {
                self.log_end += count;
                let _ = self.leader.appended(Offset(self.log_end), now);
            }
            Event::Sync(sixteenths) => {
                self.synced += (self.log_end - self.synced) * sixteenths / 16;
                let _ = self.leader.synced(Offset(self.synced), now);
            }
            Event::Fetch { follower, sixteenths, eligible } => {
                let behind = self.log_end - self.ends[follower];
                self.ends[follower] += behind * sixteenths / 16;
                let fetch = FollowerFetch {
                    replica: NodeId(follower as i32 + 2),
                    broker_epoch: BrokerEpoch(-1),
                    offset: Offset(self.ends[follower]),
                    log_start: Offset(0),
                    eligible,
                };
                let moved = self.leader.fetched(fetch, now).unwrap();
                self.asked = moved.alter.or(self.asked.take());
            }
            Event::Time(passed) => self.now = now + passed,
            Event::Shrink => self.asked = self.leader.shrink(now).or(self.asked.take()),
            Event::Accept => {
                if let Some(asked) = self.decide() {
                    let answer = AlterAnswer::Accepted {
                        leader_epoch: LeaderEpoch(0),
                        partition_epoch: PartitionEpoch(self.partition_epoch),
                        isr: self.isr.clone(),
                    };
                    let _ = self.leader.answered(&asked, answer, now);
                }
            }
            Event::AcceptSilently => {
                if self.decide().is_some() {
                    let _ = self.leader.update(&self.registration(), now);
                }
            }
            Event::Refuse(which) => {
                if let Some(asked) = self.asked.take() {
                    let moved = self.leader.answered(&asked, AlterAnswer::Refused(REFUSALS[which]), now);
                    self.asked = moved.alter;
                }
            }
            Event::Fence(follower) => {
                self.isr.retain(|id| *id != NodeId(follower as i32 + 2));
                self.partition_epoch += 1;
                let _ = self.leader.update(&self.registration(), now);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whoever may be elected has every committed record: all of the set that the controller knows, and of the one
    /// that it may decide on next. The high watermark never goes down, and never beyond the log.
    #[test]
    fn what_is_committed_is_on_whoever_may_lead_next(
        events in proptest::collection::vec(event(), 1..200),
        min_insync_replicas in 1usize..4,
        durable in any::<bool>(),
    ) {
        let isr = vec![NodeId(1), NodeId(2), NodeId(3)];
        let mut world = World {
            now: Millis(1_000),
            log_end: 0,
            synced: 0,
            durable,
            ends: [0, 0],
            isr,
            partition_epoch: 0,
            asked: None,
            leader: {
                let registration = Registration {
                    replicas: vec![NodeId(1), NodeId(2), NodeId(3)],
                    isr: vec![NodeId(1), NodeId(2), NodeId(3)],
                    leader: NodeId(1),
                    leader_epoch: LeaderEpoch(0),
                    partition_epoch: PartitionEpoch(0),
                };
                let log = LogOffsets { start: Offset(0), high_watermark: Offset(0), end: Offset(0), synced: Offset(0) };
                let config = LeaderConfig { min_insync_replicas, lag_ms_max: 30, durable };
                Leader::new(NodeId(1), &registration, log, config, Millis(1_000)).0
            },
        };
        let mut committed = Offset(0);
        for event in events {
            world.step(event);
            let high_watermark = world.leader.high_watermark();
            prop_assert!(high_watermark >= committed, "{committed} went down to {high_watermark}");
            prop_assert!(high_watermark.0 <= world.log_end);
            committed = high_watermark;
            for id in &world.isr {
                let end = world.end_of(*id);
                prop_assert!(end >= committed.0, "{id} is in sync and ends at {end}, below {committed}");
            }
            let next = world.asked.iter().filter(|asked| asked.partition_epoch.0 == world.partition_epoch);
            for (id, _) in next.flat_map(|asked| &asked.isr) {
                let end = world.end_of(*id);
                prop_assert!(end >= committed.0, "{id} may be let in and ends at {end}, below {committed}");
            }
        }
    }
}
