//! The LZ4 frame format, as much of it as Kafka speaks: independent blocks, one frame.
//!
//! ```text
//! 04 22 4d 18 | FLG | BD | [i64 content size] | HC | ( u32 size | block | [u32 checksum] )* | 0u32 | [u32 checksum]
//! ```
//! Little-endian. Size bit 31: the block is stored uncompressed. HC is a byte of the xxHash32 of FLG..HC. The
//! content checksum is not looked at, nor is what follows the end mark: Apache Kafka does neither.
//!
//! Blocks are read and written by the C library that Java's clients and brokers have as well: what is written is theirs
//! to the byte, at every level.

use std::io::Read;

use lz4::block::{CompressionMode, compress_bound, compress_to_buffer, decompress_to_buffer};

use super::{BlockReader, Blocks, Failure, Output};

/// `compression.lz4.level` that means the fast compressor and no level of the high one (KIP-390).
pub(super) const DEFAULT_LEVEL: i32 = 9;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const FLAG_VERSION: u8 = 0x40;
const FLAG_INDEPENDENT: u8 = 0x20;
const FLAG_BLOCK_CHECKSUM: u8 = 0x10;
const FLAG_CONTENT_SIZE: u8 = 0x08;
const FLAG_RESERVED: u8 = 0x03;
const STORED: u32 = 1 << 31;
/// Block size 4 of the format: 64 KiB, what Kafka writes.
const BLOCK_BYTES: usize = 64 << 10;
/// FLG: version 1, independent blocks, no checksums; BD: 64 KiB; HC of the two.
const DESCRIPTOR: [u8; 3] = [0x60, 0x40, 0x82];
/// A block of n bytes cannot hold more than 255 n (a length byte stands for at most 255 bytes).
const MAX_RATIO: usize = 255;

struct Frame<'a> {
    rest: &'a [u8],
    block_bytes_max: usize,
    block_checksums: bool,
}

#[derive(PartialEq)]
enum HeaderChecksum {
    Verify,
    Ignore,
}

struct Block<'a> {
    bytes: &'a [u8],
    stored: bool,
}

impl Block<'_> {
    /// How many bytes of `room` hold what was compressed.
    fn decompress(&self, room: &mut [u8]) -> Result<usize, Failure> {
        decompress_to_buffer(self.bytes, Some(room.len() as i32), room).map_err(|_| "damaged block".into())
    }
}

impl<'a> Frame<'a> {
    fn parse(input: &'a [u8], header_checksum: HeaderChecksum) -> Result<Self, Failure> {
        let rest = input.strip_prefix(&MAGIC).ok_or("no LZ4 frame")?;
        let [flags, descriptor] = *rest.first_chunk::<2>().ok_or("cut off in the frame header")?;
        if flags & 0xc0 != FLAG_VERSION {
            return Err("unknown frame version".into());
        }
        if flags & FLAG_INDEPENDENT == 0 {
            return Err("dependent blocks are unsupported".into());
        }
        if flags & FLAG_RESERVED != 0 || descriptor & 0x8f != 0 {
            return Err("reserved bits are set".into());
        }
        let size_id = descriptor >> 4;
        if size_id < 4 {
            return Err("unknown block size".into());
        }
        let header = if flags & FLAG_CONTENT_SIZE != 0 { 10 } else { 2 };
        let (hashed, rest) = rest.split_at_checked(header).ok_or("cut off in the frame header")?;
        let (checksum, rest) = rest.split_first().ok_or("cut off in the frame header")?;
        if header_checksum == HeaderChecksum::Verify && (xxhash32(hashed) >> 8) as u8 != *checksum {
            return Err("frame header checksum mismatch".into());
        }
        Ok(Self {
            rest,
            block_bytes_max: 1 << (2 * size_id + 8),
            block_checksums: flags & FLAG_BLOCK_CHECKSUM != 0,
        })
    }

    fn next(&mut self) -> Result<Option<Block<'a>>, Failure> {
        let (size, rest) = self.rest.split_first_chunk::<4>().ok_or("cut off in front of a block")?;
        let size = u32::from_le_bytes(*size);
        if size == 0 {
            return Ok(None);
        }
        let stored = size & STORED != 0;
        let size = (size & !STORED) as usize;
        if size > self.block_bytes_max {
            return Err("block larger than the frame's maximum".into());
        }
        let (bytes, mut rest) = rest.split_at_checked(size).ok_or("cut off in a block")?;
        if self.block_checksums {
            let (checksum, behind) = rest.split_first_chunk::<4>().ok_or("cut off in a block checksum")?;
            if xxhash32(bytes) != u32::from_le_bytes(*checksum) {
                return Err("block checksum mismatch".into());
            }
            rest = behind;
        }
        self.rest = rest;
        Ok(Some(Block { bytes, stored }))
    }

    /// The most that a block of this frame can decompress to.
    fn bound(&self, block: &Block<'_>) -> usize {
        self.block_bytes_max.min(block.bytes.len().saturating_mul(MAX_RATIO))
    }
}

