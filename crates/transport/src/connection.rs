//! One socket as a stream of frames in and a queue of answers out.
//!
//! A frame is a big-endian `i32` length and that many bytes. Small frames are sliced out of a receive chunk;
//! a frame that does not fit is received straight into a buffer of its own.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg, sockopt};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::budget::Budget;
use crate::buffer::{BufferPool, CHUNK_BYTES, LargeBuffer};
use crate::network::{Pipe, Stream};
use crate::outgoing::{FileRange, Outgoing, Segment};
use crate::stalls::Stalls;

const LENGTH_BYTES: usize = 4;
/// An unfinished frame of at most this size does not keep a receive chunk from being used by others.
const SMALL_PARTIAL_BYTES: usize = 4 * 1024;
/// What has to be there of a large frame before it gets a buffer: a peer that announces one and falls silent holds
/// no memory and nothing of the budget.
const LARGE_BEGUN_BYTES: usize = CHUNK_BYTES / 4;
/// What is received in front of a large frame's buffer, and copied into it, where large frames follow each other.
const LARGE_HEAD_BYTES: usize = 4 * 1024;
/// Runs of bytes that go into one send.
const SLICES_MAX: usize = 64;
/// What one `sendfile` is asked for, so that a long answer does not keep its thread from others.
const SENDFILE_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// File ranges up to this size are copied and leave with what is around them: `sendfile` would make a send of its own
/// of each, and of every run of bytes between them, and wake the peer as often.
const SHORT_RANGE_BYTES: u64 = 32 * 1024;
/// What is copied at once.
const COPIED_BYTES_MAX: usize = 128 * 1024;

/// Limits that hold for one connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Frames above this size close the connection (`socket.request.max.bytes`).
    pub frame_bytes_max: usize,
    /// What is allocated at once for a large frame that has begun to arrive; a longer one is copied as it grows.
    pub large_first_bytes: usize,
}

/// A frame length that no peer may send; the connection is to be closed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("frame length {0} is negative")]
    Negative(i32),
    #[error("frame length {len} is above the limit of {limit} bytes")]
    TooLarge { len: usize, limit: usize },
}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// What a receive brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Bytes,
    /// The peer will send nothing more.
    Closed,
}

/// A socket with its receive buffer and the answers waiting to be sent. Owned by one task.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    limits: ConnectionLimits,
    pool: Arc<BufferPool>,
    budget: Arc<Budget>,
    /// Received and not yet taken; starts at a frame boundary.
    chunk: BytesMut,
    large: Option<LargeFrame>,
    /// Whether the last frame was large: the next will be, too.
    after_large: bool,
    outgoing: Outgoing,
    /// Whether the kernel keeps what fills no packet until something follows.
    corked: bool,
    /// Of file ranges that are not in memory.
    stalls: Stalls,
}

/// A frame on its way into a buffer of its own.
#[derive(Debug)]
struct LargeFrame {
    buffer: LargeBuffer,
    filled: usize,
    len: usize,
}

impl Connection {
    pub fn new(
        stream: impl Into<Stream>,
        limits: ConnectionLimits,
        pool: Arc<BufferPool>,
        budget: Arc<Budget>,
    ) -> Self {
        Self {
            stream: stream.into(),
            limits,
            pool,
            budget,
            chunk: BytesMut::new(),
            large: None,
            after_large: false,
            outgoing: Outgoing::default(),
            corked: false,
            stalls: Stalls::default(),
        }
    }

