//! Batches of the metadata log: control records of the quorum, and metadata records.

use bytes::Bytes;
use ottla_model::{LeaderEpoch, Millis, NodeId, Offset};
use ottla_protocol::records::control::{
    Endpoint as EndpointData, KRaftVersionFeature, KRaftVersionRecord, LeaderChangeMessage,
    LeaderChangeMessageVoter, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord, VotersRecordVoter,
};
use ottla_protocol::records::metadata::MetadataRecord;
use ottla_protocol::{DecodeError, EncodeError, Message, Str};
use ottla_raft::{ControlRecord, Endpoint, ReplicaKey, VersionRange, Voter, VoterSet};
use ottla_record::control::ControlType;
use ottla_record::{Batch, BatchBuilder, BatchError, Compression};

/// The version of every control record there is.
const CONTROL_VERSION: i16 = 0;

/// The largest batch that may be written.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// A batch of the metadata log that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BatchDataError {
    #[error("batch: {0}")]
    Batch(#[from] BatchError),
    #[error("record at offset {offset}: {error}")]
    Record { offset: Offset, error: DecodeError },
    #[error("record at offset {0} has no value")]
    NoValue(Offset),
    #[error("record at offset {0} has no control key")]
    NoKey(Offset),
}

/// What a snapshot's control batches say beyond what the quorum writes into its log.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlData {
    Quorum(ControlRecord),
    SnapshotHeader {
        last_contained_log_timestamp: Millis,
    },
    SnapshotFooter,
    /// A type this version does not know; readers skip it.
    Unknown,
}

/// A batch, read.
#[derive(Clone, Debug, PartialEq)]
pub enum BatchData {
    Control(Vec<(Offset, ControlData)>),
    Metadata(Vec<(Offset, MetadataRecord)>),
}

/// Reads a batch whose checksum has been verified.
pub fn read_batch(batch: &Batch) -> Result<BatchData, BatchDataError> {
    let control = batch.header.is_control();
    let (mut controls, mut records) = (Vec::new(), Vec::new());
    for record in batch.records()? {
        let record = record?;
        let offset = record.offset;
        let value = record.value.ok_or(BatchDataError::NoValue(offset))?;
        let failed = |error| BatchDataError::Record { offset, error };
        if control {
            let key =
                record.key.as_deref().and_then(ControlType::from_key).ok_or(BatchDataError::NoKey(offset))?;
            controls.push((offset, read_control(key, value).map_err(failed)?));
        } else {
            records.push((offset, MetadataRecord::decode(value).map_err(failed)?.1));
        }
    }
    Ok(if control { BatchData::Control(controls) } else { BatchData::Metadata(records) })
}

fn read_control(control_type: ControlType, value: Bytes) -> Result<ControlData, DecodeError> {
    Ok(match control_type {
        ControlType::LeaderChange => {
            let message = LeaderChangeMessage::decode_all(value, CONTROL_VERSION)?;
            let ids = |voters: Vec<LeaderChangeMessageVoter>| {
                voters.iter().map(|voter| NodeId(voter.voter_id)).collect()
            };
            ControlData::Quorum(ControlRecord::LeaderChange {
                leader: NodeId(message.leader_id),
                voters: ids(message.voters),
                granting: ids(message.granting_voters),
            })
        }
        ControlType::KraftVersion => {
            let record = KRaftVersionRecord::decode_all(value, CONTROL_VERSION)?;
            ControlData::Quorum(ControlRecord::KRaftVersion(record.k_raft_version))
        }
        ControlType::KraftVoters => {
            let record = VotersRecord::decode_all(value, CONTROL_VERSION)?;
            ControlData::Quorum(ControlRecord::Voters(record.voters.into_iter().map(voter).collect()))
        }
        ControlType::SnapshotHeader => {
            let header = SnapshotHeaderRecord::decode_all(value, CONTROL_VERSION)?;
            let last_contained_log_timestamp = Millis(header.last_contained_log_timestamp);
            ControlData::SnapshotHeader { last_contained_log_timestamp }
        }
        ControlType::SnapshotFooter => {
            SnapshotFooterRecord::decode_all(value, CONTROL_VERSION)?;
            ControlData::SnapshotFooter
        }
        ControlType::Abort | ControlType::Commit | ControlType::Unknown(_) => ControlData::Unknown,
    })
}

