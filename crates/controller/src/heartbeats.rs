//! Sessions of brokers: who was heard of when, and what state a heartbeat leads to.
//!
//! This is the only part of the controller's state that is not in the metadata log. A new active controller starts
//! with a fresh session for every unfenced broker.

use std::collections::BTreeMap;

use ottla_model::{Millis, NodeId, Offset};

/// A broker whose connection ended has this part of its session left to be heard of again. The kernel of one that was
/// killed closes its connections at once, and one that lives connects again with its next heartbeat: Kafka's defaults
/// have four in a session.
pub const LOST_SESSION_PART: i64 = 3;

/// A broker's liveness as the active controller sees it.
#[derive(Clone, Debug)]
struct Session {
    fenced: bool,
    last_contact: Millis,
    /// When its connection ended, if it was not heard of since.
    lost: Option<Millis>,
    metadata_offset: Offset,
    /// The broker may stop when every active broker has applied the metadata up to here.
    controlled_shutdown: Option<Offset>,
}

impl Session {
    /// The last moment of it, unless the broker is heard of again.
    fn end(&self, timeout_ms: i64) -> Millis {
        let silent = self.last_contact + timeout_ms;
        self.lost.map_or(silent, |lost| silent.min(lost + timeout_ms / LOST_SESSION_PART))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerState {
    Fenced,
    Unfenced,
    ControlledShutdown,
    ShutdownNow,
}

impl BrokerState {
    pub fn is_fenced(self) -> bool {
        matches!(self, BrokerState::Fenced | BrokerState::ShutdownNow)
    }
}

/// What a heartbeat says of the broker's wishes and progress.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    pub fence: bool,
    pub shut_down: bool,
    pub metadata_offset: Offset,
}

#[derive(Clone, Debug)]
pub struct Heartbeats {
    session_timeout_ms: i64,
    brokers: BTreeMap<NodeId, Session>,
}

impl Heartbeats {
    pub fn new(session_timeout_ms: i64) -> Self {
        Self { session_timeout_ms, brokers: BTreeMap::new() }
    }

    /// Starts a session, replacing the one of an earlier incarnation.
    pub fn register(&mut self, now: Millis, id: NodeId, fenced: bool) {
        let metadata_offset = Offset::NONE;
        let session =
            Session { fenced, last_contact: now, lost: None, metadata_offset, controlled_shutdown: None };
        self.brokers.insert(id, session);
    }

    pub fn remove(&mut self, id: NodeId) {
        self.brokers.remove(&id);
    }

    pub fn touch(&mut self, now: Millis, id: NodeId, fenced: bool, metadata_offset: Offset) {
        let Some(session) = self.brokers.get_mut(&id) else { return };
        session.last_contact = now;
        session.lost = None;
        session.metadata_offset = metadata_offset;
        session.fenced = fenced;
        if fenced {
            session.controlled_shutdown = None;
        }
    }

    /// Notes that the connection that the broker was heard on has ended.
    pub fn lost(&mut self, now: Millis, id: NodeId) {
        if let Some(session) = self.brokers.get_mut(&id) {
            session.lost.get_or_insert(now);
        }
    }

    /// Notes that a broker's fencing changed in the metadata without a heartbeat of its own.
    pub fn set_fenced(&mut self, id: NodeId, fenced: bool) {
        if let Some(session) = self.brokers.get_mut(&id) {
            session.fenced = fenced;
            if fenced {
                session.controlled_shutdown = None;
            }
        }
    }

    pub fn has_valid_session(&self, now: Millis, id: NodeId) -> bool {
        self.brokers
            .get(&id)
            .is_some_and(|session| !session.fenced && now <= session.end(self.session_timeout_ms))
    }

    /// The unfenced broker whose session is the first to end, and when. Not `own`, the one in this process: it cannot
    /// have died, its thread was only late.
    fn first_to_end(&self, own: NodeId) -> Option<(NodeId, Millis)> {
        let others = self.brokers.iter().filter(|(id, session)| !session.fenced && **id != own);
        others.map(|(&id, session)| (id, session.end(self.session_timeout_ms))).min_by_key(|&(_, end)| end)
    }

    /// The broker other than `own` whose session has been over for longest.
    pub fn stale(&self, now: Millis, own: NodeId) -> Option<NodeId> {
        self.first_to_end(own).filter(|&(_, end)| end < now).map(|(id, _)| id)
    }

    /// When the next session of a broker other than `own` will be over, unless the broker is heard of before.
    pub fn next_end(&self, own: NodeId) -> Option<Millis> {
        self.first_to_end(own).map(|(_, end)| end + 1)
    }

    /// Lets a broker in controlled shutdown stop once all active brokers have applied `end`; only the first call
    /// for a shutdown counts.
    pub fn start_controlled_shutdown(&mut self, id: NodeId, end: Offset) {
        if let Some(session) = self.brokers.get_mut(&id) {
            session.controlled_shutdown.get_or_insert(end);
        }
    }

    fn lowest_active_offset(&self) -> Offset {
        let active =
            self.brokers.values().filter(|session| !session.fenced && session.controlled_shutdown.is_none());
        active.map(|session| session.metadata_offset).min().unwrap_or(Offset::MAX)
    }

