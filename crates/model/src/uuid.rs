//! 128-bit ids in Kafka's text form: URL-safe base64 without padding, 22 characters.

use std::fmt;
use std::str::FromStr;

/// Id of a topic, a log directory, a cluster or a client instance. The zero id means "none" on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const TEXT_LEN: usize = 22;

/// Ids below this one (most significant half zero) are reserved by Kafka for directory states.
const RESERVED_BELOW: u128 = 100;

impl Uuid {
    pub const ZERO: Self = Self([0; 16]);
    /// Topic id of `__cluster_metadata`; as a directory id it means "not assigned to a directory yet".
    pub const ONE: Self = Self::from_u128(1);
    /// Directory id of a replica whose directory was lost.
    pub const LOST_DIRECTORY: Self = Self::from_u128(2);

    pub const fn from_u128(value: u128) -> Self {
        Self(value.to_be_bytes())
    }

    /// Makes a version 4 id of 16 random bytes, or `None` for those that Kafka never uses: reserved ids, and
    /// ids whose text starts with `-` (it would look like a flag on a command line). Draw again then.
    pub fn from_random(mut bytes: [u8; 16]) -> Option<Self> {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let id = Self(bytes);
        (!id.is_reserved() && !id.to_string().starts_with('-')).then_some(id)
    }

    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    pub fn is_reserved(&self) -> bool {
        u128::from_be_bytes(self.0) < RESERVED_BELOW
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let mut text = [0u8; TEXT_LEN];
        for (i, symbol) in text.iter_mut().enumerate() {
            // 21 symbols of 6 bits, and the last 2 bits followed by 4 zero bits.
            let six = if i < 21 { bits >> (122 - 6 * i) } else { bits << 4 } & 0x3f;
            *symbol = ALPHABET[six as usize];
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 22 characters of URL-safe base64 that hold 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseUuidError;

impl fmt::Display for ParseUuidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an id must be 22 characters of URL-safe base64, such as one printed by `ottla random-uuid`",
        )
    }
}

impl std::error::Error for ParseUuidError {}

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, ParseUuidError> {
        let text = text.strip_suffix("==").unwrap_or(text).as_bytes();
        if text.len() != TEXT_LEN {
            return Err(ParseUuidError);
        }
        let mut bits = 0u128;
        for (i, symbol) in text.iter().enumerate() {
            let six = ALPHABET.iter().position(|known| known == symbol).ok_or(ParseUuidError)? as u128;
            bits = if i < 21 { bits << 6 | six } else { bits << 2 | six >> 4 };
        }
        Ok(Self::from_u128(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_are_kafkas() {
        for (id, text) in [
            (Uuid::ZERO, "AAAAAAAAAAAAAAAAAAAAAA"),
            (Uuid::ONE, "AAAAAAAAAAAAAAAAAAAAAQ"),
            (Uuid::LOST_DIRECTORY, "AAAAAAAAAAAAAAAAAAAAAg"),
            (Uuid::from_u128(u128::MAX), "_____________________w"),
        ] {
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
        }
        assert_eq!("".parse::<Uuid>(), Err(ParseUuidError));
        assert_eq!("AAAAAAAAAAAAAAAAAAAA+Q".parse::<Uuid>(), Err(ParseUuidError));
    }

    #[test]
    fn random_ids_are_never_reserved_nor_flag_like() {
        assert_eq!(Uuid::from_random([0xf8; 16]), None);
        let id = Uuid::from_random([7; 16]).unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}
