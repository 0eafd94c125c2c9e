//! Who leads a partition, as clients are told: in metadata, and in answers to those who asked the wrong broker.

use std::collections::BTreeSet;

use ottla_metadata::{BrokerRegistration, Listener, MetadataImage, PartitionRegistration, TopicImage};
use ottla_model::{ErrorCode, LeaderEpoch, NodeId, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::fetch::{self, FetchResponse};
use ottla_protocol::api::produce::{self, ProduceResponse};

use super::RequestContext;

/// From these versions on, clients are told where to go instead (KIP-951).
const PRODUCE_LEADERS_VERSION: i16 = 10;
const FETCH_LEADERS_VERSION: i16 = 16;

/// Where clients of `listener` reach a broker that is not fenced.
pub fn endpoint<'a>(image: &'a MetadataImage, id: NodeId, listener: &str) -> Option<&'a Listener> {
    image.cluster.broker(id).filter(|known| !known.fenced)?.listener(listener)
}

/// The leader, if clients of `listener` can reach it.
///
/// Errors: LEADER_NOT_AVAILABLE, LISTENER_NOT_FOUND.
pub fn leader(
    image: &MetadataImage,
    partition: &PartitionRegistration,
    listener: &str,
) -> Result<NodeId, ErrorCode> {
    let registration = image.cluster.broker(partition.leader).filter(|known| !known.fenced);
    let registration = registration.ok_or(ErrorCode::LeaderNotAvailable)?;
    registration.listener(listener).map(|_| partition.leader).ok_or(ErrorCode::ListenerNotFound)
}

/// The replicas whose broker clients of `listener` cannot reach, or whose log directory is offline.
pub fn offline_replicas(
    image: &MetadataImage,
    partition: &PartitionRegistration,
    listener: &str,
) -> Vec<i32> {
    let has_log = |known: &BrokerRegistration| {
        partition.directory(known.id).is_none_or(|directory| known.has_online_directory(directory))
    };
    let is_online = |id: NodeId| {
        endpoint(image, id, listener).is_some()
            && image.cluster.broker(id).is_some_and(|known| has_log(known))
    };
    partition.replicas.iter().filter(|id| !is_online(**id)).map(|id| id.0).collect()
}

/// The broker that clients shall take for the controller: any will do, as each forwards. -1 if there is none.
pub fn controller(image: &MetadataImage, own: NodeId, listener: &str) -> i32 {
    let others = image.cluster.alive_brokers().map(|known| known.id);
    let mut candidates = std::iter::once(own).chain(others);
    candidates.find(|id| endpoint(image, *id, listener).is_some()).unwrap_or(NodeId::NONE).0
}

/// Adds to `response` who leads the partitions that this broker does not lead.
pub fn tell_producer(image: &MetadataImage, context: &RequestContext, response: &mut ProduceResponse) {
    if context.api_version < PRODUCE_LEADERS_VERSION {
        return;
    }
    let mut leaders = Leaders::default();
    for topic in &mut response.responses {
        for partition in &mut topic.partition_responses {
            if partition.error_code == ErrorCode::NotLeaderOrFollower.code()
                && let Some((leader, epoch)) = leaders.of(image, topic.topic_id, &topic.name, partition.index)
            {
                let (leader_id, leader_epoch) = (leader.0, epoch.0);
                partition.current_leader = produce::LeaderIdAndEpoch { leader_id, leader_epoch };
            }
        }
    }
    let node = |(id, at, rack)| produce::NodeEndpoint { node_id: id, host: host(at), port: port(at), rack };
    response.node_endpoints = leaders.endpoints(image, context).map(node).collect();
}

/// As [`tell_producer`], for consumers; also where they knew an older leader epoch.
pub fn tell_consumer(image: &MetadataImage, context: &RequestContext, response: &mut FetchResponse) {
    if context.api_version < FETCH_LEADERS_VERSION {
        return;
    }
    let moved = [ErrorCode::NotLeaderOrFollower.code(), ErrorCode::FencedLeaderEpoch.code()];
    let mut leaders = Leaders::default();
    for topic in &mut response.responses {
        for partition in &mut topic.partitions {
            let index = partition.partition_index;
            if moved.contains(&partition.error_code)
                && let Some((leader, epoch)) = leaders.of(image, topic.topic_id, &topic.topic, index)
            {
                let (leader_id, leader_epoch) = (leader.0, epoch.0);
                partition.current_leader = fetch::LeaderIdAndEpoch { leader_id, leader_epoch };
            }
        }
    }
    let node = |(id, at, rack)| fetch::NodeEndpoint { node_id: id, host: host(at), port: port(at), rack };
    response.node_endpoints = leaders.endpoints(image, context).map(node).collect();
}

fn host(listener: &Listener) -> Str {
    Str::from(&*listener.host)
}

fn port(listener: &Listener) -> i32 {
    listener.port.into()
}

/// The leaders that an answer names.
#[derive(Default)]
struct Leaders {
    named: BTreeSet<NodeId>,
}

impl Leaders {
    /// The leader of a partition of a topic, named by id or else by name.
    fn of(
        &mut self,
        image: &MetadataImage,
        id: Uuid,
        name: &str,
        partition: i32,
    ) -> Option<(NodeId, LeaderEpoch)> {
        let topic: &TopicImage =
            if id.is_zero() { image.topics.by_name(name)? } else { image.topics.by_id(id)? };
        let partition = topic.partitions.get(&partition)?;
        self.named.insert(partition.leader);
        Some((partition.leader, partition.leader_epoch))
    }

    fn endpoints<'a>(
        self,
        image: &'a MetadataImage,
        context: &'a RequestContext,
    ) -> impl Iterator<Item = (i32, &'a Listener, Option<Str>)> {
        self.named.into_iter().filter_map(|id| {
            let rack = image.cluster.broker(id)?.rack.as_deref().map(Str::from);
            Some((id.0, endpoint(image, id, &context.listener)?, rack))
        })
    }
}

