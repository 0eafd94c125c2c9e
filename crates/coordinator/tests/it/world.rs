//! A coordinator with a log that keeps everything, driven by commands; prints what comes out.
//!
//! Member ids are printed with `#n` for the UUID drawn by the n-th JoinGroup.

use std::collections::VecDeque;
use std::fmt::Write as _;

use bytes::{BufMut, Bytes, BytesMut};
use ottla_coordinator::{
    Actions, AppendId, ClientContext, CoordinatorConfig, Event, GroupCoordinator, Record, Request, Response,
    Ticket, TransactionResult,
};
use ottla_model::{ErrorCode, Millis, Offset, ProducerId};
use ottla_protocol::Str;
use ottla_protocol::api::heartbeat::HeartbeatRequest;
use ottla_protocol::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use ottla_protocol::api::leave_group::{LeaveGroupRequest, MemberIdentity};
use ottla_protocol::api::list_groups::ListGroupsRequest;
use ottla_protocol::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_protocol::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use ottla_protocol::api::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use ottla_protocol::api::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use ottla_protocol::records::group::{GroupRecordKey, GroupRecordValue};
use ottla_scenario::Words;

pub struct World {
    config: CoordinatorConfig,
    coordinator: GroupCoordinator,
    now: i64,
    tickets: u64,
    joins: u8,
    /// Appends are committed at once.
    commits: bool,
    undecided: VecDeque<(AppendId, Vec<Record>)>,
    /// What is committed: producer of a transactional record, record.
    log: Vec<(Option<ProducerId>, Record)>,
}

impl Default for World {
    fn default() -> Self {
        let config = CoordinatorConfig::default();
        let mut coordinator = GroupCoordinator::new(config, 7);
        coordinator.loaded(Millis(0));
        Self {
            config,
            coordinator,
            now: 0,
            tickets: 0,
            joins: 0,
            commits: true,
            undecided: VecDeque::new(),
            log: Vec::new(),
        }
    }
}

/// The version 4 UUID that 16 bytes of `n` become.
fn uuid(n: u8) -> String {
    let byte = |i| match i {
        6 => n & 0x0f | 0x40,
        8 => n & 0x3f | 0x80,
        _ => n,
    };
    let hex = |range: std::ops::Range<usize>| range.map(|i| format!("{:02x}", byte(i))).collect::<String>();
    [hex(0..4), hex(4..6), hex(6..8), hex(8..10), hex(10..16)].join("-")
}

fn text(words: &Words<'_>, key: &str) -> Str {
    words.get(key).unwrap_or_default().into()
}

fn option(words: &Words<'_>, key: &str) -> Option<Str> {
    words.get(key).map(Str::from)
}

/// `topic:partition`
fn topic_partition(word: &str) -> (Str, i32) {
    let (topic, partition) = word.split_once(':').unwrap();
    (topic.into(), partition.parse().unwrap())
}

fn subscription(topics: &str) -> Bytes {
    let topics: Vec<&str> = topics.split('+').filter(|topic| !topic.is_empty()).collect();
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(topics.len() as i32);
    for topic in topics {
        bytes.put_i16(topic.len() as i16);
        bytes.put_slice(topic.as_bytes());
    }
    bytes.put_i32(-1);
    bytes.freeze()
}

fn error(code: i16) -> &'static str {
    ErrorCode::from_code(code).unwrap().name()
}

