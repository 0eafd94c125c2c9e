//! What every whole message can do.

use std::fmt::Debug;

use bytes::Bytes;

use crate::encoder::EncodeErrorKind;
use crate::schema::MessageSchema;
use crate::wire::WireStruct;
use crate::{ApiKey, DecodeError, DecodeErrorKind, Decoder, EncodeError, Encoder, Tree, Versions};

/// A request, a response or a record, in all its versions.
pub trait Message: WireStruct + Default + Clone + PartialEq + Debug + Send + Sync + 'static {
    const VERSIONS: Versions;
    /// The versions in the compact form with tagged fields.
    const FLEXIBLE: Versions;
    const SCHEMA: &'static MessageSchema;

    fn decode(d: &mut Decoder, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(version) {
            return Err(d.error(DecodeErrorKind::UnsupportedVersion(version)));
        }
        d.set_flexible(Self::FLEXIBLE.contains(version));
        Self::read(d, version)
    }

    /// Fails when a field holds a value that the version cannot carry and that is not ignorable.
    fn encode(&self, e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(version) {
            return Err(EncodeError::new(EncodeErrorKind::UnsupportedVersion(version, Self::VERSIONS)));
        }
        e.set_flexible(Self::FLEXIBLE.contains(version));
        self.write(e, version)
    }

    /// Decodes a message that fills `bytes` to the last.
    fn decode_all(bytes: Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(bytes);
        let message = Self::decode(&mut d, version)?;
        d.finish()?;
        Ok(message)
    }

    /// Encodes into one piece.
    fn encode_to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut e = Encoder::new();
        self.encode(&mut e, version)?;
        e.finish_bytes()
    }

    /// The message as plain data, without the fields that `version` lacks.
    fn tree(&self, version: i16) -> Tree {
        self.to_tree(version)
    }
}

/// A message of an API key that asks for a response of the same version.
pub trait Request: Message {
    const KEY: ApiKey;
    type Response: Message;
}
