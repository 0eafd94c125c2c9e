//! Groups of the types that are not served here (consumer, share, streams): their records are remembered by key, so
//! that the group is listed, is not mistaken for a classic one, and can be deleted when it is empty.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::event::Record;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GroupType {
    Consumer,
    Share,
    Streams,
}

impl GroupType {
    /// The type whose groups have records of this type.
    pub fn of_record(record_type: i16) -> Option<Self> {
        match record_type {
            3..=8 | 16 => Some(Self::Consumer),
            10..=15 => Some(Self::Share),
            17 | 19..=23 => Some(Self::Streams),
            _ => None,
        }
    }

    /// The name in answers; also the protocol type that `ListGroups` tells.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::Share => "share",
            Self::Streams => "streams",
        }
    }

    fn metadata_record(self) -> i16 {
        match self {
            Self::Consumer => 3,
            Self::Share => 11,
            Self::Streams => 17,
        }
    }

    fn member_record(self) -> i16 {
        match self {
            Self::Consumer => 5,
            Self::Share => 10,
            Self::Streams => 19,
        }
    }
}

#[derive(Debug)]
pub(crate) struct OtherGroup {
    pub kind: GroupType,
    /// Keys of the records that have a value, by record type.
    keys: BTreeSet<(i16, Bytes)>,
    members: usize,
}

impl OtherGroup {
    pub fn new(kind: GroupType) -> Self {
        Self { kind, keys: BTreeSet::new(), members: 0 }
    }

    pub fn replay(&mut self, record_type: i16, key: &Bytes, has_value: bool) {
        let key = (record_type, Bytes::copy_from_slice(key));
        let is_member = usize::from(record_type == self.kind.member_record());
        if has_value {
            self.members += if self.keys.insert(key) { is_member } else { 0 };
        } else {
            self.members -= if self.keys.remove(&key) { is_member } else { 0 };
        }
    }

    pub fn is_empty(&self) -> bool {
        self.members == 0
    }

    /// No record is left: the group does not exist any more.
    pub fn is_gone(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn state_name(&self) -> &'static str {
        if self.is_empty() { "Empty" } else { "Stable" }
    }

    /// Tombstones for every record, members before the group itself: the order in which Kafka can replay them.
    pub fn tombstones(&self) -> Vec<Record> {
        let metadata = self.kind.metadata_record();
        let (group, rest): (Vec<_>, Vec<_>) = self.keys.iter().rev().partition(|(kind, _)| *kind == metadata);
        let tombstone = |(_, key): &(i16, Bytes)| Record { key: key.clone(), value: None };
        rest.into_iter().chain(group).map(tombstone).collect()
    }
}
