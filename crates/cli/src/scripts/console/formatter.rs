//! How a record is printed: Apache's default formatter, and the two that need no more.

use std::io::{Result, Write};

use ottla_client::RecordRef;
use ottla_record::TimestampType;

use super::{Properties, bytes, is_true};

/// A way to print records.
pub enum Formatter {
    Default(Box<Columns>),
    /// Prints nothing.
    NoOp,
}

/// Which columns the default formatter prints, and what is between them.
pub struct Columns {
    timestamp: bool,
    partition: bool,
    offset: bool,
    delivery: bool,
    epoch: bool,
    headers: bool,
    key: bool,
    value: bool,
    key_separator: Vec<u8>,
    line_separator: Vec<u8>,
    headers_separator: Vec<u8>,
    null: Vec<u8>,
    key_form: Form,
    value_form: Form,
    headers_form: Form,
}

/// What bytes stand for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Raw,
    Text,
    Number(usize),
}

impl Formatter {
    /// The formatter of a class's name, with or without its package.
    pub fn new(class: &str, properties: &Properties) -> std::result::Result<Self, String> {
        match class.rsplit('.').next().unwrap_or(class) {
            "NoOpMessageFormatter" => Ok(Self::NoOp),
            "DefaultMessageFormatter" => {
                Columns::new(properties).map(|columns| Self::Default(Box::new(columns)))
            }
            _ => Err(format!(
                "--formatter {class}: only DefaultMessageFormatter and NoOpMessageFormatter are here, not classes of Java"
            )),
        }
    }

    pub fn write(&self, record: &RecordRef<'_>, out: &mut impl Write) -> Result<()> {
        match self {
            Self::Default(columns) => columns.write(record, out),
            Self::NoOp => Ok(()),
        }
    }
}

impl Columns {
    fn new(properties: &Properties) -> std::result::Result<Self, String> {
        let form = |name: &str| properties.get(name).map_or(Ok(Form::Raw), |class| Form::new(name, class));
        Ok(Self {
            timestamp: is_true(properties, "print.timestamp", false),
            partition: is_true(properties, "print.partition", false),
            offset: is_true(properties, "print.offset", false),
            delivery: is_true(properties, "print.delivery", false),
            epoch: is_true(properties, "print.epoch", false),
            headers: is_true(properties, "print.headers", false),
            key: is_true(properties, "print.key", false),
            value: is_true(properties, "print.value", true),
            key_separator: bytes(properties, "key.separator", "\t"),
            line_separator: bytes(properties, "line.separator", "\n"),
            headers_separator: bytes(properties, "headers.separator", ","),
            null: bytes(properties, "null.literal", "null"),
            key_form: form("key.deserializer")?,
            value_form: form("value.deserializer")?,
            headers_form: form("headers.deserializer")?,
        })
    }

    fn write(&self, record: &RecordRef<'_>, out: &mut impl Write) -> Result<()> {
        let mut columns: Vec<Vec<u8>> = Vec::new();
        if self.timestamp {
            let kind = match record.timestamp_type() {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            };
            columns.push(format!("{kind}:{}", record.timestamp().0).into());
        }
        if self.partition {
            columns.push(format!("Partition:{}", record.partition()).into());
        }
        if self.offset {
            columns.push(format!("Offset:{}", record.offset().0).into());
        }
        // Apache's console consumer passes neither on.
        if self.delivery {
            columns.push(b"Delivery:NOT_PRESENT".to_vec());
        }
        if self.epoch {
            columns.push(b"Epoch:NOT_PRESENT".to_vec());
        }
        if self.headers {
            columns.push(self.headers(record));
        }
        if self.key {
            columns.push(self.field(self.key_form, record.key()));
        }
        if self.value {
            columns.push(self.field(self.value_form, record.value()));
        }
        out.write_all(&columns.join(&self.key_separator[..]))?;
        if columns.is_empty() { Ok(()) } else { out.write_all(&self.line_separator) }
    }

    fn headers(&self, record: &RecordRef<'_>) -> Vec<u8> {
        let headers: Vec<_> = record
            .headers()
            .map(|(key, value)| [key, b":", &self.field(self.headers_form, value)].concat())
            .collect();
        if headers.is_empty() { b"NO_HEADERS".to_vec() } else { headers.join(&self.headers_separator[..]) }
    }

    fn field(&self, form: Form, bytes: Option<&[u8]>) -> Vec<u8> {
        form.print(bytes.unwrap_or(&self.null))
    }
}

impl Form {
    fn new(name: &str, class: &str) -> std::result::Result<Self, String> {
        match class.rsplit('.').next().unwrap_or(class) {
            "StringDeserializer" => Ok(Self::Text),
            "ShortDeserializer" => Ok(Self::Number(2)),
            "IntegerDeserializer" => Ok(Self::Number(4)),
            "LongDeserializer" => Ok(Self::Number(8)),
            _ => Err(format!(
                "{name}={class}: only StringDeserializer, ShortDeserializer, IntegerDeserializer and LongDeserializer \
                 are here, not classes of Java"
            )),
        }
    }

    fn print(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Raw => bytes.to_vec(),
            Self::Text => String::from_utf8_lossy(bytes).into_owned().into_bytes(),
            Self::Number(size) if bytes.len() == size => {
                let negative = bytes.first().is_some_and(|first| *first >= 0x80);
                let start = if negative { -1_i64 } else { 0 };
                let number = bytes.iter().fold(start, |number, byte| number << 8 | i64::from(*byte));
                number.to_string().into_bytes()
            }
            Self::Number(size) => format!("({} bytes, no number of {size})", bytes.len()).into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed() {
        assert_eq!(Form::Number(4).print(&[255, 255, 255, 254]), b"-2");
        assert_eq!(Form::Number(8).print(&[0, 0, 0, 0, 0, 0, 1, 0]), b"256");
        assert_eq!(Form::Text.print(b"ab"), b"ab");
        assert_eq!(Form::Number(2).print(b"abc"), b"(3 bytes, no number of 2)");
        assert!(Form::new("key.deserializer", "my.Own").is_err_and(|error| error.contains("my.Own")));
    }
}