impl World {
    pub fn run(&mut self, command: &str) -> String {
        let mut command = command.to_owned();
        for n in (1..=self.joins).rev() {
            command = command.replace(&format!("#{n}"), &uuid(n));
        }
        let words = &Words::new(&command);
        let mut output = String::new();
        match words.verb() {
            "config" => {
                let config = &mut self.config;
                let number = |key, value: i64| words.number(key, value);
                config.initial_rebalance_delay_ms =
                    number("initial-delay", config.initial_rebalance_delay_ms.into()) as i32;
                config.max_size = number("max-size", config.max_size as i64) as usize;
                config.offsets_retention_ms = number("retention", config.offsets_retention_ms);
                config.offset_metadata_max =
                    number("metadata-max", config.offset_metadata_max as i64) as usize;
                self.coordinator.set_config(*config);
            }
            "now" => {
                // Every deadline on the way is taken by itself, as a shard would.
                let target = words.plain().next().unwrap().parse().unwrap();
                while let Some(due) = self.coordinator.next_deadline().filter(|due| due.0 <= target) {
                    self.now = self.now.max(due.0);
                    let before = output.len();
                    let actions = self.coordinator.step(Millis(self.now), Event::Tick);
                    self.perform(actions, &mut output);
                    if output.len() > before {
                        output.insert_str(before, &format!("{} ms:\n", self.now));
                    }
                }
                self.now = target;
                self.step(Event::Tick, &mut output);
            }
            "hold" => self.commits = false,
            "commit-appends" => {
                self.commits = true;
                while let Some((append, records)) = self.undecided.pop_front() {
                    self.committed(append, records, &mut output);
                }
            }
            "fail-append" => {
                let error = words.plain().next().unwrap();
                let error = *ErrorCode::ALL.iter().find(|known| known.name() == error).unwrap();
                let (append, _) = self.undecided.pop_front().unwrap();
                self.step(Event::AppendFailed { append, error }, &mut output);
            }
            "reload" => {
                self.coordinator = GroupCoordinator::new(self.config, 8);
                self.undecided.clear();
                for (offset, (producer, record)) in self.log.iter().enumerate() {
                    let offset = Offset(offset as i64);
                    self.coordinator.replay(offset, *producer, &record.key, record.value.as_ref()).unwrap();
                }
                let actions = self.coordinator.loaded(Millis(self.now));
                self.perform(actions, &mut output);
                output += &format!("{:?}\n", self.coordinator.counts());
            }
            "unload" => self.step(Event::Unload, &mut output),
            "topics-deleted" => {
                self.step(
                    Event::TopicsDeleted { topics: words.plain().map(Str::from).collect() },
                    &mut output,
                );
            }
            "transaction" => self.transaction(words),
            "end-transaction" => {
                let result = if words.get("result") == Some("commit") {
                    TransactionResult::Commit
                } else {
                    TransactionResult::Abort
                };
                self.coordinator.replay_end_transaction(ProducerId(words.number("producer", 0)), result);
            }
            "consumer-group" => self.consumer_group(words),
            verb => self.request(verb, words, &mut output),
        }
        for n in 1..=self.joins {
            output = output.replace(&uuid(n), &format!("#{n}"));
        }
        output
    }

