//! Classic groups, request by request: the same story is told to both nodes over raw connections, in every version of
//! every group API. The answers must be equal once ids are masked, and so must be the records left on disk.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ottla_e2e::node::{Brand, Node};
use ottla_e2e::{artifacts, mask};
use ottla_protocol::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use ottla_protocol::api::delete_groups::DeleteGroupsRequest;
use ottla_protocol::api::describe_groups::DescribeGroupsRequest;
use ottla_protocol::api::find_coordinator::FindCoordinatorRequest;
use ottla_protocol::api::heartbeat::HeartbeatRequest;
use ottla_protocol::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use ottla_protocol::api::leave_group::{LeaveGroupRequest, MemberIdentity};
use ottla_protocol::api::list_groups::ListGroupsRequest;
use ottla_protocol::api::metadata::MetadataRequest;
use ottla_protocol::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_protocol::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use ottla_protocol::api::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use ottla_protocol::api::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use ottla_protocol::records::group::{GroupRecordKey, GroupRecordValue};
use ottla_protocol::{Decoder, Encoder, Message, Request, Str, Tree};
use ottla_record::Batches;

use crate::Named;

pub const TESTS: &[Named] = &[("every_version_answers_as_the_judge", every_version_answers_as_the_judge)];

/// Longer than any rebalance of the story may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn every_version_answers_as_the_judge() -> Result<()> {
    // Nodes of their own: the story lists all groups there are.
    let (judge, candidate) = (Node::start(Brand::Apache, "")?, Node::start(Brand::candidate(), "")?);
    let mut theirs = told_to(&judge).context("on the judge")?;
    let mut ours = told_to(&candidate).context("on the candidate")?;
    theirs.extend(written_by(&judge).context("in the judge's files")?);
    ours.extend(written_by(&candidate).context("in the candidate's files")?);
    let folder = artifacts::target_dir().join("e2e/transcripts");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("groups-raw.judge.txt"), theirs.join("\n"))?;
    std::fs::write(folder.join("groups-raw.candidate.txt"), ours.join("\n"))?;
    let mut report = String::new();
    for (theirs, ours) in theirs.iter().zip(&ours).filter(|(theirs, ours)| theirs != ours) {
        writeln!(report, "judge:     {theirs}\ncandidate: {ours}")?;
    }
    ensure!(report.is_empty() && theirs.len() == ours.len(), "answers differ:\n{report}");
    Ok(())
}

fn told_to(node: &Node) -> Result<Vec<String>> {
    let mut story = Story { node, lines: Vec::new() };
    if let Err(error) = story.tell() {
        let last = story.lines.iter().rev().take(3).cloned().collect::<Vec<_>>();
        return Err(error.context(format!("after {last:#?}")));
    }
    Ok(story.lines)
}

/// The records that the story left in the offsets topic, partition by partition; within a batch their order is free.
fn written_by(node: &Node) -> Result<Vec<String>> {
    let mask_ids = |line: &str| mask::normalised(line, &node.masks());
    let mut lines = Vec::new();
    for partition in 0..50 {
        let log = node.data().join(format!("__consumer_offsets-{partition}/00000000000000000000.log"));
        let log = std::fs::read(&log).with_context(|| format!("read {}", log.display()))?;
        for batch in Batches::new(log.into()) {
            let batch = batch?;
            let header = &batch.header;
            let from = format!(
                "{partition}: attributes={} producer={} epoch={} sequence={}",
                header.attributes.0, header.producer_id.0, header.producer_epoch.0, header.base_sequence
            );
            let mut records = Vec::new();
            for record in batch.records()? {
                let record = record?;
                let key = GroupRecordKey::decode(record.key.context("a record has a key")?)?;
                let value = match record.value {
                    None => "tombstone".to_owned(),
                    Some(value) => {
                        let (version, value) = GroupRecordValue::decode(key.record_type(), value)?;
                        format!("v{version} {}", text(&value.tree(version), &mask_ids))
                    }
                };
                let key = text(&key.tree(), &mask_ids);
                if key.contains("story-") {
                    records.push(format!("{from} {key} {value}"));
                }
            }
            records.sort();
            lines.extend(records);
        }
    }
    Ok(lines)
}

