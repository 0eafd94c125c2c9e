//! What is sent: records that borrow, so that sending copies them once, into the batch.

use std::sync::Arc;

use ottla_model::{Millis, Offset};

/// A name and a value beside a record's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a str,
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    pub const fn new(key: &'a str, value: &'a [u8]) -> Self {
        Self { key, value: Some(value) }
    }
}

/// A record to be sent. It borrows what it is made of; `send` encodes it before it returns.
///
/// ```
/// use ottla_client::{Header, Record};
///
/// let headers = [Header::new("trace", b"42")];
/// let record = Record::to("orders").key(b"customer-7").value(b"two apples").headers(&headers);
/// assert_eq!(record.topic, "orders");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub topic: &'a str,
    /// Chosen by the partitioner if `None`.
    pub partition: Option<i32>,
    /// Now if `None`.
    pub timestamp: Option<Millis>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [Header<'a>],
}

impl<'a> Record<'a> {
    /// A record without key and value.
    pub const fn to(topic: &'a str) -> Self {
        Self { topic, partition: None, timestamp: None, key: None, value: None, headers: &[] }
    }

    #[must_use]
    pub fn key(mut self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    #[must_use]
    pub fn value(mut self, value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    #[must_use]
    pub const fn headers(mut self, headers: &'a [Header<'a>]) -> Self {
        self.headers = headers;
        self
    }

    #[must_use]
    pub const fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    #[must_use]
    pub const fn timestamp(mut self, timestamp: Millis) -> Self {
        self.timestamp = Some(timestamp);
        self
    }
}

/// Where a record has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    pub topic: Arc<str>,
    pub partition: i32,
    /// [`Offset::NONE`] where nobody was asked to acknowledge (`acks=0`).
    pub offset: Offset,
    /// The broker's, where the topic stamps at appending; otherwise [`Millis::NONE`], and the record has its own.
    pub log_append_time: Millis,
}
