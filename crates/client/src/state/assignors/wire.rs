//! Subscriptions, assignments and user data as bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ottla_model::TopicPartition;
use ottla_protocol::records::embedded::{
    ConsumerProtocolAssignment, ConsumerProtocolAssignmentTopicPartition, ConsumerProtocolSubscription,
    ConsumerProtocolSubscriptionTopicPartition,
};
use ottla_protocol::{DecodeError, Decoder, EncodeError, Message};

use super::Subscription;
use super::sticky::Claim;

/// The version of subscriptions and assignments that is written; newer ones are read as this one.
const SUBSCRIPTION_VERSION: i16 = 3;

/// Metadata of a protocol in JoinGroup. Topics and partitions are sorted: the same subscription gives the same bytes,
/// and a member that joins again unchanged causes no rebalance.
pub fn encode_subscription(subscription: &Subscription) -> Result<Bytes, EncodeError> {
    let mut topics = subscription.topics.clone();
    topics.sort();
    let message = ConsumerProtocolSubscription {
        topics: topics.iter().map(|topic| (&**topic).into()).collect(),
        user_data: subscription.user_data.clone(),
        owned_partitions: by_topic(&subscription.owned)
            .map(|(topic, partitions)| ConsumerProtocolSubscriptionTopicPartition {
                topic: topic.into(),
                partitions,
            })
            .collect(),
        generation_id: subscription.generation,
        rack_id: subscription.rack.clone(),
    };
    versioned(&message)
}

/// Reads a member's metadata; versions 0 and 1 leave the generation at -1.
pub fn decode_subscription(bytes: Bytes) -> Result<Subscription, DecodeError> {
    let message: ConsumerProtocolSubscription = read_versioned(bytes)?;
    Ok(Subscription {
        topics: message.topics.iter().map(|topic| Arc::from(topic.as_str())).collect(),
        user_data: message.user_data,
        owned: message
            .owned_partitions
            .iter()
            .flat_map(|owned| expand(&owned.topic, &owned.partitions))
            .collect(),
        generation: message.generation_id,
        rack: message.rack_id,
    })
}

/// A member's part of SyncGroup.
pub fn encode_assignment(partitions: &[TopicPartition]) -> Result<Bytes, EncodeError> {
    let message = ConsumerProtocolAssignment {
        assigned_partitions: by_topic(partitions)
            .map(|(topic, partitions)| ConsumerProtocolAssignmentTopicPartition {
                topic: topic.into(),
                partitions,
            })
            .collect(),
        user_data: None,
    };
    versioned(&message)
}

/// Reads an assignment; no bytes at all mean nothing assigned.
pub fn decode_assignment(bytes: Bytes) -> Result<Vec<TopicPartition>, DecodeError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let message: ConsumerProtocolAssignment = read_versioned(bytes)?;
    Ok(message
        .assigned_partitions
        .iter()
        .flat_map(|assigned| expand(&assigned.topic, &assigned.partitions))
        .collect())
}

fn versioned(message: &impl Message) -> Result<Bytes, EncodeError> {
    let mut bytes = BytesMut::new();
    bytes.put_i16(SUBSCRIPTION_VERSION);
    bytes.put(message.encode_to_bytes(SUBSCRIPTION_VERSION)?);
    Ok(bytes.freeze())
}

/// What follows the last known field of a newer version is not looked at.
fn read_versioned<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut d = Decoder::new(bytes);
    let version = d.i16()?.min(SUBSCRIPTION_VERSION);
    M::decode(&mut d, version)
}

fn by_topic(partitions: &[TopicPartition]) -> impl Iterator<Item = (&str, Vec<i32>)> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    topics.into_iter().map(|(topic, mut partitions)| {
        partitions.sort_unstable();
        (topic, partitions)
    })
}

fn expand(topic: &str, partitions: &[i32]) -> Vec<TopicPartition> {
    let topic: Arc<str> = topic.into();
    partitions.iter().map(|&partition| TopicPartition { topic: topic.clone(), partition }).collect()
}

/// User data of the sticky assignor, version 1: `[topic [partition]] generation`.
pub(super) fn encode_sticky_user_data(assigned: &[TopicPartition], generation: i32) -> Bytes {
    let mut bytes = BytesMut::new();
    let topics: Vec<_> = by_topic(assigned).collect();
    bytes.put_i32(topics.len() as i32);
    for (topic, partitions) in topics {
        // Names of topics have at most 249 bytes.
        bytes.put_i16(topic.len() as i16);
        bytes.put_slice(topic.as_bytes());
        bytes.put_i32(partitions.len() as i32);
        partitions.iter().for_each(|&partition| bytes.put_i32(partition));
    }
    bytes.put_i32(generation);
    bytes.freeze()
}

/// What a member of the sticky assignor had, which only its user data tells: the fields are empty, as everything is
/// given up before joining. Version 0 has no generation. Unreadable user data claims nothing.
pub(super) fn sticky_claim(subscription: &Subscription) -> Claim {
    let read = |mut bytes: Bytes| -> Option<Claim> {
        let mut owned = Vec::new();
        for _ in 0..bytes.try_get_i32().ok()? {
            let len = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
            let topic = (bytes.len() >= len).then(|| bytes.split_to(len))?;
            let topic: Arc<str> = std::str::from_utf8(&topic).ok()?.into();
            for _ in 0..bytes.try_get_i32().ok()? {
                owned.push(TopicPartition { topic: topic.clone(), partition: bytes.try_get_i32().ok()? });
            }
        }
        Some(Claim { owned, generation: bytes.try_get_i32().unwrap_or(-1) })
    };
    subscription.user_data.clone().and_then(read).unwrap_or(Claim { owned: Vec::new(), generation: -1 })
}

/// What a cooperative member has: its owned partitions, in the generation of the field, or of the user data for
/// members that write version 1.
pub(super) fn cooperative_claim(subscription: &Subscription) -> Claim {
    let mut generation = subscription.generation;
    if generation < 0 {
        let user_data = subscription.user_data.clone();
        generation = user_data.and_then(|mut bytes| bytes.try_get_i32().ok()).unwrap_or(-1);
    }
    Claim { owned: subscription.owned.clone(), generation }
}