    fn request(&mut self, verb: &str, words: &Words<'_>, output: &mut String) {
        self.tickets += 1;
        let mut plain = words.plain();
        let context = ClientContext {
            version: words.number("v", 9) as i16,
            client_id: words.get("client").unwrap_or("c").into(),
            client_host: "/127.0.0.1".into(),
        };
        let request = match verb {
            "join" => {
                self.joins += 1;
                let protocols =
                    words.get("protocols").unwrap_or("range:t").split(',').filter(|word| !word.is_empty());
                let protocols = protocols.map(|word| {
                    let (name, topics) = word.split_once(':').unwrap();
                    JoinGroupRequestProtocol { name: name.into(), metadata: subscription(topics) }
                });
                let request = JoinGroupRequest {
                    group_id: plain.next().unwrap_or_default().into(),
                    session_timeout_ms: words.number("session", 10_000) as i32,
                    rebalance_timeout_ms: words.number("rebalance", 60_000) as i32,
                    member_id: text(words, "member"),
                    group_instance_id: option(words, "instance"),
                    protocol_type: words.get("type").unwrap_or("consumer").into(),
                    protocols: protocols.collect(),
                    reason: None,
                };
                Request::JoinGroup { request, member_uuid: [self.joins; 16] }
            }
            "sync" => {
                let assignments =
                    words.get("assign").into_iter().flat_map(|list| list.split(',')).map(|word| {
                        let (member_id, assignment) = word.split_once(':').unwrap();
                        SyncGroupRequestAssignment {
                            member_id: member_id.into(),
                            assignment: Bytes::copy_from_slice(assignment.as_bytes()),
                        }
                    });
                Request::SyncGroup(SyncGroupRequest {
                    group_id: plain.next().unwrap_or_default().into(),
                    generation_id: words.number("generation", 1) as i32,
                    member_id: text(words, "member"),
                    group_instance_id: option(words, "instance"),
                    protocol_type: option(words, "type"),
                    protocol_name: option(words, "protocol"),
                    assignments: assignments.collect(),
                })
            }
            "heartbeat" => Request::Heartbeat(HeartbeatRequest {
                group_id: plain.next().unwrap_or_default().into(),
                generation_id: words.number("generation", 1) as i32,
                member_id: text(words, "member"),
                group_instance_id: option(words, "instance"),
            }),
            "leave" => {
                let group_id = plain.next().unwrap_or_default().into();
                let members = words.get("members").unwrap_or_default().split(',').map(|word| {
                    let (member_id, instance) = word.split_once('/').unwrap_or((word, ""));
                    MemberIdentity {
                        member_id: member_id.into(),
                        group_instance_id: (!instance.is_empty()).then(|| instance.into()),
                        ..Default::default()
                    }
                });
                Request::LeaveGroup(LeaveGroupRequest {
                    group_id,
                    members: members.collect(),
                    ..Default::default()
                })
            }
            "describe" => Request::DescribeGroups(plain.map(Str::from).collect()),
            "list" => {
                let list = |key| {
                    words.get(key).into_iter().flat_map(|list| list.split(',')).map(Str::from).collect()
                };
                Request::ListGroups(ListGroupsRequest {
                    states_filter: list("states"),
                    types_filter: list("types"),
                })
            }
            "delete" => Request::DeleteGroups(plain.map(Str::from).collect()),
            "commit" => {
                let group_id = plain.next().unwrap_or_default().into();
                let topics = words.pairs().filter(|(key, _)| key.contains(':'));
                let topics = topics.map(|(key, value)| {
                    let (name, partition_index) = topic_partition(key);
                    let (offset, metadata) = value.split_once('/').unwrap_or((value, ""));
                    let partition = OffsetCommitRequestPartition {
                        partition_index,
                        committed_offset: offset.parse().unwrap(),
                        committed_leader_epoch: 4,
                        committed_metadata: Some(metadata.into()),
                    };
                    OffsetCommitRequestTopic { name, partitions: vec![partition], ..Default::default() }
                });
                Request::OffsetCommit(OffsetCommitRequest {
                    group_id,
                    generation_id_or_member_epoch: words.number("generation", -1) as i32,
                    member_id: text(words, "member"),
                    group_instance_id: option(words, "instance"),
                    retention_time_ms: words.number("retention", -1),
                    topics: topics.collect(),
                })
            }
            "fetch" | "fetch-stable" => {
                let group_id = plain.next().unwrap_or_default().into();
                let topics: Vec<_> = plain
                    .map(|word| {
                        let (name, partition) = topic_partition(word);
                        OffsetFetchRequestTopics {
                            name,
                            partition_indexes: vec![partition],
                            ..Default::default()
                        }
                    })
                    .collect();
                let topics = (!topics.is_empty()).then_some(topics);
                let group = OffsetFetchRequestGroup { group_id, topics, ..Default::default() };
                Request::OffsetFetch { group, require_stable: verb == "fetch-stable" }
            }
            "delete-offsets" => {
                let group_id = plain.next().unwrap_or_default().into();
                let topics = plain.map(|word| {
                    let (name, partition_index) = topic_partition(word);
                    OffsetDeleteRequestTopic {
                        name,
                        partitions: vec![OffsetDeleteRequestPartition { partition_index }],
                    }
                });
                Request::OffsetDelete(OffsetDeleteRequest { group_id, topics: topics.collect() })
            }
            other => panic!("no command {other}"),
        };
        self.step(Event::Request { ticket: Ticket(self.tickets), context, request }, output);
    }

    /// A transactional offset in the log: `transaction g t:0 offset=5 producer=1`.
    fn transaction(&mut self, words: &Words<'_>) {
        let mut plain = words.plain();
        let (group, (topic, partition)) = (plain.next().unwrap(), topic_partition(plain.next().unwrap()));
        let key = GroupRecordKey::OffsetCommit(ottla_protocol::records::group::OffsetCommitKey {
            group: group.into(),
            topic,
            partition,
        });
        let value = ottla_protocol::records::group::OffsetCommitValue {
            offset: words.number("offset", 0),
            commit_timestamp: self.now,
            ..Default::default()
        };
        let value = GroupRecordValue::OffsetCommit(value).encode(4).unwrap();
        self.put(Some(ProducerId(words.number("producer", 0))), key.encode().unwrap(), Some(value));
    }

