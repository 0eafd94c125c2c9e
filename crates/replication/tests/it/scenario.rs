//! Scenarios: `testdata/*.txt` holds commands, a line `----`, and what the leader or the follower says. Rewrite the
//! answers with `UPDATE_EXPECT=1` and read the difference.
//!
//! A leader is node 1: `lead replicas=1,2,3 isr=1,2 epoch=0 at=0 end=5 hw=5 min=1 lag=30 [start=0]
//! [durable [synced=0]]`, `append END`, `synced OFFSET`,
//! `fetch NODE OFFSET [start=0] [broker=-1] [ineligible]`, `shrink`, `accept isr=1,2 [epoch=] [at=]`, `refuse CODE`,
//! `register replicas= isr= at=`, `time MS`, `low [dead=2]`.
//! A follower: `follow epoch=0 end=5 last=0`, `answer records|diverging EPOCH END|CODE`, `advance END EPOCH`,
//! `await-sync`, `synced-to OFFSET`, `time MS`, `cut leader=EPOCH:END [local=EPOCH:END] end=N`.

use std::fmt::Write;
use std::path::Path;

use ottla_model::{BrokerEpoch, ErrorCode, LeaderEpoch, Millis, NodeId, Offset, PartitionEpoch};
use ottla_replication::{
    AlterAnswer, AlterIsr, Answer, EpochEnd, FollowerFetch, FollowerState, Leader, LeaderConfig, LogOffsets,
    Moved, Registration, truncation_offset,
};

const BACKOFF_MS: i64 = 10;

#[test]
fn scenarios() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
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

/// Plays a scenario; returns it with the answers of now.
fn run(text: &str) -> String {
    let mut world = World::default();
    let blocks = text.trim().split("\n\n").map(|block| {
        let (commands, _) = block.split_once("\n----").unwrap_or((block, ""));
        if commands.lines().all(|line| line.starts_with('#')) {
            return commands.to_owned();
        }
        let mut said = String::new();
        for command in commands.lines().filter(|line| !line.starts_with('#')) {
            said += &world.run(command);
        }
        format!("{commands}\n----\n{}", said.trim_end())
    });
    blocks.collect::<Vec<_>>().join("\n\n") + "\n"
}

#[derive(Default)]
struct World {
    now: Millis,
    leader: Option<Leader>,
    asked: Option<AlterIsr>,
    follower: Option<FollowerState>,
}

/// The words of a command: positional ones, and `name=value`.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn named(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.split_once('=').filter(|(key, _)| *key == name)).map(|(_, v)| v)
    }

    fn number(&self, name: &str, default: i64) -> i64 {
        self.named(name).map_or(default, |value| value.parse().unwrap())
    }

    fn nodes(&self, name: &str) -> Vec<NodeId> {
        let list = self.named(name).unwrap();
        list.split(',').filter(|id| !id.is_empty()).map(|id| NodeId(id.parse().unwrap())).collect()
    }

    fn at(&self, index: usize) -> i64 {
        self.0[index].parse().unwrap()
    }

    fn end(&self, name: &str) -> Option<EpochEnd> {
        let (epoch, end) = self.named(name)?.split_once(':').unwrap();
        Some(EpochEnd { epoch: LeaderEpoch(epoch.parse().unwrap()), end: Offset(end.parse().unwrap()) })
    }
}

