//! Scenarios: what the leader or the follower says, in `testdata/*.txt`.
//!
//! A leader is node 1: `lead replicas=1,2,3 isr=1,2 epoch=0 at=0 end=5 hw=5 min=1 lag=30 [start=0]
//! [durable [synced=0]]`, `append END`, `synced OFFSET`,
//! `fetch NODE OFFSET [start=0] [broker=-1] [ineligible]`, `shrink`, `accept isr=1,2 [epoch=] [at=]`, `refuse CODE`,
//! `register replicas= isr= at=`, `time MS`, `low [dead=2]`.
//! A follower: `follow epoch=0 end=5 last=0`, `answer records|diverging EPOCH END|CODE`, `advance END EPOCH`,
//! `await-sync`, `synced-to OFFSET`, `time MS`, `cut leader=EPOCH:END [local=EPOCH:END] end=N`.

use std::fmt::Write;

use ottla_model::{BrokerEpoch, ErrorCode, LeaderEpoch, Millis, NodeId, Offset, PartitionEpoch};
use ottla_replication::{
    AlterAnswer, AlterIsr, Answer, EpochEnd, FollowerFetch, FollowerState, Leader, LeaderConfig, LogOffsets,
    Moved, Registration, truncation_offset,
};
use ottla_scenario::{Words, number, numbers};

const BACKOFF_MS: i64 = 10;

#[test]
fn scenarios() {
    ottla_scenario::play_all(env!("CARGO_MANIFEST_DIR"), || {
        let mut world = World::default();
        move |command| world.run(command)
    });
}

#[derive(Default)]
struct World {
    now: Millis,
    leader: Option<Leader>,
    asked: Option<AlterIsr>,
    follower: Option<FollowerState>,
}

fn nodes(words: &Words<'_>, name: &str) -> Vec<NodeId> {
    words.get(name).map(numbers).unwrap().into_iter().map(NodeId).collect()
}

/// `name=EPOCH:END`
fn epoch_end(words: &Words<'_>, name: &str) -> Option<EpochEnd> {
    let (epoch, end) = words.get(name)?.split_once(':').unwrap();
    Some(EpochEnd { epoch: LeaderEpoch(number(epoch) as i32), end: Offset(number(end)) })
}

impl World {
    fn run(&mut self, command: &str) -> String {
        let words = &Words::new(command);
        let now = self.now;
        match words.verb() {
            "time" => {
                self.now = Millis(number(words.at(1)));
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
                    durable: words.has("durable"),
                };
                let (leader, moved) = Leader::new(NodeId(1), &registration(words), log, config, now);
                self.leader = Some(leader);
                self.tell(moved)
            }
            "register" => {
                let moved = self.leader().update(&registration(words), now);
                self.tell(moved)
            }
            "append" => {
                let high_watermark = self.leader().appended(Offset(number(words.at(1))), now);
                self.tell(Moved { high_watermark, ..Moved::default() })
            }
            "synced" => {
                let moved = self.leader().synced(Offset(number(words.at(1))), now);
                self.tell(moved)
            }
            "fetch" => {
                let fetch = FollowerFetch {
                    replica: NodeId(number(words.at(1)) as i32),
                    broker_epoch: BrokerEpoch(words.number("broker", -1)),
                    offset: Offset(number(words.at(2))),
                    log_start: Offset(words.number("start", 0)),
                    eligible: !words.has("ineligible"),
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
                    isr: nodes(words, "isr"),
                };
                let moved = self.leader().answered(&asked, answer, now);
                self.tell(moved)
            }
            "refuse" => {
                let code = ErrorCode::ALL.iter().find(|code| code.name() == words.at(1)).unwrap();
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
                let answer = match words.at(1) {
                    "records" => Answer::Records,
                    "diverging" => Answer::Diverging(EpochEnd {
                        epoch: LeaderEpoch(number(words.at(2)) as i32),
                        end: Offset(number(words.at(3))),
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
                let (end, epoch) = (Offset(number(words.at(1))), LeaderEpoch(number(words.at(2)) as i32));
                self.follower.as_mut().unwrap().advance(end, epoch);
                self.tell_follower()
            }
            "await-sync" => {
                self.follower.as_mut().unwrap().await_sync();
                self.tell_follower()
            }
            "synced-to" => {
                self.follower.as_mut().unwrap().synced(Offset(number(words.at(1))));
                self.tell_follower()
            }
            "cut" => {
                let leader = epoch_end(words, "leader").unwrap();
                let end = Offset(words.number("end", 0));
                format!("at {}\n", truncation_offset(leader, epoch_end(words, "local"), end))
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
        replicas: nodes(words, "replicas"),
        isr: nodes(words, "isr"),
        leader: NodeId(1),
        leader_epoch: LeaderEpoch(words.number("epoch", 0) as i32),
        partition_epoch: PartitionEpoch(words.number("at", 0) as i32),
    }
}
