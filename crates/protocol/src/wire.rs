//! How each type of a field lies on the wire. Implemented here for Kafka's primitive types and arrays, by the derive
//! for structs.

use bytes::Bytes;
use ottla_model::Uuid;

use crate::schema::{StructSchema, Type};
use crate::{DecodeError, DecodeErrorKind, Decoder, EncodeError, Encoder, Records, Str, Tree};

/// The type of a field.
pub trait Wire: Sized + Inspect {
    const TYPE: Type;

    fn read(d: &mut Decoder, version: i16) -> Result<Self, DecodeError>;

    fn write(&self, e: &mut Encoder, version: i16) -> Result<(), EncodeError>;

    /// Zero, false, empty; a struct whose fields hold their defaults.
    fn is_default(&self) -> bool;
}

/// A type that can be null: strings, bytes, records, arrays and structs.
pub trait WireNullable: Wire {
    fn read_nullable(d: &mut Decoder, version: i16) -> Result<Option<Self>, DecodeError>;

    fn write_null(e: &mut Encoder);

    /// Writes the value where null would have been possible.
    fn write_some(&self, e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
        self.write(e, version)
    }

    /// Reads from a tagged field. Differs for structs only.
    fn read_tagged(d: &mut Decoder, version: i16) -> Result<Option<Self>, DecodeError> {
        Self::read_nullable(d, version)
    }

    fn write_tagged_null(e: &mut Encoder) {
        Self::write_null(e);
    }
}

/// A struct with its description.
pub trait WireStruct: Wire {
    const FIELDS: &'static StructSchema;
}

/// Shows a value without knowing its type.
pub trait Inspect {
    fn to_tree(&self, version: i16) -> Tree;
}

impl<T: Inspect> Inspect for Option<T> {
    fn to_tree(&self, version: i16) -> Tree {
        self.as_ref().map_or(Tree::Null, |value| value.to_tree(version))
    }
}

macro_rules! numbers {
    ($($type:ty, $name:ident, $read:ident;)*) => {$(
        impl Wire for $type {
            const TYPE: Type = Type::$name;

            #[inline]
            fn read(d: &mut Decoder, _version: i16) -> Result<Self, DecodeError> {
                d.$read()
            }

            #[inline]
            fn write(&self, e: &mut Encoder, _version: i16) -> Result<(), EncodeError> {
                e.raw(&self.to_be_bytes());
                Ok(())
            }

            fn is_default(&self) -> bool {
                *self == Self::default()
            }
        }

        impl Inspect for $type {
            fn to_tree(&self, _version: i16) -> Tree {
                Tree::from(*self)
            }
        }
    )*};
}

numbers! {
    i8, Int8, i8;
    i16, Int16, i16;
    u16, Uint16, u16;
    i32, Int32, i32;
    u32, Uint32, u32;
    i64, Int64, i64;
    f64, Float64, f64;
}

/// A nullable struct has a byte in front: 1, or -1 for null; in a tagged field 0 for null.
impl<T: WireStruct> WireNullable for T {
    fn read_nullable(d: &mut Decoder, version: i16) -> Result<Option<Self>, DecodeError> {
        if d.i8()? < 0 { Ok(None) } else { T::read(d, version).map(Some) }
    }

    fn write_null(e: &mut Encoder) {
        e.i8(-1);
    }

    fn write_some(&self, e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
        e.i8(1);
        self.write(e, version)
    }

    fn read_tagged(d: &mut Decoder, version: i16) -> Result<Option<Self>, DecodeError> {
        if d.uvarint()? == 0 { Ok(None) } else { T::read(d, version).map(Some) }
    }

    fn write_tagged_null(e: &mut Encoder) {
        e.uvarint(0);
    }
}

impl Wire for bool {
    const TYPE: Type = Type::Bool;

    fn read(d: &mut Decoder, _version: i16) -> Result<Self, DecodeError> {
        d.i8().map(|byte| byte != 0)
    }

    fn write(&self, e: &mut Encoder, _version: i16) -> Result<(), EncodeError> {
        e.i8((*self).into());
        Ok(())
    }

    fn is_default(&self) -> bool {
        !*self
    }
}

impl Inspect for bool {
    fn to_tree(&self, _version: i16) -> Tree {
        Tree::Bool(*self)
    }
}

impl Wire for Uuid {
    const TYPE: Type = Type::Uuid;

    fn read(d: &mut Decoder, _version: i16) -> Result<Self, DecodeError> {
        d.array().map(Uuid)
    }

    fn write(&self, e: &mut Encoder, _version: i16) -> Result<(), EncodeError> {
        e.raw(&self.0);
        Ok(())
    }

