//! Scenarios as text: `testdata/*.txt` holds commands, a line `----`, and what happens. Rewrite the answers with
//! `UPDATE_EXPECT=1` and read the difference.
//!
//! Commands: `nodes 3` (voters in the log; `static`: in the configuration; `observers=2`, `brokers=1` on top; `join`:
//! observers ask to be let in), `run MS`, `propose NODE RECORDS`, `crash NODE`, `wipe NODE`, `start NODE`, `cut A B`
//! (`cut A > B`: one way), `heal`, `isolate NODE`, `snapshot NODE`, `shutdown NODE`, `resign NODE`, `add`/`remove NODE`
//! (asked of the leader), `version N`, `ask NODE vote|pre-vote|begin|end|fetch|snapshot key=value…`, `status`,
//! `log NODE`. `leader` stands for the leader's number. What takes time prints who became what.

use std::path::Path;

use ottla_model::{LeaderEpoch, NodeId, Offset};

use super::world::{World, endpoint, key, voter};
use crate::*;

#[test]
fn scenarios() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let actual = play(&text);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, actual).unwrap();
        } else {
            assert_eq!(actual, text, "{}: run with UPDATE_EXPECT=1 if this is meant", path.display());
        }
    }
}

/// Plays a scenario; returns it with what happens now.
fn play(text: &str) -> String {
    let mut world = World::new(1);
    let blocks = text.trim().split("\n\n").map(|block| {
        if block.starts_with('#') {
            return block.to_string();
        }
        let commands = block.split("\n----").next().unwrap();
        let mut answers = Vec::new();
        for command in commands.lines() {
            execute(&mut world, command, &mut answers);
        }
        if answers.is_empty() {
            answers.push("ok".into());
        }
        format!("{commands}\n----\n{}", answers.join("\n"))
    });
    blocks.collect::<Vec<_>>().join("\n\n") + "\n"
}

fn execute(world: &mut World, command: &str, out: &mut Vec<String>) {
    let mut words = command.split_whitespace();
    let verb = words.next().unwrap();
    let arguments: Vec<&str> = words.collect();
    let leader = world.leader();
    let number = |at: usize| match arguments[at] {
        "leader" => leader.expect("a leader"),
        number => number.parse::<i32>().unwrap(),
    };
    let value = |key: &str| {
        arguments.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse::<i64>().ok())
    };
    match verb {
        "nodes" => found(world, number(0), &arguments, value("observers"), value("brokers")),
        "run" => world.run_until(world.now + i64::from(number(0))),
        "propose" => world.propose(number(0), number(1) as u32),
        "crash" => world.crash(number(0)),
        "wipe" => world.wipe(number(0)),
        "start" => world.start(number(0)),
        "cut" if arguments[1] == ">" => _ = world.cut.insert((number(0), number(2))),
        "cut" => world.cut.extend([(number(0), number(1)), (number(1), number(0))]),
        "isolate" => (1..=9).for_each(|other| world.cut.extend([(number(0), other), (other, number(0))])),
        "heal" => world.cut.clear(),
        "snapshot" => world.snapshot(number(0)),
        "shutdown" => world.step(number(0), Event::Shutdown),
        "resign" => world.step(number(0), Event::Resign),
        "version" => {
            let leader = world.leader().expect("a leader");
            let raft = &world.nodes[&leader].raft;
            out.extend(raft.check_kraft_version(number(0) as i16).err());
            world.step(leader, Event::SetKRaftVersion(number(0) as i16));
        }
        "add" | "remove" => {
            let (leader, node) = (world.leader().expect("a leader"), number(0));
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
            let request = request(world, number(0), arguments[1], value);
            ask(world, number(0), request, out);
        }
        "status" => out.extend(world.status()),
        "log" => out.extend(world.log(number(0))),
        other => panic!("unknown command {other}"),
    }
    out.append(&mut world.news);
}

fn found(world: &mut World, voters: i32, words: &[&str], observers: Option<i64>, brokers: Option<i64>) {
    let (observers, brokers) = (observers.unwrap_or(0) as i32, brokers.unwrap_or(0) as i32);
    let (set, in_log): (Vec<i32>, _) = ((1..=voters).collect(), !words.contains(&"static"));
    *world = World::new(1);
    world.auto_join = words.contains(&"join");
    for id in 1..=voters + observers + brokers {
        world.format(id, if id <= voters || !in_log { &set } else { &[] }, in_log);
        if id > voters + observers {
            world.part.insert(id, Part::Broker);
        }
    }
    (1..=voters + observers + brokers).for_each(|id| world.start(id));
}

fn request(world: &World, to: i32, kind: &str, value: impl Fn(&str) -> Option<i64>) -> Request {
    let raft = &world.nodes[&to].raft;
    let epoch = LeaderEpoch(value("epoch").map_or(raft.epoch().0, |epoch| epoch as i32));
    let from = value("from").unwrap_or(9) as i32;
    let offset = |default: Offset| value("offset").map_or(default, Offset);
    let last = |default: LeaderEpoch| value("last").map_or(default, |last| LeaderEpoch(last as i32));
    let position = LogPosition { epoch: last(raft.end().epoch), offset: offset(raft.end().offset) };
    let meant = value("voter").map(|id| key(id as i32));
    match kind {
        "vote" | "pre-vote" => Request::Vote(Vote {
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
