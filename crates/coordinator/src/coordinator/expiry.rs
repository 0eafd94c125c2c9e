//! What goes away: expired offsets, offsets of deleted topics, groups without a purpose.

use std::collections::BTreeSet;

use ottla_model::Millis;
use ottla_protocol::Str;

use super::{Body, Group, GroupCoordinator};
use crate::classic::GroupState;
use crate::event::{Record, Response, Ticket};
use crate::offsets::OffsetAndMetadata;
use crate::other::GroupType;
use crate::outbox::{Effect, Removal};
use crate::records;
use crate::timers::TimerKey;

/// Tombstones are written in batches of about this many bytes, well below any sensible `max.message.bytes`.
const BATCH_BYTES_MAX: usize = 512 * 1024;

/// A record to write, and what its commit removes.
pub(super) struct Tombstone {
    record: Record,
    removal: Option<Removal>,
}

impl Tombstone {
    pub fn offset(group: &Str, topic: Str, partition: i32) -> Self {
        let record = records::offset_tombstone(group, &topic, partition);
        Self { record, removal: Some(Removal::Offset { group: group.clone(), topic, partition }) }
    }
}

impl GroupCoordinator {
    /// Writes tombstones, in several batches if they are many. The answer waits for the last.
    pub(super) fn append_tombstones(
        &mut self,
        now: Millis,
        tombstones: Vec<Tombstone>,
        mut reply: Option<(Ticket, Response)>,
    ) {
        let mut tombstones = tombstones.into_iter().peekable();
        while tombstones.peek().is_some() {
            let (mut records, mut removals, mut bytes) = (Vec::new(), Vec::new(), 0);
            while bytes < BATCH_BYTES_MAX
                && let Some(tombstone) = tombstones.next()
            {
                bytes += tombstone.record.key.len();
                records.push(tombstone.record);
                removals.extend(tombstone.removal);
            }
            let last_reply = if tombstones.peek().is_none() { reply.take() } else { None };
            self.append(now, records, Effect::Remove(removals), last_reply);
        }
        if let Some((ticket, response)) = reply {
            self.outbox.reply(ticket, response);
        }
    }

    /// Adds the tombstones of an empty group itself; it is dead until they are committed.
    pub(super) fn bury(&mut self, now: Millis, group_id: &Str, tombstones: &mut Vec<Tombstone>) {
        match self.groups.get_mut(group_id).and_then(|group| group.body.as_mut()) {
            None => return,
            Some(Body::Classic(group)) => {
                group.transition(now, GroupState::Dead);
                let record = records::group_tombstone(&group.id);
                tombstones.push(Tombstone { record, removal: None });
            }
            Some(Body::Other(group)) => {
                tombstones
                    .extend(group.tombstones().into_iter().map(|record| Tombstone { record, removal: None }));
            }
        }
        if let Some(last) = tombstones.last_mut() {
            last.removal = Some(Removal::Group(group_id.clone()));
        }
    }

    /// Tombstones are committed.
    pub(super) fn removed(&mut self, now: Millis, removals: Vec<Removal>) {
        for removal in removals {
            match removal {
                Removal::Offset { group: group_id, topic, partition } => {
                    self.transactions.remove(&group_id, &topic, partition);
                    if let Some(group) = self.groups.get_mut(&group_id) {
                        group.offsets.remove(&topic, partition);
                    }
                }
                Removal::Group(group_id) => {
                    self.with_classic(now, &group_id, |group, step| group.stop_timers(step));
                    self.drop_body(&group_id);
                }
            }
        }
    }

    /// The group exists no more; what is committed under its id stays.
    pub(crate) fn drop_body(&mut self, group_id: &str) {
        if let Some(group) = self.groups.get_mut(group_id) {
            group.body = None;
            if group.offsets.is_empty() && group.in_flight == 0 {
                self.groups.remove(group_id);
            }
        }
    }

