//! The wall clock of a test broker: the machine's, ahead of it by what the test has asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ottla_model::Millis;
use ottla_server::clock::Clock;

/// A clock that runs, and can be moved forward. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct TestClock {
    ahead_ms: Arc<AtomicI64>,
}

impl TestClock {
    pub fn now(&self) -> Millis {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Millis(since_epoch.as_millis() as i64 + self.ahead_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn advance(&self, time: Duration) {
        self.ahead_ms.fetch_add(time.as_millis() as i64, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Millis {
        Self::now(self)
    }
}
