//! A controller of many brokers, driven by commands; prints the answers and the records that were written.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ottla_controller::{Outcome, Random};
use ottla_model::{ErrorCode, Millis, NodeId, Offset, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::alter_partition::{
    AlterPartitionRequest, AlterPartitionRequestPartitionData, AlterPartitionRequestTopicData, BrokerState,
};
use ottla_protocol::api::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use ottla_protocol::api::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsRequestDirectoryData,
    AssignReplicasToDirsRequestPartitionData, AssignReplicasToDirsRequestTopicData,
};
use ottla_protocol::api::broker_heartbeat::BrokerHeartbeatRequest;
use ottla_protocol::api::broker_registration::{BrokerRegistrationRequest, Feature, Listener};
use ottla_protocol::api::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use ottla_protocol::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use ottla_protocol::api::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use ottla_protocol::api::unregister_broker::UnregisterBrokerRequest;
use ottla_protocol::api::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};
use ottla_protocol::records::metadata::MetadataRecord;
use ottla_scenario::{Words, numbers};

use crate::cluster::{Cluster, WITH_ELR, WITHOUT_ELR, config, ids};

pub struct World {
    cluster: Cluster,
    /// Broker epochs of the last registration of each.
    epochs: BTreeMap<i32, i64>,
    printed: String,
}

impl Default for World {
    fn default() -> Self {
        Self { cluster: Cluster::new(WITH_ELR), epochs: BTreeMap::new(), printed: String::new() }
    }
}

/// The numbers among the plain words.
fn brokers(words: &Words<'_>) -> impl Iterator<Item = i32> {
    words.plain().filter_map(|word| word.parse().ok())
}

/// `topic-partition`
fn topic_partition(word: &str) -> (&str, i32) {
    let (topic, partition) = word.rsplit_once('-').unwrap();
    (topic, partition.parse().unwrap())
}

/// Directories are shown by number: `10 * broker + n`.
fn directory(number: i64) -> Uuid {
    Uuid::from_u128(1_000_000 + number as u128)
}

fn directory_name(id: &Uuid) -> String {
    match *id {
        Uuid::ONE => "unassigned".into(),
        Uuid::ZERO => "migrating".into(),
        Uuid::LOST_DIRECTORY => "lost".into(),
        id => (u128::from_be_bytes(id.0) - 1_000_000).to_string(),
    }
}

fn error(code: i16) -> &'static str {
    ErrorCode::from_code(code).unwrap().name()
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    format!("[{}]", items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(","))
}

impl World {
    pub fn run(&mut self, command: &str) -> String {
        let words = &Words::new(command);
        match words.verb() {
            "cluster" => *self = Self { cluster: Cluster::new(features(words)), ..Self::default() },
            "now" => self.cluster.now = Millis(brokers(words).next().unwrap().into()),
            "start" => brokers(words).for_each(|id| self.start(id, words)),
            "register" => brokers(words).for_each(|id| self.register(id, words)),
            "heartbeat" => brokers(words).for_each(|id| self.heartbeat(id, words)),
            "check" => self.fence(),
            "create" => self.create(words),
            "delete" => self.delete(words),
            "alter" => self.alter(words),
            "reassign" => self.reassign(words),
            "elect" => self.elect(words),
            "balance" => {
                let records = self.cluster.controller.balance_leaders();
                self.append(records);
            }
            "elect-uncleanly" => {
                let records = self.cluster.controller.elect_uncleanly();
                self.append(records);
            }
            "assign" => self.assign(words),
            "unregister" => brokers(words).for_each(|id| self.unregister(id)),
            "upgrade" => self.update(words, 1),
            "downgrade" => self.update(words, 2),
            "failover" => self.failover(),
            "show" => words.plain().for_each(|topic| self.show(topic)),
            "brokers" => self.brokers(),
            unknown => panic!("unknown command {unknown}"),
        }
        std::mem::take(&mut self.printed)
    }

    fn say(&mut self, text: impl AsRef<str>) {
        writeln!(self.printed, "{}", text.as_ref()).unwrap();
    }

