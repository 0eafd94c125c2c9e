//! Records of `__consumer_offsets`.

mod classic;
mod consumer;
mod share;
mod streams;

use bytes::Bytes;

pub use classic::*;
pub use consumer::*;
pub use share::*;
pub use streams::*;

use super::coordinator::coordinator_records;
use crate::encoder::EncodeErrorKind;
use crate::schema::MessageSchema;
use crate::{DecodeError, DecodeErrorKind, Decoder, EncodeError, Encoder, Message, Tree, Versions};

coordinator_records! {
    /// Key of a record in `__consumer_offsets`.
    GroupRecordKey,
    /// Value of a record in `__consumer_offsets`.
    GroupRecordValue:
    0 => LegacyOffsetCommit(LegacyOffsetCommitKey, LegacyOffsetCommitValue),
    1 => OffsetCommit(OffsetCommitKey, OffsetCommitValue),
    2 => GroupMetadata(GroupMetadataKey, GroupMetadataValue),
    3 => ConsumerGroupMetadata(ConsumerGroupMetadataKey, ConsumerGroupMetadataValue),
    4 => ConsumerGroupPartitionMetadata(ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue),
    5 => ConsumerGroupMemberMetadata(ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue),
    6 => ConsumerGroupTargetAssignmentMetadata(ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue),
    7 => ConsumerGroupTargetAssignmentMember(ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue),
    8 => ConsumerGroupCurrentMemberAssignment(ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue),
    10 => ShareGroupMemberMetadata(ShareGroupMemberMetadataKey, ShareGroupMemberMetadataValue),
    11 => ShareGroupMetadata(ShareGroupMetadataKey, ShareGroupMetadataValue),
    12 => ShareGroupTargetAssignmentMetadata(ShareGroupTargetAssignmentMetadataKey, ShareGroupTargetAssignmentMetadataValue),
    13 => ShareGroupTargetAssignmentMember(ShareGroupTargetAssignmentMemberKey, ShareGroupTargetAssignmentMemberValue),
    14 => ShareGroupCurrentMemberAssignment(ShareGroupCurrentMemberAssignmentKey, ShareGroupCurrentMemberAssignmentValue),
    15 => ShareGroupStatePartitionMetadata(ShareGroupStatePartitionMetadataKey, ShareGroupStatePartitionMetadataValue),
    16 => ConsumerGroupRegularExpression(ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue),
    17 => StreamsGroupMetadata(StreamsGroupMetadataKey, StreamsGroupMetadataValue),
    19 => StreamsGroupMemberMetadata(StreamsGroupMemberMetadataKey, StreamsGroupMemberMetadataValue),
    20 => StreamsGroupTargetAssignmentMetadata(StreamsGroupTargetAssignmentMetadataKey, StreamsGroupTargetAssignmentMetadataValue),
    21 => StreamsGroupTargetAssignmentMember(StreamsGroupTargetAssignmentMemberKey, StreamsGroupTargetAssignmentMemberValue),
    22 => StreamsGroupCurrentMemberAssignment(StreamsGroupCurrentMemberAssignmentKey, StreamsGroupCurrentMemberAssignmentValue),
    23 => StreamsGroupTopology(StreamsGroupTopologyKey, StreamsGroupTopologyValue),
}
