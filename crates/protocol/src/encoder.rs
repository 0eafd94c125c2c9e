//! Writing: a list of segments, of which the small ones share one buffer and the large ones are never copied.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::wire::{Wire, WireNullable};
use crate::{Records, Versions};

/// Payloads up to this size are copied into the buffer: cheaper than a segment of their own.
const COPIED_BYTES_MAX: usize = 512;

/// Bytes of the length in front of a frame.
const FRAME_LENGTH_BYTES: usize = 4;

/// A piece of an encoded message, in sending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    Bytes(Bytes),
    /// `len` bytes that the caller of the encoder knows by `id`, such as a range of a file.
    External {
        len: u32,
        id: u32,
    },
}

impl Segment {
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::External { len, .. } => *len as usize,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

enum Piece {
    /// A range of the buffer.
    Run(Range<usize>),
    Payload(Bytes),
    External {
        len: u32,
        id: u32,
    },
}

/// Collects an encoded message.
pub struct Encoder {
    buffer: Vec<u8>,
    pieces: Vec<Piece>,
    /// Where the run that is being written begins.
    run_start: usize,
    /// Bytes outside the buffer.
    outside: usize,
    flexible: bool,
    /// Inside a tagged field, whose size is only known afterwards: everything is copied.
    copying: bool,
}

impl Encoder {
    pub fn new() -> Self {
        Self::with_capacity(256)
    }

    /// Reserves `capacity` bytes for everything but large payloads.
    pub fn with_capacity(capacity: usize) -> Self {
        Self::over(Vec::with_capacity(capacity))
    }

    /// Writes behind what `buffer` has already.
    pub fn over(buffer: Vec<u8>) -> Self {
        Self { buffer, pieces: Vec::new(), run_start: 0, outside: 0, flexible: false, copying: false }
    }

    /// Starts a frame: its length is filled in by [`Encoder::finish_frame`].
    pub fn frame() -> Self {
        let mut encoder = Self::new();
        encoder.raw(&[0; FRAME_LENGTH_BYTES]);
        encoder
    }

    /// Total bytes so far, those outside the buffer included.
    pub fn len(&self) -> usize {
        self.buffer.len() + self.outside
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn finish(mut self) -> Vec<Segment> {
        self.end_run();
        if self.pieces.is_empty() {
            return Vec::new();
        }
        let buffer = Bytes::from(self.buffer);
        let segment = |piece| match piece {
            Piece::Run(range) => Segment::Bytes(buffer.slice(range)),
            Piece::Payload(bytes) => Segment::Bytes(bytes),
            Piece::External { len, id } => Segment::External { len, id },
        };
        self.pieces.into_iter().map(segment).collect()
    }

    /// The segments of a frame begun by [`Encoder::frame`], with its length in front.
    pub fn finish_frame(mut self) -> Result<Vec<Segment>, EncodeError> {
        let len = i32::try_from(self.len().saturating_sub(FRAME_LENGTH_BYTES))
            .map_err(|_| EncodeError::new(EncodeErrorKind::TooLong))?;
        if let Some(head) = self.buffer.first_chunk_mut() {
            *head = len.to_be_bytes();
        }
        Ok(self.finish())
    }

    /// The message in one piece; external records are an error.
    pub fn finish_bytes(mut self) -> Result<Bytes, EncodeError> {
        self.end_run();
        if let [Piece::Run(_)] | [] = &self.pieces[..] {
            return Ok(self.buffer.into());
        }
        let mut whole = Vec::with_capacity(self.len());
        for segment in self.finish() {
            match segment {
                Segment::Bytes(bytes) => whole.extend_from_slice(&bytes),
                Segment::External { .. } => return Err(EncodeError::new(EncodeErrorKind::External)),
            }
        }
        Ok(whole.into())
    }

    fn end_run(&mut self) {
        if self.run_start < self.buffer.len() {
            self.pieces.push(Piece::Run(self.run_start..self.buffer.len()));
            self.run_start = self.buffer.len();
        }
    }

    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    #[inline]
    pub fn i8(&mut self, value: i8) {
        self.raw(&value.to_be_bytes());
    }

    #[inline]
    pub fn i16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }

    #[inline]
    pub fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    #[inline]
    pub fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    #[inline]
    pub fn uvarint(&mut self, value: u32) {
        if value < 0x80 {
            self.buffer.push(value as u8);
        } else {
            let (bytes, len) = uvarint_bytes(value);
            self.buffer.extend_from_slice(bytes.get(..len).unwrap_or_default());
        }
    }