    /// Records of a consumer group in the log: `consumer-group g members=1`, or its member's end with `members=0`.
    fn consumer_group(&mut self, words: &Words<'_>) {
        use ottla_protocol::records::group::{
            ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey,
            ConsumerGroupMetadataValue,
        };
        let group_id = Str::from(words.plain().next().unwrap());
        let member = GroupRecordKey::ConsumerGroupMemberMetadata(ConsumerGroupMemberMetadataKey {
            group_id: group_id.clone(),
            member_id: "m".into(),
        });
        let value =
            GroupRecordValue::ConsumerGroupMemberMetadata(ConsumerGroupMemberMetadataValue::default());
        let value = (words.number("members", 1) > 0).then(|| value.encode(0).unwrap());
        self.put(None, member.encode().unwrap(), value);
        let group = GroupRecordKey::ConsumerGroupMetadata(ConsumerGroupMetadataKey { group_id });
        let value = GroupRecordValue::ConsumerGroupMetadata(ConsumerGroupMetadataValue {
            epoch: 2,
            ..Default::default()
        });
        self.put(None, group.encode().unwrap(), Some(value.encode(0).unwrap()));
    }

    fn put(&mut self, producer: Option<ProducerId>, key: Bytes, value: Option<Bytes>) {
        let offset = Offset(self.log.len() as i64);
        self.coordinator.replay(offset, producer, &key, value.as_ref()).unwrap();
        self.log.push((producer, Record { key, value }));
    }

    fn step(&mut self, event: Event, output: &mut String) {
        let actions = self.coordinator.step(Millis(self.now), event);
        self.perform(actions, output);
    }

    fn perform(&mut self, actions: Actions, output: &mut String) {
        for (ticket, response) in actions.replies {
            writeln!(output, "{} {}", ticket.0, describe(&response)).unwrap();
        }
        for append in actions.appends {
            for record in &append.records {
                writeln!(output, "append {}", describe_record(record)).unwrap();
            }
            if self.commits && self.undecided.is_empty() {
                self.committed(append.id, append.records, output);
            } else {
                self.undecided.push_back((append.id, append.records));
            }
        }
    }

    fn committed(&mut self, append: AppendId, records: Vec<Record>, output: &mut String) {
        let base_offset = Offset(self.log.len() as i64);
        self.log.extend(records.into_iter().map(|record| (None, record)));
        self.step(Event::Committed { append, base_offset }, output);
    }
}

fn describe_record(record: &Record) -> String {
    let key = GroupRecordKey::decode(record.key.clone()).unwrap();
    let value = record.value.clone().map(|value| GroupRecordValue::decode(key.record_type(), value).unwrap());
    let key = match key {
        GroupRecordKey::OffsetCommit(key) => format!("offset {} {}:{}", key.group, key.topic, key.partition),
        GroupRecordKey::GroupMetadata(key) => format!("group {}", key.group),
        key => format!("record of type {}", key.record_type()),
    };
    match value {
        None => format!("{key} tombstone"),
        Some((version, GroupRecordValue::OffsetCommit(value))) => {
            let expiry = if value.expire_timestamp == -1 {
                String::new()
            } else {
                format!(" expires={}", value.expire_timestamp)
            };
            format!(
                "{key} v{version} offset={} epoch={} metadata={:?} at={}{expiry}",
                value.offset, value.leader_epoch, &*value.metadata, value.commit_timestamp
            )
        }
        Some((version, GroupRecordValue::GroupMetadata(value))) => {
            let members = value.members.iter().map(|member| {
                format!("{}={:?}", member.member_id, std::str::from_utf8(&member.assignment).unwrap())
            });
            format!(
                "{key} v{version} type={:?} generation={} protocol={} leader={} since={} members=[{}]",
                &*value.protocol_type,
                value.generation,
                value.protocol.as_deref().unwrap_or("-"),
                value.leader.as_deref().unwrap_or("-"),
                value.current_state_timestamp,
                members.collect::<Vec<_>>().join(" "),
            )
        }
        Some((version, _)) => format!("{key} v{version}"),
    }
}

