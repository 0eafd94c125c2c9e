//! CRC-32C, and its correction when only bytes in front of a long tail change.

/// CRC-32C (Castagnoli) of `bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The checksum of `new_head ++ tail`, given that of `old_head ++ tail`, without reading the tail.
///
/// A CRC is affine: the difference that a change of the head makes is the difference of the heads' own checksums,
/// moved past the tail, which is a multiplication by x^(8·tail) in GF(2)[x] mod P. Both heads must have one length.
pub fn replace_head(crc: u32, old_head: &[u8], new_head: &[u8], tail_bytes: usize) -> u32 {
    debug_assert_eq!(old_head.len(), new_head.len());
    crc ^ multiply(power_of_x(tail_bytes), crc32c(old_head) ^ crc32c(new_head))
}

/// The checksum of `head ++ tail`, given that of each.
pub fn combine(head: u32, tail: u32, tail_bytes: usize) -> u32 {
    multiply(power_of_x(tail_bytes), head) ^ tail
}

/// P in reflected bit order: bit 31 stands for x^0.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 1 << 31;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        bit >>= 1;
        b = if b & 1 != 0 { (b >> 1) ^ POLYNOMIAL } else { b >> 1 };
    }
    product
}

/// x^(8·2^n) for n = 0, 1, …
const POWERS: [u32; 32] = {
    let mut powers = [0; 32];
    powers[0] = 1 << (31 - 8);
    let mut n = 1;
    while n < 32 {
        powers[n] = multiply(powers[n - 1], powers[n - 1]);
        n += 1;
    }
    powers
};

fn power_of_x(bytes: usize) -> u32 {
    let mut product = 1 << 31;
    for (n, power) in POWERS.iter().enumerate() {
        if bytes & (1 << n) != 0 {
            product = multiply(product, *power);
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_value() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn replacing_the_head_equals_computing_anew() {
        for tail_bytes in [0usize, 1, 7, 64, 1000, 16_384, 100_001] {
            let tail: Vec<u8> = (0..tail_bytes).map(|i| (i * 31 % 251) as u8).collect();
            let old = [b"old head, forty bytes of it, or so it is".as_slice(), &tail].concat();
            let new = [b"NEW head, forty bytes of it, or so it is".as_slice(), &tail].concat();
            assert_eq!(combine(crc32c(&old[..40]), crc32c(&tail), tail_bytes), crc32c(&old));
            assert_eq!(replace_head(crc32c(&old), &old[..40], &new[..40], tail_bytes), crc32c(&new));
        }
    }
}