    fn append(&mut self, records: Vec<MetadataRecord>) {
        let before = self.cluster.controller.image().clone();
        self.cluster.append(records.clone());
        let after = self.cluster.controller.image().clone();
        let topic = |id: Uuid| {
            let known = after.topics.by_id(id).or_else(|| before.topics.by_id(id));
            known.map_or_else(|| id.to_string(), |topic| topic.name.to_string())
        };
        for record in records {
            let text = describe(&record, topic);
            self.say(format!("  {text}"));
        }
    }

    fn perform<R>(&mut self, outcome: Outcome<R>, answer: impl FnOnce(&R) -> String) {
        let answer = answer(&outcome.response);
        self.say(answer);
        self.append(outcome.records);
    }

    fn start(&mut self, id: i32, words: &Words<'_>) {
        self.register(id, words);
        self.heartbeat(id, &Words::new("heartbeat"));
    }

    fn register(&mut self, id: i32, words: &Words<'_>) {
        let feature = |feature: &ottla_metadata::features::SupportedFeature| Feature {
            name: Str::from(feature.name),
            min_supported_version: feature.min,
            max_supported_version: match feature.name {
                "metadata.version" => words.number("mv", feature.max.into()) as i16,
                _ => feature.max,
            },
        };
        let incarnation = words.number("incarnation", 1);
        let directories = words.get("dirs").map_or(vec![10 * id + 1], numbers);
        let previous = match words.get("previous") {
            Some("same") => self.epochs[&id],
            Some(epoch) => epoch.parse().unwrap(),
            None => -1,
        };
        let (name, host) = (Str::from("PLAINTEXT"), Str::from("h"));
        let request = BrokerRegistrationRequest {
            broker_id: id,
            cluster_id: Str::from(words.get("cluster").unwrap_or("cluster")),
            incarnation_id: Uuid::from_u128(1000 * id as u128 + incarnation as u128),
            listeners: vec![Listener { name, host, port: 9092, security_protocol: 0 }],
            features: ottla_metadata::features::SUPPORTED.iter().map(feature).collect(),
            rack: words.get("rack").map(Str::from),
            log_dirs: directories.into_iter().map(|number| directory(number.into())).collect(),
            previous_broker_epoch: previous,
            ..Default::default()
        };
        let outcome = self.cluster.controller.register_broker(self.cluster.now, &request);
        if outcome.response.error_code == 0 {
            self.epochs.insert(id, outcome.response.broker_epoch);
        }
        self.perform(outcome, |response| format!("register {id}: {}", error(response.error_code)));
    }

