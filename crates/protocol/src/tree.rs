//! [`Tree`]: any message as plain data, for printing and for tests.

use bytes::Bytes;
use ottla_model::Uuid;

use crate::Str;
use crate::schema::StructSchema;

/// A value whose type is not known. Fields that the version lacks are left out of a struct.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Uuid(Uuid),
    String(Str),
    Bytes(Bytes),
    Array(Vec<Tree>),
    /// Kafka's field names with their values, in the order of the struct.
    Struct(Vec<(&'static str, Tree)>),
}

macro_rules! from_integers {
    ($($type:ty)*) => {$(
        impl From<$type> for Tree {
            fn from(value: $type) -> Self {
                Self::Int(value.into())
            }
        }
    )*};
}

from_integers!(i8 i16 u16 i32 u32 i64);

impl From<f64> for Tree {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

/// The tree of a struct whose field number `i` shows itself as `field(i)`. Called by derived code.
pub fn of_struct(schema: &'static StructSchema, version: i16, field: impl Fn(usize) -> Tree) -> Tree {
    let present = schema.fields.iter().enumerate().filter(|(_, field)| field.versions.contains(version));
    Tree::Struct(present.map(|(index, schema)| (schema.name, field(index))).collect())
}
