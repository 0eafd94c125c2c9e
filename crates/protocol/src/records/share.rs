//! Records of `__share_group_state`.

use bytes::Bytes;
use ottla_model::Uuid;

use super::coordinator::coordinator_records;
use crate::encoder::EncodeErrorKind;
use crate::schema::MessageSchema;
use crate::{DecodeError, DecodeErrorKind, Decoder, EncodeError, Encoder, Message, Str, Tree, Versions};

coordinator_records! {
    /// Key of a record in `__share_group_state`.
    ShareRecordKey,
    /// Value of a record in `__share_group_state`.
    ShareRecordValue:
    0 => ShareSnapshot(ShareSnapshotKey, ShareSnapshotValue),
    1 => ShareUpdate(ShareUpdateKey, ShareUpdateValue),
}

/// Key of a share partition's snapshot.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 0, versions = "0")]
pub struct ShareSnapshotKey {
    pub group_id: Str,
    pub topic_id: Uuid,
    pub partition: i32,
}

/// The whole state of a share partition.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 0, versions = "0", flexible = "0+")]
pub struct ShareSnapshotValue {
    pub snapshot_epoch: i32,
    pub state_epoch: i32,
    pub leader_epoch: i32,
    pub start_offset: i64,
    #[field(default = -1, tag = 0)]
    pub delivery_complete_count: i32,
    pub create_timestamp: i64,
    pub write_timestamp: i64,
    pub state_batches: Vec<ShareSnapshotValueStateBatch>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "StateBatch")]
pub struct ShareSnapshotValueStateBatch {
    pub first_offset: i64,
    pub last_offset: i64,
    pub delivery_state: i8,
    pub delivery_count: i16,
}

/// Key of a share partition's update.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 1, versions = "0")]
pub struct ShareUpdateKey {
    pub group_id: Str,
    pub topic_id: Uuid,
    pub partition: i32,
}

/// Changes of a share partition's state since its snapshot.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 1, versions = "0", flexible = "0+")]
pub struct ShareUpdateValue {
    pub snapshot_epoch: i32,
    pub leader_epoch: i32,
    pub start_offset: i64,
    #[field(default = -1, tag = 0)]
    pub delivery_complete_count: i32,
    pub state_batches: Vec<ShareUpdateValueStateBatch>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "StateBatch")]
pub struct ShareUpdateValueStateBatch {
    pub first_offset: i64,
    pub last_offset: i64,
    pub delivery_state: i8,
    pub delivery_count: i16,
}