    /// Bytes without a length in front; large ones become a segment of their own.
    pub fn payload(&mut self, bytes: &Bytes) {
        if bytes.len() <= COPIED_BYTES_MAX || self.copying {
            self.raw(bytes);
        } else {
            self.end_run();
            self.outside += bytes.len();
            self.pieces.push(Piece::Payload(bytes.clone()));
        }
    }

    pub(crate) fn records(&mut self, records: &Records) -> Result<(), EncodeError> {
        self.put_len(records.len())?;
        match records {
            Records::Bytes(bytes) => self.payload(bytes),
            Records::Chunks(chunks) => chunks.iter().for_each(|chunk| self.payload(chunk)),
            Records::External { .. } if self.copying => {
                return Err(EncodeError::new(EncodeErrorKind::External));
            }
            Records::External { len, id } => {
                self.end_run();
                self.outside += *len as usize;
                self.pieces.push(Piece::External { len: *len, id: *id });
            }
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn string(&mut self, text: &[u8]) -> Result<(), EncodeError> {
        if self.flexible {
            self.put_len(text.len())?;
        } else {
            let len = i16::try_from(text.len()).map_err(|_| EncodeError::new(EncodeErrorKind::TooLong))?;
            self.i16(len);
        }
        self.raw(text);
        Ok(())
    }

    pub(crate) fn null_string(&mut self) {
        if self.flexible { self.uvarint(0) } else { self.i16(-1) }
    }

    /// The length in front of bytes, records and arrays.
    #[inline]
    pub(crate) fn put_len(&mut self, len: usize) -> Result<(), EncodeError> {
        let len = i32::try_from(len).map_err(|_| EncodeError::new(EncodeErrorKind::TooLong))?;
        if self.flexible {
            self.uvarint(len as u32 + 1)
        } else {
            self.i32(len)
        }
        Ok(())
    }

    pub(crate) fn null_len(&mut self) {
        if self.flexible { self.uvarint(0) } else { self.i32(-1) }
    }

    #[inline]
    pub fn field<T: Wire>(&mut self, name: &'static str, value: &T, version: i16) -> Result<(), EncodeError> {
        value.write(self, version).map_err(|error| error.within(name))
    }

    #[inline]
    pub fn nullable_field<T: WireNullable>(
        &mut self,
        name: &'static str,
        value: &Option<T>,
        version: i16,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => value.write_some(self, version).map_err(|error| error.within(name)),
            None => {
                T::write_null(self);
                Ok(())
            }
        }
    }

    pub fn sometimes_nullable_field<T: WireNullable>(
        &mut self,
        name: &'static str,
        value: &Option<T>,
        version: i16,
        nullable: bool,
    ) -> Result<(), EncodeError> {
        match value {
            _ if nullable => self.nullable_field(name, value, version),
            Some(value) => self.field(name, value, version),
            None => Err(EncodeError::new(EncodeErrorKind::UnexpectedNull(version)).within(name)),
        }
    }

    pub fn tagged_field<T: Wire>(
        &mut self,
        tag: u32,
        name: &'static str,
        value: &T,
        version: i16,
    ) -> Result<(), EncodeError> {
        self.tag(tag, |encoder| encoder.field(name, value, version))
    }

    pub fn nullable_tagged_field<T: WireNullable>(
        &mut self,
        tag: u32,
        name: &'static str,
        value: &Option<T>,
        version: i16,
    ) -> Result<(), EncodeError> {
        self.tag(tag, |encoder| match value {
            Some(value) => value.write_some(encoder, version).map_err(|error| error.within(name)),
            None => {
                T::write_tagged_null(encoder);
                Ok(())
            }
        })
    }

    /// Writes the tag's data first, and then its size in front.
    fn tag(
        &mut self,
        tag: u32,
        write: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.uvarint(tag);
        let start = self.buffer.len();
        let copying = std::mem::replace(&mut self.copying, true);
        let result = write(self);
        self.copying = copying;
        let size = u32::try_from(self.buffer.len() - start)
            .map_err(|_| EncodeError::new(EncodeErrorKind::TooLong))?;
        let (bytes, len) = uvarint_bytes(size);
        self.buffer.splice(start..start, bytes.into_iter().take(len));
        result
    }

    pub fn is_flexible(&self) -> bool {
        self.flexible
    }

    /// Chooses between the compact form of lengths with tagged fields and the old form; returns what it was.
    pub fn set_flexible(&mut self, flexible: bool) -> bool {
        std::mem::replace(&mut self.flexible, flexible)
    }

    /// The empty tag section of a struct that has no tagged fields.
    #[inline]
    pub fn no_tags(&mut self) {
        if self.flexible {
            self.buffer.push(0);
        }
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

fn uvarint_bytes(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut len = 0;
    for byte in &mut bytes {
        len += 1;
        *byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            break;
        }
        *byte |= 0x80;
    }
    (bytes, len)
}

/// A message that cannot be written in this version: why, and because of which field.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodeError(Box<Located>);

#[derive(Clone, PartialEq, Eq)]
struct Located {
    kind: EncodeErrorKind,
    path: Vec<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeErrorKind {
    #[error("a value is set that version {0} does not have")]
    Absent(i16),
    #[error("a value is null that must not be in version {0}")]
    UnexpectedNull(i16),
    #[error("a value is too long")]
    TooLong,
    #[error("records outside memory cannot be copied")]
    External,
    #[error("record type {0} is unknown")]
    UnknownKey(i16),
    #[error("version {0} is not one of {1}")]
    UnsupportedVersion(i16, Versions),
}

impl EncodeError {
    pub(crate) fn new(kind: EncodeErrorKind) -> Self {
        Self(Box::new(Located { kind, path: Vec::new() }))
    }

    #[cold]
    pub fn absent(field: &'static str, version: i16) -> Self {
        Self::new(EncodeErrorKind::Absent(version)).within(field)
    }

    pub fn kind(&self) -> EncodeErrorKind {
        self.0.kind
    }

    /// Kafka's names of the fields that led there.
    pub fn path(&self) -> String {
        self.0.path.iter().rev().copied().collect::<Vec<_>>().join(".")
    }

    #[cold]
    pub(crate) fn within(mut self, field: &'static str) -> Self {
        self.0.path.push(field);
        self
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.kind, f)?;
        if self.0.path.is_empty() { Ok(()) } else { write!(f, " in {}", self.path()) }
    }
}

impl fmt::Debug for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for EncodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_refers_to_large_and_external_payloads_and_counts_them_in_its_length() {
        let large = Bytes::from(vec![1; COPIED_BYTES_MAX + 1]);
        let mut e = Encoder::frame();
        e.i16(7);
        e.records(&Records::Bytes(large.clone())).unwrap();
        e.records(&Records::External { len: 1000, id: 5 }).unwrap();
        e.records(&Records::Chunks(vec![Bytes::from_static(b"ab"), large.clone()])).unwrap();
        e.payload(&Bytes::from_static(b"end"));
        let total = e.len();
        let segments = e.finish_frame().unwrap();

        assert_eq!(segments.iter().map(Segment::len).sum::<usize>(), total);
        let [Segment::Bytes(head), first, Segment::Bytes(_), external, Segment::Bytes(run), second, tail] =
            &segments[..]
        else {
            panic!("{segments:?}")
        };
        assert_eq!(head[..4], (total as i32 - 4).to_be_bytes());
        assert_eq!((first, second), (&Segment::Bytes(large.clone()), &Segment::Bytes(large.clone())));
        let Segment::Bytes(first) = first else { panic!() };
        assert_eq!(first.as_ptr(), large.as_ptr());
        assert_eq!(*external, Segment::External { len: 1000, id: 5 });
        assert!(run.ends_with(b"ab"));
        assert_eq!(*tail, Segment::Bytes(Bytes::from_static(b"end")));
    }

    #[test]
    fn the_size_of_a_long_tag_is_put_in_front() {
        let mut e = Encoder::new();
        e.set_flexible(true);
        e.tagged_field(300, "Long", &Bytes::from(vec![9; 1000]), 0).unwrap();
        let bytes = e.finish_bytes().unwrap();
        // Tag 300, size 1002, length 1000 + 1.
        assert_eq!(bytes[..6], [0xac, 0x02, 0xea, 0x07, 0xe9, 0x07]);
        assert_eq!(bytes.len(), 4 + 1002);
    }

    #[test]
    fn old_strings_have_a_limit_and_external_records_no_bytes() {
        let mut e = Encoder::new();
        let long = e.string(&[b'a'; 40_000]).unwrap_err();
        assert_eq!(long.kind(), EncodeErrorKind::TooLong);
        e.records(&Records::External { len: 1, id: 0 }).unwrap();
        assert_eq!(e.finish_bytes().unwrap_err().kind(), EncodeErrorKind::External);
    }
}
