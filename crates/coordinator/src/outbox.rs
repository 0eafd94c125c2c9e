//! What a step puts out, and the appends whose outcome is not known yet.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ottla_model::{ErrorCode, Millis};
use ottla_protocol::Str;
use ottla_protocol::api::offset_fetch::OffsetFetchRequestGroup;

use crate::classic::MemberState;
use crate::event::{Actions, Append, AppendId, Record, Response, Ticket};
use crate::offsets::OffsetAndMetadata;

/// What the commit of an append changes. Offsets and deletions become visible only then.
#[derive(Debug)]
pub(crate) enum Effect {
    None,
    /// Offsets of one group, in the order of the records.
    Commit {
        group: Str,
        offsets: Vec<(Str, i32, OffsetAndMetadata)>,
    },
    Remove(Vec<Removal>),
    /// A group without members was written for the first time, on behalf of the join `ticket`.
    GroupCreated {
        group: Str,
        ticket: Ticket,
    },
    /// The leader's assignment of one generation.
    Assignment {
        group: Str,
        generation: i32,
        assignments: BTreeMap<Str, Bytes>,
    },
    /// A static member was replaced without a rebalance; `old` is what to go back to.
    StaticReplaced(Box<StaticReplaced>),
}

#[derive(Debug)]
pub(crate) enum Removal {
    Offset {
        group: Str,
        topic: Str,
        partition: i32,
    },
    /// Comes after the group's offsets. The group is dead while this is pending.
    Group(Str),
}

#[derive(Debug)]
pub(crate) struct StaticReplaced {
    pub group: Str,
    pub instance_id: Str,
    pub old_member_id: Str,
    pub new_member_id: Str,
    pub old: MemberState,
    pub old_leader: Option<Str>,
    pub version: i16,
}

#[derive(Debug)]
pub(crate) struct Pending {
    pub id: AppendId,
    pub deadline: Millis,
    pub effect: Effect,
    /// The answer if all goes well.
    pub reply: Option<(Ticket, Response)>,
    /// Stable reads that must see this append; answered after it.
    pub fetches: Vec<(Ticket, OffsetFetchRequestGroup)>,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    pub actions: Actions,
    pub pending: VecDeque<Pending>,
    next_append: u64,
    /// Appends below this id are overdue: their answers have been given, but they may still be committed.
    overdue_below: u64,
}

impl Outbox {
    pub fn new() -> Self {
        Self { actions: Actions::default(), pending: VecDeque::new(), next_append: 0, overdue_below: 0 }
    }

    pub fn reply(&mut self, ticket: Ticket, response: Response) {
        self.actions.replies.push((ticket, response));
    }

    pub fn append(
        &mut self,
        deadline: Millis,
        records: Vec<Record>,
        effect: Effect,
        reply: Option<(Ticket, Response)>,
    ) {
        debug_assert!(!records.is_empty());
        let id = AppendId(self.next_append);
        self.next_append += 1;
        self.actions.appends.push(Append { id, producer: None, records });
        self.pending.push_back(Pending { id, deadline, effect, reply, fetches: Vec::new() });
    }

    /// Takes the append that has been decided; appends are decided in order, failures may overtake.
    pub fn decided(&mut self, id: AppendId) -> Option<Pending> {
        let at = self.pending.binary_search_by_key(&id, |pending| pending.id).ok()?;
        self.pending.remove(at)
    }

    /// The next append whose answer is overdue at `now`; it is not given a second time.
    pub fn next_overdue(&mut self, now: Millis) -> Option<&mut Pending> {
        let at = self.first_in_time();
        let pending = self.pending.get_mut(at).filter(|pending| pending.deadline <= now)?;
        self.overdue_below = pending.id.0 + 1;
        Some(pending)
    }

    pub fn next_deadline(&self) -> Option<Millis> {
        self.pending.get(self.first_in_time()).map(|pending| pending.deadline)
    }

    fn first_in_time(&self) -> usize {
        self.pending.partition_point(|pending| pending.id.0 < self.overdue_below)
    }
}

/// How a failed append is told to clients.
pub(crate) fn append_error(error: ErrorCode) -> ErrorCode {
    use ErrorCode::*;
    match error {
        UnknownTopicOrPartition | NotEnoughReplicas | RequestTimedOut => CoordinatorNotAvailable,
        NotLeaderOrFollower | KafkaStorageError => NotCoordinator,
        NetworkException => CoordinatorLoadInProgress,
        MessageTooLarge | RecordListTooLarge | InvalidFetchSize => UnknownServerError,
        other => other,
    }
}
