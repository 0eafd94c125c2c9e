//! What goes wrong: one thing at a time, by chance.

use ottla_commit_log::disk::{CrashImage, SimFault};
use ottla_model::NodeId;
use ottla_raft::{AddVoter, AnswerWhen, Endpoint, ReplicaKey, Request};

use crate::node::directory_id;
use crate::world::World;

pub fn strike(world: &mut World) -> Result<(), String> {
    let count = world.nodes.len() as i64;
    let id = 1 + world.random.below(count) as i32;
    let other = 1 + world.random.below(count) as i32;
    let now = world.now;
    let runs = world.node(id).process.is_some();
    match world.random.below(20) {
        0 | 1 if runs => {
            let image = CrashImage::Torn(world.random.number());
            world.crash(id, image);
        }
        2 if runs => world.crash(id, CrashImage::LoseUnsynced),
        3 if runs => world.crash(id, CrashImage::ProcessKilled),
        4 => {
            // The power of all goes at once, and comes back.
            let image = match world.random.below(2) {
                0 => CrashImage::LoseUnsynced,
                _ => CrashImage::Torn(world.random.number()),
            };
            for id in 1..=count as i32 {
                if world.node(id).process.is_some() {
                    world.crash(id, image);
                }
            }
            for id in 1..=count as i32 {
                world.start(id)?;
            }
        }
        0..=8 if !runs => world.start(id)?,
        5 => {
            let pause = 100 + world.random.below(12_000);
            world.note(format!("node {id} is paused for {pause} ms"));
            world.node(id).paused_until = now + pause;
        }
        6 => {
            world.note(format!("{id} and {other} do not reach each other"));
            world.net.cut(id, other);
            world.net.cut(other, id);
        }
        7 => {
            world.note(format!("{id} does not reach {other}"));
            world.net.cut(id, other);
        }
        8 => {
            world.note(format!("nobody hears {id}"));
            (0..=count as i32).for_each(|other| world.net.cut(id, other));
        }
        9 => {
            world.note(format!("{id} is cut off"));
            for other in 0..=count as i32 {
                world.net.cut(id, other);
                world.net.cut(other, id);
            }
        }
        10..=12 => {
            world.note("the network is whole".into());
            world.net.mend();
        }
        13 => {
            let skew = world.random.below(6000) - 3000;
            world.note(format!("the clock of {id} is off by {skew} ms"));
            world.node(id).skew_ms = skew;
        }
        14 if runs => {
            let at = world.random.below(6) as u64;
            let fault = match world.random.below(3) {
                0 => SimFault::FailSync(at),
                1 => SimFault::FailWrite(at),
                _ => SimFault::Full(0),
            };
            world.note(format!("the disk of {id} fails: {fault:?}"));
            world.node(id).disk.inject(fault);
            world.node(id).disk_is_broken = true;
        }
        15 | 16 if i64::from(id) < count => change_voters(world, id),
        _ => {}
    }
    Ok(())
}

fn change_voters(world: &mut World, id: i32) {
    let Some(active) = world.active() else { return };
    let key = ReplicaKey::new(NodeId(id), directory_id(id));
    let voters = world.node(active).process.as_ref().map(|process| process.raft().voters().clone());
    let is_voter = voters.is_some_and(|voters| voters.contains(key));
    world.note(format!("voter {id} {}", if is_voter { "goes" } else { "comes" }));
    let endpoint = Endpoint { listener: "CONTROLLER".into(), host: format!("node{id}"), port: 9093 };
    let request = match is_voter {
        true => Request::RemoveVoter(key),
        false => {
            Request::AddVoter(AddVoter { key, endpoints: vec![endpoint], answer: AnswerWhen::Committed })
        }
    };
    world.ask_quorum(active, request);
}