impl World {
    fn run(&mut self, command: &str) -> String {
        let words = Words(command.split_ascii_whitespace().collect());
        let now = self.now;
        match words.0[0] {
            "time" => {
                self.now = Millis(words.at(1));
                String::new()
            }
            "lead" => {
                let log = LogOffsets {
                    start: Offset(words.number("start", 0)),
                    high_watermark: Offset(words.number("hw", 0)),
                    end: Offset(words.number("end", 0)),
                    synced: Offset(words.number("synced", 0)),
                };
                let config = LeaderConfig {
                    min_insync_replicas: words.number("min", 1) as usize,
                    lag_ms_max: words.number("lag", 30),
                    durable: words.0.contains(&"durable"),
                };
                let (leader, moved) = Leader::new(NodeId(1), &registration(&words), log, config, now);
                self.leader = Some(leader);
                self.tell(moved)
            }
            "register" => {
                let moved = self.leader().update(&registration(&words), now);
                self.tell(moved)
            }
            "append" => {
                let high_watermark = self.leader().appended(Offset(words.at(1)), now);
                self.tell(Moved { high_watermark, ..Moved::default() })
            }
            "synced" => {
                let moved = self.leader().synced(Offset(words.at(1)), now);
                self.tell(moved)
            }
            "fetch" => {
                let fetch = FollowerFetch {
                    replica: NodeId(words.at(1) as i32),
                    broker_epoch: BrokerEpoch(words.number("broker", -1)),
                    offset: Offset(words.at(2)),
                    log_start: Offset(words.number("start", 0)),
                    eligible: !words.0.contains(&"ineligible"),
                };
                match self.leader().fetched(fetch, now) {
                    Ok(moved) => self.tell(moved),
                    Err(_) => "no replica\n".to_owned(),
                }
            }
            "shrink" => {
                let alter = self.leader().shrink(now);
                self.tell(Moved { alter, ..Moved::default() })
            }
            "accept" => {
                let asked = self.asked.clone().unwrap();
                let answer = AlterAnswer::Accepted {
                    leader_epoch: LeaderEpoch(words.number("epoch", asked.leader_epoch.0.into()) as i32),
                    partition_epoch: PartitionEpoch(
                        words.number("at", i64::from(asked.partition_epoch.0) + 1) as i32,
                    ),
                    isr: words.nodes("isr"),
                };
                let moved = self.leader().answered(&asked, answer, now);
                self.tell(moved)
            }
            "refuse" => {
                let code = ErrorCode::ALL.iter().find(|code| code.name() == words.0[1]).unwrap();
                let asked = self.asked.clone().unwrap();
                let moved = self.leader().answered(&asked, AlterAnswer::Refused(*code), now);
                self.tell(moved)
            }
            "low" => {
                let dead = words.number("dead", -1) as i32;
                format!("low watermark {}\n", self.leader().low_watermark(|id| id.0 != dead))
            }
            "follow" => {
                let epoch = |name| LeaderEpoch(words.number(name, 0) as i32);
                self.follower =
                    Some(FollowerState::new(epoch("epoch"), Offset(words.number("end", 0)), epoch("last")));
                self.tell_follower()
            }
            "answer" => {
                let answer = match words.0[1] {
                    "records" => Answer::Records,
                    "diverging" => Answer::Diverging(EpochEnd {
                        epoch: LeaderEpoch(words.at(2) as i32),
                        end: Offset(words.at(3)),
                    }),
                    name => Answer::Failed(*ErrorCode::ALL.iter().find(|code| code.name() == name).unwrap()),
                };
                let follower = self.follower.as_mut().unwrap();
                let asked = (
                    LeaderEpoch(words.number("epoch", follower.leader_epoch().0.into()) as i32),
                    follower.offset(),
                );
                let step = follower.answered(asked, answer, now, BACKOFF_MS);
                format!("{step:?}\n") + &self.tell_follower()
            }
            "advance" => {
                let (end, epoch) = (Offset(words.at(1)), LeaderEpoch(words.at(2) as i32));
                self.follower.as_mut().unwrap().advance(end, epoch);
                self.tell_follower()
            }
            "await-sync" => {
                self.follower.as_mut().unwrap().await_sync();
                self.tell_follower()
            }
            "synced-to" => {
                self.follower.as_mut().unwrap().synced(Offset(words.at(1)));
                self.tell_follower()
            }
            "cut" => {
                let leader = words.end("leader").unwrap();
                let end = Offset(words.number("end", 0));
                format!("at {}\n", truncation_offset(leader, words.end("local"), end))
            }
            unknown => panic!("unknown command {unknown}"),
        }
    }

    fn leader(&mut self) -> &mut Leader {
        self.leader.as_mut().unwrap()
    }

    fn tell(&mut self, moved: Moved) -> String {
        let mut said = String::new();
        if let Some(high_watermark) = moved.high_watermark {
            writeln!(said, "high watermark {high_watermark}").unwrap();
        }
        if let Some(alter) = moved.alter {
            let isr: Vec<String> = alter.isr.iter().map(|(id, epoch)| format!("{id}@{epoch}")).collect();
            let isr = isr.join(" ");
            writeln!(said, "ask for {isr} (epoch {}, at {})", alter.leader_epoch, alter.partition_epoch)
                .unwrap();
            self.asked = Some(alter);
        }
        let leader = self.leader();
        let isr: Vec<String> = leader.isr().iter().map(NodeId::to_string).collect();
        let enough = if leader.has_enough_replicas() { "" } else { ", too few" };
        let pending = if leader.is_change_pending() { ", pending" } else { "" };
        writeln!(said, "isr {}{enough}{pending}", isr.join(",")).unwrap();
        said
    }

    fn tell_follower(&self) -> String {
        let follower = self.follower.as_ref().unwrap();
        let ready = if follower.is_ready(self.now) { "ready" } else { "not ready" };
        format!(
            "{:?} from {} after epoch {}, {ready}\n",
            follower.phase(),
            follower.offset(),
            follower.last_epoch()
        )
    }
}

fn registration(words: &Words<'_>) -> Registration {
    Registration {
        replicas: words.nodes("replicas"),
        isr: words.nodes("isr"),
        leader: NodeId(1),
        leader_epoch: LeaderEpoch(words.number("epoch", 0) as i32),
        partition_epoch: PartitionEpoch(words.number("at", 0) as i32),
    }
}
