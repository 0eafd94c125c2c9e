//! What is sent: records that borrow, so that sending copies them once, into the batch.

use std::sync::Arc;

use ottla_model::{Millis, Offset};

/// A name and a value beside a record's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name; several headers of a record may have the same.
    pub key: &'a str,
    /// Its bytes; `None` is kept apart from no bytes.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// A header with a value.
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
    /// Where it goes. A topic that is not there is created if the broker does that (`auto.create.topics.enable`).
    pub topic: &'a str,
    /// Chosen by the partitioner if `None`.
    pub partition: Option<i32>,
    /// Now if `None`.
    pub timestamp: Option<Millis>,
    /// What partitions are chosen by and topics compacted by.
    pub key: Option<&'a [u8]>,
    /// The payload; `None` deletes the key in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// In this order; consumers see them so.
    pub headers: &'a [Header<'a>],
}

impl<'a> Record<'a> {
    /// A record without key and value.
    pub const fn to(topic: &'a str) -> Self {
        Self { topic, partition: None, timestamp: None, key: None, value: None, headers: &[] }
    }

    /// With this key.
    #[must_use]
    pub fn key(mut self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// With this payload.
    #[must_use]
    pub fn value(mut self, value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    /// With these headers, instead of those it had.
    #[must_use]
    pub const fn headers(mut self, headers: &'a [Header<'a>]) -> Self {
        self.headers = headers;
        self
    }

    /// To this partition, whatever the partitioner would say. One that the topic does not have is an error of the
    /// call that sends.
    #[must_use]
    pub const fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// With this time of its making, in milliseconds since 1970 (UTC). Topics with
    /// `message.timestamp.type=LogAppendTime` put the broker's in its place.
    #[must_use]
    pub const fn timestamp(mut self, timestamp: Millis) -> Self {
        self.timestamp = Some(timestamp);
        self
    }
}

/// Where a record has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The topic it was sent to.
    pub topic: Arc<str>,
    /// The partition that was chosen.
    pub partition: i32,
    /// [`Offset::NONE`] where nobody was asked to acknowledge (`acks=0`).
    pub offset: Offset,
    /// The broker's, where the topic stamps at appending; otherwise [`Millis::NONE`], and the record has its own.
    pub log_append_time: Millis,
}
