//! Scenarios as text: `testdata/*.txt` holds commands, a line `----`, and what the machine answers. Rewrite the
//! answers with `UPDATE_EXPECT=1` and read the difference.
//!
//! Commands: `new` (node=, dir=, epoch=, leader=, end=, end_epoch=, version=, voters=id:dir[:port],…, at=offset of the
//! voter set, `config` for static voters), `start`, `stored`, `flushed N`, `propose N`, `fetched id:dir N`,
//! `set-kraft-version N`, `resign`, `status`.

use std::fmt::Write;
use std::path::Path;

use ottla_model::{LeaderEpoch, Millis, NodeId, Offset, Uuid};
use ottla_raft::{
    Actions, Body, ControlRecord, Endpoint, Event, Identity, LogPosition, LogShape, QuorumState, Raft,
    RaftConfig, ReplicaKey, VersionRange, Voter, VoterHistory, VoterSet,
};

const SUPPORTED: VersionRange = VersionRange { min: 0, max: 1 };

#[test]
fn scenarios() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let actual = run(&text);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, actual).unwrap();
        } else {
            assert_eq!(actual, text, "{}: run with UPDATE_EXPECT=1 if this is meant", path.display());
        }
    }
}

/// Plays a scenario; returns it with the answers the machine gives now.
fn run(text: &str) -> String {
    let mut raft = None;
    let blocks = text.trim().split("\n\n").map(|block| {
        if block.starts_with('#') {
            return block.to_string();
        }
        let commands = block.split("\n----").next().unwrap();
        let mut answers = String::new();
        for command in commands.lines() {
            execute(&mut raft, command, &mut answers);
        }
        format!("{commands}\n----\n{}", if answers.is_empty() { "ok\n" } else { &answers })
            .trim_end()
            .to_string()
    });
    blocks.collect::<Vec<_>>().join("\n\n") + "\n"
}

fn execute(raft: &mut Option<Raft>, command: &str, out: &mut String) {
    let mut words = command.split_whitespace();
    let verb = words.next().unwrap();
    let arguments: Vec<&str> = words.collect();
    let number = |at: usize| arguments[at].parse::<i64>().unwrap();
    if verb == "new" {
        match create(&arguments) {
            Ok(machine) => *raft = Some(machine),
            Err(error) => writeln!(out, "error: {error}").unwrap(),
        }
        return;
    }
    let raft = raft.as_mut().expect("`new` comes first");
    let event = match verb {
        "start" => Event::Start,
        "stored" => Event::Stored,
        "flushed" => Event::Flushed { end: Offset(number(0)) },
        "propose" => Event::Propose { records: number(0) as u32 },
        "fetched" => Event::Fetched { replica: voter(arguments[0]).key, end: Offset(number(1)) },
        "set-kraft-version" => Event::SetKRaftVersion(number(0) as i16),
        "resign" => Event::Resign,
        "status" => return status(raft, out),
        other => panic!("unknown command {other}"),
    };
    print(raft.step(Millis(1000), event), out);
}

fn create(arguments: &[&str]) -> Result<Raft, ottla_raft::StartError> {
    let value = |key: &str| arguments.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let number = |key: &str, default: i64| value(key).map_or(default, |text| text.parse().unwrap());
    let voters: VoterSet =
        value("voters").unwrap_or("").split(',').filter(|text| !text.is_empty()).map(voter).collect();
    let history = if arguments.contains(&"config") {
        VoterHistory::new(voters)
    } else {
        let mut history = VoterHistory::new(VoterSet::default());
        let at = Offset(number("at", -1));
        history.observe(at, &ControlRecord::KRaftVersion(number("version", 1) as i16));
        if !voters.is_empty() {
            history.observe(at, &ControlRecord::Voters(voters));
        }
        history
    };
    let me = voter(&format!("{}:{}:{}", number("node", 1), number("dir", 501), number("port", 9093)));
    let stored = QuorumState {
        epoch: LeaderEpoch(number("epoch", 0) as i32),
        leader: value("leader").map(|id| NodeId(id.parse().unwrap())),
        voted: None,
    };
    let end =
        LogPosition { offset: Offset(number("end", 0)), epoch: LeaderEpoch(number("end_epoch", 0) as i32) };
    let me = Identity { key: me.key, endpoints: me.endpoints, kraft_version: SUPPORTED };
    let log = LogShape {
        start: Offset::ZERO,
        end,
        flushed: Offset::ZERO,
        epochs: vec![(end.epoch, Offset::ZERO)],
        snapshots: Vec::new(),
    };
    Raft::new(RaftConfig::new(me), stored, log, history)
}

fn voter(text: &str) -> Voter {
    let mut parts = text.split(':').map(|part| part.parse::<u32>().unwrap());
    let id = NodeId(parts.next().unwrap() as i32);
    let directory = Uuid::from_u128(u128::from(parts.next().unwrap()));
    let endpoint =
        |port| Endpoint { listener: "CONTROLLER".into(), host: "localhost".into(), port: port as u16 };
    let endpoints = vec![endpoint(parts.next().unwrap_or(9093))];
    Voter { key: ReplicaKey::new(id, directory), endpoints, kraft_version: SUPPORTED }
}

fn print(actions: Actions, out: &mut String) {
    if let Some(state) = actions.store {
        let leader = state.leader.map_or(-1, |id| id.0);
        let voted = state.voted.map_or(-1, |key| key.id.0);
        writeln!(out, "store epoch={} leader={leader} voted={voted}", state.epoch).unwrap();
    }
    for append in actions.append {
        write!(out, "append at={} epoch={}", append.base, append.epoch).unwrap();
        match append.body {
            Body::Proposed { records } => writeln!(out, " proposed={records}").unwrap(),
            Body::Control(records) => {
                for record in records {
                    match record {
                        ControlRecord::LeaderChange { leader, voters, granting } => {
                            let (voters, granting) = (ids(&voters), ids(&granting));
                            write!(out, " LeaderChange({leader} of {voters} by {granting})").unwrap();
                        }
                        ControlRecord::KRaftVersion(version) => {
                            write!(out, " KRaftVersion({version})").unwrap()
                        }
                        ControlRecord::Voters(set) => write!(out, " Voters({})", describe(&set)).unwrap(),
                    }
                }
                writeln!(out).unwrap();
            }
        }
    }
    if let Some(offset) = actions.high_watermark {
        writeln!(out, "high-watermark {offset}").unwrap();
    }
}

fn ids(ids: &[NodeId]) -> String {
    ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(",")
}

fn describe(set: &VoterSet) -> String {
    let voter = |voter: &Voter| {
        let directory = u128::from_be_bytes(voter.key.directory.0);
        format!("{}:{directory}:{}", voter.key.id, voter.endpoints[0].port)
    };
    set.iter().map(voter).collect::<Vec<_>>().join(",")
}

fn status(raft: &Raft, out: &mut String) {
    let (end, hw) = (raft.end(), raft.high_watermark().unwrap_or(Offset::NONE));
    writeln!(out, "{:?} epoch={} end={}@{} hw={hw}", raft.role(), raft.epoch(), end.offset, end.epoch)
        .unwrap();
    let replicas = raft.progress(Millis(1000));
    for (kind, replicas) in [("voter", replicas.voters), ("observer", replicas.observers)] {
        for (key, progress) in replicas {
            let caught_up = progress.last_caught_up.0;
            writeln!(out, "{kind} {} end={} caught_up={caught_up}", key.id, progress.end_offset).unwrap();
        }
    }
}
