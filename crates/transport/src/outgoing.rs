//! What is to be sent: runs of bytes and file ranges.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use bytes::{Buf, Bytes};

/// Something that parts can be sent of.
pub trait FileSource: Send + Sync + Debug {
    /// The descriptor to send from; `None` where there is none, as in a simulated disk.
    fn as_fd(&self) -> Option<BorrowedFd<'_>>;

    /// Reads at most `buf.len()` bytes; 0 at or behind the end.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;
}

impl FileSource for File {
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(AsFd::as_fd(self))
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, position)
    }
}

/// A part of a file that is sent from the page cache.
#[derive(Debug)]
pub struct FileRange {
    pub file: Box<dyn FileSource>,
    pub position: u64,
    pub len: u64,
}

/// One piece of an answer.
#[derive(Debug)]
pub enum Segment {
    Bytes(Bytes),
    File(FileRange),
}

/// Answers that wait to be sent, in order.
#[derive(Debug, Default)]
pub struct Outgoing {
    segments: VecDeque<Segment>,
    len: u64,
}

impl Outgoing {
    pub fn push_bytes(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len() as u64;
            self.segments.push_back(Segment::Bytes(bytes));
        }
    }

    pub fn push_file(&mut self, range: FileRange) {
        if range.len > 0 {
            self.len += range.len;
            self.segments.push_back(Segment::File(range));
        }
    }

    /// Bytes that are still to be sent.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(crate) fn front(&self) -> Option<&Segment> {
        self.segments.front()
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    /// How many runs and ranges there are.
    pub(crate) fn count(&self) -> usize {
        self.segments.len()
    }

    /// Forgets the first `sent` bytes.
    pub(crate) fn advance(&mut self, mut sent: u64) {
        self.len -= sent;
        while sent > 0 {
            match self.segments.front_mut() {
                Some(Segment::Bytes(bytes)) if (bytes.len() as u64) > sent => {
                    bytes.advance(sent as usize);
                    return;
                }
                Some(Segment::Bytes(bytes)) => sent -= bytes.len() as u64,
                Some(Segment::File(range)) if range.len > sent => {
                    range.position += sent;
                    range.len -= sent;
                    return;
                }
                Some(Segment::File(range)) => sent -= range.len,
                None => return,
            }
            self.segments.pop_front();
        }
    }
}
