//! For programs without an executor: producer, consumer and admin client whose calls wait on the thread that makes
//! them, and [`block_on`] for all else. None of it may be called on an executor's thread, whose other tasks would wait.

mod admin;
mod consumer;
mod producer;

pub use admin::Admin;
pub use consumer::Consumer;
pub use producer::Producer;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future of this crate to its end. Not to be called on an executor's thread, whose other tasks would wait too.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
