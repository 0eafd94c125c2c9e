//! gzip, with the header that Java writes (no time, no name, unknown system).

use std::io::{Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::DeflateEncoder;

use super::{Failure, Output};

const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

pub(super) fn reader(input: &[u8]) -> impl Read + '_ {
    MultiGzDecoder::new(input)
}

pub(super) fn decompress(input: &[u8], output: &mut Output<'_>) -> Result<(), Failure> {
    output.read_from(reader(input))
}

/// Levels 0 to 9; -1 is zlib's default, 6.
pub(super) fn compress(input: &[u8], level: i32, out: &mut Vec<u8>) {
    let level = u32::try_from(level).map_or(6, |level| level.min(9));
    out.extend_from_slice(&HEADER);
    let mut encoder = DeflateEncoder::new(&mut *out, flate2::Compression::new(level));
    let finished = encoder.write_all(input).and_then(|()| encoder.finish());
    debug_assert!(finished.is_ok(), "writing to memory does not fail");
    out.extend_from_slice(&crc32fast::hash(input).to_le_bytes());
    out.extend_from_slice(&(input.len() as u32).to_le_bytes());
}
