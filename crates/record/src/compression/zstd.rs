//! Zstandard: frames without content size and checksum, as Java's streams write them.

use std::cell::RefCell;
use std::io::{Read, Write};

use ::zstd::bulk::Decompressor;
use ::zstd::stream::{read, write};

use super::{Failure, Output};

thread_local! {
    /// Making a context costs more than a small batch.
    static CONTEXT: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Decodes in one go, with the output as the window: a frame that claims a window of 128 MiB costs nothing. The
/// size is not known beforehand, so the room doubles until it fits; a buffer that is used again fits at once.
pub(super) fn decompress(input: &[u8], output: &mut Output<'_>) -> Result<(), Failure> {
    const LEAST: usize = 64 << 10;
    let malformed = |error: std::io::Error| Failure::Malformed(error.to_string());
    CONTEXT.with_borrow_mut(|context| {
        let context = match context {
            Some(context) => context,
            None => context.insert(Decompressor::new().map_err(malformed)?),
        };
        let mut want = output.buffer.len().max(input.len().saturating_mul(4)).max(LEAST);
        loop {
            let room = output.room(want);
            let room_bytes = room.len();
            match context.decompress_to_buffer(input, room) {
                Ok(written) => {
                    output.advance(written);
                    return Ok(());
                }
                Err(error) if error.to_string().contains("too small") => {
                    if room_bytes < want {
                        return Err(Failure::TooLarge);
                    }
                    want = want.saturating_mul(2);
                }
                Err(error) => return Err(malformed(error)),
            }
        }
    })
}

pub(super) fn reader<'a>(input: &'a [u8]) -> Box<dyn Read + 'a> {
    match read::Decoder::with_buffer(input) {
        Ok(decoder) => Box::new(decoder),
        Err(error) => Box::new(Refused(Some(error))),
    }
}

struct Refused(Option<std::io::Error>);

impl Read for Refused {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Levels -131072 to 22.
pub(super) fn compress(input: &[u8], level: i32, out: &mut Vec<u8>) {
    let encode = |out: &mut Vec<u8>| -> std::io::Result<()> {
        let mut encoder = write::Encoder::new(out, level)?;
        encoder.include_contentsize(false)?;
        encoder.include_checksum(false)?;
        encoder.write_all(input)?;
        encoder.finish()?;
        Ok(())
    };
    let finished = encode(out);
    debug_assert!(finished.is_ok(), "writing to memory does not fail");
}
