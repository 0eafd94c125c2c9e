//! [`Records`]: the value of a field of type `records`, record batches that the codec never looks into.

use bytes::Bytes;

/// Record batches on their way through the codec, without a copy.
///
/// A decoder only makes `Bytes`, a slice of the received frame. The other forms exist for answers: batches that
/// lie in several buffers, and a range of a file that the caller sends itself.
#[derive(Clone, Debug)]
pub enum Records {
    Bytes(Bytes),
    Chunks(Vec<Bytes>),
    /// `len` bytes that the caller knows by `id`; encoded as [`Segment::External`](crate::Segment::External).
    External {
        len: u32,
        id: u32,
    },
}

impl Records {
    pub const EMPTY: Self = Self::Bytes(Bytes::new());

    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Chunks(chunks) => chunks.iter().map(Bytes::len).sum(),
            Self::External { len, .. } => *len as usize,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in one piece, copied only if they are in several; `None` for external ones.
    pub fn to_bytes(&self) -> Option<Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes.clone()),
            Self::Chunks(chunks) => Some(chunks.concat().into()),
            Self::External { .. } => None,
        }
    }
}

impl Default for Records {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

/// The same bytes; external ones are equal by length and id.
impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::External { len, id }, Self::External { len: other_len, id: other_id }) => {
                (len, id) == (other_len, other_id)
            }
            _ => match (self.to_bytes(), other.to_bytes()) {
                (Some(left), Some(right)) => left == right,
                _ => false,
            },
        }
    }
}