pub(super) fn decompress(input: &[u8], output: &mut Output<'_>) -> Result<(), Failure> {
    decode(Frame::parse(input, HeaderChecksum::Verify)?, output)
}

/// For format 0: old clients hashed the magic number as well.
pub(super) fn decompress_unchecked_header(input: &[u8], output: &mut Output<'_>) -> Result<(), Failure> {
    decode(Frame::parse(input, HeaderChecksum::Ignore)?, output)
}

fn decode(mut frame: Frame<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    while let Some(block) = frame.next()? {
        if block.stored {
            output.append(block.bytes)?;
            continue;
        }
        let bound = frame.bound(&block);
        let room = output.room(bound);
        match block.decompress(room) {
            Ok(written) => output.advance(written),
            // It may be whole and too large for the room: the library does not tell.
            Err(_) if room.len() < bound && block.decompress(&mut vec![0; bound]).is_ok() => {
                return Err(Failure::TooLarge);
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

impl Blocks for Frame<'_> {
    fn next_block(&mut self, out: &mut Vec<u8>) -> Result<bool, Failure> {
        let Some(block) = self.next()? else { return Ok(false) };
        if block.stored {
            out.extend_from_slice(block.bytes);
            return Ok(true);
        }
        out.resize(self.bound(&block), 0);
        let written = block.decompress(out)?;
        out.truncate(written);
        Ok(true)
    }
}

/// A frame whose header is refused at the first read.
struct Lazy<'a>(Result<Frame<'a>, Option<Failure>>);

impl Blocks for Lazy<'_> {
    fn next_block(&mut self, out: &mut Vec<u8>) -> Result<bool, Failure> {
        match &mut self.0 {
            Ok(frame) => frame.next_block(out),
            Err(failure) => failure.take().map_or(Ok(false), Err),
        }
    }
}

pub(super) fn reader(input: &[u8]) -> impl Read + '_ {
    BlockReader::new(Lazy(Frame::parse(input, HeaderChecksum::Verify).map_err(Some)))
}

/// The fast compressor at the default level, the high one at others; above 12 that is 12, which is as hard as it tries.
pub(super) fn compress(input: &[u8], level: i32, out: &mut Vec<u8>) {
    let mode = match level {
        DEFAULT_LEVEL => CompressionMode::DEFAULT,
        level => CompressionMode::HIGHCOMPRESSION(level),
    };
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&DESCRIPTOR);
    for chunk in input.chunks(BLOCK_BYTES) {
        let start = out.len();
        out.resize(start + 4 + compress_bound(chunk.len()).unwrap_or(BLOCK_BYTES), 0);
        let (size, written) = match compress_to_buffer(chunk, Some(mode), false, &mut out[start + 4..]) {
            Ok(written) if written < chunk.len() => (written as u32, written),
            _ => {
                out[start + 4..start + 4 + chunk.len()].copy_from_slice(chunk);
                (chunk.len() as u32 | STORED, chunk.len())
            }
        };
        out[start..start + 4].copy_from_slice(&size.to_le_bytes());
        out.truncate(start + 4 + written);
    }
    out.extend_from_slice(&[0; 4]);
}

/// xxHash32 with seed 0.
fn xxhash32(bytes: &[u8]) -> u32 {
    const P1: u32 = 0x9e37_79b1;
    const P2: u32 = 0x85eb_ca77;
    const P3: u32 = 0xc2b2_ae3d;
    const P4: u32 = 0x27d4_eb2f;
    const P5: u32 = 0x1656_67b1;
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap_or_default());
    let mut rest = bytes;
    let mut hash = if bytes.len() >= 16 {
        let mut lanes = [P1.wrapping_add(P2), P2, 0, 0u32.wrapping_sub(P1)];
        while let Some((stripe, behind)) = rest.split_at_checked(16) {
            for (lane, input) in lanes.iter_mut().zip(stripe.chunks_exact(4)) {
                *lane = lane.wrapping_add(word(input).wrapping_mul(P2)).rotate_left(13).wrapping_mul(P1);
            }
            rest = behind;
        }
        let [a, b, c, d] = lanes;
        a.rotate_left(1)
            .wrapping_add(b.rotate_left(7))
            .wrapping_add(c.rotate_left(12))
            .wrapping_add(d.rotate_left(18))
    } else {
        P5
    };
    hash = hash.wrapping_add(bytes.len() as u32);
    while let Some((input, behind)) = rest.split_at_checked(4) {
        hash = hash.wrapping_add(word(input).wrapping_mul(P3)).rotate_left(17).wrapping_mul(P4);
        rest = behind;
    }
    for byte in rest {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(P2);
    hash = (hash ^ (hash >> 13)).wrapping_mul(P3);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xxhash_known_values() {
        assert_eq!(xxhash32(b""), 0x02cc_5d05);
        assert_eq!(xxhash32(b"a"), 0x550d_7456);
        assert_eq!(xxhash32(b"Nobody inspects the spammish repetition"), 0xe229_3b2f);
        assert_eq!((xxhash32(&DESCRIPTOR[..2]) >> 8) as u8, DESCRIPTOR[2]);
    }
}