    fn heartbeat(&mut self, id: i32, words: &Words<'_>) {
        let read = self.cluster.log.len() as i64 - 1;
        let request = BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: words.number("epoch", self.epochs.get(&id).copied().unwrap_or(-1)),
            current_metadata_offset: words.number("read", read),
            want_fence: words.has("fence"),
            want_shut_down: words.has("stop"),
            offline_log_dirs: words
                .get("offline")
                .map(|dirs| numbers(dirs).into_iter().map(|n| directory(n.into())).collect())
                .unwrap_or_default(),
            cordoned_log_dirs: None,
        };
        let outcome = self.cluster.controller.heartbeat(self.cluster.now, &request);
        self.perform(outcome, |response| {
            let mut answer = format!("heartbeat {id}: {}", error(response.error_code));
            for (word, said) in [
                (" behind", !response.is_caught_up),
                (" fenced", response.is_fenced),
                (" may stop", response.should_shut_down),
            ] {
                answer += if said { word } else { "" };
            }
            answer
        });
    }

    fn fence(&mut self) {
        loop {
            let records = self.cluster.controller.fence_stale_broker(self.cluster.now);
            if records.is_empty() {
                return;
            }
            self.say("check");
            self.append(records);
        }
    }

    /// `create t replicas=1,2/2,3` or `create t partitions=3 factor=2`; other words are configs.
    fn create(&mut self, words: &Words<'_>) {
        let name = words.plain().next().unwrap();
        let assignments = words.get("replicas").map(|text| {
            let partition = |(partition_index, ids)| CreatableReplicaAssignment {
                partition_index,
                broker_ids: numbers(ids),
            };
            (0..).zip(text.split('/')).map(partition).collect()
        });
        let configs = words.pairs();
        let configs = configs.filter(|(key, _)| key.contains('.')).map(|(name, value)| {
            CreatableTopicConfig { name: Str::from(name), value: Some(Str::from(value)) }
        });
        let topic = CreatableTopic {
            name: Str::from(name),
            num_partitions: words.number("partitions", -1) as i32,
            replication_factor: words.number("factor", -1) as i16,
            assignments: assignments.unwrap_or_default(),
            configs: configs.collect(),
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let outcome = self.cluster.controller.create_topics(&request);
        self.perform(outcome, |response| {
            let topic = &response.topics[0];
            match topic.error_code {
                0 => format!("create {name}: NONE"),
                code => format!(
                    "create {name}: {} {:?}",
                    error(code),
                    topic.error_message.as_deref().unwrap_or("")
                ),
            }
        });
    }

    fn delete(&mut self, words: &Words<'_>) {
        let name = words.plain().next().unwrap();
        let topics = vec![DeleteTopicState { name: Some(Str::from(name)), ..Default::default() }];
        let outcome =
            self.cluster.controller.delete_topics(&DeleteTopicsRequest { topics, ..Default::default() });
        self.perform(outcome, |response| {
            format!("delete {name}: {}", error(response.responses[0].error_code))
        });
    }

    /// `alter t-0 by=1 isr=1,2`: epochs are the right ones unless given as a difference.
    fn alter(&mut self, words: &Words<'_>) {
        let (topic, index) = topic_partition(words.plain().next().unwrap());
        let partition = self.cluster.partition(topic, index);
        let topic_id = self.cluster.controller.image().topics.by_name(topic).unwrap().id;
        let leader = words.number("by", partition.leader.0.into()) as i32;
        let epochs = &self.epochs;
        let state = |id: i32| BrokerState {
            broker_id: id,
            broker_epoch: match words.get("old") {
                Some(old) if numbers(old).contains(&id) => epochs[&id] - 1,
                _ => epochs.get(&id).copied().unwrap_or(-1),
            },
        };
        let data = AlterPartitionRequestPartitionData {
            partition_index: index,
            leader_epoch: partition.leader_epoch.0 + words.number("leader-epoch", 0) as i32,
            new_isr_with_epochs: numbers(words.get("isr").unwrap()).into_iter().map(state).collect(),
            leader_recovery_state: words.number("recovery", 0) as i8,
            partition_epoch: partition.partition_epoch.0 + words.number("partition-epoch", 0) as i32,
            ..Default::default()
        };
        let request = AlterPartitionRequest {
            broker_id: leader,
            broker_epoch: words.number("epoch", epochs[&leader]),
            topics: vec![AlterPartitionRequestTopicData { topic_id, partitions: vec![data] }],
        };
        let outcome = self.cluster.controller.alter_partition(&request);
        self.perform(outcome, |response| match response.topics.first() {
            None => format!("alter {topic}-{index}: {} for all", error(response.error_code)),
            Some(topics) => {
                let partition = &topics.partitions[0];
                let isr = list(&partition.isr);
                match partition.error_code {
                    0 => format!("alter {topic}-{index}: NONE isr={isr} epoch={}", partition.partition_epoch),
                    code => format!("alter {topic}-{index}: {}", error(code)),
                }
            }
        });
    }

    /// `reassign t-0 to=3,4`, `reassign t-0` to cancel.
    fn reassign(&mut self, words: &Words<'_>) {
        let (topic, index) = topic_partition(words.plain().next().unwrap());
        let replicas = words.get("to").map(numbers);
        let partition = ReassignablePartition { partition_index: index, replicas };
        let topics = vec![ReassignableTopic { name: Str::from(topic), partitions: vec![partition] }];
        let allow_replication_factor_change = !words.has("same-factor");
        let request = AlterPartitionReassignmentsRequest {
            topics,
            allow_replication_factor_change,
            ..Default::default()
        };
        let outcome = self.cluster.controller.alter_partition_reassignments(&request);
        self.perform(outcome, |response| {
            format!("reassign {topic}-{index}: {}", error(response.responses[0].partitions[0].error_code))
        });
    }

    /// `elect preferred t-0`
    fn elect(&mut self, words: &Words<'_>) {
        let election_type = i8::from(words.has("unclean"));
        let (topic, index) = topic_partition(words.plain().nth(1).unwrap());
        let topic_partitions =
            Some(vec![TopicPartitions { topic: Str::from(topic), partitions: vec![index] }]);
        let request = ElectLeadersRequest { election_type, topic_partitions, ..Default::default() };
        let outcome = self.cluster.controller.elect_leaders(&request);
        self.perform(outcome, |response| {
            let result = &response.replica_election_results[0].partition_result[0];
            format!("elect {topic}-{index}: {}", error(result.error_code))
        });
    }

    /// `assign 1 dir=12 t-0`
    fn assign(&mut self, words: &Words<'_>) {
        let broker_id = brokers(words).next().unwrap();
        let (topic, index) = topic_partition(words.plain().nth(1).unwrap());
        let known = self.cluster.controller.image().topics.by_name(topic);
        let topic_id = known.map_or(Uuid::from_u128(5_000_000), |topic| topic.id);
        let partitions = vec![AssignReplicasToDirsRequestPartitionData { partition_index: index }];
        let topics = vec![AssignReplicasToDirsRequestTopicData { topic_id, partitions }];
        let id = match words.get("dir") {
            Some("lost") => Uuid::LOST_DIRECTORY,
            number => directory(number.unwrap().parse().unwrap()),
        };
        let request = AssignReplicasToDirsRequest {
            broker_id,
            broker_epoch: words.number("epoch", self.epochs[&broker_id]),
            directories: vec![AssignReplicasToDirsRequestDirectoryData { id, topics }],
        };
        let outcome = self.cluster.controller.assign_replicas_to_dirs(&request);
        self.perform(outcome, |response| match response.directories.first() {
            None => format!("assign {topic}-{index}: {} for all", error(response.error_code)),
            Some(directory) => {
                format!("assign {topic}-{index}: {}", error(directory.topics[0].partitions[0].error_code))
            }
        });
    }

    fn unregister(&mut self, broker_id: i32) {
        let outcome = self.cluster.controller.unregister_broker(&UnregisterBrokerRequest { broker_id });
        self.perform(outcome, |response| format!("unregister {broker_id}: {}", error(response.error_code)));
    }

    /// `upgrade metadata.version=33`
    fn update(&mut self, words: &Words<'_>, upgrade_type: i8) {
        let (feature, level) = words.pairs().next().unwrap();
        let update = FeatureUpdateKey {
            feature: Str::from(feature),
            max_version_level: level.parse().unwrap(),
            upgrade_type,
            ..Default::default()
        };
        let request = UpdateFeaturesRequest { feature_updates: vec![update], ..Default::default() };
        let outcome = self.cluster.controller.update_features(&request, 1).outcome;
        self.perform(outcome, |response| match response.error_code {
            0 => format!("{feature}={level}: NONE"),
            code => {
                let message = response.error_message.as_deref().unwrap_or("");
                let reason = message.rsplit_once("error: ").map_or(message, |(_, reason)| reason);
                format!("{feature}={level}: {} {reason}", error(code))
            }
        });
    }

    /// Another node becomes the active controller: it has the log, and no sessions.
    fn failover(&mut self) {
        let mut registered_at = BTreeMap::new();
        for (record, offset) in self.cluster.log.iter().zip(0..) {
            if let MetadataRecord::RegisterBroker(record) = record {
                registered_at.insert(NodeId(record.broker_id), Offset(offset));
            }
        }
        let image = self.cluster.controller.image().clone();
        let end = Offset(self.cluster.log.len() as i64);
        let random = Random::from_seed([5, 6]);
        let now = self.cluster.now;
        self.cluster.controller =
            ottla_controller::Controller::new(now, config(), image, end, registered_at, random);
        let records = self.cluster.controller.activate(&[], false);
        self.append(records);
    }

    fn show(&mut self, topic: &str) {
        let known = self.cluster.controller.image().topics.by_name(topic).cloned();
        let Some(known) = known else { return self.say(format!("{topic} is gone")) };
        for (index, p) in &known.partitions {
            let mut text = format!(
                "{topic}-{index} leader={} epoch={} replicas={} isr={}",
                p.leader,
                p.leader_epoch,
                list(ids(&p.replicas)),
                list(ids(&p.isr))
            );
            for (name, nodes) in [
                ("elr", &p.elr),
                ("last-known", &p.last_known_elr),
                ("adding", &p.adding_replicas),
                ("removing", &p.removing_replicas),
            ] {
                if !nodes.is_empty() {
                    write!(text, " {name}={}", list(ids(nodes))).unwrap();
                }
            }
            if p.leader_recovery_state as i8 == 1 {
                text += " recovering";
            }
            self.say(text);
        }
    }

    fn brokers(&mut self) {
        let image = self.cluster.controller.image().clone();
        for broker in image.cluster.brokers() {
            let mut text =
                format!("{} dirs={}", broker.id, list(broker.directories.iter().map(directory_name)));
            text += if broker.fenced { " fenced" } else { "" };
            text += if broker.in_controlled_shutdown { " stopping" } else { "" };
            self.say(text);
        }
    }
}

