//! Time, as step machines and logs are told it: the wall's for what is written, a steady one for what is waited for.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ottla_model::Millis;

/// A clock that is not the machine's.
pub trait Clock: Send + Sync {
    /// The wall's time.
    fn now(&self) -> Millis;

    /// As [`steady`].
    fn steady(&self) -> Millis {
        self.now()
    }

    /// How long the sync of a file takes that begins now, beside what the disk itself needs.
    fn sync_time(&self) -> Duration {
        Duration::ZERO
    }
}

thread_local! {
    static OF_THREAD: RefCell<Option<Arc<dyn Clock>>> = const { RefCell::new(None) };
}

/// The time now. A machine's clock before 1970 reads as 0.
pub fn now() -> Millis {
    OF_THREAD.with_borrow(|clock| match clock {
        Some(clock) => clock.now(),
        None => Millis(since_epoch().as_millis() as i64),
    })
}

/// Time that does not jump when somebody sets the clock, which must not end sessions nor start elections: what has
/// passed since the wall's time was first asked for.
pub fn steady() -> Millis {
    static BEGAN: LazyLock<(Instant, Duration)> = LazyLock::new(|| (Instant::now(), since_epoch()));
    OF_THREAD.with_borrow(|clock| match clock {
        Some(clock) => clock.steady(),
        None => {
            let (began, at) = *BEGAN;
            Millis((at + began.elapsed()).as_millis() as i64)
        }
    })
}

/// As [`Clock::sync_time`]; nothing on the machine's clock.
pub(crate) fn sync_time() -> Duration {
    OF_THREAD.with_borrow(|clock| clock.as_ref().map_or(Duration::ZERO, |clock| clock.sync_time()))
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Has this thread, and the loops that are started on it, go by another clock; `None` for the machine's.
pub fn set_for_thread(clock: Option<Arc<dyn Clock>>) {
    OF_THREAD.set(clock);
}

/// What this thread goes by.
pub(crate) fn of_thread() -> Option<Arc<dyn Clock>> {
    OF_THREAD.with_borrow(Clone::clone)
}
