//! Records of `__consumer_offsets` to and from bytes: a key is `i16 type, body`, a value `i16 version, body`.
//! Layouts are those of [`ottla_protocol::records::group`]; the offset commit, of which there are
//! most by far, is written by hand.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use ottla_model::{Millis, Offset};
use ottla_protocol::records::group::{
    GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetCommitKey, OffsetCommitValue,
};
use ottla_protocol::{DecodeError, Decoder, Encoder, Message, Str};

use crate::classic::ClassicGroup;
use crate::event::Record;
use crate::offsets::OffsetAndMetadata;
use crate::other::GroupType;

const LEGACY_OFFSET_COMMIT: i16 = 0;
const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;

/// Written if an old client chose a retention time: the only version that can say so.
const OFFSET_COMMIT_WITH_EXPIRY_VERSION: i16 = 1;
const OFFSET_COMMIT_VERSION: i16 = 4;
const GROUP_METADATA_VERSION: i16 = 3;

/// A key or value of a known type that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeRecordError {
    #[error("read a record key of {0} bytes")]
    ShortKey(usize),
    #[error("read a record of type {record_type}: {source}")]
    Body { record_type: i16, source: DecodeError },
}

/// Bytes that share nothing with the frame they came from.
pub(crate) fn copied(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

pub(crate) fn offset_commit(group: &str, topic: &str, partition: i32, value: &OffsetAndMetadata) -> Record {
    let mut buffer = BytesMut::with_capacity(64 + group.len() + topic.len() + value.metadata.len());
    put_offset_key(&mut buffer, group, topic, partition);
    let key = buffer.split().freeze();
    match value.expire_timestamp {
        Some(expire_timestamp) => {
            buffer.put_i16(OFFSET_COMMIT_WITH_EXPIRY_VERSION);
            buffer.put_i64(value.offset);
            put_string(&mut buffer, &value.metadata);
            buffer.put_i64(value.commit_timestamp.0);
            buffer.put_i64(expire_timestamp.0);
        }
        None => {
            buffer.put_i16(OFFSET_COMMIT_VERSION);
            buffer.put_i64(value.offset);
            buffer.put_i32(value.leader_epoch);
            put_uvarint(&mut buffer, value.metadata.len() as u32 + 1);
            buffer.put_slice(value.metadata.as_bytes());
            buffer.put_i64(value.commit_timestamp.0);
            if value.topic_id.is_zero() {
                buffer.put_u8(0);
            } else {
                // One tagged field: tag 0, 16 bytes.
                buffer.put_slice(&[1, 0, 16]);
                buffer.put_slice(&value.topic_id.0);
            }
        }
    }
    Record { key, value: Some(buffer.freeze()) }
}

pub(crate) fn offset_tombstone(group: &str, topic: &str, partition: i32) -> Record {
    let mut buffer = BytesMut::with_capacity(10 + group.len() + topic.len());
    put_offset_key(&mut buffer, group, topic, partition);
    Record { key: buffer.freeze(), value: None }
}

fn put_offset_key(buffer: &mut BytesMut, group: &str, topic: &str, partition: i32) {
    buffer.put_i16(OFFSET_COMMIT);
    put_string(buffer, group);
    put_string(buffer, topic);
    buffer.put_i32(partition);
}

/// Strings come from requests and records, where they cannot be longer than an i16 says.
fn put_string(buffer: &mut BytesMut, text: &str) {
    debug_assert!(text.len() <= i16::MAX as usize);
    buffer.put_i16(text.len() as i16);
    buffer.put_slice(text.as_bytes());
}

fn put_uvarint(buffer: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

/// The group without members, as it is first written.
pub(crate) fn new_group(group: &ClassicGroup) -> Record {
    group_metadata(group, None)
}

/// The group as it is; `assignments` instead of those the members hold.
pub(crate) fn group_metadata(group: &ClassicGroup, assignments: Option<&BTreeMap<Str, Bytes>>) -> Record {
    let members = group.members.iter().map(|(member_id, member)| {
        let assignment = match assignments {
            None => member.state.assignment.clone(),
            Some(assignments) => assignments.get(member_id).cloned().unwrap_or_default(),
        };
        MemberMetadata {
            member_id: member_id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.state.client_id.clone(),
            client_host: member.state.client_host.clone(),
            rebalance_timeout: member.state.rebalance_timeout_ms,
            session_timeout: member.state.session_timeout_ms,
            subscription: member.metadata(group.protocol_name.as_ref()),
            assignment,
        }
    });
    let value = GroupMetadataValue {
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        generation: group.generation,
        protocol: group.protocol_name.clone(),
        leader: group.leader.clone(),
        current_state_timestamp: group.state_since.unwrap_or(Millis::NONE).0,
        members: members.collect(),
    };
    Record {
        key: group_key(&group.id),
        value: Some(framed(GROUP_METADATA_VERSION, &value, GROUP_METADATA_VERSION)),
    }
}

pub(crate) fn group_tombstone(group: &Str) -> Record {
    Record { key: group_key(group), value: None }
}

fn group_key(group: &Str) -> Bytes {
    framed(GROUP_METADATA, &GroupMetadataKey { group: group.clone() }, 0)
}

/// Every field here has been through a request or a record of the same limits, so it can be encoded.
fn framed(prefix: i16, message: &impl Message, version: i16) -> Bytes {
    let mut encoder = Encoder::new();
    encoder.i16(prefix);
    let encoded = message.encode(&mut encoder, version).and_then(|()| encoder.finish_bytes());
    encoded.expect("invariant: what was decoded can be encoded")
}

/// A record as far as it matters here; the strings are copies.
pub(crate) enum Decoded {
    Offset {
        group: Str,
        topic: Str,
        partition: i32,
        value: Option<OffsetAndMetadata>,
    },
    Group {
        group: Str,
        value: Option<GroupMetadataValue>,
    },
    /// Of a group type that is not served here.
    Other {
        kind: GroupType,
        record_type: i16,
        group: Str,
        has_value: bool,
    },
    Unknown {
        record_type: i16,
    },
}

pub(crate) fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Decoded, DecodeRecordError> {
    let Some((record_type, _)) = key.split_first_chunk() else {
        return Err(DecodeRecordError::ShortKey(key.len()));
    };
    let record_type = i16::from_be_bytes(*record_type);
    let body = |source| DecodeRecordError::Body { record_type, source };
    match record_type {
        LEGACY_OFFSET_COMMIT | OFFSET_COMMIT => {
            let key: OffsetCommitKey = decode_versioned(key, Some(0)).map_err(body)?;
            let value = match value {
                None => None,
                Some(value) => Some(decode_versioned::<OffsetCommitValue>(value, None).map_err(body)?),
            };
            Ok(Decoded::Offset {
                group: key.group.detached(),
                topic: key.topic.detached(),
                partition: key.partition,
                value: value.map(offset_from_record),
            })
        }
        GROUP_METADATA => {
            let key: GroupMetadataKey = decode_versioned(key, Some(0)).map_err(body)?;
            let value = match value {
                None => None,
                Some(value) => Some(decode_versioned::<GroupMetadataValue>(value, None).map_err(body)?),
            };
            Ok(Decoded::Group { group: key.group.detached(), value })
        }
        _ => match GroupType::of_record(record_type) {
            None => Ok(Decoded::Unknown { record_type }),
            Some(kind) => {
                // Every key of these types begins with the group id, and so reads as the key of a group.
                let mut decoder = Decoder::new(key.slice(2..));
                let key = GroupMetadataKey::decode(&mut decoder, 0).map_err(body)?;
                Ok(Decoded::Other {
                    kind,
                    record_type,
                    group: key.group.detached(),
                    has_value: value.is_some(),
                })
            }
        },
    }
}

/// Decodes what follows the leading i16; that is the version unless one is given.
fn decode_versioned<T: Message>(bytes: &Bytes, version: Option<i16>) -> Result<T, DecodeError> {
    let mut decoder = Decoder::new(bytes.clone());
    let prefix = decoder.i16()?;
    T::decode(&mut decoder, version.unwrap_or(prefix))
}

fn offset_from_record(value: OffsetCommitValue) -> OffsetAndMetadata {
    OffsetAndMetadata {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata.detached(),
        commit_timestamp: Millis(value.commit_timestamp),
        expire_timestamp: (value.expire_timestamp != -1).then_some(Millis(value.expire_timestamp)),
        topic_id: value.topic_id,
        record_offset: Offset::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_record::Batches;

    const LOG: &[u8] =
        include_bytes!("../../../testdata/golden/internal/__consumer_offsets-0/00000000000000000000.log");

    #[test]
    fn records_are_written_as_apache_kafka_writes_them() {
        let (mut offsets, mut groups) = (0, 0);
        for batch in Batches::new(Bytes::from_static(LOG)) {
            let batch = batch.unwrap();
            if batch.header.is_control() {
                continue;
            }
            for record in batch.records().unwrap() {
                let record = record.unwrap();
                let written = Record { key: record.key.unwrap(), value: record.value };
                let ours = match decode(&written.key, written.value.as_ref()).unwrap() {
                    Decoded::Offset { group, topic, partition, value: Some(value) } => {
                        offsets += 1;
                        offset_commit(&group, &topic, partition, &value)
                    }
                    Decoded::Offset { group, topic, partition, value: None } => {
                        offset_tombstone(&group, &topic, partition)
                    }
                    Decoded::Group { group, value: Some(value) } => {
                        groups += 1;
                        group_metadata(&ClassicGroup::from_record(group, value), None)
                    }
                    Decoded::Group { group, value: None } => group_tombstone(&group),
                    Decoded::Other { .. } => continue,
                    Decoded::Unknown { record_type } => panic!("type {record_type}"),
                };
                assert_eq!(ours, written, "offset {}", record.offset);
            }
        }
        assert_eq!((offsets, groups), (24, 8));
    }

    #[test]
    fn hand_written_commits_are_those_of_the_schema() {
        let mut value = OffsetAndMetadata {
            offset: 1 << 40,
            leader_epoch: 7,
            metadata: "x".repeat(300).into(),
            commit_timestamp: Millis(1_700_000_000_000),
            expire_timestamp: None,
            topic_id: ottla_model::Uuid::ZERO,
            record_offset: Offset::NONE,
        };
        for expire_timestamp in [None, Some(Millis(5))] {
            value.expire_timestamp = expire_timestamp;
            let version = if expire_timestamp.is_some() { 1 } else { 4 };
            let schema = OffsetCommitValue {
                offset: value.offset,
                leader_epoch: value.leader_epoch,
                metadata: value.metadata.clone(),
                commit_timestamp: value.commit_timestamp.0,
                expire_timestamp: expire_timestamp.map_or(-1, |at| at.0),
                topic_id: value.topic_id,
            };
            let record = offset_commit("group", "topic", 3, &value);
            assert_eq!(record.value, Some(framed(version, &schema, version)));
            let key = OffsetCommitKey { group: "group".into(), topic: "topic".into(), partition: 3 };
            assert_eq!(record.key, framed(1, &key, 0));
        }
    }

    #[test]
    fn broken_records_are_errors() {
        assert!(matches!(decode(&Bytes::from_static(&[0]), None), Err(DecodeRecordError::ShortKey(1))));
        let key = group_tombstone(&"g".into()).key;
        for value in [
            &b""[..],
            b"\0\x03",
            b"\0\x09\0\0",
            b"\0\x03\0\x01a\0\0\0\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0\x7f\xff\xff\xff",
        ] {
            assert!(decode(&key, Some(&Bytes::from_static(value))).is_err(), "{value:?}");
        }
    }
}
