//! Wall time, as step machines and logs are told it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ottla_model::Millis;

/// A wall clock that is not the machine's.
pub trait Clock: Send + Sync {
    fn now(&self) -> Millis;
}

thread_local! {
    static OF_THREAD: RefCell<Option<Arc<dyn Clock>>> = const { RefCell::new(None) };
}

/// The time now. A machine's clock before 1970 reads as 0.
pub fn now() -> Millis {
    OF_THREAD.with_borrow(|clock| match clock {
        Some(clock) => clock.now(),
        None => {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Millis(since_epoch.as_millis() as i64)
        }
    })
}

/// Has this thread, and the loops that are started on it, go by another clock; `None` for the machine's.
pub fn set_for_thread(clock: Option<Arc<dyn Clock>>) {
    OF_THREAD.set(clock);
}

/// What this thread goes by.
pub(crate) fn of_thread() -> Option<Arc<dyn Clock>> {
    OF_THREAD.with_borrow(Clone::clone)
}
