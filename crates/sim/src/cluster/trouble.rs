//! What goes wrong: one thing after the other, by chance, within what Apache Kafka promises to survive. Bytes that are
//! acknowledged lie in the page caches of the in-sync replicas: so one host at a time loses power, and the next not
//! before all are in sync again. Processes may end in any number, though not while a host that lost power is out of
//! sync: a controller cannot tell the one from the other. Nodes also stop as their operators ask them to, and disks
//! refuse writes and syncs until the next start; a failed sync counts as lost power. One of two directories may fail
//! alone, though not while its node starts. Where every record is synced before it counts, any number of hosts may lose
//! power at any time, all at once too.

use ottla_commit_log::disk::{CrashImage, SimFault};

use super::world::World;

pub fn strike(world: &mut World) {
    let count = world.hosts.len() as i64;
    let (id, other) = (1 + world.random.below(count) as i32, 1 + world.random.below(count) as i32);
    let is_up = world.hosts[id as usize - 1].is_up();
    match world.random.below(21) {
        0 | 1 if is_up && !world.has_lost_power() => world.crash(id, CrashImage::ProcessKilled),
        2 if is_up && world.may_lose_power() => world.crash(id, CrashImage::LoseUnsynced),
        3 | 4 if is_up && world.may_lose_power() => {
            let image = CrashImage::Torn(world.random.number());
            world.crash(id, image);
        }
        5 if !world.has_lost_power() => {
            let power_fails = world.synced && world.random.chance(500);
            for id in 1..=count as i32 {
                let image = match power_fails {
                    true => CrashImage::Torn(world.random.number()),
                    false => CrashImage::ProcessKilled,
                };
                world.crash(id, image);
            }
        }
        6 | 7 => {
            let ms = 100 + world.random.below(8000) as u64;
            world.note(format!("host {id} pauses for {ms} ms"));
            world.hosts[id as usize - 1].paused_until = world.now_ms + ms;
        }
        8 if id != other => {
            world.note(format!("cut from {id} to {other}"));
            world.net.cut(id, other);
        }
        9 => {
            world.note(format!("host {id} is alone"));
            for other in (1..=count as i32).filter(|other| *other != id) {
                world.net.cut(id, other);
                world.net.cut(other, id);
            }
        }
        10 => {
            let delay = [3, 30, 150][world.random.below(3) as usize];
            world.note(format!("delays to {delay} ms"));
            world.net.set_delay(delay);
        }
        11 => {
            let skew = world.random.below(20_000) - 10_000;
            world.note(format!("clock of host {id} goes {skew} ms ahead, from its next start on"));
            world.hosts[id as usize - 1].skew_ms = skew;
        }
        12 | 13 if world.hosts[id as usize - 1].node().is_some() => world.stop(id),
        14 if is_up && !world.has_lost_power() => {
            let fault = match world.random.below(2) {
                0 => SimFault::FailWrite(world.random.below(21) as u64),
                _ => SimFault::Full(0),
            };
            world.break_disk(id, fault);
        }
        15 if is_up && world.is_whole() => {
            let at = world.random.below(6) as u64;
            world.break_disk(id, SimFault::FailSync(at));
        }
        16 if world.is_whole() => world.lose_last_in_sync(id),
        17 if world.hosts[id as usize - 1].runs_on_two_dirs() && !world.has_lost_power() => {
            world.break_dir(id);
        }
        18 => {
            world.note(format!("nobody hears host {id}"));
            for other in (1..=count as i32).filter(|other| *other != id) {
                world.net.cut(id, other);
            }
        }
        _ => {
            world.note("links heal".to_owned());
            world.net.heal();
        }
    }
}