fn features(words: &Words<'_>) -> &'static [(&'static str, i16)] {
    match (words.get("mv"), words.has("elr")) {
        (Some("11"), _) => &[("metadata.version", 11)],
        (Some("29"), _) => &[("metadata.version", 29)],
        (_, true) => WITH_ELR,
        _ => WITHOUT_ELR,
    }
}

/// What a record changes, without what stays.
fn describe(record: &MetadataRecord, topic: impl Fn(Uuid) -> String) -> String {
    match record {
        MetadataRecord::RegisterBroker(r) => {
            let fenced = if r.fenced { "fenced" } else { "unfenced" };
            format!("broker {} registered epoch={} {fenced}", r.broker_id, r.broker_epoch)
        }
        MetadataRecord::UnregisterBroker(r) => format!("broker {} unregistered", r.broker_id),
        MetadataRecord::BrokerRegistrationChange(r) => {
            let mut text = format!("broker {}", r.broker_id);
            text += match r.fenced {
                1 => " fenced",
                -1 => " unfenced",
                _ => "",
            };
            text += if r.in_controlled_shutdown == 1 { " stopping" } else { "" };
            if !r.log_dirs.is_empty() {
                write!(text, " dirs={}", list(r.log_dirs.iter().map(directory_name))).unwrap();
            }
            text
        }
        MetadataRecord::Topic(r) => format!("topic {}", &*r.name),
        MetadataRecord::RemoveTopic(r) => format!("topic {} removed", topic(r.topic_id)),
        MetadataRecord::Partition(r) => format!(
            "{}-{} leader={} replicas={} isr={} dirs={}",
            topic(r.topic_id),
            r.partition_id,
            r.leader,
            list(&r.replicas),
            list(&r.isr),
            list(r.directories.iter().map(directory_name)),
        ),
        MetadataRecord::PartitionChange(r) => {
            let mut text = format!("{}-{}", topic(r.topic_id), r.partition_id);
            if r.leader != -2 {
                write!(text, " leader={}", r.leader).unwrap();
            }
            for (name, nodes) in [
                ("replicas", &r.replicas),
                ("isr", &r.isr),
                ("adding", &r.adding_replicas),
                ("removing", &r.removing_replicas),
                ("elr", &r.eligible_leader_replicas),
                ("last-known", &r.last_known_elr),
            ] {
                if let Some(nodes) = nodes {
                    write!(text, " {name}={}", list(nodes)).unwrap();
                }
            }
            if let Some(directories) = &r.directories {
                write!(text, " dirs={}", list(directories.iter().map(directory_name))).unwrap();
            }
            text += match r.leader_recovery_state {
                0 => " recovered",
                1 => " recovering",
                _ => "",
            };
            text
        }
        MetadataRecord::FeatureLevel(r) => format!("feature {}={}", &*r.name, r.feature_level),
        MetadataRecord::Config(r) => {
            let value = r.value.as_deref().unwrap_or("-");
            format!("config {}:{:?} {}={value}", r.resource_type, &*r.resource_name, &*r.name)
        }
        other => other.name().to_owned(),
    }
}
