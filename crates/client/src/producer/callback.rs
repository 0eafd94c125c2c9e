//! Telling a function what became of a record.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::Receipt;
use crate::error::{Error, Result};
use crate::record::RecordMetadata;

/// Calls `done` when the receipt is decided; with what is known, if the client's thread ends before.
pub(super) async fn tell<F: FnOnce(Result<RecordMetadata>)>(receipt: Receipt, done: F) {
    let mut callback = Callback { receipt, done: Some(done) };
    let outcome = (&mut callback.receipt).await;
    if let Some(done) = callback.done.take() {
        done(outcome);
    }
}

struct Callback<F: FnOnce(Result<RecordMetadata>)> {
    receipt: Receipt,
    done: Option<F>,
}

impl<F: FnOnce(Result<RecordMetadata>)> Drop for Callback<F> {
    fn drop(&mut self) {
        let Some(done) = self.done.take() else { return };
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.receipt).poll(&mut context) {
            Poll::Ready(outcome) => done(outcome),
            Poll::Pending => done(Err(Error::Closed)),
        }
    }
}
