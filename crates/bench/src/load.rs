//! The load: prepared frames over blocking sockets, several in flight, a thread per connection.

use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rustix::net::RecvFlags;

use crate::connection::{Connection, Frame};

/// What one connection does.
pub struct Script {
    pub address: SocketAddr,
    /// Sent one after the other, and over again from the start.
    pub frames: Vec<Frame>,
    /// How many requests in all.
    pub requests: usize,
    pub in_flight: usize,
    /// Nothing is sent after this time.
    pub until: Option<Instant>,
    pub answers: Answers,
}

/// How answers are looked at.
#[derive(Clone, Copy)]
pub enum Answers {
    /// Read whole and given to the function.
    Checked(fn(Bytes) -> Result<()>),
    /// Of so many bytes each, or near: received but not copied out of the kernel.
    Large { least_bytes: usize },
    /// Read and forgotten.
    Any,
}

/// Runs the scripts at once; returns how many requests were answered, and the time from the first request to the
/// last answer.
pub fn run(scripts: Vec<Script>) -> Result<(usize, Duration)> {
    let mut connections = Vec::new();
    for script in &scripts {
        connections.push(Connection::open(script.address)?.into_stream());
    }
    let begun = Instant::now();
    let threads: Vec<_> = scripts
        .into_iter()
        .zip(connections)
        .map(|(script, stream)| std::thread::spawn(move || play(&script, stream)))
        .collect();
    let mut answered = 0;
    for thread in threads {
        answered += thread.join().ok().context("a load thread panicked")??;
    }
    Ok((answered, begun.elapsed()))
}

fn play(script: &Script, mut stream: TcpStream) -> Result<usize> {
    let mut sent = 0;
    let mut answered = 0;
    let mut inbox = Inbox { buffer: vec![0; 1 << 20], start: 0, end: 0 };
    let mut frames = script.frames.iter().cycle();
    let mut slices: Vec<IoSlice<'_>> = Vec::new();
    loop {
        let over = script.until.is_some_and(|until| Instant::now() >= until);
        while !over && sent < script.requests && sent - answered < script.in_flight {
            slices.extend(frames.next().into_iter().flatten().map(|piece| IoSlice::new(piece)));
            sent += 1;
        }
        write_all(&mut stream, &mut slices)?;
        if answered == sent {
            return Ok(answered);
        }
        answered += inbox.receive(&mut stream, script.answers)?;
    }
}

fn write_all(stream: &mut TcpStream, slices: &mut Vec<IoSlice<'_>>) -> Result<()> {
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        // The kernel takes 1,024 pieces at most.
        let most = rest.len().min(512);
        let written = stream.write_vectored(&rest[..most]).context("send requests")?;
        IoSlice::advance_slices(&mut rest, written);
    }
    slices.clear();
    Ok(())
}

struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// Waits for at least one whole answer; returns how many there were.
    fn receive(&mut self, stream: &mut TcpStream, answers: Answers) -> Result<usize> {
        if let Answers::Large { least_bytes } = answers {
            return discard(stream, least_bytes, &mut self.buffer).map(|()| 1);
        }
        let mut whole = 0;
        loop {
            while let Some((length, rest)) = self.buffer[self.start..self.end].split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if rest.len() < length {
                    ensure!(length + 4 <= self.buffer.len(), "an answer of {length} bytes");
                    break;
                }
                if let Answers::Checked(check) = answers {
                    check(Bytes::copy_from_slice(&rest[..length]))?;
                }
                self.start += 4 + length;
                whole += 1;
            }
            if whole > 0 {
                return Ok(whole);
            }
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let received = stream.read(&mut self.buffer[self.end..]).context("receive answers")?;
            ensure!(received > 0, "the node closed the connection");
            self.end += received;
        }
    }
}

/// Receives one answer; all but its length is dropped in the kernel.
fn discard(stream: &mut TcpStream, least_bytes: usize, buffer: &mut [u8]) -> Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).context("receive an answer")?;
    let length = u32::from_be_bytes(length) as usize;
    ensure!(length >= least_bytes, "an answer of {length} bytes, {least_bytes} were expected");
    let mut rest = length;
    while rest > 0 {
        let want = rest.min(buffer.len());
        let (_, received) = rustix::net::recv(stream.as_fd(), &mut buffer[..want], RecvFlags::TRUNC)
            .context("receive an answer")?;
        ensure!(received > 0, "the node closed the connection");
        rest -= received;
    }
    Ok(())
}
