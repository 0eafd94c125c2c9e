//! What records say: those of the metadata log, of internal topics and of control batches are decoded.

use std::path::Path;

use anyhow::{Context, Result};
use bytes::Bytes;
use ottla_protocol::records::control::{
    KRaftVersionRecord, LeaderChangeMessage, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
};
use ottla_protocol::records::group::{GroupRecordKey, GroupRecordValue};
use ottla_protocol::records::metadata::MetadataRecord;
use ottla_protocol::records::share::{ShareRecordKey, ShareRecordValue};
use ottla_protocol::records::transaction::{TransactionRecordKey, TransactionRecordValue};
use ottla_protocol::{DecodeError, Message};
use ottla_record::Record;
use ottla_record::control::{ControlType, EndTxnMarker};
use serde_json::{Value, json};

use super::output::{bytes_value, optional_bytes_value, tree_value};

/// Whose records these are; it decides how keys and values are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic {
    /// Any topic of users: keys and values are theirs.
    Plain,
    Metadata,
    ConsumerOffsets,
    TransactionState,
    ShareGroupState,
}

impl Topic {
    /// By the name of the directory in which the file lies.
    pub fn of(path: &Path) -> Self {
        // A bare file name lies in the current directory.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let dir = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        match dir.rsplit_once('-').map_or(dir, |(topic, _)| topic) {
            "__cluster_metadata" => Self::Metadata,
            "__consumer_offsets" => Self::ConsumerOffsets,
            "__transaction_state" => Self::TransactionState,
            "__share_group_state" => Self::ShareGroupState,
            _ => Self::Plain,
        }
    }
}

/// The fields of a record of a data batch.
pub fn record(topic: Topic, record: &Record, whole: bool) -> Value {
    let decoded = match topic {
        Topic::Plain => return plain(record, whole),
        Topic::Metadata => metadata(record),
        Topic::ConsumerOffsets => consumer_offsets(record),
        Topic::TransactionState => transaction_state(record),
        Topic::ShareGroupState => share_group_state(record),
    };
    decoded.unwrap_or_else(|error| undecodable(record, &error))
}

/// The fields of a record of a control batch.
pub fn control_record(record: &Record) -> Value {
    control(record).unwrap_or_else(|error| undecodable(record, &error))
}

/// Whether [`record`] or [`control_record`] could not make sense of it.
pub fn is_undecodable(record: &Value) -> bool {
    record.get("undecodable").is_some()
}

fn undecodable(record: &Record, error: &anyhow::Error) -> Value {
    json!({
        "offset": record.offset.0,
        "undecodable": format!("{error:#}"),
        "key": optional_bytes_value(record.key.as_ref(), true),
        "value": optional_bytes_value(record.value.as_ref(), true),
    })
}

fn plain(record: &Record, whole: bool) -> Value {
    let headers = record.headers.iter().map(|header| {
        json!([bytes_value(&header.key, whole), optional_bytes_value(header.value.as_ref(), whole)])
    });
    json!({
        "offset": record.offset.0,
        "timestamp": record.timestamp.0,
        "key": optional_bytes_value(record.key.as_ref(), whole),
        "value": optional_bytes_value(record.value.as_ref(), whole),
        "headers": headers.collect::<Vec<_>>(),
    })
}

fn metadata(record: &Record) -> Result<Value> {
    let value = record.value.clone().context("the value is null")?;
    let (version, message) = MetadataRecord::decode(value)?;
    Ok(json!({
        "offset": record.offset.0,
        "record": message.name(),
        "version": version,
        "fields": tree_value(message.tree(version)),
    }))
}

/// The shape of all coordinators' records: a typed key, and a value of a version or a tombstone.
macro_rules! coordinator {
    ($name:ident, $key:ident, $value:ident) => {
        fn $name(record: &Record) -> Result<Value> {
            let key = $key::decode(record.key.clone().context("the key is null")?)?;
            let value = |bytes: Bytes| -> Result<(i16, Value), DecodeError> {
                let (version, value) = $value::decode(key.record_type(), bytes)?;
                Ok((version, tree_value(value.tree(version))))
            };
            let (version, fields) = match record.value.clone() {
                None => ("TOMBSTONE".into(), Value::Null),
                Some(bytes) => value(bytes).map(|(version, fields)| (Value::from(version), fields))?,
            };
            Ok(json!({
                "offset": record.offset.0,
                "type": key.record_type(),
                "record": key.name(),
                "key": tree_value(key.tree()),
                "version": version,
                "fields": fields,
            }))
        }
    };
}

coordinator!(consumer_offsets, GroupRecordKey, GroupRecordValue);
coordinator!(transaction_state, TransactionRecordKey, TransactionRecordValue);
coordinator!(share_group_state, ShareRecordKey, ShareRecordValue);

fn control(record: &Record) -> Result<Value> {
    let key = record.key.as_deref().context("the key is null")?;
    let bytes = record.value.clone().unwrap_or_default();
    let (name, value) = match ControlType::from_key(key).context("the key is too short")? {
        ControlType::Abort => ("ABORT", marker(key, &bytes)?),
        ControlType::Commit => ("COMMIT", marker(key, &bytes)?),
        ControlType::LeaderChange => ("LeaderChangeMessage", message::<LeaderChangeMessage>(bytes)?),
        ControlType::SnapshotHeader => ("SnapshotHeaderRecord", message::<SnapshotHeaderRecord>(bytes)?),
        ControlType::SnapshotFooter => ("SnapshotFooterRecord", message::<SnapshotFooterRecord>(bytes)?),
        ControlType::KraftVersion => ("KRaftVersionRecord", message::<KRaftVersionRecord>(bytes)?),
        ControlType::KraftVoters => ("VotersRecord", message::<VotersRecord>(bytes)?),
        ControlType::Unknown(_) => ("unknown", bytes_value(key, true)),
    };
    Ok(json!({"offset": record.offset.0, "control": name, "value": value}))
}

fn marker(key: &[u8], value: &[u8]) -> Result<Value> {
    let marker = EndTxnMarker::parse(key, value).context("not a transaction marker")?;
    Ok(json!({"CoordinatorEpoch": marker.coordinator_epoch}))
}

/// A record of the quorum; its first field is its version.
fn message<M: Message>(bytes: Bytes) -> Result<Value> {
    let version = i16::from_be_bytes(*bytes.first_chunk().context("the value is empty")?);
    Ok(tree_value(M::decode_all(bytes, version)?.tree(version)))
}
