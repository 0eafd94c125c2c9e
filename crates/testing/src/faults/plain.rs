//! Messages made of plain data: a schema and some values of its fields. The rest, and tagged fields, are defaults.

use bytes::Bytes;
use ottla_protocol::schema::{DefaultValue, FieldSchema, MessageSchema, StructSchema, Type};
use ottla_protocol::wire::{Wire, WireNullable};
use ottla_protocol::{EncodeError, Encoder, Str, Tree};

/// The fields of a struct; none of anything else.
pub fn fields(tree: &Tree) -> &[(&'static str, Tree)] {
    match tree {
        Tree::Struct(fields) => fields,
        _ => &[],
    }
}

pub fn field<'a>(tree: &'a Tree, name: &str) -> Option<&'a Tree> {
    fields(tree).iter().find(|(field, _)| *field == name).map(|(_, value)| value)
}

pub fn encode(
    e: &mut Encoder,
    schema: &MessageSchema,
    message: &Tree,
    version: i16,
) -> Result<(), EncodeError> {
    e.set_flexible(schema.flexible.contains(version));
    write_struct(e, schema.body, message, version)
}

fn write_struct(
    e: &mut Encoder,
    schema: &StructSchema,
    given: &Tree,
    version: i16,
) -> Result<(), EncodeError> {
    let present = |field: &&FieldSchema| field.versions.contains(version) && field.tag.is_none();
    for schema in schema.fields.iter().filter(present) {
        let flexible = e.is_flexible();
        e.set_flexible(flexible && !schema.never_flexible);
        let nullable = schema.nullable.contains(version);
        match field(given, schema.name) {
            Some(Tree::Null) if nullable => write_null(e, schema.ty),
            None if nullable && schema.default == DefaultValue::Null => write_null(e, schema.ty),
            Some(value) if *value != Tree::Null => write(e, schema.ty, value, nullable, version)?,
            _ => {
                let value = match schema.default {
                    DefaultValue::Int(value) => Tree::Int(value),
                    DefaultValue::Bool(value) => Tree::Bool(value),
                    DefaultValue::Zero | DefaultValue::Null => Tree::Null,
                };
                write(e, schema.ty, &value, nullable, version)?;
            }
        }
        e.set_flexible(flexible);
    }
    e.no_tags();
    Ok(())
}

/// Writes a value; zero, or what is empty, where it is of another type.
fn write(e: &mut Encoder, ty: Type, value: &Tree, nullable: bool, version: i16) -> Result<(), EncodeError> {
    let number = match value {
        Tree::Int(number) => *number,
        Tree::Bool(true) => 1,
        _ => 0,
    };
    match (ty, value) {
        (Type::Bool | Type::Int8, _) => e.i8(number as i8),
        (Type::Int16 | Type::Uint16, _) => e.i16(number as i16),
        (Type::Int32 | Type::Uint32, _) => e.i32(number as i32),
        (Type::Int64, _) => e.i64(number),
        (Type::Float64, Tree::Float(value)) => e.raw(&value.to_be_bytes()),
        (Type::Float64, _) => e.raw(&[0; 8]),
        (Type::Uuid, Tree::Uuid(id)) => e.raw(&id.0),
        (Type::Uuid, _) => e.raw(&[0; 16]),
        (Type::String, Tree::String(text)) => text.write(e, version)?,
        (Type::String, _) => Str::EMPTY.write(e, version)?,
        (Type::Bytes | Type::Records, Tree::Bytes(bytes)) => bytes.write(e, version)?,
        (Type::Bytes | Type::Records, _) => Bytes::new().write(e, version)?,
        (Type::Array(element), value) => {
            let elements: &[Tree] = if let Tree::Array(elements) = value { elements } else { &[] };
            match e.is_flexible() {
                true => e.uvarint(elements.len() as u32 + 1),
                false => e.i32(elements.len() as i32),
            }
            elements.iter().try_for_each(|value| write(e, *element, value, false, version))?;
        }
        (Type::Struct(schema), value) => {
            if nullable {
                e.i8(1);
            }
            write_struct(e, schema, value, version)?;
        }
    }
    Ok(())
}

fn write_null(e: &mut Encoder, ty: Type) {
    match ty {
        Type::String => Str::write_null(e),
        Type::Struct(_) => e.i8(-1),
        _ => Bytes::write_null(e),
    }
}
