//! The consumer for programs without an executor.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use ottla_model::{Offset, TopicPartition};

use super::block_on;
use crate::config::ClientConfig;
use crate::consumer::{Committed, ConsumerRecord, Records};
use crate::error::Result;

/// A [`crate::Consumer`] whose calls wait on the thread that makes them. What needs no waiting is the async consumer's
/// own: this one dereferences to it.
///
/// It is an iterator over records too, one by one without end; an error is an item, after which it may go on.
#[derive(Debug)]
pub struct Consumer {
    inner: crate::Consumer,
    waiting: std::vec::IntoIter<ConsumerRecord>,
}

impl Consumer {
    /// As [`crate::Consumer::new`].
    pub fn new(config: &ClientConfig) -> Result<Self> {
        Ok(Self { inner: crate::Consumer::new(config)?, waiting: Vec::new().into_iter() })
    }

    /// As [`crate::Consumer::poll`].
    pub fn poll(&mut self, timeout: Duration) -> Result<Records> {
        block_on(self.inner.poll(timeout))
    }

    /// As [`crate::Consumer::commit`].
    pub fn commit(&mut self) -> Result<()> {
        block_on(self.inner.commit())
    }

    /// As [`crate::Consumer::commit_offsets`].
    pub fn commit_offsets(&mut self, offsets: BTreeMap<TopicPartition, Committed>) -> Result<()> {
        block_on(self.inner.commit_offsets(offsets))
    }

    /// As [`crate::Consumer::committed`].
    pub fn committed(&self, of: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, Committed>> {
        block_on(self.inner.committed(of))
    }

    /// As [`crate::Consumer::position`].
    pub fn position(&mut self, partition: &TopicPartition) -> Result<Offset> {
        block_on(self.inner.position(partition))
    }

    /// As [`crate::Consumer::close`].
    pub fn close(self) -> Result<()> {
        block_on(self.inner.close())
    }
}

impl Iterator for Consumer {
    type Item = Result<ConsumerRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(record) = self.waiting.next() {
            return Some(Ok(record));
        }
        let records = match block_on(self.inner.next()) {
            Ok(records) => records,
            Err(error) => return Some(Err(error)),
        };
        self.waiting = records.iter().map(|record| record.to_shared()).collect::<Vec<_>>().into_iter();
        self.waiting.next().map(Ok)
    }
}

impl Deref for Consumer {
    type Target = crate::Consumer;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for Consumer {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}