fn describe(response: &Response) -> String {
    match response {
        Response::JoinGroup(response) if response.error_code != 0 => {
            format!("join {} member={:?}", error(response.error_code), &*response.member_id)
        }
        Response::JoinGroup(response) => {
            let members = response.members.iter().map(|member| match &member.group_instance_id {
                Some(instance) => format!("{}/{instance}", member.member_id),
                None => member.member_id.to_string(),
            });
            format!(
                "join generation={} protocol={} leader={} member={}{} members=[{}]",
                response.generation_id,
                response.protocol_name.as_deref().unwrap_or("-"),
                response.leader,
                response.member_id,
                if response.skip_assignment { " skip" } else { "" },
                members.collect::<Vec<_>>().join(" ")
            )
        }
        Response::SyncGroup(response) => format!(
            "sync {} protocol={} assignment={:?}",
            error(response.error_code),
            response.protocol_name.as_deref().unwrap_or("-"),
            std::str::from_utf8(&response.assignment).unwrap()
        ),
        Response::Heartbeat(response) => format!("heartbeat {}", error(response.error_code)),
        Response::LeaveGroup(response) => {
            let members = response.members.iter().map(|member| {
                let instance =
                    member.group_instance_id.as_ref().map(|id| format!("/{id}")).unwrap_or_default();
                format!(" {}{instance}={}", member.member_id, error(member.error_code))
            });
            format!("leave {}{}", error(response.error_code), members.collect::<String>())
        }
        Response::DescribeGroups(groups) => {
            let groups = groups.iter().map(|group| {
                let members = group.members.iter().map(|member| {
                    let assignment = std::str::from_utf8(&member.member_assignment).unwrap();
                    format!("{}@{}{}={assignment:?}", member.member_id, member.client_id, member.client_host)
                });
                let message =
                    group.error_message.as_ref().map(|text| format!(" {text:?}")).unwrap_or_default();
                format!(
                    "\n  {} {}{message} {} type={:?} protocol={:?} members=[{}]",
                    group.group_id,
                    error(group.error_code),
                    group.group_state,
                    &*group.protocol_type,
                    &*group.protocol_data,
                    members.collect::<Vec<_>>().join(" ")
                )
            });
            format!("describe{}", groups.collect::<String>())
        }
        Response::ListGroups(groups) => {
            let mut groups: Vec<_> = groups
                .iter()
                .map(|g| {
                    format!(" {}({} {} {:?})", g.group_id, g.group_type, g.group_state, &*g.protocol_type)
                })
                .collect();
            groups.sort();
            format!("list{}", groups.concat())
        }
        Response::DeleteGroups(results) => {
            let results =
                results.iter().map(|result| format!(" {}={}", result.group_id, error(result.error_code)));
            format!("delete{}", results.collect::<String>())
        }
        Response::OffsetCommit(response) => {
            let partitions = response.topics.iter().flat_map(|topic| {
                let of_topic = |p: &ottla_protocol::api::offset_commit::OffsetCommitResponsePartition| {
                    format!(" {}:{}={}", topic.name, p.partition_index, error(p.error_code))
                };
                topic.partitions.iter().map(of_topic).collect::<Vec<_>>()
            });
            format!("commit{}", partitions.collect::<String>())
        }
        Response::OffsetFetch(response) => {
            let mut text = format!("fetch {}", error(response.error_code));
            for topic in &response.topics {
                for p in &topic.partitions {
                    write!(text, " {}:{}=", topic.name, p.partition_index).unwrap();
                    match p.error_code {
                        0 => write!(text, "{}@{}", p.committed_offset, p.committed_leader_epoch).unwrap(),
                        code => text += error(code),
                    }
                }
            }
            text
        }
        Response::OffsetDelete(response) => {
            let mut text = format!("delete-offsets {}", error(response.error_code));
            for topic in &response.topics {
                for p in &topic.partitions {
                    write!(text, " {}:{}={}", topic.name, p.partition_index, error(p.error_code)).unwrap();
                }
            }
            text
        }
    }
}