/// A client with a connection of its own.
struct Client {
    stream: TcpStream,
    correlation: i32,
}

impl Client {
    fn connect(node: &Node) -> Result<Self> {
        let stream = TcpStream::connect(node.address()).context("connect")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation: 0 })
    }

    fn send<R: Request>(&mut self, version: i16, request: &R) -> Result<()> {
        self.correlation += 1;
        let mut encoder = Encoder::new();
        encoder.i16(R::KEY as i16);
        encoder.i16(version);
        encoder.i32(self.correlation);
        encoder.i16(5);
        encoder.raw(b"story");
        if R::FLEXIBLE.contains(version) {
            encoder.i8(0);
        }
        request.encode(&mut encoder, version)?;
        let payload = encoder.finish_bytes()?;
        self.stream.write_all(&(payload.len() as u32).to_be_bytes())?;
        self.stream.write_all(&payload)?;
        Ok(())
    }

    fn receive<R: Request>(&mut self, version: i16) -> Result<R::Response> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).context("read the answer's length")?;
        let mut payload = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut payload).context("read the answer")?;
        let mut decoder = Decoder::new(payload.into());
        ensure!(decoder.i32()? == self.correlation, "the answer is to another request");
        if R::FLEXIBLE.contains(version) {
            ensure!(decoder.i8()? == 0, "tags in the header");
        }
        let response = R::Response::decode(&mut decoder, version)?;
        decoder.finish()?;
        Ok(response)
    }
}

struct Story<'a> {
    node: &'a Node,
    lines: Vec<String>,
}

/// A member that is in a group.
struct Member {
    client: Client,
    id: Str,
    generation: i32,
}