fn voter(voter: VotersRecordVoter) -> Voter {
    let endpoint = |endpoint: EndpointData| Endpoint {
        listener: endpoint.name.into(),
        host: endpoint.host.into(),
        port: endpoint.port,
    };
    let range = voter.k_raft_version_feature;
    Voter {
        key: ReplicaKey::new(NodeId(voter.voter_id), voter.voter_directory_id),
        endpoints: voter.endpoints.into_iter().map(endpoint).collect(),
        kraft_version: VersionRange { min: range.min_supported_version, max: range.max_supported_version },
    }
}

fn voter_data(voter: &Voter) -> VotersRecordVoter {
    let endpoint = |endpoint: &Endpoint| EndpointData {
        name: Str::from(&endpoint.listener),
        host: Str::from(&endpoint.host),
        port: endpoint.port,
    };
    VotersRecordVoter {
        voter_id: voter.key.id.0,
        voter_directory_id: voter.key.directory,
        endpoints: voter.endpoints.iter().map(endpoint).collect(),
        k_raft_version_feature: KRaftVersionFeature {
            min_supported_version: voter.kraft_version.min,
            max_supported_version: voter.kraft_version.max,
        },
    }
}

/// One control batch.
pub fn control_batch(
    base: Offset,
    epoch: LeaderEpoch,
    now: Millis,
    records: &[ControlData],
) -> Result<Bytes, EncodeError> {
    let mut builder = BatchBuilder::new(Compression::NONE).base_offset(base).leader_epoch(epoch).control();
    for record in records {
        let (control_type, value) = write_control(record)?;
        builder.append_control(now, control_type, &value);
    }
    Ok(builder.build())
}

fn write_control(data: &ControlData) -> Result<(ControlType, Bytes), EncodeError> {
    let version = CONTROL_VERSION;
    Ok(match data {
        ControlData::Quorum(ControlRecord::LeaderChange { leader, voters, granting }) => {
            let data = |ids: &Vec<NodeId>| {
                let voter = |id: &NodeId| LeaderChangeMessageVoter { voter_id: id.0, ..Default::default() };
                ids.iter().map(voter).collect()
            };
            let message = LeaderChangeMessage {
                version,
                leader_id: leader.0,
                voters: data(voters),
                granting_voters: data(granting),
            };
            (ControlType::LeaderChange, message.encode_to_bytes(version)?)
        }
        ControlData::Quorum(ControlRecord::KRaftVersion(k_raft_version)) => {
            let record = KRaftVersionRecord { version, k_raft_version: *k_raft_version };
            (ControlType::KraftVersion, record.encode_to_bytes(version)?)
        }
        ControlData::Quorum(ControlRecord::Voters(voters)) => {
            let record = VotersRecord { version, voters: voters.iter().map(voter_data).collect() };
            (ControlType::KraftVoters, record.encode_to_bytes(version)?)
        }
        ControlData::SnapshotHeader { last_contained_log_timestamp } => {
            let timestamp = last_contained_log_timestamp.0;
            let header = SnapshotHeaderRecord { version, last_contained_log_timestamp: timestamp };
            (ControlType::SnapshotHeader, header.encode_to_bytes(version)?)
        }
        ControlData::SnapshotFooter => {
            (ControlType::SnapshotFooter, SnapshotFooterRecord { version }.encode_to_bytes(version)?)
        }
        ControlData::Unknown => (ControlType::Unknown(-1), Bytes::new()),
    })
}

/// One batch of metadata records, already encoded.
pub fn metadata_batch(base: Offset, epoch: LeaderEpoch, now: Millis, values: &[Bytes]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::NONE).base_offset(base).leader_epoch(epoch);
    for value in values {
        builder.append(now, None, Some(value));
    }
    builder.build()
}

/// The voters of a control batch's records, in order.
pub fn quorum_records(voters: Option<&VoterSet>, kraft_version: i16) -> Vec<ControlData> {
    let mut records = Vec::new();
    if kraft_version >= 1 {
        records.push(ControlData::Quorum(ControlRecord::KRaftVersion(kraft_version)));
        records.extend(voters.map(|voters| ControlData::Quorum(ControlRecord::Voters(voters.clone()))));
    }
    records
}
