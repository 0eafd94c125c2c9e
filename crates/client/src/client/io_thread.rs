//! The one thread of a client: a single-threaded runtime with all its sockets, timers and tasks. Applications keep
//! their own runtime, or none.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;

use crate::error::{Error, Result};

/// The thread; it ends when this is dropped or [`Self::stop`] is called, and all its tasks with it.
pub(crate) struct IoThread {
    handle: Handle,
    stop: Arc<Notify>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl IoThread {
    pub fn start() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::invalid(format!("cannot start a runtime: {error}")))?;
        let handle = runtime.handle().clone();
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let run = move || {
            runtime.block_on(stopped.notified());
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("ottla-client".into()).spawn(run);
        let thread = thread.map_err(|error| Error::invalid(format!("cannot start a thread: {error}")))?;
        Ok(Self { handle, stop, thread: Mutex::new(Some(thread)) })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends all tasks and waits for the thread, unless it is the thread itself that calls.
    pub fn stop(&self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic there was reported by the thread; there is nobody to hand it to.
            let _ = thread.join();
        }
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        self.stop();
    }
}
