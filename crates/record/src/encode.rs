//! Writing a record behind the ones before it.

use crate::varint;

/// Appends one record of a batch to `out`, in one pass and without an allocation of its own.
pub fn encode_record<'a>(
    out: &mut Vec<u8>,
    attributes: i8,
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
) {
    let header_count = headers.len() as i32;
    let header_bytes: usize =
        headers.clone().map(|(key, value)| bytes_len(Some(key)) + bytes_len(value)).sum();
    let size = 1
        + varint::len_i64(timestamp_delta)
        + varint::len_i32(offset_delta)
        + bytes_len(key)
        + bytes_len(value)
        + varint::len_i32(header_count)
        + header_bytes;
    // The length in front takes at most five bytes.
    out.reserve(size + 5);
    varint::write_i32(out, size as i32);
    out.push(attributes as u8);
    varint::write_i64(out, timestamp_delta);
    varint::write_i32(out, offset_delta);
    write_bytes(out, key);
    write_bytes(out, value);
    varint::write_i32(out, header_count);
    for (key, value) in headers {
        write_bytes(out, Some(key));
        write_bytes(out, value);
    }
}

fn bytes_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::len_i32(bytes.len() as i32) + bytes.len())
}

fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            varint::write_i32(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
        None => varint::write_i32(out, -1),
    }
}