#[cfg(test)]
mod tests {
    use ottla_metadata::{MetadataDelta, Provenance};
    use ottla_protocol::ApiKey;
    use ottla_protocol::records::metadata::{
        BrokerEndpoint, MetadataRecord, PartitionRecord, RegisterBrokerRecord, TopicRecord,
    };

    use super::*;

    const TOPIC: Uuid = Uuid::from_u128(77);

    fn directory(broker: i32) -> Uuid {
        Uuid::from_u128(1000 + broker as u128)
    }

    fn broker(broker_id: i32, listeners: &[&str], fenced: bool) -> MetadataRecord {
        let end_point = |name: &&str| BrokerEndpoint {
            name: Str::from(*name),
            host: Str::from(format!("host-{broker_id}")),
            port: 9092,
            security_protocol: 0,
        };
        let end_points = listeners.iter().map(end_point).collect();
        let log_dirs = vec![directory(broker_id)];
        RegisterBrokerRecord { broker_id, end_points, log_dirs, fenced, ..Default::default() }.into()
    }

    fn partition(partition_id: i32, leader: i32, directories: Vec<Uuid>) -> MetadataRecord {
        let replicas = vec![1, 2, 3, 4];
        let (isr, topic_id) = (vec![leader], TOPIC);
        PartitionRecord {
            partition_id,
            topic_id,
            replicas,
            isr,
            leader,
            leader_epoch: 5,
            directories,
            ..Default::default()
        }
        .into()
    }

    /// Brokers 1 and 2 are well, 3 has no EXTERNAL listener, 4 is fenced. They lead partitions 1 to 4; nobody leads 0.
    fn image() -> MetadataImage {
        let all: Vec<Uuid> = (1..=4).map(directory).collect();
        let lost = vec![directory(1), Uuid::from_u128(9999), directory(3), directory(4)];
        let records = [
            broker(1, &["PLAINTEXT", "EXTERNAL"], false),
            broker(2, &["PLAINTEXT", "EXTERNAL"], false),
            broker(3, &["PLAINTEXT"], false),
            broker(4, &["PLAINTEXT", "EXTERNAL"], true),
            TopicRecord { name: Str::from("t"), topic_id: TOPIC }.into(),
            partition(0, -1, all.clone()),
            partition(1, 1, lost),
            partition(3, 3, all.clone()),
            partition(4, 4, all),
        ];
        let mut delta = MetadataDelta::new(&MetadataImage::default());
        records.iter().for_each(|record| delta.replay(record).unwrap());
        delta.apply(Provenance::NONE)
    }

    #[test]
    fn clients_are_told_the_leaders_that_they_can_reach() {
        let image = image();
        let of = |index: i32, listener: &str| {
            let partition = image.topics.partition(TOPIC, index).unwrap();
            leader(&image, partition, listener).map_err(|error| error.code())
        };
        assert_eq!(of(0, "PLAINTEXT"), Err(5));
        assert_eq!(of(1, "EXTERNAL"), Ok(NodeId(1)));
        assert_eq!(of(3, "EXTERNAL"), Err(72));
        assert_eq!(of(3, "PLAINTEXT"), Ok(NodeId(3)));
        assert_eq!(of(4, "PLAINTEXT"), Err(5));
    }

    #[test]
    fn replicas_are_offline_without_broker_listener_or_directory() {
        let image = image();
        let of = |index: i32, listener: &str| {
            offline_replicas(&image, image.topics.partition(TOPIC, index).unwrap(), listener)
        };
        assert_eq!(of(3, "PLAINTEXT"), [4]);
        assert_eq!(of(3, "EXTERNAL"), [3, 4]);
        assert_eq!(of(1, "PLAINTEXT"), [2, 4]);
    }

    #[test]
    fn the_controller_is_this_broker_or_another_that_is_reached() {
        let image = image();
        assert_eq!(controller(&image, NodeId(2), "EXTERNAL"), 2);
        assert_eq!(controller(&image, NodeId(4), "EXTERNAL"), 1);
        assert_eq!(controller(&image, NodeId(2), "OTHER"), -1);
    }

    #[test]
    fn a_producer_at_the_wrong_broker_is_told_the_leader_and_its_address() {
        let context = |api_version| RequestContext {
            api_key: ApiKey::Produce,
            api_version,
            correlation_id: 0,
            client_id: None,
            peer: "127.0.0.1:1".parse().unwrap(),
            principal: super::super::anonymous(),
            listener: "EXTERNAL".into(),
            hurry: None,
        };
        let wrong = |index| produce::PartitionProduceResponse { index, error_code: 6, ..Default::default() };
        let responses = vec![produce::TopicProduceResponse {
            name: Str::from("t"),
            partition_responses: vec![wrong(1), wrong(3), wrong(9), Default::default()],
            ..Default::default()
        }];
        let asked = ProduceResponse { responses, ..Default::default() };
        let mut response = asked.clone();
        tell_producer(&image(), &context(9), &mut response);
        assert_eq!(response, asked, "too old to understand it");
        tell_producer(&image(), &context(10), &mut response);
        let told = &response.responses[0].partition_responses;
        let told: Vec<_> =
            told.iter().map(|p| (p.current_leader.leader_id, p.current_leader.leader_epoch)).collect();
        assert_eq!(told, [(1, 5), (3, 5), (-1, -1), (-1, -1)]);
        let nodes: Vec<_> = response.node_endpoints.iter().map(|node| (node.node_id, &*node.host)).collect();
        assert_eq!(nodes, [(1, "host-1")], "3 cannot be reached on this listener");
    }
}
