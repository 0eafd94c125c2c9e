//! The four codecs in the framing that Kafka gives them.
//!
//! Reading always has a cap; writing uses the parameters of Apache Kafka's brokers and clients.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::fmt;
use std::io::Read;

use crate::error::BatchError;

/// A compression codec; the number is its id in a batch's attributes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum Codec {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Codec {
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The name in `compression.type` and in tools.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A codec and how hard it tries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Compression {
    pub codec: Codec,
    /// `compression.<codec>.level`; ignored where the codec has none (snappy).
    pub level: i32,
}

impl Compression {
    pub const NONE: Self = Self { codec: Codec::None, level: 0 };

    /// A codec at Kafka's default level.
    pub const fn of(codec: Codec) -> Self {
        let level = match codec {
            Codec::None | Codec::Snappy => 0,
            Codec::Gzip => -1,
            Codec::Lz4 => lz4::DEFAULT_LEVEL,
            Codec::Zstd => 3,
        };
        Self { codec, level }
    }
}

/// Decompresses all of `input`.
///
/// Errors: [`BatchError::Decompress`] for anything but a complete stream, [`BatchError::TooLarge`] beyond
/// `max_bytes`. Memory grows with what is really decompressed, never with what the input claims.
pub fn decompress(codec: Codec, input: &[u8], max_bytes: usize) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::new();
    let len = decompress_into(codec, input, &mut out, max_bytes)?;
    out.truncate(len);
    Ok(out)
}

/// As [`decompress`], into a buffer that is used again: it only ever grows, and the first so many bytes of it as
/// are returned are the data.
pub fn decompress_into(
    codec: Codec,
    input: &[u8],
    buffer: &mut Vec<u8>,
    max_bytes: usize,
) -> Result<usize, BatchError> {
    let mut output = Output { buffer, len: 0, max_bytes };
    let result = match codec {
        Codec::None => output.append(input),
        Codec::Gzip => gzip::decompress(input, &mut output),
        Codec::Snappy => snappy::decompress(input, &mut output),
        Codec::Lz4 => lz4::decompress(input, &mut output),
        Codec::Zstd => zstd::decompress(input, &mut output),
    };
    match result {
        Ok(()) => Ok(output.len),
        Err(failure) => Err(failure.into_error(codec, max_bytes)),
    }
}

/// As [`decompress`] for LZ4 inside format-0 messages, whose frame header checksum Kafka once computed wrongly.
pub(crate) fn decompress_legacy_lz4(input: &[u8], max_bytes: usize) -> Result<Vec<u8>, BatchError> {
    let mut buffer = Vec::new();
    let mut output = Output { buffer: &mut buffer, len: 0, max_bytes };
    lz4::decompress_unchecked_header(input, &mut output)
        .map_err(|failure| failure.into_error(Codec::Lz4, max_bytes))?;
    let len = output.len;
    buffer.truncate(len);
    Ok(buffer)
}

/// A reader that decompresses piece by piece, in bounded memory however much comes out.
pub fn reader<'a>(codec: Codec, input: &'a [u8]) -> Box<dyn Read + 'a> {
    match codec {
        Codec::None => Box::new(input),
        Codec::Gzip => Box::new(gzip::reader(input)),
        Codec::Snappy => Box::new(snappy::reader(input)),
        Codec::Lz4 => Box::new(lz4::reader(input)),
        Codec::Zstd => zstd::reader(input),
    }
}

/// Compresses `input` and appends the stream to `out`.
pub fn compress(compression: Compression, input: &[u8], out: &mut Vec<u8>) {
    match compression.codec {
        Codec::None => out.extend_from_slice(input),
        Codec::Gzip => gzip::compress(input, compression.level, out),
        Codec::Snappy => snappy::compress(input, out),
        Codec::Lz4 => lz4::compress(input, compression.level, out),
        Codec::Zstd => zstd::compress(input, compression.level, out),
    }
}

/// Why a codec gave up.
enum Failure {
    TooLarge,
    Malformed(String),
}

impl Failure {
    fn into_error(self, codec: Codec, limit: usize) -> BatchError {
        match self {
            Self::TooLarge => BatchError::TooLarge { limit },
            Self::Malformed(reason) => BatchError::Decompress { codec, reason },
        }
    }
}

impl From<&str> for Failure {
    fn from(reason: &str) -> Self {
        Self::Malformed(reason.to_owned())
    }
}

/// A buffer that is filled up to a cap. It is only initialized where it grows.
struct Output<'a> {
    buffer: &'a mut Vec<u8>,
    len: usize,
    max_bytes: usize,
}

impl Output<'_> {
    /// At most `want` bytes of room, fewer where the cap is near; fill and [`Self::advance`].
    fn room(&mut self, want: usize) -> &mut [u8] {
        let end = self.len.saturating_add(want).min(self.max_bytes.max(self.len));
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        &mut self.buffer[self.len..end]
    }

    fn advance(&mut self, bytes: usize) {
        self.len += bytes;
        debug_assert!(self.len <= self.buffer.len());
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let room = self.room(bytes.len());
        if room.len() < bytes.len() {
            return Err(Failure::TooLarge);
        }
        room.copy_from_slice(bytes);
        self.advance(bytes.len());
        Ok(())
    }

    /// Appends all that a reader gives.
    fn read_from(&mut self, mut reader: impl Read) -> Result<(), Failure> {
        const STEP: usize = 64 << 10;
        loop {
            let ready = self.buffer.len().min(self.max_bytes).saturating_sub(self.len);
            let room = self.room(if ready == 0 { STEP } else { ready });
            if room.is_empty() {
                // At the cap: only the end of the stream may follow.
                return match reader.read(&mut [0]) {
                    Ok(0) => Ok(()),
                    Ok(_) => Err(Failure::TooLarge),
                    Err(error) => Err(Failure::Malformed(error.to_string())),
                };
            }
            match reader.read(room) {
                Ok(0) => return Ok(()),
                Ok(n) => self.advance(n),
                Err(error) => return Err(Failure::Malformed(error.to_string())),
            }
        }
    }
}

/// Produces a stream block by block: what the block formats need to be [`Read`].
trait Blocks {
    /// Replaces `block` by the next one; `false` at the end.
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, Failure>;
}

struct BlockReader<B> {
    blocks: B,
    block: Vec<u8>,
    at: usize,
}

impl<B: Blocks> BlockReader<B> {
    fn new(blocks: B) -> Self {
        Self { blocks, block: Vec::new(), at: 0 }
    }
}

impl<B: Blocks> Read for BlockReader<B> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.block.len() {
            self.at = 0;
            self.block.clear();
            match self.blocks.next_block(&mut self.block) {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(Failure::Malformed(reason)) => return Err(std::io::Error::other(reason)),
                Err(Failure::TooLarge) => return Err(std::io::Error::other("block too large")),
            }
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        let n = rest.len().min(out.len());
        out[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}
