//! Who waits for a partition to grow: consumers' long polls, and the fetch sessions of its followers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Long polls that wait for a partition to change.
#[derive(Default)]
pub struct Waiters {
    any: AtomicBool,
    waiting: Mutex<Vec<Weak<Notify>>>,
}

impl Waiters {
    /// Tells `grown` when the partition changes next. Look at the partition again after this.
    pub fn register(&self, grown: &Arc<Notify>) {
        let mut waiting = self.waiting.lock();
        waiting.retain(|known| known.strong_count() > 0);
        if !waiting.iter().any(|known| known.as_ptr() == Arc::as_ptr(grown)) {
            waiting.push(Arc::downgrade(grown));
        }
        self.any.store(true, Ordering::SeqCst);
    }

    pub fn wake(&self) {
        if self.any.load(Ordering::SeqCst) && self.any.swap(false, Ordering::SeqCst) {
            for grown in self.waiting.lock().drain(..) {
                if let Some(grown) = grown.upgrade() {
                    grown.notify_one();
                }
            }
        }
    }
}

/// When followers learn how far records are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HighWatermarkNews {
    /// With whatever they fetch next.
    WithNextFetch,
    /// At once: consumers read from them (KIP-392).
    AtOnce,
}

/// The followers' sessions that a partition belongs to. A partition that changes puts itself on each session's list;
/// only a follower that waits for that is woken.
#[derive(Default)]
pub struct Followers {
    any: AtomicBool,
    subscriptions: Mutex<Vec<Arc<Subscription>>>,
}

/// A partition's place in one session.
pub struct Subscription {
    ready: Arc<ReadyList>,
    /// Which of the session's partitions it is.
    index: u32,
    /// On the list already.
    listed: AtomicBool,
}

/// What a session has to look at.
#[derive(Default)]
pub struct ReadyList {
    state: Mutex<ReadyState>,
    /// Told when something comes on the list that the follower has to know at once.
    pub changed: Notify,
}

#[derive(Default)]
struct ReadyState {
    indexes: Vec<u32>,
    /// Something of it the follower has to know at once.
    urgent: bool,
    /// A fetch waits to be told.
    waiting: bool,
}

impl Followers {
    /// Puts the partition on `ready` as `index` whenever it changes, until [`Self::unsubscribe`].
    pub fn subscribe(&self, ready: &Arc<ReadyList>, index: u32) -> Arc<Subscription> {
        let subscription =
            Arc::new(Subscription { ready: Arc::clone(ready), index, listed: AtomicBool::new(false) });
        self.subscriptions.lock().push(Arc::clone(&subscription));
        self.any.store(true, Ordering::Release);
        subscription
    }

    pub fn unsubscribe(&self, subscription: &Arc<Subscription>) {
        let mut subscriptions = self.subscriptions.lock();
        subscriptions.retain(|known| !Arc::ptr_eq(known, subscription));
        self.any.store(!subscriptions.is_empty(), Ordering::Release);
    }

    /// There is something for the followers.
    pub fn wake(&self) {
        self.tell(HighWatermarkNews::AtOnce);
    }

    /// There is something for the followers that may have time.
    pub fn tell(&self, news: HighWatermarkNews) {
        if self.any.load(Ordering::Acquire) {
            for subscription in &*self.subscriptions.lock() {
                subscription.list(news);
            }
        }
    }
}

impl Subscription {
    fn list(&self, news: HighWatermarkNews) {
        let known = self.listed.swap(true, Ordering::AcqRel);
        if known && news == HighWatermarkNews::WithNextFetch {
            return;
        }
        let mut state = self.ready.state.lock();
        if !known {
            state.indexes.push(self.index);
        }
        if news == HighWatermarkNews::AtOnce {
            state.urgent = true;
            if std::mem::take(&mut state.waiting) {
                drop(state);
                self.ready.changed.notify_one();
            }
        }
    }

    /// Taken off the list. Look at the partition after this.
    pub fn unlist(&self) {
        self.listed.store(false, Ordering::SeqCst);
    }

    /// Left for the next fetch.
    pub fn keep(&self) {
        self.list(HighWatermarkNews::WithNextFetch);
    }
}

impl ReadyList {
    /// Takes what is on the list, in the order in which it came.
    pub fn take(&self, into: &mut Vec<u32>) {
        let mut state = self.state.lock();
        into.append(&mut state.indexes);
        state.urgent = false;
        state.waiting = false;
    }

    /// Whether to wait for [`Self::changed`]: nothing urgent has come since the list was last taken.
    pub fn begin_wait(&self) -> bool {
        let mut state = self.state.lock();
        state.waiting = !state.urgent;
        state.waiting
    }
}
