//! The format of a printed record, in kcat's language.

use std::io::{self, Write};
use std::str::FromStr;

use ottla_client::RecordRef;

/// A part of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    KeyLength,
    Value,
    ValueLength,
    /// The value's length in four bytes, big-endian.
    ValueFrame,
    Headers,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Field(Field),
}

/// What is printed for each record; the value and a newline by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

impl Default for Template {
    fn default() -> Self {
        Self(vec![Part::Field(Field::Value), Part::Text(b"\n".into())])
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = Vec::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match character {
                '%' => match field(rest.next())? {
                    None => plain.push(b'%'),
                    Some(field) => {
                        if !plain.is_empty() {
                            parts.push(Part::Text(std::mem::take(&mut plain)));
                        }
                        parts.push(Part::Field(field));
                    }
                },
                '\\' => plain.extend_from_slice(&escape(&mut rest)?),
                _ => plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }
}

/// `None` for a percent sign.
fn field(letter: Option<char>) -> Result<Option<Field>, String> {
    let field = match letter {
        Some('%') => return Ok(None),
        Some('t') => Field::Topic,
        Some('p') => Field::Partition,
        Some('o') => Field::Offset,
        Some('T') => Field::Timestamp,
        Some('k') => Field::Key,
        Some('K') => Field::KeyLength,
        Some('s') => Field::Value,
        Some('S') => Field::ValueLength,
        Some('R') => Field::ValueFrame,
        Some('h') => Field::Headers,
        Some(letter) => {
            return Err(format!("there is no %{letter}; there are %t %p %o %T %k %K %s %S %R %h and %%"));
        }
        None => return Err("a % at the end; a percent sign is %%".into()),
    };
    Ok(Some(field))
}

/// Reads what follows a backslash: a letter, or two digits after an x.
pub fn escape(rest: &mut std::str::Chars<'_>) -> Result<Vec<u8>, String> {
    let byte = match rest.next() {
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('0') => 0,
        Some('\\') => b'\\',
        Some('x') => {
            let digits: String = rest.by_ref().take(2).collect();
            match u8::from_str_radix(&digits, 16) {
                Ok(byte) if digits.len() == 2 && !digits.starts_with('+') => byte,
                _ => return Err(format!("\\x{digits}: expected two hexadecimal digits")),
            }
        }
        Some(letter) => {
            return Err(format!("there is no \\{letter}; there are \\n \\r \\t \\0 \\\\ and \\xHH"));
        }
        None => return Err("a \\ at the end; a backslash is \\\\".into()),
    };
    Ok(vec![byte])
}

impl Template {
    /// Writes a record; `null` stands for a key or value that is none.
    pub fn write(&self, record: &RecordRef<'_>, null: &str, out: &mut impl Write) -> io::Result<()> {
        let bytes = |bytes: Option<_>| bytes.unwrap_or(null.as_bytes());
        let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i32);
        for part in &self.0 {
            match part {
                Part::Text(text) => out.write_all(text)?,
                Part::Field(Field::Topic) => out.write_all(record.topic().as_bytes())?,
                Part::Field(Field::Partition) => write!(out, "{}", record.partition())?,
                Part::Field(Field::Offset) => write!(out, "{}", record.offset().0)?,
                Part::Field(Field::Timestamp) => write!(out, "{}", record.timestamp().0)?,
                Part::Field(Field::Key) => out.write_all(bytes(record.key()))?,
                Part::Field(Field::KeyLength) => write!(out, "{}", length(record.key()))?,
                Part::Field(Field::Value) => out.write_all(bytes(record.value()))?,
                Part::Field(Field::ValueLength) => write!(out, "{}", length(record.value()))?,
                Part::Field(Field::ValueFrame) => out.write_all(&length(record.value()).to_be_bytes())?,
                Part::Field(Field::Headers) => {
                    for (at, (name, value)) in record.headers().enumerate() {
                        out.write_all(if at == 0 { b"" } else { b"," })?;
                        out.write_all(name)?;
                        out.write_all(b"=")?;
                        out.write_all(value.unwrap_or(b"NULL"))?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let parse = |text: &str| text.parse::<Template>();
        let text = |text: &[u8]| Part::Text(text.into());
        let expected = [
            Part::Field(Field::Topic),
            text(b" ["),
            Part::Field(Field::Partition),
            text(b"] 100%\t\xff\n"),
            Part::Field(Field::ValueFrame),
        ];
        assert_eq!(parse(r"%t [%p] 100%%\t\xff\n%R").unwrap().0, expected);
        assert_eq!(parse("").unwrap().0, []);
        assert_eq!(parse(r"%s\n").unwrap(), Template::default());
    }

    #[test]
    fn mistakes_say_what_there_is() {
        let error = |text: &str| text.parse::<Template>().unwrap_err();
        assert!(error("%x").contains("there is no %x; there are %t"));
        assert!(error("100%").contains("a percent sign is %%"));
        assert!(error(r"\q").contains("there is no \\q"));
        assert!(error(r"\x1").contains("two hexadecimal digits"));
        assert!(error("\\").contains("a backslash is"));
    }
}