    /// The periodic round: offsets past their retention, then groups that have neither members nor offsets.
    pub(super) fn expire_offsets(&mut self, now: Millis) {
        self.schedule_expiry(now);
        let mut tombstones = Vec::new();
        let mut dead = Vec::new();
        for (group_id, group) in &self.groups {
            if group.in_flight > 0 {
                continue;
            }
            let Some(expires) = expiry_rule(group, now, self.config.offsets_retention_ms) else { continue };
            let mut is_left = self.transactions.slots_of(group_id).next().is_some();
            for (topic, partition, value) in group.offsets.iter() {
                if expires(topic, value) && !self.transactions.holds(group_id, topic, partition) {
                    tombstones.push(Tombstone::offset(group_id, topic.clone(), partition));
                } else {
                    is_left = true;
                }
            }
            if !is_left && may_die(group) {
                dead.push(group_id.clone());
            }
        }
        for group_id in &dead {
            self.bury(now, group_id, &mut tombstones);
        }
        if !tombstones.is_empty() {
            tracing::info!(
                records = tombstones.len(),
                groups = dead.len(),
                "removing expired offsets and groups"
            );
        }
        self.append_tombstones(now, tombstones, None);
    }

    pub(crate) fn schedule_expiry(&mut self, now: Millis) {
        let due = now + self.config.offsets_retention_check_interval_ms;
        self.timers.set(&mut self.expiry_timer, due, || TimerKey::Expiry);
    }

    /// Topics are gone, and so is what was committed for them.
    pub(super) fn topics_deleted(&mut self, now: Millis, topics: &[Str]) {
        let topics: BTreeSet<&Str> = topics.iter().collect();
        let mut slots = BTreeSet::new();
        for (group_id, group) in &self.groups {
            let of_group = group.offsets.iter().filter(|(topic, ..)| topics.contains(topic));
            slots.extend(of_group.map(|(topic, partition, _)| (group_id.clone(), topic.clone(), partition)));
        }
        let open = self.transactions.slots().filter(|(_, topic, _)| topics.contains(topic));
        slots.extend(open.map(|(group, topic, partition)| (group.clone(), topic.clone(), partition)));
        let tombstones = slots
            .into_iter()
            .map(|(group, topic, partition)| Tombstone::offset(&group, topic, partition))
            .collect();
        self.append_tombstones(now, tombstones, None);
    }
}

/// Decides which offsets of a group have expired; `None` while none may.
fn expiry_rule(
    group: &Group,
    now: Millis,
    retention_ms: i64,
) -> Option<impl Fn(&Str, &OffsetAndMetadata) -> bool + '_> {
    // Counted from when an offset was committed, or from when the group became empty.
    let (classic, empty_since) = match group.body.as_ref()? {
        Body::Classic(group) => match (&group.protocol_type, group.state) {
            (None, GroupState::Empty) => (Some(group), None),
            (Some(_), GroupState::Empty) => (Some(group), group.state_since),
            (Some(_), GroupState::Stable) if group.subscribed_topics.is_some() => (Some(group), None),
            _ => return None,
        },
        Body::Other(group) if group.is_empty() && group.kind != GroupType::Share => (None, None),
        Body::Other(_) => return None,
    };
    Some(move |topic: &Str, value: &OffsetAndMetadata| {
        let has_expired = match value.expire_timestamp {
            Some(expire_timestamp) => now >= expire_timestamp,
            None => now - empty_since.unwrap_or(value.commit_timestamp) >= retention_ms,
        };
        has_expired && !classic.is_some_and(|group| group.is_subscribed_to(topic))
    })
}

/// Whether a group without offsets may be deleted.
fn may_die(group: &Group) -> bool {
    match &group.body {
        Some(Body::Classic(group)) => group.state == GroupState::Empty && group.pending_members.is_empty(),
        Some(Body::Other(group)) => group.is_empty() && group.kind != GroupType::Share,
        None => false,
    }
}
