//! The producer for programs without an executor.

use std::time::Duration;

use super::block_on;
use crate::config::ClientConfig;
use crate::error::Result;
use crate::producer::{Partitioner, Receipt, TrySendError};
use crate::record::{Record, RecordMetadata};

/// A [`crate::Producer`] whose calls wait on the thread that makes them. Clones are handles of the same.
///
/// ```no_run
/// use ottla_client::{ClientConfig, Record, blocking::Producer};
///
/// let producer = Producer::new(&ClientConfig::new("localhost:9092"))?;
/// let receipt = producer.send(Record::to("orders").key("customer-7").value("two apples"))?;
/// println!("at offset {}", receipt.wait()?.offset);
/// producer.close(std::time::Duration::from_secs(10))?;
/// # Ok::<(), ottla_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Producer {
    inner: crate::Producer,
}

impl Producer {
    /// As [`crate::Producer::new`].
    pub fn new(config: &ClientConfig) -> Result<Self> {
        Ok(Self { inner: crate::Producer::new(config)? })
    }

    /// As [`crate::Producer::with_partitioner`].
    pub fn with_partitioner(config: &ClientConfig, partitioner: impl Partitioner + 'static) -> Result<Self> {
        Ok(Self { inner: crate::Producer::with_partitioner(config, partitioner)? })
    }

    /// Takes a record, waiting at most `max.block.ms`; [`Receipt::wait`] tells what became of it.
    pub fn send(&self, record: Record<'_>) -> Result<Receipt> {
        match self.inner.try_send(record) {
            Err(TrySendError::WouldWait(_)) => block_on(self.inner.send(record)),
            Err(TrySendError::Failed(error)) => Err(error),
            Ok(receipt) => Ok(receipt),
        }
    }

    /// As [`crate::Producer::send_with`].
    pub fn send_with(
        &self,
        record: Record<'_>,
        done: impl FnOnce(Result<RecordMetadata>) + Send + 'static,
    ) -> Result<()> {
        block_on(self.inner.send_with(record, done))
    }

    /// As [`crate::Producer::flush`].
    pub fn flush(&self) -> Result<()> {
        block_on(self.inner.flush())
    }

    /// As [`crate::Producer::close`].
    pub fn close(&self, timeout: Duration) -> Result<()> {
        block_on(self.inner.close(timeout))
    }

    /// The same for async code.
    pub fn as_async(&self) -> &crate::Producer {
        &self.inner
    }
}
