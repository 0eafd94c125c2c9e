//! Zig-zag variable-length integers as records use them: seven bits per byte, low first.

/// Reads a 32-bit value at `*at` and moves `at` behind it; `None` if it is cut off or longer than five bytes.
#[inline(always)]
pub fn read_i32(bytes: &[u8], at: &mut usize) -> Option<i32> {
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        let raw = u32::from(first);
        return Some((raw >> 1) as i32 ^ -((raw & 1) as i32));
    }
    // Lengths of records and values mostly take two bytes.
    let second = *bytes.get(*at + 1)?;
    if second < 0x80 {
        *at += 2;
        let raw = u32::from(first & 0x7f) | u32::from(second) << 7;
        return Some((raw >> 1) as i32 ^ -((raw & 1) as i32));
    }
    read_i32_long(bytes, at)
}

#[cold]
fn read_i32_long(bytes: &[u8], at: &mut usize) -> Option<i32> {
    let mut raw = 0u32;
    for shift in [0, 7, 14, 21, 28] {
        let byte = *bytes.get(*at)?;
        *at += 1;
        raw |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((raw >> 1) as i32 ^ -((raw & 1) as i32));
        }
    }
    None
}

/// Reads a 64-bit value at `*at` and moves `at` behind it; `None` if it is cut off or longer than ten bytes.
#[inline(always)]
pub fn read_i64(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        let raw = u64::from(first);
        return Some((raw >> 1) as i64 ^ -((raw & 1) as i64));
    }
    read_i64_long(bytes, at)
}

fn read_i64_long(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut raw = 0u64;
    for shift in [0, 7, 14, 21, 28, 35, 42, 49, 56, 63] {
        let byte = *bytes.get(*at)?;
        *at += 1;
        raw |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((raw >> 1) as i64 ^ -((raw & 1) as i64));
        }
    }
    None
}

/// Appends a 32-bit value.
pub fn write_i32(out: &mut Vec<u8>, value: i32) {
    let mut raw = ((value << 1) ^ (value >> 31)) as u32;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Appends a 64-bit value.
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Bytes that [`write_i32`] appends.
pub fn len_i32(value: i32) -> usize {
    len_i64(i64::from(value))
}

/// Bytes that [`write_i64`] appends.
pub fn len_i64(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    (70 - (raw | 1).leading_zeros() as usize) / 7
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(value: i64) {
            for value in [value, value >> 32, value >> 50, value >> 60] {
                let mut out = Vec::new();
                write_i64(&mut out, value);
                prop_assert_eq!(out.len(), len_i64(value));
                let mut at = 0;
                prop_assert_eq!(read_i64(&out, &mut at), Some(value));
                prop_assert_eq!(at, out.len());
                let short = value as i32;
                out.clear();
                write_i32(&mut out, short);
                prop_assert_eq!(out.len(), len_i32(short));
                at = 0;
                prop_assert_eq!(read_i32(&out, &mut at), Some(short));
            }
        }
    }

    #[test]
    fn overlong_and_cut_off_are_refused() {
        assert_eq!(read_i32(&[0xff; 5], &mut 0), None);
        assert_eq!(read_i64(&[0xff; 10], &mut 0), None);
        assert_eq!(read_i32(&[0x80, 0x80], &mut 0), None);
        assert_eq!(read_i64(&[], &mut 0), None);
        assert_eq!(read_i64(&[0], &mut 9), None);
    }
}
