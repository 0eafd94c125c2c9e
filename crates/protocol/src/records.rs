//! Records of internal topics and files: the metadata log, offsets and groups, transactions, share state, the
//! quorum's own records, and what lies beside a log.

pub mod control;
mod coordinator;
pub mod embedded;
pub mod group;
pub mod metadata;
pub mod quorum;
pub mod share;
pub mod storage;
pub mod transaction;

use crate::Message;
use crate::schema::MessageSchema;

/// Messages that are in no enum of a topic's records.
const OTHERS: &[&MessageSchema] = &[
    control::ControlRecordTypeSchema::SCHEMA,
    control::EndTxnMarker::SCHEMA,
    control::LeaderChangeMessage::SCHEMA,
    control::SnapshotHeaderRecord::SCHEMA,
    control::SnapshotFooterRecord::SCHEMA,
    control::KRaftVersionRecord::SCHEMA,
    control::VotersRecord::SCHEMA,
    embedded::ConsumerProtocolSubscription::SCHEMA,
    embedded::ConsumerProtocolAssignment::SCHEMA,
    embedded::DefaultPrincipalData::SCHEMA,
    quorum::QuorumStateData::SCHEMA,
    storage::ProducerSnapshot::SCHEMA,
    storage::AbortedTxn::SCHEMA,
    storage::RemoteLogSegmentMetadataRecord::SCHEMA,
    storage::RemoteLogSegmentMetadataUpdateRecord::SCHEMA,
    storage::RemotePartitionDeleteMetadataRecord::SCHEMA,
    storage::RemoteLogSegmentMetadataSnapshotRecord::SCHEMA,
];

/// The descriptions of all records.
pub fn schemas() -> impl Iterator<Item = &'static MessageSchema> {
    let topics = [
        metadata::MetadataRecord::SCHEMAS,
        group::GroupRecordKey::SCHEMAS,
        group::GroupRecordValue::SCHEMAS,
        transaction::TransactionRecordKey::SCHEMAS,
        transaction::TransactionRecordValue::SCHEMAS,
        share::ShareRecordKey::SCHEMAS,
        share::ShareRecordValue::SCHEMAS,
        OTHERS,
    ];
    topics.into_iter().flatten().copied()
}
