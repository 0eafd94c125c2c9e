//! What a caller holds of a record on its way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::blocking::block_on;
use crate::error::Result;
use crate::record::RecordMetadata;
use crate::state::delivery::Delivery;

/// The future of one record: where it was appended, or why it was not. May be dropped at any time.
#[derive(Debug)]
pub struct Receipt {
    pub(super) delivery: Arc<Delivery>,
    pub(super) index: u32,
}

impl Receipt {
    /// Waits without an executor. Not to be called on an executor's thread.
    pub fn wait(self) -> Result<RecordMetadata> {
        block_on(self)
    }
}

impl Future for Receipt {
    type Output = Result<RecordMetadata>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.delivery.poll(self.index, cx.waker())
    }
}
