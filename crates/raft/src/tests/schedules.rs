//! Random schedules: crashes, lost, doubled and late messages, cut links, unsynced writes lost, snapshots, voters that
//! come and go. [`World`] checks every step; in the end all must agree again. And the proof that the checks see
//! anything: each deliberate fault is found.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ottla_model::Offset;

use super::world::{CALM, Weather, World, endpoint, key};
use crate::config::Sabotage;
use crate::{AddVoter, AnswerWhen, Part, Request};

/// Schedules that are played unless RAFT_SEEDS says otherwise.
const SEEDS: u64 = 500;
const STEPS: u64 = 120;

/// Plays one schedule.
fn play(seed: u64, sabotage: Option<Sabotage>) -> World {
    let mut world = World::new(seed);
    world.sabotage = sabotage;
    let controllers = 3 + (seed % 3) as i32;
    let voters: Vec<i32> = (1..=if seed.is_multiple_of(4) { controllers } else { 3 }).collect();
    let in_log = seed % 8 != 7;
    for id in 1..=controllers {
        world.format(id, if voters.contains(&id) || !in_log { &voters } else { &[] }, in_log);
    }
    let broker = controllers + 1;
    world.format(broker, if in_log { &[] } else { &voters }, in_log);
    world.part.insert(broker, Part::Broker);
    for id in 1..=broker {
        world.start(id);
    }
    world.weather = Weather {
        delay_ms_max: 1 + world.random.below(400),
        disk_ms_max: world.random.below(200),
        lost: world.random.below(100),
        doubled: world.random.below(100),
        batches_max: 1 + world.random.below(3),
    };
    for _ in 0..STEPS {
        let pause = 1 + world.random.below(700) as i64;
        world.run_until(world.now + pause);
        disturb(&mut world, broker);
    }
    world.weather = CALM;
    world.cut.clear();
    for id in 1..=broker {
        if !world.nodes.contains_key(&id) && !world.faults.contains_key(&id) {
            world.start(id);
        }
    }
    world.run_until(world.now + 20_000);
    assert!(world.faults.is_empty(), "{:?}", world.faults);
    let story = |world: &World| format!("{}\n{}", world.news.join("\n"), world.status().join("\n"));
    let leader = world.leader().unwrap_or_else(|| panic!("no leader when all is well\n{}", story(&world)));
    world.propose(leader, 1);
    world.run_until(world.now + 5_000);
    let end = world.nodes[&leader].raft.end().offset;
    for (id, node) in &world.nodes {
        assert_eq!(
            node.raft.high_watermark(),
            Some(end),
            "node {id} has it all\n{}",
            world.status().join("\n")
        );
    }
    world
}

fn disturb(world: &mut World, nodes: i32) {
    let any = |world: &mut World| 1 + world.random.below(nodes as u64) as i32;
    let id = any(world);
    match world.random.below(16) {
        0 | 1 => world.crash(id),
        2..=4 => {
            if !world.nodes.contains_key(&id) {
                world.start(id);
            }
        }
        5 => {
            let other = any(world);
            world.cut.extend([(id, other), (other, id)]);
        }
        6 => {
            let other = any(world);
            world.cut.insert((id, other));
        }
        7 => (1..=nodes).for_each(|other| world.cut.extend([(id, other)])),
        8 | 9 => world.cut.clear(),
        10 => world.snapshot(id),
        11 => {
            (1..=nodes).for_each(|id| world.crash(id));
            (1..=nodes).for_each(|id| world.start(id));
        }
        12 => {
            if let Some(leader) = world.leader() {
                world.ask(leader, Request::RemoveVoter(key(id)));
            }
        }
        13 => {
            if let Some(leader) = world.leader()
                && id < nodes
            {
                let add =
                    AddVoter { key: key(id), endpoints: vec![endpoint(id)], answer: AnswerWhen::Committed };
                world.ask(leader, Request::AddVoter(add));
            }
        }
        _ => {
            let leaders: Vec<i32> =
                world.nodes.iter().filter(|(_, node)| node.raft.is_leader()).map(|(id, _)| *id).collect();
            for leader in leaders {
                let records = 1 + world.random.below(5) as u32;
                world.propose(leader, records);
            }
        }
    }
}

#[test]
fn what_raft_promises_holds_in_every_schedule() {
    let seeds = std::env::var("RAFT_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let (mut epochs, mut committed) = (0, 0);
    for seed in 0..seeds {
        let world = catch_unwind(AssertUnwindSafe(|| play(seed, None)));
        let world = world.unwrap_or_else(|_| panic!("seed {seed}"));
        epochs += world.nodes.values().map(|node| node.raft.epoch().0).max().unwrap_or(0);
        committed += world.committed.last().map_or(Offset::ZERO, |batch| batch.end).0;
    }
    // The schedules do something.
    assert!(i64::from(epochs) > 3 * seeds as i64 && committed > 10 * seeds as i64, "{epochs} {committed}");
}

#[test]
fn the_same_seed_plays_the_same_schedule() {
    for seed in 0..20 {
        assert_eq!(play(seed, None).news, play(seed, None).news);
    }
}

#[test]
fn every_deliberate_fault_is_found() {
    // Where each was found last: looked at first.
    for (sabotage, seed) in [
        (Sabotage::VoteTwice, 2),
        (Sabotage::VoteForShortLogs, 0),
        (Sabotage::AnswerBeforeStored, 29),
        (Sabotage::FetchBeforeFlushed, 0),
        (Sabotage::CommitAlone, 0),
        (Sabotage::CommitOldEpochs, 1713),
        (Sabotage::SkipPositionCheck, 2),
        (Sabotage::KeepDiverged, 0),
        (Sabotage::ChangeVotersAtOnce, 2),
        (Sabotage::LeadAgain, 0),
    ] {
        let is_found = |seed: &u64| catch_unwind(AssertUnwindSafe(|| play(*seed, Some(sabotage)))).is_err();
        let found = std::iter::once(seed).chain(0..3000).find(is_found);
        println!("{sabotage:?}: found by seed {found:?}");
        assert!(found.is_some(), "{sabotage:?} goes unnoticed");
    }
}
