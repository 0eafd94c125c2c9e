//! Records inside a batch: varints, one after the other.
//!
//! [`RecordView`] borrows and allocates nothing; [`RecordIter`] yields [`Record`]s that share the batch's buffer.

use bytes::Bytes;
use ottla_model::{Millis, Offset};

use crate::error::BatchError;
use crate::header::{BatchHeader, TimestampType};
use crate::varint;

/// A record header: key and value. Kafka wants the key to be UTF-8; nothing here checks it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Header {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// A record with absolute offset and timestamp.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Record {
    pub attributes: i8,
    pub timestamp: Millis,
    pub offset: Offset,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<Header>,
}

/// A record in place; offset and timestamp are relative to the batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordView<'a> {
    pub attributes: i8,
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// As many headers as `headers` holds.
    pub header_count: i32,
    /// The headers' bytes; read with [`Self::headers`].
    pub headers: &'a [u8],
    /// Size of the record without its length field.
    pub size_bytes: usize,
}

impl<'a> RecordView<'a> {
    /// Reads the record at `*at` and moves `at` behind it. The error says what is wrong with it.
    #[inline]
    pub fn read(data: &'a [u8], at: &mut usize) -> Result<Self, &'static str> {
        let size =
            varint::read_i32(data, at).ok_or("Incorrect declared batch size, premature EOF reached")?;
        let size = usize::try_from(size).map_err(|_| "negative record size")?;
        let start = *at;
        let end = start.checked_add(size).filter(|end| *end <= data.len());
        let end = end.ok_or("record reaches beyond the batch")?;
        let body = &data[start..end];
        let record = Self::read_body(body)?;
        *at = end;
        Ok(record)
    }

    #[inline(always)]
    fn read_body(body: &'a [u8]) -> Result<Self, &'static str> {
        const STRUCTURE: &str = "Found invalid record structure";
        let attributes = *body.first().ok_or(STRUCTURE)? as i8;
        let mut at = 1;
        let timestamp_delta = varint::read_i64(body, &mut at).ok_or(STRUCTURE)?;
        let offset_delta = varint::read_i32(body, &mut at).ok_or(STRUCTURE)?;
        let key = read_bytes(body, &mut at).ok_or(STRUCTURE)?;
        let value = read_bytes(body, &mut at).ok_or(STRUCTURE)?;
        let header_count = varint::read_i32(body, &mut at).ok_or(STRUCTURE)?;
        let headers = body.get(at..).ok_or(STRUCTURE)?;
        if header_count != 0 || !headers.is_empty() {
            check_headers(header_count, headers)?;
        }
        Ok(Self {
            attributes,
            timestamp_delta,
            offset_delta,
            key,
            value,
            header_count,
            headers,
            size_bytes: body.len(),
        })
    }

    /// Keys and values of the headers.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let headers = self.headers;
        let mut at = 0;
        (0..self.header_count).map_while(move |_| {
            let key = read_bytes(headers, &mut at)??;
            Some((key, read_bytes(headers, &mut at)?))
        })
    }
}

#[inline(always)]
fn read_bytes<'a>(body: &'a [u8], at: &mut usize) -> Option<Option<&'a [u8]>> {
    let len = varint::read_i32(body, at)?;
    if len < 0 {
        return Some(None);
    }
    let end = at.checked_add(len as usize)?;
    let bytes = body.get(*at..end)?;
    *at = end;
    Some(Some(bytes))
}

fn check_headers(count: i32, headers: &[u8]) -> Result<(), &'static str> {
    if count < 0 {
        return Err("Found invalid number of record headers");
    }
    if count as usize > headers.len() {
        return Err("Found invalid number of record headers, larger than the remaining size of the record");
    }
    let mut at = 0;
    for _ in 0..count {
        let key = read_bytes(headers, &mut at).ok_or("Found invalid record structure")?;
        key.ok_or("Invalid negative header key size")?;
        read_bytes(headers, &mut at).ok_or("Found invalid record structure")?;
    }
    if at == headers.len() { Ok(()) } else { Err("Invalid record size") }
}

/// The records of a batch. After an error it is at its end.
#[derive(Clone, Debug)]
pub struct RecordIter {
    data: Bytes,
    at: usize,
    index: i32,
    count: i32,
    base_offset: Offset,
    base_timestamp: Millis,
    /// With LogAppendTime all records have this timestamp.
    append_time: Option<Millis>,
}

impl RecordIter {
    /// Over decompressed records.
    pub fn new(header: &BatchHeader, data: Bytes) -> Self {
        Self {
            data,
            at: 0,
            index: 0,
            count: header.record_count,
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            append_time: (header.timestamp_type() == TimestampType::LogAppendTime)
                .then_some(header.max_timestamp),
        }
    }

    /// The records as they lie there, for callers that need no `Bytes`.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    fn read(&mut self) -> Result<Record, &'static str> {
        let view = RecordView::read(&self.data, &mut self.at)?;
        let share = |bytes: &[u8]| self.data.slice_ref(bytes);
        let record = Record {
            attributes: view.attributes,
            timestamp: self.append_time.unwrap_or(self.base_timestamp + view.timestamp_delta),
            offset: Offset(self.base_offset.0.saturating_add(i64::from(view.offset_delta))),
            key: view.key.map(share),
            value: view.value.map(share),
            headers: view
                .headers()
                .map(|(key, value)| Header { key: share(key), value: value.map(share) })
                .collect(),
        };
        if self.index + 1 == self.count && self.at != self.data.len() {
            return Err("Incorrect declared batch size, records still remaining in file");
        }
        Ok(record)
    }
}

impl Iterator for RecordIter {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            return None;
        }
        let index = self.index;
        match self.read() {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(reason) => {
                self.index = self.count;
                Some(Err(BatchError::Record { index, reason }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // A record takes at least seven bytes, whatever the header claims.
        let most = self.data.len().saturating_sub(self.at) / 7 + 1;
        (0, Some(most.min((self.count - self.index).max(0) as usize)))
    }
}
