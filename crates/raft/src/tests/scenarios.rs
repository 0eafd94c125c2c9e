//! Scenarios as text: `testdata/*.txt`.
//!
//! Commands: `nodes 3` (voters in the log; `static`: in the configuration; `observers=2`, `brokers=1` on top;
//! `join`: observers ask to be let in), `run MS`, `propose NODE RECORDS`, `crash NODE`, `wipe NODE`, `start NODE`,
//! `cut A B` (`cut A > B`: one way), `heal`, `isolate NODE`, `snapshot NODE`, `shutdown NODE`, `may-stop NODE`,
//! `resign NODE`, `add`/`remove NODE` (asked of the leader), `version N`, `ask NODE KIND key=value…` (vote,
//! pre-vote, begin, end, fetch, snapshot), `status`, `log NODE`. `leader` stands for the leader's number. What
//! takes time prints who became what.

use ottla_model::{LeaderEpoch, NodeId, Offset};
use ottla_scenario::Words;

use super::world::{World, endpoint, key, voter};
use crate::*;

#[test]
fn scenarios() {
    ottla_scenario::play_all(env!("CARGO_MANIFEST_DIR"), || {
        let mut world = World::new(1);
        move |command| {
            let mut told = Vec::new();
            execute(&mut world, command, &mut told);
            told.iter().map(|line| format!("{line}\n")).collect()
        }
    });
}

fn execute(world: &mut World, command: &str, out: &mut Vec<String>) {
    let words = &Words::new(command);
    let leader = world.leader();
    let number = |at: usize| match words.at(at) {
        "leader" => leader.expect("a leader"),
        word => ottla_scenario::number(word) as i32,
    };
    match words.verb() {
        "nodes" => found(world, number(1), words),
        "run" => world.run_until(world.now + i64::from(number(1))),
        "propose" => world.propose(number(1), number(2) as u32),
        "crash" => world.crash(number(1)),
        "wipe" => world.wipe(number(1)),
        "start" => world.start(number(1)),
        "cut" if words.at(2) == ">" => _ = world.cut.insert((number(1), number(3))),
        "cut" => world.cut.extend([(number(1), number(2)), (number(2), number(1))]),
        "isolate" => (1..=9).for_each(|other| world.cut.extend([(number(1), other), (other, number(1))])),
        "heal" => world.cut.clear(),
        "snapshot" => world.snapshot(number(1)),
        "shutdown" => world.step(number(1), Event::Shutdown),
        "may-stop" => out.push(format!("{}", world.nodes[&number(1)].raft.may_stop())),
        "resign" => world.step(number(1), Event::Resign),
        "version" => {
            let leader = world.leader().expect("a leader");
            let raft = &world.nodes[&leader].raft;
            out.extend(raft.check_kraft_version(number(1) as i16).err());
            world.step(leader, Event::SetKRaftVersion(number(1) as i16));
        }
        verb @ ("add" | "remove") => {
            let (leader, node) = (world.leader().expect("a leader"), number(1));
            let endpoints = vec![endpoint(node)];
            let request = match verb {
                "add" => {
                    Request::AddVoter(AddVoter { key: key(node), endpoints, answer: AnswerWhen::Committed })
                }
                _ => Request::RemoveVoter(key(node)),
            };
            ask(world, leader, request, out);
        }
        "ask" => {
            let request = request(world, number(1), words);
            ask(world, number(1), request, out);
        }
        "status" => out.extend(world.status()),
        "log" => out.extend(world.log(number(1))),
        other => panic!("unknown command {other}"),
    }
    out.append(&mut world.news);
}

fn found(world: &mut World, voters: i32, words: &Words<'_>) {
    let [observers, brokers] = ["observers", "brokers"].map(|key| words.number(key, 0) as i32);
    let (set, in_log): (Vec<i32>, _) = ((1..=voters).collect(), !words.has("static"));
    *world = World::new(1);
    world.auto_join = words.has("join");
    for id in 1..=voters + observers + brokers {
        world.format(id, if id <= voters || !in_log { &set } else { &[] }, in_log);
        if id > voters + observers {
            world.part.insert(id, Part::Broker);
        }
    }
    (1..=voters + observers + brokers).for_each(|id| world.start(id));
}

fn request(world: &World, to: i32, words: &Words<'_>) -> Request {
    let value = |key: &str| words.get(key).map(ottla_scenario::number);
    let raft = &world.nodes[&to].raft;
    let epoch = LeaderEpoch(value("epoch").map_or(raft.epoch().0, |epoch| epoch as i32));
    let from = value("from").unwrap_or(9) as i32;
    let offset = |default: Offset| value("offset").map_or(default, Offset);
    let last = |default: LeaderEpoch| value("last").map_or(default, |last| LeaderEpoch(last as i32));
    let position = LogPosition { epoch: last(raft.end().epoch), offset: offset(raft.end().offset) };
    let meant = value("voter").map(|id| key(id as i32));
    match words.at(2) {
        kind @ ("vote" | "pre-vote") => Request::Vote(Vote {
            kind: if kind == "vote" { Ballot::Vote } else { Ballot::PreVote },
            epoch,
            candidate: key(from),
            voter: meant,
            log_end: position,
        }),
        "begin" => Request::BeginQuorumEpoch(BeginQuorumEpoch {
            epoch,
            leader: NodeId(from),
            voter: meant,
            endpoints: vec![endpoint(from)],
        }),
        "end" => {
            Request::EndQuorumEpoch(EndQuorumEpoch { epoch, leader: NodeId(from), preferred: Vec::new() })
        }
        "fetch" => Request::Fetch(Fetch {
            replica: key(from),
            epoch,
            position,
            high_watermark: Offset::MAX,
            wait_ms_max: value("wait").unwrap_or(0),
            bytes_max: 1000,
        }),
        "snapshot" => Request::FetchSnapshot(FetchSnapshot {
            replica: key(from),
            epoch,
            snapshot: position,
            position: value("position").unwrap_or(0),
            bytes_max: 10,
        }),
        "update" => Request::UpdateVoter(UpdateVoter { epoch, voter: voter(from) }),
        other => panic!("unknown request {other}"),
    }
}

/// Asks and waits for the answer, ten seconds at most.
fn ask(world: &mut World, to: i32, request: Request, out: &mut Vec<String>) {
    let number = world.ask(to, request);
    for _ in 0..10_000 {
        if world.told.contains_key(&number) {
            break;
        }
        world.run_until(world.now + 1);
    }
    let Some(Response { error, message, leadership, body }) = world.told.remove(&number) else {
        return out.push("no answer".into());
    };
    let leader = leadership.leader.map_or("-".into(), |leader| leader.to_string());
    let mut line = format!("{} epoch={} leader={leader}", error.name(), leadership.epoch);
    match body {
        ResponseBody::Vote { granted } => line += &format!(" granted={granted}"),
        ResponseBody::Fetch(Fetched { high_watermark, log_start, content }) => {
            line += &format!(" hw={high_watermark} start={log_start}");
            match content {
                Content::Batches(batches) => {
                    for batch in batches {
                        line += &format!(" {}..{}@{}", batch.base, batch.end, batch.epoch);
                    }
                }
                Content::Diverging(at) => line += &format!(" diverging at {at}"),
                Content::Snapshot(id) => line += &format!(" snapshot {id}"),
                Content::Read { .. } => {}
            }
        }
        ResponseBody::FetchSnapshot(FetchedSnapshot { position, bytes, size, .. }) => {
            line += &format!(" {bytes} bytes at {position} of {size}");
        }
        _ => {}
    }
    out.push(line);
    out.extend(message);
}
