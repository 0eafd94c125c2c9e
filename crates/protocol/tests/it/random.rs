//! Random messages straight from the schema, as bytes: a second, naive codec to hold the derived one against.

use bytes::Bytes;
use ottla_protocol::schema::{DefaultValue, FieldSchema, MessageSchema, StructSchema, Type};

/// A small generator (xorshift64*): the same seed gives the same bytes.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What a value must be.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Anything,
    /// Not this default: tagged fields are only written then.
    NotDefault(DefaultValue),
}

/// The bytes of a random message in this version.
pub fn message(schema: &MessageSchema, version: i16, random: &mut Random) -> Bytes {
    let mut writer =
        Writer { bytes: Vec::new(), version, flexible: schema.flexible.contains(version), random };
    writer.structure(schema.body, false);
    writer.bytes.into()
}

struct Writer<'a> {
    bytes: Vec<u8>,
    version: i16,
    flexible: bool,
    random: &'a mut Random,
}

impl Writer<'_> {
    fn structure(&mut self, schema: &StructSchema, not_default: bool) {
        let version = self.version;
        let present = schema.fields.iter().filter(|field| field.versions.contains(version));
        let (tagged, plain): (Vec<_>, Vec<_>) = present.partition(|field| field.tag.is_some());
        for (index, field) in plain.iter().enumerate() {
            let flexible = self.flexible;
            self.flexible &= !field.never_flexible;
            let first = not_default && index == 0;
            let wanted = if first { Wanted::NotDefault(field.default) } else { Wanted::Anything };
            self.field(field, wanted);
            self.flexible = flexible;
        }
        if !self.flexible {
            return;
        }
        let force = not_default && plain.is_empty();
        let mut chosen: Vec<_> = tagged.into_iter().filter(|_| force || self.random.one_in(2)).collect();
        chosen.sort_by_key(|field| field.tag);
        self.uvarint(chosen.len());
        for field in chosen {
            self.uvarint(field.tag.unwrap() as usize);
            let outer = std::mem::take(&mut self.bytes);
            self.field(field, Wanted::NotDefault(field.default));
            let data = std::mem::replace(&mut self.bytes, outer);
            self.uvarint(data.len());
            self.bytes.extend(data);
        }
    }

    fn field(&mut self, field: &FieldSchema, wanted: Wanted) {
        if field.nullable.contains(self.version) {
            let null = match wanted {
                Wanted::Anything => self.random.one_in(4),
                Wanted::NotDefault(default) => default != DefaultValue::Null && self.random.one_in(2),
            };
            if null {
                return match field.ty {
                    Type::Struct(_) => self.bytes.push(if field.tag.is_some() { 0 } else { 0xff }),
                    Type::String => self.string_len(None),
                    _ => self.len(None),
                };
            }
            if matches!(field.ty, Type::Struct(_)) {
                self.bytes.push(1);
            }
        }
        let wanted = match wanted {
            Wanted::NotDefault(DefaultValue::Null) => Wanted::Anything,
            wanted => wanted,
        };
        self.value(&field.ty, wanted);
    }

    fn value(&mut self, ty: &Type, wanted: Wanted) {
        let not_empty = wanted != Wanted::Anything;
        match ty {
            Type::Bool => {
                let value = match wanted {
                    Wanted::NotDefault(default) => default != DefaultValue::Bool(true),
                    Wanted::Anything => self.random.one_in(2),
                };
                self.bytes.push(value.into());
            }
            Type::Int8 => self.number(1, wanted),
            Type::Int16 | Type::Uint16 => self.number(2, wanted),
            Type::Int32 | Type::Uint32 => self.number(4, wanted),
            Type::Int64 => self.number(8, wanted),
            Type::Float64 => {
                let value = (self.random.next() as i32 | 1) as f64 / 16.0;
                self.bytes.extend(value.to_be_bytes());
            }
            Type::Uuid => {
                let id = [self.random.next() | 1, self.random.next()];
                self.bytes.extend(id.iter().flat_map(|half| half.to_be_bytes()));
            }
            Type::String => {
                let len = self.random.below(20) + usize::from(not_empty);
                self.string_len(Some(len));
                let letters = (0..len).map(|_| b'a' + self.random.below(26) as u8);
                self.bytes.extend(letters);
            }
            Type::Bytes | Type::Records => {
                let long = self.random.one_in(8);
                let len = self.random.below(if long { 2000 } else { 30 }) + usize::from(not_empty);
                self.len(Some(len));
                self.bytes.extend((0..len).map(|_| self.random.next() as u8));
            }
            Type::Array(element) => {
                let count = self.random.below(4) + usize::from(not_empty);
                self.len(Some(count));
                for _ in 0..count {
                    self.value(element, Wanted::Anything);
                }
            }
            Type::Struct(schema) => self.structure(schema, not_empty),
        }
    }

    fn number(&mut self, width: usize, wanted: Wanted) {
        let default = match wanted {
            Wanted::NotDefault(DefaultValue::Int(value)) => Some(value),
            Wanted::NotDefault(_) => Some(0),
            Wanted::Anything => None,
        };
        loop {
            let value =
                if self.random.one_in(3) { self.random.below(3) as i64 } else { self.random.next() as i64 };
            let bytes = &value.to_be_bytes()[8 - width..];
            if default.is_none_or(|default| &default.to_be_bytes()[8 - width..] != bytes) {
                self.bytes.extend(bytes);
                return;
            }
        }
    }

    fn string_len(&mut self, len: Option<usize>) {
        if self.flexible {
            self.uvarint(len.map_or(0, |len| len + 1));
        } else {
            self.bytes.extend(len.map_or(-1, |len| len as i16).to_be_bytes());
        }
    }

    fn len(&mut self, len: Option<usize>) {
        if self.flexible {
            self.uvarint(len.map_or(0, |len| len + 1));
        } else {
            self.bytes.extend(len.map_or(-1, |len| len as i32).to_be_bytes());
        }
    }

    fn uvarint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}
