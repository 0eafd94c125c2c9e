//! A bound on the bytes of requests that are held in memory at once, shared by all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

/// Bytes of large request frames that may be held at once. Small frames live in pooled receive chunks, whose
/// number is bounded by the number of connections with requests under way.
#[derive(Debug)]
pub struct Budget {
    available_bytes: AtomicI64,
    capacity_bytes: i64,
    released: Notify,
}

impl Budget {
    pub fn new(capacity_bytes: u64) -> Arc<Self> {
        let capacity_bytes = i64::try_from(capacity_bytes).unwrap_or(i64::MAX);
        Arc::new(Self {
            available_bytes: AtomicI64::new(capacity_bytes),
            capacity_bytes,
            released: Notify::new(),
        })
    }

    /// Takes `bytes` out of the budget, waiting until they are there. A request larger than the whole budget
    /// is let through alone, as otherwise it could never be served.
    pub async fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            // Registered before the attempt, so that a release in between is not missed.
            released.as_mut().enable();
            if let Some(charge) = self.try_charge(bytes) {
                return charge;
            }
            released.await;
        }
    }

    /// Takes `bytes` out of the budget if they are there.
    pub fn try_charge(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).min(self.capacity_bytes);
        self.available_bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |available| {
                (available >= bytes).then_some(available - bytes)
            })
            .ok()
            .map(|_| Charge { budget: Arc::clone(self), bytes })
    }

    /// Bytes charged at present.
    pub fn used_bytes(&self) -> u64 {
        (self.capacity_bytes - self.available_bytes.load(Ordering::Acquire)) as u64
    }
}

/// A part of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: i64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.available_bytes.fetch_add(self.bytes, Ordering::AcqRel);
        self.budget.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_charge_waits_for_a_release_and_oversize_goes_alone() {
        let budget = Budget::new(100);
        let first = budget.try_charge(60).unwrap();
        assert!(budget.try_charge(60).is_none());
        let (second, ()) = tokio::join!(budget.charge(60), async { drop(first) });
        assert_eq!(budget.used_bytes(), 60);
        drop(second);
        let oversize = budget.charge(1_000).await;
        assert_eq!(budget.used_bytes(), 100);
        drop(oversize);
        assert_eq!(budget.used_bytes(), 0);
    }
}