    /// The state of a broker and the one its heartbeat leads to. `registered` is the offset of its registration
    /// record, `leads` whether it leads any partition.
    pub fn next_state(
        &self,
        id: NodeId,
        wishes: Wishes,
        registered: Offset,
        leads: impl Fn() -> bool,
    ) -> (BrokerState, BrokerState) {
        use BrokerState::*;
        let session = self.brokers.get(&id);
        let current = match session {
            None => Fenced,
            Some(session) if session.fenced => Fenced,
            Some(session) if session.controlled_shutdown.is_some() => ControlledShutdown,
            Some(_) => Unfenced,
        };
        let next = match current {
            Fenced if wishes.shut_down => ShutdownNow,
            Fenced if !wishes.fence && wishes.metadata_offset >= registered => Unfenced,
            Fenced => Fenced,
            Unfenced if wishes.fence && wishes.shut_down => ShutdownNow,
            Unfenced if wishes.fence => Fenced,
            Unfenced if wishes.shut_down && leads() => ControlledShutdown,
            Unfenced if wishes.shut_down => ShutdownNow,
            Unfenced => Unfenced,
            ControlledShutdown if leads() => ControlledShutdown,
            ControlledShutdown => {
                let end = session.and_then(|session| session.controlled_shutdown).unwrap_or_default();
                if end <= self.lowest_active_offset() { ShutdownNow } else { ControlledShutdown }
            }
            ShutdownNow => ShutdownNow,
        };
        (current, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: NodeId = NodeId(1);
    const OWN: NodeId = NodeId(100);

    fn wishes(fence: bool, shut_down: bool, offset: i64) -> Wishes {
        Wishes { fence, shut_down, metadata_offset: Offset(offset) }
    }

    #[test]
    fn a_broker_is_unfenced_once_it_has_read_its_registration() {
        let mut heartbeats = Heartbeats::new(9000);
        heartbeats.register(Millis(0), ID, true);
        let next = |wishes| heartbeats.next_state(ID, wishes, Offset(14), || false).1;
        assert_eq!(next(wishes(false, false, 13)), BrokerState::Fenced);
        assert_eq!(next(wishes(true, false, 14)), BrokerState::Fenced);
        assert_eq!(next(wishes(false, false, 14)), BrokerState::Unfenced);
        assert_eq!(next(wishes(false, true, 14)), BrokerState::ShutdownNow);
    }

    #[test]
    fn controlled_shutdown_waits_for_leaders_to_move_and_brokers_to_see_it() {
        let mut heartbeats = Heartbeats::new(9000);
        for id in [1, 2] {
            heartbeats.register(Millis(0), NodeId(id), false);
            heartbeats.touch(Millis(0), NodeId(id), false, Offset(20));
        }
        let stop = wishes(false, true, 20);
        assert_eq!(
            heartbeats.next_state(ID, stop, Offset(5), || true),
            (BrokerState::Unfenced, BrokerState::ControlledShutdown)
        );
        heartbeats.start_controlled_shutdown(ID, Offset(30));
        heartbeats.start_controlled_shutdown(ID, Offset(90));
        assert_eq!(heartbeats.next_state(ID, stop, Offset(5), || false).1, BrokerState::ControlledShutdown);
        heartbeats.touch(Millis(1), NodeId(2), false, Offset(30));
        assert_eq!(heartbeats.next_state(ID, stop, Offset(5), || true).1, BrokerState::ControlledShutdown);
        assert_eq!(heartbeats.next_state(ID, stop, Offset(5), || false).1, BrokerState::ShutdownNow);
    }

    #[test]
    fn sessions_end_without_heartbeats() {
        let mut heartbeats = Heartbeats::new(9000);
        heartbeats.register(Millis(0), ID, false);
        heartbeats.register(Millis(50), NodeId(2), true);
        assert_eq!(heartbeats.stale(Millis(9000), OWN), None);
        assert_eq!((heartbeats.next_end(OWN), heartbeats.next_end(ID)), (Some(Millis(9001)), None));
        assert_eq!(heartbeats.stale(Millis(9001), OWN), Some(ID));
        heartbeats.set_fenced(ID, true);
        assert_eq!(heartbeats.stale(Millis(9001), OWN), None);
        assert!(!heartbeats.has_valid_session(Millis(1), ID));
    }

    #[test]
    fn a_lost_connection_leaves_a_third_of_the_session() {
        let mut heartbeats = Heartbeats::new(9000);
        heartbeats.register(Millis(0), ID, false);
        heartbeats.lost(Millis(500), ID);
        heartbeats.lost(Millis(900), ID);
        assert_eq!(
            (heartbeats.stale(Millis(3500), OWN), heartbeats.next_end(OWN)),
            (None, Some(Millis(3501)))
        );
        assert!(heartbeats.has_valid_session(Millis(3500), ID));
        assert_eq!(heartbeats.stale(Millis(3501), OWN), Some(ID));
        heartbeats.touch(Millis(3400), ID, false, Offset(1));
        assert_eq!(heartbeats.next_end(OWN), Some(Millis(12_401)), "it is back");
        heartbeats.lost(Millis(12_000), ID);
        assert_eq!(heartbeats.next_end(OWN), Some(Millis(12_401)), "silence ends it no later");
        heartbeats.register(Millis(12_100), ID, false);
        assert_eq!(heartbeats.next_end(OWN), Some(Millis(21_101)), "another incarnation");
    }
}
