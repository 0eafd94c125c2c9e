//! [`AnyMessage`]: a message whose type is only known at run time, for dumping, fuzzing and tests. A server decodes
//! the type it expects instead.

use std::any::Any;
use std::fmt;

use crate::schema::MessageSchema;
use crate::{DecodeError, Decoder, EncodeError, Encoder, Message, Tree};

/// A decoded message of some type; made by [`MessageSchema::decode`].
pub struct AnyMessage(Box<dyn Erased>);

trait Erased: Any + fmt::Debug + Send + Sync {
    fn schema(&self) -> &'static MessageSchema;
    fn encode(&self, e: &mut Encoder, version: i16) -> Result<(), EncodeError>;
    fn tree(&self, version: i16) -> Tree;
}

impl<M: Message> Erased for M {
    fn schema(&self) -> &'static MessageSchema {
        M::SCHEMA
    }

    fn encode(&self, e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
        Message::encode(self, e, version)
    }

    fn tree(&self, version: i16) -> Tree {
        Message::tree(self, version)
    }
}

impl AnyMessage {
    /// Decodes an `M` and forgets its type; what the derive puts into the schema.
    pub fn decode<M: Message>(d: &mut Decoder, version: i16) -> Result<Self, DecodeError> {
        Ok(Self(Box::new(M::decode(d, version)?)))
    }

    pub fn schema(&self) -> &'static MessageSchema {
        self.0.schema()
    }

    pub fn encode(&self, e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
        self.0.encode(e, version)
    }

    /// The message as plain data, without the fields that `version` lacks.
    pub fn tree(&self, version: i16) -> Tree {
        self.0.tree(version)
    }

    /// The message, if it is an `M`.
    pub fn downcast_ref<M: Message>(&self) -> Option<&M> {
        let erased: &dyn Any = &*self.0;
        erased.downcast_ref()
    }
}

impl fmt::Debug for AnyMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
