//! [`Tree`]: any message as plain data, for printing and for tests.

use std::fmt::{self, Write as _};

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

/// JSON on one line; bytes are a string `hex:…`, ids in Kafka's text form.
impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) if value.is_finite() => write!(f, "{value:?}"),
            Self::Float(value) => write!(f, "\"{value}\""),
            Self::Uuid(id) => write!(f, "\"{id}\""),
            Self::String(text) => write_text(f, text),
            Self::Bytes(bytes) => {
                f.write_str("\"hex:")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_char('"')
            }
            Self::Array(elements) => {
                f.write_char('[')?;
                for (index, element) in elements.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "," })?;
                    write!(f, "{element}")?;
                }
                f.write_char(']')
            }
            Self::Struct(fields) => {
                f.write_char('{')?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "," })?;
                    write!(f, "\"{name}\":{value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' | '\\' => write!(f, "\\{letter}")?,
            control if control < ' ' => write!(f, "\\u{:04x}", u32::from(control))?,
            letter => f.write_char(letter)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_print_as_json() {
        let tree = Tree::Struct(vec![
            ("Name", Tree::String("a\"\n".into())),
            ("Ids", Tree::Array(vec![Tree::Int(-1), Tree::Null, Tree::Float(1.0), Tree::Bool(true)])),
            ("Salt", Tree::Bytes(Bytes::from_static(&[0, 255]))),
        ]);
        let json = r#"{"Name":"a\"\u000a","Ids":[-1,null,1.0,true],"Salt":"hex:00ff"}"#;
        assert_eq!(tree.to_string(), json);
    }
}
