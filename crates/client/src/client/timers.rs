//! Timeouts that any thread and any executor may wait for.
//!
//! A consumer sets one at each poll and gives it up a moment later. So setting one is an insertion, giving it up a
//! removal, and the task that wakes who has waited long enough is woken itself only for a time before all others.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Longer than anybody waits.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Default)]
pub(super) struct Timers {
    state: Mutex<State>,
    sooner: Notify,
}

#[derive(Default)]
struct State {
    /// By time, and a number that tells those of one time apart.
    waiting: BTreeMap<(Instant, u64), Waker>,
    number: u64,
    /// When the task looks next.
    looks_at: Option<Instant>,
    ended: bool,
}

impl Timers {
    /// Wakes who waits, until it is dropped, be it before it ran; then everybody.
    pub fn run(self: Arc<Self>) -> impl Future<Output = ()> {
        let end = End(self);
        async move {
            let timers = &end.0;
            loop {
                match timers.wake_due() {
                    Some(looks_at) => {
                        let _ = tokio::time::timeout_at(looks_at.into(), timers.sooner.notified()).await;
                    }
                    None => timers.sooner.notified().await,
                }
            }
        }
    }

    /// Wakes those whose time has come, and tells when to look again.
    fn wake_due(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let later = state.waiting.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut state.waiting, later);
        state.looks_at = state.waiting.first_key_value().map(|((at, _), _)| *at);
        let looks_at = state.looks_at;
        drop(state);
        due.into_values().for_each(Waker::wake);
        looks_at
    }

    /// Ends after `duration`, or with [`Self::run`].
    pub fn sleep(self: &Arc<Self>, duration: Duration) -> Sleep {
        let at = Instant::now() + duration.min(FAR);
        let mut state = self.state.lock();
        state.number += 1;
        Sleep { timers: Arc::clone(self), key: (at, state.number) }
    }
}

struct End(Arc<Timers>);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.ended = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_values().for_each(Waker::wake);
    }
}

pub(super) struct Sleep {
    timers: Arc<Timers>,
    key: (Instant, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.timers.state.lock();
        let at = self.key.0;
        if state.ended || Instant::now() >= at {
            return Poll::Ready(());
        }
        // Dropped without the lock: what a waker keeps alive may be somebody who waits here too.
        let before = state.waiting.insert(self.key, cx.waker().clone());
        let is_first = state.looks_at.is_none_or(|looks_at| at < looks_at);
        if is_first {
            state.looks_at = Some(at);
        }
        drop(state);
        drop(before);
        if is_first {
            self.timers.sooner.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = self.timers.state.lock().waiting.remove(&self.key);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_is_woken_in_time_and_at_the_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let timers = Arc::new(Timers::default());
        let run = runtime.spawn(Arc::clone(&timers).run());
        runtime.block_on(async {
            let begun = Instant::now();
            let long = timers.sleep(Duration::MAX);
            let mut long = std::pin::pin!(long);
            let given_up = tokio::time::timeout(Duration::from_millis(1), &mut long).await;
            assert!(given_up.is_err());
            // Sooner than what the task sleeps for, and one that nobody waits for any more.
            drop(timers.sleep(Duration::from_millis(5)));
            timers.sleep(Duration::from_millis(20)).await;
            assert!(begun.elapsed() >= Duration::from_millis(20));
            assert_eq!(timers.state.lock().waiting.len(), 1);
            run.abort();
            long.await;
            timers.sleep(Duration::MAX).await;
        });
        assert!(timers.state.lock().waiting.is_empty());
    }
}