    fn is_default(&self) -> bool {
        self.is_zero()
    }
}

impl Inspect for Uuid {
    fn to_tree(&self, _version: i16) -> Tree {
        Tree::Uuid(*self)
    }
}

/// Types with a length in front are read as nullable ones and then must not be null.
fn not_null<T: WireNullable>(d: &mut Decoder, version: i16) -> Result<T, DecodeError> {
    match T::read_nullable(d, version)? {
        Some(value) => Ok(value),
        None => Err(d.error(DecodeErrorKind::UnexpectedNull)),
    }
}

impl Wire for Str {
    const TYPE: Type = Type::String;

    fn read(d: &mut Decoder, version: i16) -> Result<Self, DecodeError> {
        not_null(d, version)
    }

    fn write(&self, e: &mut Encoder, _version: i16) -> Result<(), EncodeError> {
        e.string(self.as_bytes())
    }

    fn is_default(&self) -> bool {
        self.is_empty()
    }
}

impl WireNullable for Str {
    fn read_nullable(d: &mut Decoder, _version: i16) -> Result<Option<Self>, DecodeError> {
        match d.string_len()? {
            None => Ok(None),
            Some(0) => Ok(Some(Self::EMPTY)),
            Some(len) => {
                let bytes = d.slice(len)?;
                // Kafka replaces what is no UTF-8 and goes on.
                let text = Self::from_utf8(bytes.clone());
                Ok(Some(text.unwrap_or_else(|_| Self::from(String::from_utf8_lossy(&bytes).into_owned()))))
            }
        }
    }

    fn write_null(e: &mut Encoder) {
        e.null_string();
    }
}

impl Inspect for Str {
    fn to_tree(&self, _version: i16) -> Tree {
        Tree::String(self.clone())
    }
}

impl Wire for Bytes {
    const TYPE: Type = Type::Bytes;

    fn read(d: &mut Decoder, version: i16) -> Result<Self, DecodeError> {
        not_null(d, version)
    }

    fn write(&self, e: &mut Encoder, _version: i16) -> Result<(), EncodeError> {
        e.put_len(self.len())?;
        e.payload(self);
        Ok(())
    }

    fn is_default(&self) -> bool {
        self.is_empty()
    }
}

impl WireNullable for Bytes {
    #[inline]
    fn read_nullable(d: &mut Decoder, _version: i16) -> Result<Option<Self>, DecodeError> {
        match d.len()? {
            None => Ok(None),
            Some(len) => d.slice(len).map(Some),
        }
    }

    fn write_null(e: &mut Encoder) {
        e.null_len();
    }
}

impl Inspect for Bytes {
    fn to_tree(&self, _version: i16) -> Tree {
        Tree::Bytes(self.clone())
    }
}

impl Wire for Records {
    const TYPE: Type = Type::Records;

    fn read(d: &mut Decoder, version: i16) -> Result<Self, DecodeError> {
        not_null(d, version)
    }

    fn write(&self, e: &mut Encoder, _version: i16) -> Result<(), EncodeError> {
        e.records(self)
    }

    fn is_default(&self) -> bool {
        self.is_empty()
    }
}

impl WireNullable for Records {
    #[inline]
    fn read_nullable(d: &mut Decoder, version: i16) -> Result<Option<Self>, DecodeError> {
        Ok(Bytes::read_nullable(d, version)?.map(Self::Bytes))
    }

    fn write_null(e: &mut Encoder) {
        e.null_len();
    }
}

impl Inspect for Records {
    fn to_tree(&self, _version: i16) -> Tree {
        self.to_bytes().map_or(Tree::Null, Tree::Bytes)
    }
}

impl<T: Wire> Wire for Vec<T> {
    const TYPE: Type = Type::Array(&T::TYPE);

    fn read(d: &mut Decoder, version: i16) -> Result<Self, DecodeError> {
        not_null(d, version)
    }

    fn write(&self, e: &mut Encoder, version: i16) -> Result<(), EncodeError> {
        e.put_len(self.len())?;
        self.iter().try_for_each(|element| element.write(e, version))
    }

    fn is_default(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Wire> WireNullable for Vec<T> {
    fn read_nullable(d: &mut Decoder, version: i16) -> Result<Option<Self>, DecodeError> {
        match d.len()? {
            None => Ok(None),
            Some(count) => d.elements(count, version).map(Some),
        }
    }

    fn write_null(e: &mut Encoder) {
        e.null_len();
    }
}

impl<T: Wire> Inspect for Vec<T> {
    fn to_tree(&self, version: i16) -> Tree {
        Tree::Array(self.iter().map(|element| element.to_tree(version)).collect())
    }
}