    /// The next whole frame, without its length, of what was received so far.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        if let Some(large) = self.large.take_if(|large| large.filled == large.len) {
            self.after_large = true;
            return Ok(Some(large.buffer.freeze(large.len)));
        }
        if self.large.is_some() {
            return Ok(None);
        }
        let Some(len) = self.announced_len()? else { return Ok(None) };
        if self.chunk.len() < LENGTH_BYTES + len {
            return Ok(None);
        }
        self.after_large = false;
        let mut frame = self.chunk.split_to(LENGTH_BYTES + len).freeze();
        Ok(Some(frame.split_off(LENGTH_BYTES)))
    }

    fn announced_len(&self) -> Result<Option<usize>, FrameError> {
        let Some(length) = self.chunk.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        let len = usize::try_from(length).map_err(|_| FrameError::Negative(length))?;
        if len > self.limits.frame_bytes_max {
            return Err(FrameError::TooLarge { len, limit: self.limits.frame_bytes_max });
        }
        Ok(Some(len))
    }

    /// Waits for bytes and receives once; answers that wait are sent meanwhile as the socket takes them.
    pub async fn receive(&mut self) -> io::Result<Received> {
        self.make_room().await?;
        poll_fn(|cx| {
            let flushed = self.poll_flush(cx)?;
            let received = self.poll_receive(cx)?;
            match (flushed, received) {
                (_, Poll::Ready(received)) => Poll::Ready(Ok(received)),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Prepares where the next bytes go: a frame that does not fit into a chunk gets its own buffer, which
    /// is charged to the budget and grows as the frame arrives.
    pub async fn make_room(&mut self) -> io::Result<()> {
        if let Some(large) = &mut self.large {
            if large.filled == large.buffer.bytes.len() && large.filled < large.len {
                let grown_len = large.len.min(large.filled * 2);
                let charge = self.budget.charge(grown_len).await;
                let mut grown = self.pool.large(grown_len);
                grown.charges.push(charge);
                grown.bytes[..large.filled].copy_from_slice(&large.buffer.bytes[..large.filled]);
                large.buffer = grown;
            }
            return Ok(());
        }
        let Some(len) = self.announced_len()? else { return Ok(()) };
        self.after_large &= LENGTH_BYTES + len > CHUNK_BYTES;
        let begun = if self.after_large { LARGE_HEAD_BYTES } else { LARGE_BEGUN_BYTES };
        if LENGTH_BYTES + len > CHUNK_BYTES && self.chunk.len() >= begun {
            let first_len = len.min(self.limits.large_first_bytes);
            let charge = self.budget.charge(first_len).await;
            let mut buffer = self.pool.large(first_len);
            buffer.charges.push(charge);
            let head = self.chunk.split_off(LENGTH_BYTES);
            buffer.bytes[..head.len()].copy_from_slice(&head);
            self.large = Some(LargeFrame { buffer, filled: head.len(), len });
            self.pool.give_back(std::mem::take(&mut self.chunk));
        }
        Ok(())
    }

    /// Receives once, without waiting for the buffers of answers. Call [`Self::make_room`] before.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Received>> {
        // Known to be readable before a buffer is taken: a silent connection holds none.
        if self.large.is_none() && self.chunk.capacity() < CHUNK_BYTES / 2 {
            match self.stream.poll_read_ready(cx) {
                Poll::Pending => {
                    self.shrink();
                    return Poll::Pending;
                }
                Poll::Ready(ready) => ready?,
            }
            let mut chunk = self.pool.chunk();
            chunk.extend_from_slice(&self.chunk);
            self.pool.give_back(std::mem::replace(&mut self.chunk, chunk));
        }
        let count = match &mut self.large {
            Some(large) => {
                let end = large.len.min(large.buffer.bytes.len());
                let mut room = ReadBuf::new(&mut large.buffer.bytes[large.filled..end]);
                match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(result) => result?,
                }
                let count = room.filled().len();
                large.filled += count;
                count
            }
            None => {
                let room = match self.after_large {
                    true => LARGE_HEAD_BYTES.saturating_sub(self.chunk.len()).max(LENGTH_BYTES),
                    false => usize::MAX,
                };
                let mut chunk = (&mut self.chunk).limit(room);
                let receive = std::pin::pin!(self.stream.read_buf(&mut chunk));
                match std::future::Future::poll(receive, cx) {
                    Poll::Ready(count) => count?,
                    Poll::Pending => {
                        self.shrink();
                        return Poll::Pending;
                    }
                }
            }
        };
        Poll::Ready(Ok(if count == 0 { Received::Closed } else { Received::Bytes }))
    }

    /// Gives the chunk back while nothing, or little, of a frame is in it.
    fn shrink(&mut self) {
        if self.chunk.capacity() >= CHUNK_BYTES / 2 && self.chunk.len() <= SMALL_PARTIAL_BYTES {
            let partial = BytesMut::from(&self.chunk[..]);
            self.pool.give_back(std::mem::replace(&mut self.chunk, partial));
        }
    }

    /// Where the next answer is to be put; it leaves with the next flush.
    pub fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    /// Sends everything that waits.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Sends what the socket takes; ready when nothing waits any more.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(front) = self.outgoing.front() {
            let stream = match &self.stream {
                Stream::Tcp(stream) => stream,
                Stream::Pipe(pipe) => match ready!(write_to_pipe(&**pipe, front, cx))? {
                    0 => return Poll::Ready(Err(truncated_file())),
                    count => {
                        self.outgoing.advance(count as u64);
                        continue;
                    }
                },
            };
            let sent = match front {
                Segment::File(range) if range.len > SHORT_RANGE_BYTES => {
                    // The few bytes that end an answer leave with the last of the range, and wake the peer once.
                    if !self.corked && self.outgoing.count() > 1 {
                        sockopt::set_tcp_cork(stream, true)?;
                        self.corked = true;
                    }
                    self.stalls.call(|| send_file(stream, range))
                }
                _ => self.send_leading(stream),
            };
            match sent {
                Ok(0) => return Poll::Ready(Err(truncated_file())),
                Ok(count) => self.outgoing.advance(count as u64),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(stream.poll_write_ready(cx))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if let (true, Stream::Tcp(stream)) = (self.corked, &self.stream) {
            sockopt::set_tcp_cork(stream, false)?;
            self.corked = false;
        }
        Poll::Ready(Ok(()))
    }

    /// One send of everything up to the next long file range. With more behind it the kernel is told to wait for that,
    /// so that a small header does not become a packet of its own.
    fn send_leading(&self, stream: &TcpStream) -> io::Result<usize> {
        let mut copies = None;
        let mut lens = [0; SLICES_MAX];
        let (mut count, mut copied) = (0, 0);
        for (segment, len) in self.outgoing.segments().zip(&mut lens) {
            *len = match segment {
                Segment::Bytes(bytes) => bytes.len(),
                Segment::File(range) if range.len > SHORT_RANGE_BYTES => break,
                Segment::File(range) => {
                    let end = copied + range.len as usize;
                    if end > COPIED_BYTES_MAX {
                        break;
                    }
                    let copies = copies.get_or_insert_with(|| self.pool.large(COPIED_BYTES_MAX));
                    let read = range.file.read_at(&mut copies.bytes[copied..end], range.position)?;
                    copied += read;
                    read
                }
            };
            count += 1;
            // What is missing of a range is found to be missing when it comes first.
            if matches!(segment, Segment::File(range) if range.len > *len as u64) {
                break;
            }
        }
        let mut rest = copies.as_ref().map_or(&[][..], |copies| &copies.bytes);
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        for ((segment, len), slice) in self.outgoing.segments().zip(lens).zip(&mut slices[..count]) {
            *slice = match segment {
                Segment::Bytes(bytes) => IoSlice::new(bytes),
                Segment::File(_) => {
                    let (copy, behind) = rest.split_at(len);
                    rest = behind;
                    IoSlice::new(copy)
                }
            };
        }
        let more = if count < self.outgoing.count() { SendFlags::MORE } else { SendFlags::empty() };
        stream.try_io(Interest::WRITABLE, || {
            let mut ancillary = SendAncillaryBuffer::default();
            Ok(sendmsg(stream, &slices[..count], &mut ancillary, SendFlags::NOSIGNAL | more)?)
        })
    }
}

/// One send of a part of a file.
fn send_file(stream: &TcpStream, range: &FileRange) -> io::Result<usize> {
    let count = range.len.min(SENDFILE_BYTES_MAX) as usize;
    let mut position = range.position;
    match range.file.as_fd() {
        Some(file) => stream.try_io(Interest::WRITABLE, || {
            Ok(rustix::fs::sendfile(stream, file, Some(&mut position), count)?)
        }),
        None => stream.try_write(&copy_of(range)?),
    }
}

/// What comes next of a part of a file that cannot be sent as such.
fn copy_of(range: &FileRange) -> io::Result<Vec<u8>> {
    let mut copy = vec![0; range.len.min(COPIED_BYTES_MAX as u64) as usize];
    let read = range.file.read_at(&mut copy, range.position)?;
    copy.truncate(read);
    Ok(copy)
}

/// Hands a pipe what comes first.
fn write_to_pipe(pipe: &dyn Pipe, front: &Segment, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    match front {
        Segment::Bytes(bytes) => pipe.poll_write(cx, bytes),
        Segment::File(range) => pipe.poll_write(cx, &copy_of(range)?),
    }
}

/// A file that ends before the range promised to the peer: nothing can be sent in its place.
fn truncated_file() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "file ended before the range that was announced")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use tokio::net::TcpListener;

    use super::*;

    async fn connected() -> (std::net::TcpStream, Connection, Arc<BufferPool>, Arc<Budget>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (pool, budget) = (BufferPool::new(16 * 1024 * 1024), Budget::new(64 * 1024 * 1024));
        let limits = ConnectionLimits { frame_bytes_max: 10 * 1024 * 1024, large_first_bytes: 1024 * 1024 };
        let connection = Connection::new(stream, limits, Arc::clone(&pool), Arc::clone(&budget));
        (peer, connection, pool, budget)
    }

    async fn next_frame(connection: &mut Connection) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(frame) = connection.next_frame()? {
                return Ok(Some(frame));
            }
            if connection.receive().await? == Received::Closed {
                return Ok(None);
            }
        }
    }

    fn framed(payload: &[u8]) -> Vec<u8> {
        [&(payload.len() as i32).to_be_bytes()[..], payload].concat()
    }

    #[tokio::test]
    async fn frames_of_every_size_arrive_whole_and_in_order() {
        let (mut peer, mut connection, _, budget) = connected().await;
        let sizes = [
            0,
            1,
            5_000,
            CHUNK_BYTES - 4,
            CHUNK_BYTES - 3,
            3_000_000,
            90_000,
            200_000,
            7,
            200_000,
            9_999_999,
        ];
        let sender = std::thread::spawn(move || {
            for (i, size) in sizes.into_iter().enumerate() {
                peer.write_all(&framed(&vec![i as u8; size])).unwrap();
            }
        });
        for (i, size) in sizes.into_iter().enumerate() {
            let frame = next_frame(&mut connection).await.unwrap().unwrap();
            assert_eq!(frame.len(), size);
            assert!(frame.iter().all(|byte| *byte == i as u8));
        }
        sender.join().unwrap();
        assert_eq!(next_frame(&mut connection).await.unwrap(), None);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_length_out_of_bounds_is_refused_before_anything_is_allocated() {
        for (length, expected) in [
            (-1i32, FrameError::Negative(-1)),
            (i32::MAX, FrameError::TooLarge { len: i32::MAX as usize, limit: 10 * 1024 * 1024 }),
        ] {
            let (mut peer, mut connection, _, budget) = connected().await;
            peer.write_all(&length.to_be_bytes()).unwrap();
            assert_eq!(connection.receive().await.unwrap(), Received::Bytes);
            assert_eq!(connection.next_frame(), Err(expected));
            assert_eq!(budget.used_bytes(), 0);
        }
    }

    #[tokio::test]
    async fn answers_of_bytes_and_file_ranges_leave_in_order() {
        let (mut peer, mut connection, _, _) = connected().await;
        let content: Vec<u8> = (0..5_000_000u32).map(|i| (i / 7) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        let file = Box::new(file);
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            received
        });
        let outgoing = connection.outgoing();
        outgoing.push_bytes(Bytes::from_static(b"head"));
        outgoing.push_file(FileRange { file, position: 10, len: 4_000_000 });
        outgoing.push_bytes(Bytes::from_static(b"tail"));
        assert_eq!(outgoing.len(), 4_000_008);
        connection.flush().await.unwrap();
        drop(connection);
        let received = reader.join().unwrap();
        assert_eq!(received, [b"head", &content[10..4_000_010], b"tail"].concat());
    }

    #[tokio::test]
    async fn short_ranges_leave_between_runs_of_bytes() {
        let (mut peer, mut connection, _, _) = connected().await;
        let content: Vec<u8> = (0..100_000u32).map(|i| (i / 3) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            received
        });
        let mut expected = Vec::new();
        for n in 0..2_000u64 {
            let (position, len) = (n * 37 % 50_000, [16_384, 1, 40_000][n as usize % 3]);
            connection.outgoing().push_bytes(Bytes::from(n.to_be_bytes().to_vec()));
            let file = Box::new(file.try_clone().unwrap());
            connection.outgoing().push_file(FileRange { file, position, len });
            expected.extend_from_slice(&n.to_be_bytes());
            expected.extend_from_slice(&content[position as usize..(position + len) as usize]);
        }
        connection.flush().await.unwrap();
        drop(connection);
        assert!(reader.join().unwrap() == expected);
    }

    #[tokio::test]
    async fn a_range_beyond_the_files_end_breaks_the_connection() {
        let (_peer, mut connection, _, _) = connected().await;
        let file = Box::new(tempfile::tempfile().unwrap());
        connection.outgoing().push_file(FileRange { file, position: 0, len: 1 });
        assert_eq!(connection.flush().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