impl Story<'_> {
    fn client(&self) -> Result<Client> {
        Client::connect(self.node)
    }

    /// Asks, and notes the answer under `what`.
    fn ask<R: Request>(
        &mut self,
        client: &mut Client,
        what: &str,
        version: i16,
        request: &R,
    ) -> Result<R::Response> {
        client.send(version, request).with_context(|| format!("{what}: send"))?;
        self.hear::<R>(client, what, version)
    }

    fn hear<R: Request>(&mut self, client: &mut Client, what: &str, version: i16) -> Result<R::Response> {
        let response = client.receive::<R>(version).with_context(|| format!("{what} v{version}"))?;
        let mask_ids = |line: &str| mask::normalised(line, &self.node.masks());
        self.lines.push(format!("{what} v{version}: {}", text(&response.tree(version), &mask_ids)));
        Ok(response)
    }

    fn tell(&mut self) -> Result<()> {
        let mut client = self.client()?;
        let topics = [("story-t", 3), ("story-u", 1)].map(|(name, num_partitions)| CreatableTopic {
            name: name.into(),
            num_partitions,
            replication_factor: 1,
            ..Default::default()
        });
        let create = CreateTopicsRequest { topics: topics.into(), timeout_ms: 10_000, ..Default::default() };
        client.send(5, &create)?;
        client.receive::<CreateTopicsRequest>(5)?;
        self.coordinator(&mut client)?;
        for version in 0..=9 {
            self.life_of_a_group(version)?;
        }
        self.two_members()?;
        self.static_members()?;
        self.refusals(&mut client)?;
        self.offsets(&mut client)?;
        self.administration(&mut client)
    }

    fn coordinator(&mut self, client: &mut Client) -> Result<()> {
        // The topic may have to be created first.
        for _ in 0..100 {
            let request = FindCoordinatorRequest { key: "story".into(), ..Default::default() };
            client.send(1, &request)?;
            if client.receive::<FindCoordinatorRequest>(1)?.error_code == 0 {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        // The coordinators of all partitions have to be ready for what follows; so many groups are spread over all.
        let groups: Vec<Str> = (0..1000).map(|n| Str::from(format!("warm-{n}"))).collect();
        for _ in 0..100 {
            client.send(0, &DescribeGroupsRequest { groups: groups.clone(), ..Default::default() })?;
            let described = client.receive::<DescribeGroupsRequest>(0)?;
            if described.groups.iter().all(|group| group.error_code == 0) {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        for version in 0..=3 {
            let request = FindCoordinatorRequest { key: "story".into(), ..Default::default() };
            self.ask(client, "find", version, &request)?;
        }
        for version in 4..=6 {
            let coordinator_keys = vec!["story".into(), "".into(), "another".into()];
            let request = FindCoordinatorRequest { coordinator_keys, ..Default::default() };
            self.ask(client, "find", version, &request)?;
        }
        for (version, key_type) in [(1, 9), (3, 2), (4, 9), (5, 2)] {
            let request = FindCoordinatorRequest {
                key: if version < 4 { "story".into() } else { "".into() },
                key_type,
                coordinator_keys: if version < 4 { Vec::new() } else { vec!["story".into()] },
            };
            self.ask(client, &format!("find of type {key_type}"), version, &request)?;
        }
        Ok(())
    }

    fn join_request(group: &str, member_id: &Str) -> JoinGroupRequest {
        JoinGroupRequest {
            group_id: group.into(),
            session_timeout_ms: 20_000,
            rebalance_timeout_ms: 20_000,
            member_id: member_id.clone(),
            protocol_type: "consumer".into(),
            protocols: vec![
                JoinGroupRequestProtocol { name: "range".into(), metadata: subscription(&["story-t"]) },
                JoinGroupRequestProtocol { name: "roundrobin".into(), metadata: subscription(&["story-t"]) },
            ],
            ..Default::default()
        }
    }

    /// Joins, twice if the coordinator wants the member id to be known.
    fn join(
        &mut self,
        client: &mut Client,
        version: i16,
        request: &JoinGroupRequest,
    ) -> Result<JoinGroupResponse> {
        let response = self.ask(client, "join", version, request)?;
        if response.error_code != 79 {
            return Ok(response);
        }
        let request = JoinGroupRequest { member_id: response.member_id, ..request.clone() };
        self.ask(client, "join again", version, &request)
    }

    fn sync_request(
        group: &str,
        member: &Str,
        generation: i32,
        version: i16,
        assign: &[(&Str, &str)],
    ) -> SyncGroupRequest {
        let assignments = assign.iter().map(|(member, assignment)| SyncGroupRequestAssignment {
            member_id: (*member).clone(),
            assignment: bytes(assignment),
        });
        SyncGroupRequest {
            group_id: group.into(),
            generation_id: generation,
            member_id: member.clone(),
            protocol_type: (version >= 5).then(|| "consumer".into()),
            protocol_name: (version >= 5).then(|| "range".into()),
            assignments: assignments.collect(),
            ..Default::default()
        }
    }

    fn heartbeat(
        &mut self,
        client: &mut Client,
        group: &str,
        member: &Str,
        generation: i32,
        version: i16,
    ) -> Result<()> {
        let request = HeartbeatRequest {
            group_id: group.into(),
            generation_id: generation,
            member_id: member.clone(),
            ..Default::default()
        };
        self.ask(client, "heartbeat", version, &request).map(drop)
    }

    fn describe(&mut self, client: &mut Client, group: &str, version: i16) -> Result<()> {
        let request =
            DescribeGroupsRequest { groups: vec![group.into()], include_authorized_operations: version >= 3 };
        self.ask(client, "describe", version, &request).map(drop)
    }

    fn commit_request(
        group: &str,
        member: &Str,
        generation: i32,
        partitions: &[(&str, i32)],
    ) -> OffsetCommitRequest {
        let topics = partitions.iter().map(|(topic, partition_index)| OffsetCommitRequestTopic {
            name: (*topic).into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: *partition_index,
                committed_offset: 7,
                committed_metadata: Some("text".into()),
                ..Default::default()
            }],
            ..Default::default()
        });
        OffsetCommitRequest {
            group_id: group.into(),
            generation_id_or_member_epoch: generation,
            member_id: member.clone(),
            topics: topics.collect(),
            ..Default::default()
        }
    }

    fn leave_request(group: &str, members: &[(&str, Option<&str>)], version: i16) -> LeaveGroupRequest {
        if version < 3 {
            return LeaveGroupRequest {
                group_id: group.into(),
                member_id: members[0].0.into(),
                ..Default::default()
            };
        }
        let members = members.iter().map(|(member, instance)| MemberIdentity {
            member_id: (*member).into(),
            group_instance_id: instance.map(Str::from),
            ..Default::default()
        });
        LeaveGroupRequest { group_id: group.into(), members: members.collect(), ..Default::default() }
    }

    /// From the first join to the deletion, with every API in the version that is nearest.
    fn life_of_a_group(&mut self, version: i16) -> Result<()> {
        let (group, other) = (&*format!("story-life-{version}"), version.min(4));
        let mut client = self.client()?;
        let joined = self.join(&mut client, version, &Self::join_request(group, &Str::EMPTY))?;
        let (member, generation) = (joined.member_id, joined.generation_id);
        self.describe(&mut client, group, version.min(6))?;
        let sync_version = version.min(5);
        let sync = Self::sync_request(group, &member, generation, sync_version, &[(&member, "mine")]);
        self.ask(&mut client, "sync", sync_version, &sync)?;
        self.heartbeat(&mut client, group, &member, generation, other)?;
        self.heartbeat(&mut client, group, &member, generation + 1, other)?;
        self.describe(&mut client, group, version.min(6))?;
        let commit_version = version.max(2);
        let commit =
            Self::commit_request(group, &member, generation, &[("story-t", 0), ("story-t", 9), ("no", 0)]);
        self.ask(&mut client, "commit", commit_version, &commit)?;
        self.fetch(&mut client, group, version.max(1), Some(&[("story-t", &[0, 1]), ("no", &[0])]))?;
        if version >= 2 {
            self.fetch(&mut client, group, version, None)?;
        }
        let leave_version = version.min(5);
        let leave = Self::leave_request(group, &[(&member, None)], leave_version);
        self.ask(&mut client, "leave", leave_version, &leave)?;
        self.ask(&mut client, "leave again", leave_version, &leave)?;
        self.describe(&mut client, group, version.min(6))?;
        let delete = DeleteGroupsRequest { groups_names: vec![group.into()] };
        self.ask(&mut client, "delete", version.min(3), &delete)?;
        self.ask(&mut client, "delete again", version.min(3), &delete)?;
        self.describe(&mut client, group, version.min(6))
    }

    fn fetch(
        &mut self,
        client: &mut Client,
        group: &str,
        version: i16,
        topics: Option<&[(&str, &[i32])]>,
    ) -> Result<()> {
        let request = if version < 8 {
            let topic = |(name, partitions): &(&str, &[i32])| OffsetFetchRequestTopic {
                name: (*name).into(),
                partition_indexes: partitions.to_vec(),
            };
            let topics = topics.map(|topics| topics.iter().map(topic).collect());
            OffsetFetchRequest {
                group_id: group.into(),
                topics,
                require_stable: version >= 7,
                ..Default::default()
            }
        } else {
            let topic = |(name, partitions): &(&str, &[i32])| OffsetFetchRequestTopics {
                name: (*name).into(),
                partition_indexes: partitions.to_vec(),
                ..Default::default()
            };
            let topics = topics.map(|topics| topics.iter().map(topic).collect());
            let groups =
                vec![OffsetFetchRequestGroup { group_id: group.into(), topics, ..Default::default() }];
            OffsetFetchRequest { groups, require_stable: true, ..Default::default() }
        };
        self.ask(client, "fetch", version, &request).map(drop)
    }

    fn member(&mut self, group: &str) -> Result<Member> {
        let mut client = self.client()?;
        let joined = self.join(&mut client, 9, &Self::join_request(group, &Str::EMPTY))?;
        Ok(Member { client, id: joined.member_id, generation: joined.generation_id })
    }

    fn two_members(&mut self) -> Result<()> {
        let group = "story-two";
        let mut first = self.member(group)?;
        let sync = Self::sync_request(group, &first.id, first.generation, 5, &[(&first.id, "all")]);
        self.ask(&mut first.client, "sync", 5, &sync)?;
        // The second waits in its JoinGroup until the first has rejoined.
        let mut client = self.client()?;
        let sent_away = self.ask(&mut client, "join", 9, &Self::join_request(group, &Str::EMPTY))?;
        let mut second = Member { client, id: sent_away.member_id, generation: 0 };
        second.client.send(9, &Self::join_request(group, &second.id))?;
        self.until_rebalancing(&mut first, group)?;
        let commit = Self::commit_request(group, &first.id, first.generation, &[("story-t", 1)]);
        self.ask(&mut first.client, "commit while members rejoin", 9, &commit)?;
        let sync = Self::sync_request(group, &first.id, first.generation, 5, &[]);
        self.ask(&mut first.client, "sync while members rejoin", 5, &sync)?;
        self.describe(&mut first.client, group, 6)?;
        let rejoined = self.ask(&mut first.client, "rejoin", 9, &Self::join_request(group, &first.id))?;
        let joined = self.hear::<JoinGroupRequest>(&mut second.client, "join", 9)?;
        (first.generation, second.generation) = (rejoined.generation_id, joined.generation_id);
        self.heartbeat(&mut second.client, group, &second.id, second.generation, 4)?;
        let commit = Self::commit_request(group, &second.id, second.generation, &[("story-t", 1)]);
        self.ask(&mut second.client, "commit before the assignment", 9, &commit)?;
        let sync = Self::sync_request(group, &second.id, second.generation, 5, &[]);
        second.client.send(5, &sync)?;
        let assignments = [(&first.id, "one"), (&second.id, "two")];
        let sync = Self::sync_request(group, &first.id, first.generation, 5, &assignments);
        self.ask(&mut first.client, "sync of the leader", 5, &sync)?;
        self.hear::<SyncGroupRequest>(&mut second.client, "sync of the follower", 5)?;
        self.ask(&mut second.client, "follower asks again", 9, &Self::join_request(group, &second.id))?;
        self.describe(&mut first.client, group, 6)?;
        // The leader goes.
        let leave = Self::leave_request(group, &[(&first.id, None)], 5);
        self.ask(&mut first.client, "leave", 5, &leave)?;
        self.heartbeat(&mut second.client, group, &second.id, second.generation, 4)?;
        self.ask(&mut second.client, "rejoin", 9, &Self::join_request(group, &second.id))?;
        let delete = DeleteGroupsRequest { groups_names: vec![group.into()] };
        self.ask(&mut second.client, "delete with members", 3, &delete)?;
        let leave = Self::leave_request(group, &[(&second.id, None), ("x", None), ("", Some("i"))], 5);
        self.ask(&mut second.client, "leave", 5, &leave).map(drop)
    }

    /// Waits, without notes, until a heartbeat says that the group rebalances.
    fn until_rebalancing(&mut self, member: &mut Member, group: &str) -> Result<()> {
        let mut last = 0;
        for _ in 0..200 {
            let request = HeartbeatRequest {
                group_id: group.into(),
                generation_id: member.generation,
                member_id: member.id.clone(),
                ..Default::default()
            };
            member.client.send(4, &request)?;
            last = member.client.receive::<HeartbeatRequest>(4)?.error_code;
            if last == 27 {
                return Ok(());
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        anyhow::bail!("no rebalance of {group}: heartbeats get {last}");
    }

    fn static_members(&mut self) -> Result<()> {
        let group = "story-static";
        let mut client = self.client()?;
        let request = JoinGroupRequest {
            group_instance_id: Some("i".into()),
            ..Self::join_request(group, &Str::EMPTY)
        };
        let first = self.ask(&mut client, "static join", 9, &request)?;
        let sync = SyncGroupRequest {
            group_instance_id: Some("i".into()),
            ..Self::sync_request(
                group,
                &first.member_id,
                first.generation_id,
                5,
                &[(&first.member_id, "all")],
            )
        };
        self.ask(&mut client, "static sync", 5, &sync)?;
        let second = self.ask(&mut client, "static replacement", 9, &request)?;
        let third = self.ask(&mut client, "static replacement", 8, &request)?;
        for member in [&first.member_id, &second.member_id, &third.member_id] {
            let heartbeat = HeartbeatRequest {
                group_id: group.into(),
                generation_id: third.generation_id,
                member_id: member.clone(),
                group_instance_id: Some("i".into()),
            };
            self.ask(&mut client, "static heartbeat", 4, &heartbeat)?;
            let commit = OffsetCommitRequest {
                group_instance_id: Some("i".into()),
                ..Self::commit_request(group, member, third.generation_id, &[("story-t", 0)])
            };
            self.ask(&mut client, "static commit", 9, &commit)?;
        }
        let sync = SyncGroupRequest {
            group_instance_id: Some("i".into()),
            ..Self::sync_request(group, &third.member_id, third.generation_id, 5, &[])
        };
        self.ask(&mut client, "static sync", 5, &sync)?;
        self.describe(&mut client, group, 5)?;
        let stranger = JoinGroupRequest {
            group_instance_id: Some("i".into()),
            ..Self::join_request(group, &"x".into())
        };
        self.ask(&mut client, "join as another", 9, &stranger)?;
        let stranger = JoinGroupRequest {
            group_instance_id: Some("j".into()),
            ..Self::join_request(group, &"x".into())
        };
        self.ask(&mut client, "join as another", 9, &stranger)?;
        let leave = Self::leave_request(group, &[("x", Some("i")), ("", Some("j")), ("", Some("i"))], 5);
        self.ask(&mut client, "leave", 5, &leave)?;
        self.describe(&mut client, group, 6)
    }

    fn refusals(&mut self, client: &mut Client) -> Result<()> {
        let good = Self::join_request("story-refused", &Str::EMPTY);
        let requests = [
            ("no group id", JoinGroupRequest { group_id: Str::EMPTY, ..good.clone() }),
            ("short session", JoinGroupRequest { session_timeout_ms: 5_999, ..good.clone() }),
            ("long session", JoinGroupRequest { session_timeout_ms: 1_800_001, ..good.clone() }),
            ("unknown member", JoinGroupRequest { member_id: "x".into(), ..good.clone() }),
            ("no protocols", JoinGroupRequest { protocols: Vec::new(), ..good.clone() }),
            ("no protocol type", JoinGroupRequest { protocol_type: Str::EMPTY, ..good.clone() }),
        ];
        for (what, request) in requests {
            for version in [2, 6, 9] {
                self.ask(client, &format!("join with {what}"), version, &request)?;
            }
        }
        let mut member = self.member("story-other-protocol")?;
        for (what, name, protocol_type) in [("protocol", "sticky", "consumer"), ("type", "range", "connect")]
        {
            let request = JoinGroupRequest {
                protocol_type: protocol_type.into(),
                protocols: vec![JoinGroupRequestProtocol { name: name.into(), metadata: bytes("") }],
                ..Self::join_request("story-other-protocol", &Str::EMPTY)
            };
            self.ask(client, &format!("join with another {what}"), 9, &request)?;
        }
        let (id, generation) = (member.id.clone(), member.generation);
        let sync = Self::sync_request("story-other-protocol", &id, generation, 5, &[]);
        let another = |protocol_type: Option<&str>, protocol_name: Option<&str>| SyncGroupRequest {
            protocol_type: protocol_type.map(Str::from),
            protocol_name: protocol_name.map(Str::from),
            ..sync.clone()
        };
        self.ask(client, "sync with another type", 5, &another(Some("connect"), Some("range")))?;
        self.ask(client, "sync with another protocol", 5, &another(Some("consumer"), Some("roundrobin")))?;
        self.ask(client, "sync without type", 5, &another(None, Some("range")))?;
        self.ask(
            client,
            "sync of another generation",
            5,
            &SyncGroupRequest { generation_id: 9, ..sync.clone() },
        )?;
        self.ask(
            client,
            "sync of a stranger",
            5,
            &SyncGroupRequest { member_id: "x".into(), ..sync.clone() },
        )?;
        self.ask(client, "sync without group", 3, &SyncGroupRequest::default())?;
        self.ask(client, "sync of an unknown group", 3, &Self::sync_request("no", &id, 1, 3, &[]))?;
        self.ask(client, "heartbeat without group", 4, &HeartbeatRequest::default())?;
        self.heartbeat(client, "no", &id, 1, 4)?;
        self.heartbeat(client, "story-other-protocol", &"x".into(), generation, 4)?;
        for version in 0..=5 {
            self.ask(
                client,
                "leave without group",
                version,
                &Self::leave_request("", &[("x", None)], version),
            )?;
            self.ask(
                client,
                "leave an unknown group",
                version,
                &Self::leave_request("no", &[("x", None)], version),
            )?;
        }
        let leave = Self::leave_request("story-other-protocol", &[(&id, None)], 5);
        self.ask(&mut member.client, "leave", 5, &leave).map(drop)
    }

    fn offsets(&mut self, client: &mut Client) -> Result<()> {
        let id = Str::EMPTY;
        for version in 2..=9 {
            let simple = Self::commit_request("story-simple", &id, -1, &[("story-t", 0), ("story-u", 0)]);
            self.ask(client, "simple commit", version, &simple)?;
            let unknown = Self::commit_request("story-unknown", &"m".into(), 3, &[("story-t", 0)]);
            self.ask(client, "commit of an unknown group", version, &unknown)?;
            let stranger = Self::commit_request("story-simple", &"m".into(), 3, &[("story-t", 0)]);
            self.ask(client, "commit of a stranger", version, &stranger)?;
            let nothing = Self::commit_request("story-simple", &id, -1, &[("no", 0)]);
            self.ask(client, "commit for nothing", version, &nothing)?;
        }
        let mut long = Self::commit_request("story-simple", &id, -1, &[("story-t", 1), ("story-t", 2)]);
        long.topics[0].partitions[0].committed_metadata = Some("x".repeat(4097).into());
        long.topics[1].partitions[0].committed_metadata = None;
        long.topics[1].partitions[0].committed_offset = -5;
        self.ask(client, "commit with long metadata", 9, &long)?;
        self.ask(client, "commit without group", 9, &Self::commit_request("", &id, -1, &[("story-t", 0)]))?;
        for version in 1..=9 {
            self.fetch(client, "story-simple", version, Some(&[("story-t", &[0, 1, 2, 9]), ("no", &[0])]))?;
            self.fetch(client, "story-none", version, Some(&[("story-t", &[0])]))?;
            if version >= 2 {
                self.fetch(client, "story-simple", version, None)?;
                self.fetch(client, "story-none", version, None)?;
            }
        }
        let metadata = MetadataRequest { topics: None, ..Default::default() };
        client.send(12, &metadata)?;
        let known = client.receive::<MetadataRequest>(12)?.topics;
        let ids: HashMap<_, _> =
            known.into_iter().map(|t| (t.name.unwrap_or_default(), t.topic_id)).collect();
        let (t, no) = (ids[&Str::from("story-t")], ottla_model::Uuid::from_u128(1 << 100));
        let mut by_id = Self::commit_request("story-ids", &id, -1, &[("", 1), ("", 9), ("", 0)]);
        by_id.topics[0].topic_id = t;
        by_id.topics[1].topic_id = t;
        by_id.topics[2].topic_id = no;
        self.ask(client, "commit by id", 10, &by_id)?;
        let topics = [t, no].map(|topic_id| OffsetFetchRequestTopics {
            topic_id,
            partition_indexes: vec![0, 1],
            ..Default::default()
        });
        for topics in [Some(topics.to_vec()), None] {
            let group =
                OffsetFetchRequestGroup { group_id: "story-ids".into(), topics, ..Default::default() };
            let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
            self.ask(client, "fetch by id", 10, &request)?;
        }
        Ok(())
    }

    fn administration(&mut self, client: &mut Client) -> Result<()> {
        for version in 0..=5 {
            self.ask(client, "list", version, &ListGroupsRequest::default())?;
        }
        for (states, types) in [
            (&["stable"][..], &[][..]),
            (&["EMPTY"], &["Classic"]),
            (&["nonsense"], &[]),
            (&[], &["consumer", "share"]),
            (&[], &["nonsense"]),
        ] {
            let texts = |texts: &[&str]| texts.iter().copied().map(Str::from).collect();
            let request = ListGroupsRequest { states_filter: texts(states), types_filter: texts(types) };
            self.ask(client, &format!("list {states:?} {types:?}"), 5, &request)?;
        }
        for version in 0..=6 {
            let groups = vec!["story-simple".into(), "story-none".into(), Str::EMPTY];
            let request = DescribeGroupsRequest { groups, include_authorized_operations: version >= 3 };
            self.ask(client, "describe", version, &request)?;
        }
        for (group, topic, partition) in [
            ("story-simple", "story-t", 0),
            ("story-simple", "no", 0),
            ("story-none", "story-t", 0),
            ("", "story-t", 0),
        ] {
            let topic = OffsetDeleteRequestTopic {
                name: topic.into(),
                partitions: [partition, 9]
                    .map(|partition_index| OffsetDeleteRequestPartition { partition_index })
                    .into(),
            };
            let request = OffsetDeleteRequest { group_id: group.into(), topics: vec![topic] };
            self.ask(client, &format!("delete offsets of {group:?}"), 0, &request)?;
        }
        let mut member = self.member("story-member")?;
        let sync = Self::sync_request("story-member", &member.id, member.generation, 5, &[]);
        self.ask(&mut member.client, "sync", 5, &sync)?;
        let topics = ["story-t", "story-u"].map(|name| OffsetDeleteRequestTopic {
            name: name.into(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        });
        let request = OffsetDeleteRequest { group_id: "story-member".into(), topics: topics.into() };
        self.ask(client, "delete offsets of a subscribed group", 0, &request)?;
        for version in 0..=3 {
            let groups_names =
                vec!["story-member".into(), "story-none".into(), Str::EMPTY, "story-none".into()];
            self.ask(client, "delete", version, &DeleteGroupsRequest { groups_names })?;
        }
        let groups_names = ["story-simple", "story-ids", "story-two", "story-static"].map(Str::from).into();
        self.ask(client, "delete", 3, &DeleteGroupsRequest { groups_names })?;
        let leave = Self::leave_request("story-member", &[(&member.id, None)], 5);
        self.ask(&mut member.client, "leave", 5, &leave)?;
        self.ask(client, "list", 5, &ListGroupsRequest::default()).map(drop)
    }
}

fn bytes(text: &str) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(text.as_bytes())
}

/// A consumer's subscription, version 0.
fn subscription(topics: &[&str]) -> bytes::Bytes {
    let mut encoder = Encoder::new();
    encoder.i16(0);
    encoder.i32(topics.len() as i32);
    for topic in topics {
        encoder.i16(topic.len() as i16);
        encoder.raw(topic.as_bytes());
    }
    encoder.i32(-1);
    encoder.finish_bytes().expect("a few bytes can be encoded")
}

/// The answer as masked text; the order of arrays is free, as Kafka's is that of hash maps.
fn text(tree: &Tree, mask: &dyn Fn(&str) -> String) -> String {
    match tree {
        Tree::Array(items) => {
            let mut items: Vec<String> = items.iter().map(|item| text(item, mask)).collect();
            items.sort();
            format!("[{}]", items.join(", "))
        }
        Tree::Struct(fields) => {
            let field = |(name, value): &(&str, Tree)| mask(&format!("{name}={}", text(value, mask)));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(" "))
        }
        Tree::Int(number) => number.to_string(),
        Tree::String(string) => format!("{string:?}"),
        Tree::Bytes(bytes) => format!("b{:?}", String::from_utf8_lossy(bytes)),
        Tree::Uuid(uuid) => format!("\"{uuid}\""),
        other => format!("{other:?}"),
    }
}
