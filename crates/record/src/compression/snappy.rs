//! Snappy in the framing of the Java library ("xerial"), and bare.
//!
//! ```text
//! 0x82 'SNAPPY' 0x00 | i32 version 1 | i32 compatible 1 | ( i32 length | snappy block )*
//! ```
//! Without that head the input is one bare block, as some clients send it.

use std::io::Read;

use super::{BlockReader, Blocks, Failure, Output};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEAD_BYTES: usize = 16;
/// What Apache Kafka compresses at once.
const BLOCK_BYTES: usize = 32 << 10;

struct Frame<'a> {
    rest: &'a [u8],
    bare: bool,
}

impl<'a> Frame<'a> {
    fn new(input: &'a [u8]) -> Self {
        match input.get(HEAD_BYTES..) {
            Some(rest) if input.starts_with(&MAGIC) => Self { rest, bare: false },
            _ => Self { rest: input, bare: true },
        }
    }

    fn next(&mut self) -> Result<Option<&'a [u8]>, Failure> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if self.bare {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        // Streams may be concatenated, heads included.
        while self.rest.starts_with(&MAGIC) {
            self.rest = self.rest.get(HEAD_BYTES..).ok_or("cut off in a stream head")?;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (length, rest) = self.rest.split_first_chunk::<4>().ok_or("cut off in a block length")?;
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| "negative block length")?;
        let (block, rest) = rest.split_at_checked(length).ok_or("cut off in a block")?;
        self.rest = rest;
        Ok(Some(block))
    }
}

/// Snappy's densest element is three bytes for 64: a block that claims more than 22 times its size is lying.
fn decompressed_len(block: &[u8]) -> Result<usize, Failure> {
    let len = snap::raw::decompress_len(block).map_err(|error| Failure::Malformed(error.to_string()))?;
    if len > block.len().saturating_mul(22) { Err("claims more than it can hold".into()) } else { Ok(len) }
}

fn decode(block: &[u8], room: &mut [u8]) -> Result<usize, Failure> {
    snap::raw::Decoder::new().decompress(block, room).map_err(|error| Failure::Malformed(error.to_string()))
}

pub(super) fn decompress(input: &[u8], output: &mut Output<'_>) -> Result<(), Failure> {
    let mut frame = Frame::new(input);
    while let Some(block) = frame.next()? {
        let len = decompressed_len(block)?;
        let room = output.room(len);
        if room.len() < len {
            return Err(Failure::TooLarge);
        }
        let written = decode(block, room)?;
        output.advance(written);
    }
    Ok(())
}

impl Blocks for Frame<'_> {
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, Failure> {
        let Some(input) = self.next()? else { return Ok(false) };
        block.resize(decompressed_len(input)?, 0);
        let written = decode(input, block)?;
        block.truncate(written);
        Ok(true)
    }
}

pub(super) fn reader(input: &[u8]) -> impl Read + '_ {
    BlockReader::new(Frame::new(input))
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for chunk in input.chunks(BLOCK_BYTES) {
        let start = out.len();
        out.resize(start + 4 + snap::raw::max_compress_len(chunk.len()), 0);
        let written = encoder.compress(chunk, &mut out[start + 4..]).unwrap_or(0);
        debug_assert!(written > 0, "the room is what snappy asks for");
        out[start..start + 4].copy_from_slice(&(written as i32).to_be_bytes());
        out.truncate(start + 4 + written);
    }
}
