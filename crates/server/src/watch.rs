//! The newest value, and waiting for a newer one. What `tokio::sync::watch` does, but those who wait are woken in the
//! order in which they came: tokio spreads them over several lists by chance, and a simulation could not be repeated.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use tokio::sync::Notify;

/// Sets the value. When it is dropped nobody waits any longer.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// Reads the value; each has its own idea of what is new.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// The sender is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

#[derive(Debug)]
struct Shared<T> {
    /// With the number of changes so far.
    value: RwLock<(u64, T)>,
    changed: Notify,
    closed: AtomicBool,
}

pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let (value, changed, closed) = (RwLock::new((0, value)), Notify::new(), AtomicBool::new(false));
    let shared = Arc::new(Shared { value, changed, closed });
    (Sender(Arc::clone(&shared)), Receiver { shared, seen: 0 })
}

impl<T> Sender<T> {
    pub fn borrow(&self) -> MappedRwLockReadGuard<'_, T> {
        self.0.borrow()
    }

    pub fn send_replace(&self, value: T) -> T {
        let mut before = Some(value);
        self.send_if_modified(|known| {
            before = before.take().map(|value| std::mem::replace(known, value));
            true
        });
        before.expect("invariant: replaced above")
    }

    /// Tells those who wait if `modify` says that it changed something.
    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) {
        let mut value = self.0.value.write();
        if modify(&mut value.1) {
            value.0 += 1;
            drop(value);
            self.0.changed.notify_waiters();
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.changed.notify_waiters();
    }
}

impl<T> Shared<T> {
    fn borrow(&self) -> MappedRwLockReadGuard<'_, T> {
        RwLockReadGuard::map(self.value.read(), |(_, value)| value)
    }
}

impl<T> Receiver<T> {
    pub fn borrow(&self) -> MappedRwLockReadGuard<'_, T> {
        self.shared.borrow()
    }

    /// Waits for a value that this receiver has not seen.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        let seen = self.seen;
        self.wait(|version, _| version != seen).await
    }

    /// Waits until a value, the present one perhaps, is as it is wanted.
    pub async fn wait_for(&mut self, mut is_wanted: impl FnMut(&T) -> bool) -> Result<(), Closed> {
        self.wait(|_, value| is_wanted(value)).await
    }

    async fn wait(&mut self, mut is_over: impl FnMut(u64, &T) -> bool) -> Result<(), Closed> {
        let shared = Arc::clone(&self.shared);
        loop {
            let mut changed = pin!(shared.changed.notified());
            // Registered before the look, so that a change in between is not missed.
            changed.as_mut().enable();
            let closed = shared.closed.load(Ordering::Acquire);
            {
                let known = shared.value.read();
                if is_over(known.0, &known.1) {
                    self.seen = known.0;
                    return Ok(());
                }
            }
            if closed {
                return Err(Closed);
            }
            changed.await;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_once_by_each_and_the_end_by_all() {
        let (sender, mut first) = channel(1);
        let mut second = first.clone();
        assert_eq!(sender.send_replace(2), 1);
        first.changed().await.unwrap();
        sender.send_if_modified(|_| false);
        let (waited, ()) = tokio::join!(first.wait_for(|value| *value == 3), async {
            second.changed().await.unwrap();
            assert_eq!(*second.borrow(), 2);
            sender.send_replace(3);
        });
        assert_eq!(waited, Ok(()));
        drop(sender);
        assert_eq!(first.changed().await, Err(Closed));
        assert_eq!(second.changed().await, Ok(()), "of the change before the end");
        assert_eq!(second.wait_for(|value| *value == 4).await, Err(Closed));
    }
}
