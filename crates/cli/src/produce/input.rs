//! Records as they stand in the input.

use std::io::{self, BufRead};

use ottla_client::Header;
use ottla_model::Millis;

use crate::consume::escape;

/// Bytes that were written with escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub Vec<u8>);

/// Reads a separator such as `:`, `\t` or `\x00`.
pub fn unescape(text: &str) -> Result<Text, String> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '\\' => bytes.extend(escape(&mut rest)?),
            _ => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    match bytes.is_empty() {
        true => Err("cannot be empty".into()),
        false => Ok(Text(bytes)),
    }
}

/// A record that owns what it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedRecord {
    pub partition: Option<i32>,
    pub timestamp: Option<Millis>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub own_headers: Vec<(String, Option<Vec<u8>>)>,
}

impl OwnedRecord {
    pub fn of(key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> Self {
        Self { key, value, ..Self::default() }
    }

    /// A record from a line: its key, if it has one, stands before the separator.
    pub fn of_line(mut line: Vec<u8>, separator: Option<&Text>, null: Option<&str>) -> Self {
        let keep =
            |bytes: Vec<u8>| Some(bytes).filter(|bytes| null.is_none_or(|null| bytes != null.as_bytes()));
        let at = separator.and_then(|Text(separator)| {
            let at = line.windows(separator.len()).position(|part| part == separator)?;
            Some((at, separator.len()))
        });
        let Some((at, length)) = at else { return Self::of(None, keep(line)) };
        let value = line.split_off(at + length);
        line.truncate(at);
        Self::of(keep(line), keep(value))
    }

    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.own_headers.iter().map(|(key, value)| Header { key, value: value.as_deref() })
    }
}

/// A text in parts that a delimiter ends.
pub struct Input {
    source: Box<dyn BufRead>,
    delimiter: Text,
    number: u64,
}

impl Input {
    pub fn new(source: Box<dyn BufRead>, delimiter: Text) -> Self {
        Self { source, delimiter, number: 0 }
    }

    /// The next part and its number, from 1 on. The last one need not be ended.
    pub fn next(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let Text(delimiter) = &self.delimiter;
        let last = *delimiter.last().unwrap_or(&b'\n');
        let mut part = Vec::new();
        loop {
            let read = self.source.read_until(last, &mut part)?;
            if part.ends_with(delimiter) {
                part.truncate(part.len() - delimiter.len());
                break;
            }
            if read == 0 {
                if part.is_empty() {
                    return Ok(None);
                }
                break;
            }
        }
        self.number += 1;
        Ok(Some((self.number, part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &'static str, delimiter: &str) -> Vec<String> {
        let mut input = Input::new(Box::new(text.as_bytes()), unescape(delimiter).unwrap());
        let next = || input.next().unwrap().map(|(_, part)| String::from_utf8(part).unwrap());
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn parts_end_with_the_delimiter_or_the_input() {
        assert_eq!(parts("a\nb\n\nc", "\\n"), ["a", "b", "", "c"]);
        assert_eq!(parts("a\n", "\\n"), ["a"]);
        assert_eq!(parts("", "\\n"), [""; 0]);
        assert_eq!(parts("a|b||c|", "||"), ["a|b", "c|"]);
    }

    #[test]
    fn keys_and_tombstones() {
        let record = |line: &str, null| {
            let record = OwnedRecord::of_line(line.into(), Some(&Text(b":".into())), null);
            let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8(bytes).unwrap());
            (text(record.key), text(record.value))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(record("k:v:w", None), (some("k"), some("v:w")));
        assert_eq!(record("v", None), (None, some("v")));
        assert_eq!(record("k:", None), (some("k"), some("")));
        assert_eq!(record("k:", Some("")), (some("k"), None));
        assert_eq!(record("NULL:NULL", Some("NULL")), (None, None));
    }

    #[test]
    fn separators_have_escapes() {
        assert_eq!(unescape("\\t").unwrap().0, b"\t");
        assert_eq!(unescape("\\x00é").unwrap().0, b"\x00\xc3\xa9");
        assert!(unescape("").is_err() && unescape("\\q").is_err());
    }
}
