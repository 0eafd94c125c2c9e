//! Calls that are quick as a rule, and now and then wait for a disk.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Waiting for a disk: what only moves memory is done before.
const SLOW: Duration = Duration::from_millis(10);

/// Makes calls on the thread of the task. After one that was slow, the next ones hand this thread's other tasks to
/// another first, until one is quick again: a disk that stalls holds up no more than what needs it.
#[derive(Debug, Default)]
pub struct Stalls {
    is_slow: AtomicBool,
}

impl Stalls {
    /// Does `work`, which may block, and returns what it returned. In a runtime of one thread that thread waits.
    pub fn call<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = match self.is_slow.load(Ordering::Relaxed) && has_other_threads() {
            true => block_in_place(work),
            false => work(),
        };
        let is_slow = began.elapsed() > SLOW;
        if self.is_slow.load(Ordering::Relaxed) != is_slow {
            self.is_slow.store(is_slow, Ordering::Relaxed);
        }
        result
    }
}

fn has_other_threads() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn after_a_slow_call_other_tasks_go_on_beside_the_next() {
        let calls = tokio::spawn(async {
            let stalls = Stalls::default();
            // A disk that stalls: nothing comes here.
            let (_disk, wakes) = mpsc::channel::<()>();
            stalls.call(|| wakes.recv_timeout(2 * SLOW).unwrap_err());
            let (other_task, went_on) = mpsc::channel();
            tokio::spawn(async move { other_task.send(()) });
            // The other task is of this worker, which there is no second of.
            stalls.call(|| went_on.recv_timeout(Duration::from_secs(10)))
        });
        assert_eq!(calls.await.unwrap(), Ok(()));
    }
}
