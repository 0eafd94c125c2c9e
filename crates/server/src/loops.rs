//! Loops beside the requests, and work that takes long. Each loop has a thread of its own and may block it; in a
//! runtime of one thread, where nothing else would run meanwhile, loops are its tasks and work is done on the spot.

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinError;
use tokio::time::Instant;

use crate::clock;

/// A wait that is meant to last for ever.
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

thread_local! {
    /// On a loop's own thread: when to look again though nobody has woken it.
    static WAKE_AT: Cell<Option<WakeAt>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
enum WakeAt {
    Never,
    Time(Instant),
}

/// A loop that was started.
pub struct Loop {
    ended: oneshot::Receiver<()>,
}

impl Loop {
    /// Waits until the loop has ended, by a panic too.
    pub async fn ended(self) {
        let _ = self.ended.await;
    }
}

/// Whether everything shares one thread.
pub fn is_one_thread(runtime: &Handle) -> bool {
    runtime.runtime_flavor() == RuntimeFlavor::CurrentThread
}

/// Starts a loop. Must be called inside a runtime, in which the loop may start tasks. It may await channels and
/// [`receive`], and no timers.
pub fn spawn(name: &str, work: impl Future<Output = ()> + Send + 'static) -> io::Result<Loop> {
    let (end, ended) = oneshot::channel();
    let work = async move {
        work.await;
        drop(end);
    };
    let runtime = Handle::current();
    if is_one_thread(&runtime) {
        runtime.spawn(work);
    } else {
        let clock = clock::of_thread();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            clock::set_for_thread(clock);
            let _inside = runtime.enter();
            block_on(work);
        })?;
    }
    Ok(Loop { ended })
}

/// Does work that takes long where it holds up nobody who could go on.
pub async fn run_long<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    if is_one_thread(&Handle::current()) {
        return Ok(work());
    }
    let clock = clock::of_thread();
    tokio::task::spawn_blocking(move || {
        clock::set_for_thread(clock);
        work()
    })
    .await
}

/// Waits as long as a sync takes beside what the disk needs, in a runtime of one thread, where that is on the spot.
pub async fn await_sync_time() {
    let time = clock::sync_time();
    if !time.is_zero() && is_one_thread(&Handle::current()) {
        tokio::time::sleep(time).await;
    }
}

/// As [`run_long`], for work that borrows.
pub fn run_long_here<T>(work: impl FnOnce() -> T) -> T {
    match is_one_thread(&Handle::current()) {
        true => work(),
        false => tokio::task::block_in_place(work),
    }
}

/// The next message, unless none comes in time.
pub async fn receive<T>(
    inbox: &mut mpsc::UnboundedReceiver<T>,
    timeout: Duration,
) -> Result<T, RecvTimeoutError> {
    let timeout = timeout.min(FOREVER);
    if WAKE_AT.get().is_none() {
        let received = tokio::time::timeout(timeout, inbox.recv()).await;
        return received.map_err(|_| RecvTimeoutError::Timeout)?.ok_or(RecvTimeoutError::Disconnected);
    }
    let deadline = Instant::now() + timeout;
    std::future::poll_fn(|cx| match inbox.poll_recv(cx) {
        Poll::Ready(message) => Poll::Ready(message.ok_or(RecvTimeoutError::Disconnected)),
        Poll::Pending if Instant::now() >= deadline => Poll::Ready(Err(RecvTimeoutError::Timeout)),
        Poll::Pending => {
            WAKE_AT.set(Some(WakeAt::Time(deadline)));
            Poll::Pending
        }
    })
    .await
}

/// Wakes a loop's thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a loop on this thread: without the runtime's timers, so that a wait costs one system call.
fn block_on(work: impl Future<Output = ()>) {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut work = pin!(work);
    loop {
        WAKE_AT.set(Some(WakeAt::Never));
        if work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return;
        }
        match WAKE_AT.get() {
            Some(WakeAt::Time(time)) => {
                std::thread::park_timeout(time.saturating_duration_since(Instant::now()));
            }
            _ => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same loop on a thread of its own and as a task: what comes in time, what does not, and the end.
    async fn waits_and_ends() {
        let (sender, mut inbox) = mpsc::unbounded_channel();
        let (tell, told) = oneshot::channel();
        let waiting = spawn("loop", async move {
            let first = receive(&mut inbox, Duration::MAX).await;
            let second = receive(&mut inbox, Duration::from_millis(1)).await;
            let third = receive(&mut inbox, Duration::MAX).await;
            tell.send((first, second, third)).unwrap();
        })
        .unwrap();
        sender.send(7).unwrap();
        // Long enough for the second wait in either case: nothing is sent before it is over.
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(sender);
        waiting.ended().await;
        let expected = (Ok(7), Err(RecvTimeoutError::Timeout), Err(RecvTimeoutError::Disconnected));
        assert_eq!(told.await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_loop_is_a_task_where_there_is_one_thread() {
        waits_and_ends().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_loop_has_a_thread_where_there_are_several() {
        waits_and_ends().await;
    }
}
