//! Reading: a position in a frame. Nothing here panics, copies or allocates more than the frame justifies.

use std::fmt;

use bytes::Bytes;

use crate::wire::{Wire, WireNullable};

/// Space reserved for an array before its elements have shown that they exist.
const RESERVED_BYTES_MAX: usize = 64 * 1024;

/// A frame and the position of the next unread byte. Strings, bytes and records are slices of the frame.
#[derive(Debug)]
pub struct Decoder {
    frame: Bytes,
    position: usize,
    flexible: bool,
}

impl Decoder {
    pub fn new(frame: Bytes) -> Self {
        Self { frame, position: 0, flexible: false }
    }

    pub fn position(&self) -> usize {
        self.position
    }

    pub fn remaining(&self) -> usize {
        self.frame.len() - self.position
    }

    /// What has not been read, as a slice of the frame.
    pub fn rest(&self) -> Bytes {
        self.frame.slice(self.position..)
    }

    /// An error if anything is left: for records on disk, where Kafka is strict. Requests may have more.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.error(DecodeErrorKind::TrailingBytes)) }
    }

    #[inline]
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        self.array().map(i8::from_be_bytes)
    }

    #[inline]
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    #[inline]
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        self.array().map(f64::from_be_bytes)
    }

    /// An unsigned LEB128 number of at most five bytes.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let [first] = self.array::<1>()?;
        if first < 0x80 { Ok(u32::from(first)) } else { self.long_uvarint(u32::from(first & 0x7f)) }
    }

    #[inline(never)]
    fn long_uvarint(&mut self, mut value: u32) -> Result<u32, DecodeError> {
        for shift in [7, 14, 21, 28] {
            let [byte] = self.array::<1>()?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error(DecodeErrorKind::BadVarint))
    }

    /// A record type or version as an unsigned varint.
    pub fn uvarint_i16(&mut self) -> Result<i16, DecodeError> {
        let value = self.uvarint()?;
        i16::try_from(value).map_err(|_| self.error(DecodeErrorKind::BadVarint))
    }

    /// The next `N` bytes.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.frame.get(self.position..).and_then(<[u8]>::first_chunk) {
            Some(chunk) => {
                self.position += N;
                Ok(*chunk)
            }
            None => Err(self.error(DecodeErrorKind::Truncated)),
        }
    }

    /// The next `len` bytes as a slice of the frame.
    #[inline]
    pub fn slice(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len > self.remaining() {
            return Err(self.error(DecodeErrorKind::Truncated));
        }
        let start = self.position;
        self.position += len;
        Ok(self.frame.slice(start..self.position))
    }

    /// The length in front of a string; `None` is null.
    #[inline]
    pub(crate) fn string_len(&mut self) -> Result<Option<usize>, DecodeError> {
        if !self.flexible {
            return self.i16().map(|len| Self::signed_len(len.into()));
        }
        // The compact form could hold more, but Kafka refuses what the old form cannot: records need it.
        match self.compact_len()? {
            Some(len) if len > i16::MAX as usize => Err(self.error(DecodeErrorKind::BadLength)),
            len => Ok(len),
        }
    }

    /// The length in front of bytes, records and arrays; `None` is null.
    #[inline]
    pub(crate) fn len(&mut self) -> Result<Option<usize>, DecodeError> {
        if self.flexible { self.compact_len() } else { self.i32().map(Self::signed_len) }
    }

    #[inline]
    fn compact_len(&mut self) -> Result<Option<usize>, DecodeError> {
        let plus_one = self.uvarint()?;
        if plus_one > i32::MAX as u32 {
            return Err(self.error(DecodeErrorKind::BadLength));
        }
        Ok((plus_one as usize).checked_sub(1))
    }

    #[inline]
    fn signed_len(len: i32) -> Option<usize> {
        // -1 is what writers send for null, and Kafka reads every negative length as it.
        usize::try_from(len).ok()
    }

    /// `count` elements. Every element takes a byte at least, so a count beyond the rest of the frame is a lie.
    pub(crate) fn elements<T: Wire>(&mut self, count: usize, version: i16) -> Result<Vec<T>, DecodeError> {
        if count > self.remaining() {
            return Err(self.error(DecodeErrorKind::Truncated));
        }
        let mut elements = Vec::with_capacity(count.min(RESERVED_BYTES_MAX / size_of::<T>().max(1)));
        while elements.len() < count {
            match T::read(self, version) {
                Ok(element) => elements.push(element),
                Err(error) => return Err(error),
            }
        }
        Ok(elements)
    }

    #[inline]
    pub fn field<T: Wire>(&mut self, name: &'static str, version: i16) -> Result<T, DecodeError> {
        T::read(self, version).map_err(|error| error.within(name))
    }

    #[inline]
    pub fn nullable_field<T: WireNullable>(
        &mut self,
        name: &'static str,
        version: i16,
    ) -> Result<Option<T>, DecodeError> {
        T::read_nullable(self, version).map_err(|error| error.within(name))
    }

    pub fn sometimes_nullable_field<T: WireNullable>(
        &mut self,
        name: &'static str,
        version: i16,
        nullable: bool,
    ) -> Result<Option<T>, DecodeError> {
        if nullable { self.nullable_field(name, version) } else { self.field(name, version).map(Some) }
    }

    pub fn nullable_tagged_field<T: WireNullable>(
        &mut self,
        name: &'static str,
        version: i16,
    ) -> Result<Option<T>, DecodeError> {
        T::read_tagged(self, version).map_err(|error| error.within(name))
    }

    pub fn is_flexible(&self) -> bool {
        self.flexible
    }

    /// Chooses between the compact form of lengths with tagged fields and the old form; returns what it was.
    pub fn set_flexible(&mut self, flexible: bool) -> bool {
        std::mem::replace(&mut self.flexible, flexible)
    }

    /// Number of tagged fields that follow; zero in versions that are not flexible.
    #[inline]
    pub fn tags(&mut self) -> Result<u32, DecodeError> {
        if self.flexible { self.uvarint() } else { Ok(0) }
    }

    /// The next tag, and the position where its data ends.
    pub fn begin_tag(&mut self) -> Result<(u32, usize), DecodeError> {
        let tag = self.uvarint()?;
        let size = self.uvarint()? as usize;
        if size > self.remaining() {
            return Err(self.error(DecodeErrorKind::Truncated));
        }
        Ok((tag, self.position + size))
    }

    pub fn skip_tag(&mut self, end: usize) {
        self.position = end.clamp(self.position, self.frame.len());
    }

    pub fn end_tag(&mut self, end: usize) -> Result<(), DecodeError> {
        if self.position == end { Ok(()) } else { Err(self.error(DecodeErrorKind::BadTagSize)) }
    }

    /// Skips the tagged fields of a struct that knows none.
    #[inline]
    pub fn skip_tags(&mut self) -> Result<(), DecodeError> {
        match self.tags()? {
            0 => Ok(()),
            count => self.skip_unknown(count),
        }
    }

    #[cold]
    fn skip_unknown(&mut self, count: u32) -> Result<(), DecodeError> {
        for _ in 0..count {
            let (_, end) = self.begin_tag()?;
            self.skip_tag(end);
        }
        Ok(())
    }

    /// An error at this position.
    #[cold]
    pub fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError(Box::new(Located { kind, position: self.position, path: Vec::new() }))
    }
}

