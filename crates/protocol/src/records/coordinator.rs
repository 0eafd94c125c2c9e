//! Records of coordinators: the key is an i16 type and a key message of version 0, the value an i16 version and a
//! value message of that version. A null value is a tombstone.

/// Declares the enums of one topic's keys and values: `type => Variant(Key, Value)`.
macro_rules! coordinator_records {
    (
        $(#[$key_doc:meta])* $keys:ident, $(#[$value_doc:meta])* $values:ident:
        $($number:literal => $name:ident($key:ident, $value:ident),)*
    ) => {
        $(#[$key_doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $keys {
            $($name($key),)*
            /// A type of another release.
            Unknown { record_type: i16 },
        }

        $(#[$value_doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $values {
            $($name($value),)*
        }

        impl $keys {
            pub const SCHEMAS: &'static [&'static MessageSchema] = &[$($key::SCHEMA),*];

            /// The type in front of the key; it selects the value's message as well.
            pub fn record_type(&self) -> i16 {
                match self {
                    $(Self::$name(_) => $number,)*
                    Self::Unknown { record_type } => *record_type,
                }
            }

            /// The name of the record's type, such as `OffsetCommit`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                    Self::Unknown { .. } => "unknown",
                }
            }

            /// Decodes a record's key. A type that is not known is no error: readers skip such records.
            pub fn decode(key: Bytes) -> Result<Self, DecodeError> {
                let mut d = Decoder::new(key);
                match d.i16()? {
                    $($number => $key::decode(&mut d, 0).map(Self::$name),)*
                    record_type => Ok(Self::Unknown { record_type }),
                }
            }

            /// Fails on a type that is not known.
            pub fn encode(&self) -> Result<Bytes, EncodeError> {
                let mut e = Encoder::new();
                e.i16(self.record_type());
                match self {
                    $(Self::$name(key) => key.encode(&mut e, 0)?,)*
                    Self::Unknown { record_type } => {
                        return Err(EncodeError::new(EncodeErrorKind::UnknownKey(*record_type)));
                    }
                }
                e.finish_bytes()
            }

            pub fn tree(&self) -> Tree {
                match self {
                    $(Self::$name(key) => key.tree(0),)*
                    Self::Unknown { .. } => Tree::Null,
                }
            }
        }

        impl $values {
            pub const SCHEMAS: &'static [&'static MessageSchema] = &[$($value::SCHEMA),*];

            /// Decodes the value of a record whose key has this type, with its version.
            pub fn decode(record_type: i16, value: Bytes) -> Result<(i16, Self), DecodeError> {
                let mut d = Decoder::new(value);
                let version = d.i16()?;
                let value = match record_type {
                    $($number => $value::decode(&mut d, version).map(Self::$name),)*
                    _ => Err(d.error(DecodeErrorKind::UnknownKey(record_type))),
                };
                Ok((version, value?))
            }

            pub fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
                let mut e = Encoder::new();
                e.i16(version);
                match self {
                    $(Self::$name(value) => value.encode(&mut e, version)?,)*
                }
                e.finish_bytes()
            }

            pub fn tree(&self, version: i16) -> Tree {
                match self {
                    $(Self::$name(value) => value.tree(version),)*
                }
            }

            /// The versions of the values of this type; `None` when it is not known.
            pub fn versions(record_type: i16) -> Option<Versions> {
                match record_type {
                    $($number => Some($value::VERSIONS),)*
                    _ => None,
                }
            }
        }

        $(const _: () = assert!(matches!($key::SCHEMA.api_key, Some($number)));)*
        $(const _: () = assert!(matches!($value::SCHEMA.api_key, Some($number)));)*
    };
}
pub(super) use coordinator_records;
