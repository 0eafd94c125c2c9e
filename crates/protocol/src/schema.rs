//! The structs' own description as constants: what `xtask schemas` compares with Apache Kafka's schemas, and what
//! printers and generators walk over.

use crate::{AnyMessage, DecodeError, Decoder, Versions};

/// A whole message.
#[derive(Debug)]
pub struct MessageSchema {
    pub kind: MessageKind,
    /// API key of requests and responses, type of records.
    pub api_key: Option<i16>,
    pub versions: Versions,
    pub flexible: Versions,
    pub latest_version_unstable: bool,
    pub body: &'static StructSchema,
    /// Decodes a message of this type.
    pub decode: fn(&mut Decoder, i16) -> Result<AnyMessage, DecodeError>,
}

impl MessageSchema {
    /// Kafka's name, such as `FetchRequest`.
    pub const fn name(&self) -> &'static str {
        self.body.name
    }

    /// Decodes a message of this type, for those who do not know it.
    pub fn decode(&self, d: &mut Decoder, version: i16) -> Result<AnyMessage, DecodeError> {
        (self.decode)(d, version)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    Request,
    Response,
    Metadata,
    CoordinatorKey,
    CoordinatorValue,
    Data,
    Header,
}

#[derive(Debug)]
pub struct StructSchema {
    /// Kafka's name.
    pub name: &'static str,
    /// In wire order; tagged fields stand anywhere.
    pub fields: &'static [FieldSchema],
}

#[derive(Debug)]
pub struct FieldSchema {
    /// Kafka's name.
    pub name: &'static str,
    pub ty: Type,
    /// The versions that have the field, within those in which its struct occurs.
    pub versions: Versions,
    /// The versions in which it may be null.
    pub nullable: Versions,
    pub tag: Option<u32>,
    pub default: DefaultValue,
    pub ignorable: bool,
    /// Encoded in the old form even in flexible versions.
    pub never_flexible: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    Array(&'static Type),
    Struct(&'static StructSchema),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultValue {
    /// Zero, false or empty, as the type has it.
    Zero,
    Null,
    Int(i64),
    Bool(bool),
}