/// Bytes that are not the message they should be: what is wrong, at which byte, in which field.
#[derive(Clone, PartialEq, Eq)]
pub struct DecodeError(Box<Located>);

#[derive(Clone, PartialEq, Eq)]
struct Located {
    kind: DecodeErrorKind,
    position: usize,
    /// Kafka's field names, innermost first.
    path: Vec<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeErrorKind {
    #[error("the frame ends too early")]
    Truncated,
    #[error("a length is negative or too large")]
    BadLength,
    #[error("a variable-length number is too long")]
    BadVarint,
    #[error("a value is null that must not be")]
    UnexpectedNull,
    #[error("a tagged field has another size than announced")]
    BadTagSize,
    #[error("there are bytes after the end")]
    TrailingBytes,
    #[error("API key or record type {0} is unknown")]
    UnknownKey(i16),
    #[error("version {0} is not supported")]
    UnsupportedVersion(i16),
    #[error("frame version {0} is not supported")]
    UnsupportedFrameVersion(u32),
}

impl DecodeError {
    pub fn kind(&self) -> DecodeErrorKind {
        self.0.kind
    }

    /// The byte of the frame at which decoding stopped.
    pub fn position(&self) -> usize {
        self.0.position
    }

    /// Kafka's names of the fields that led there, such as `TopicData.PartitionData.Records`.
    pub fn path(&self) -> String {
        self.0.path.iter().rev().copied().collect::<Vec<_>>().join(".")
    }

    #[cold]
    pub(crate) fn within(mut self, field: &'static str) -> Self {
        self.0.path.push(field);
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.0.kind, self.0.position)?;
        if self.0.path.is_empty() { Ok(()) } else { write!(f, " in {}", self.path()) }
    }
}

impl fmt::Debug for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for DecodeError {}
