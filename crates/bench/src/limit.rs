//! The limit program: what nobody can leave out. It receives produce requests, checksums them, writes them to a
//! file and answers; it sends ranges of that file back with `sendfile`. It understands nothing else of Kafka.
//!
//! One read takes all frames that are there, one write takes all that belong together, one send takes all answers.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ottla_record::crc;

use crate::connection::Frame;

/// The argument that makes this program the limit.
pub const COMMAND: &str = "limit";

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const RESET: i16 = -1;

/// A request for a range of the file.
pub fn fetch_frame(position: u64, bytes: u32) -> Frame {
    let mut frame = 14u32.to_be_bytes().to_vec();
    frame.extend_from_slice(&FETCH.to_be_bytes());
    frame.extend_from_slice(&position.to_be_bytes());
    frame.extend_from_slice(&bytes.to_be_bytes());
    vec![frame.into()]
}

/// A request for a new file; the one before the last is removed, as a topic is after its run.
pub fn reset_frame() -> Frame {
    let mut frame = 2u32.to_be_bytes().to_vec();
    frame.extend_from_slice(&RESET.to_be_bytes());
    vec![frame.into()]
}

/// Serves until killed. Arguments: address and file.
pub fn serve(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let address = arguments.next().context("an address")?;
    let path = arguments.next().context("a file")?;
    let files = Arc::new(Files { path, current: RwLock::new((0, Arc::new(File::open("/dev/null")?))) });
    files.begin_next()?;
    let listener = TcpListener::bind(address).context("listen")?;
    for stream in listener.incoming() {
        let (stream, files) = (stream?, files.clone());
        std::thread::spawn(move || serve_connection(stream, &files));
    }
    Ok(())
}

/// The file that is written and read, numbered.
struct Files {
    path: String,
    current: RwLock<(u32, Arc<File>)>,
}

impl Files {
    fn current(&self) -> Arc<File> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    fn begin_next(&self) -> Result<()> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let path = |n| format!("{}-{n}", self.path);
        let next = current.0 + 1;
        let file =
            File::options().create(true).read(true).append(true).open(path(next)).context("open a file")?;
        *current = (next, Arc::new(file));
        if next > 2 {
            let old = path(next - 2);
            // tidy: thread::sleep, as a node keeps a deleted topic's files for the second that the bench tells it.
            // Memory that is freed long before it is used again costs more in a virtual machine.
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(1));
                let _ = std::fs::remove_file(old);
            });
        }
        Ok(())
    }
}

fn serve_connection(mut stream: TcpStream, files: &Files) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4 << 20];
    let mut filled = 0;
    let mut answers = Vec::new();
    let mut checksum = 0;
    loop {
        let received = stream.read(&mut buffer[filled..])?;
        ensure!(received > 0, "closed");
        filled += received;
        let current = files.current();
        let mut file: &File = &current;
        // Where the frames that are to be written begin, and where whole frames end.
        let mut written = 0;
        let mut whole = 0;
        while let Some((length, rest)) = buffer[whole..filled].split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some(frame) = rest.get(..length) else {
                ensure!(length + 4 <= buffer.len(), "a frame of {length} bytes");
                break;
            };
            match i16::from_be_bytes([frame[0], frame[1]]) {
                PRODUCE => {
                    checksum ^= crc::crc32c(frame);
                    answers.extend_from_slice(&4u32.to_be_bytes());
                    answers.extend_from_slice(&frame[4..8]);
                }
                key => {
                    file.write_all(&buffer[written..whole])?;
                    stream.write_all(&answers)?;
                    answers.clear();
                    written = whole + 4 + length;
                    match key {
                        FETCH => send_file(&mut stream, file, frame)?,
                        RESET => {
                            files.begin_next()?;
                            stream.write_all(&[0, 0, 0, 0])?;
                        }
                        _ => return Ok(()),
                    }
                }
            }
            whole += 4 + length;
        }
        file.write_all(&buffer[written.min(whole)..whole])?;
        stream.write_all(&answers)?;
        answers.clear();
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
        std::hint::black_box(checksum);
    }
}

fn send_file(stream: &mut TcpStream, file: &File, frame: &[u8]) -> Result<()> {
    let mut position = u64::from_be_bytes(*frame[2..].first_chunk().context("a position")?);
    let bytes = u32::from_be_bytes(*frame[10..].first_chunk().context("a length")?);
    stream.write_all(&bytes.to_be_bytes())?;
    let mut rest = bytes as usize;
    while rest > 0 {
        let sent = rustix::fs::sendfile(&*stream, file, Some(&mut position), rest)?;
        ensure!(sent > 0, "the file ends");
        rest -= sent;
    }
    Ok(())
}
