//! Lines as records: value alone, or headers and key before it.

use super::{Properties, is_true};

/// How a line is taken apart.
#[derive(Debug)]
pub struct LineReader {
    key_separator: Option<String>,
    headers: Option<HeaderSyntax>,
    ignore_error: bool,
    null_marker: Option<String>,
}

#[derive(Debug)]
struct HeaderSyntax {
    delimiter: String,
    separator: String,
    key_separator: String,
}

/// A record as a line says.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub key: Option<&'a str>,
    pub value: Option<&'a str>,
    pub headers: Vec<(&'a str, Option<&'a str>)>,
}

impl LineReader {
    pub fn new(properties: &Properties) -> Result<Self, String> {
        let text =
            |name: &str, default: &str| properties.get(name).map_or(default, String::as_str).to_owned();
        let key_separator = text("key.separator", "\t");
        let headers = HeaderSyntax {
            delimiter: text("headers.delimiter", "\t"),
            separator: text("headers.separator", ","),
            key_separator: text("headers.key.separator", ":"),
        };
        let null_marker = properties.get("null.marker").cloned();
        let named = [
            ("headers.delimiter", Some(&headers.delimiter)),
            ("headers.separator", Some(&headers.separator)),
            ("headers.key.separator", Some(&headers.key_separator)),
            ("null.marker", null_marker.as_ref()),
        ];
        for (at, (one, text)) in named.iter().enumerate() {
            let rest = named.get(at + 1..).unwrap_or_default();
            if let Some((other, _)) = rest.iter().find(|(_, other)| other == text && other.is_some()) {
                let (one, other) = if *other == "null.marker" { (other, one) } else { (one, other) };
                return Err(format!("{one} and {other} may not be equal"));
            }
        }
        if null_marker.as_ref() == Some(&key_separator) {
            return Err("null.marker and key.separator may not be equal".into());
        }
        Ok(Self {
            key_separator: is_true(properties, "parse.key", false).then_some(key_separator),
            headers: is_true(properties, "parse.headers", false).then_some(headers),
            ignore_error: is_true(properties, "ignore.error", false),
            null_marker,
        })
    }

    /// Takes a line apart. Errors name the line, counted from 1.
    pub fn read<'a>(&self, line: &'a str, number: u64) -> Result<Line<'a>, String> {
        let mut rest = line;
        let mut headers = Vec::new();
        if let Some(syntax) = &self.headers
            && let Some(text) = self.part(line, &mut rest, &syntax.delimiter, "headers delimiter", number)?
            && self.not_null(text).is_some()
        {
            headers = self.headers(syntax, text, number)?;
        }
        let key = match &self.key_separator {
            Some(separator) => self.part(line, &mut rest, separator, "key separator", number)?,
            None => None,
        };
        Ok(Line { key: key.and_then(|key| self.not_null(key)), value: self.not_null(rest), headers })
    }

    fn not_null<'a>(&self, text: &'a str) -> Option<&'a str> {
        (self.null_marker.as_deref() != Some(text)).then_some(text)
    }

    fn part<'a>(
        &self,
        line: &str,
        rest: &mut &'a str,
        separator: &str,
        what: &str,
        number: u64,
    ) -> Result<Option<&'a str>, String> {
        match rest.split_once(separator) {
            Some((part, behind)) => {
                *rest = behind;
                Ok(Some(part))
            }
            None if self.ignore_error => Ok(None),
            None => Err(format!("No {what} found on line number {number}: '{line}'")),
        }
    }

    fn headers<'a>(
        &self,
        syntax: &HeaderSyntax,
        text: &'a str,
        number: u64,
    ) -> Result<Vec<(&'a str, Option<&'a str>)>, String> {
        let header = |pair: &'a str| match pair.split_once(&syntax.key_separator) {
            Some((name, _)) if self.not_null(name).is_none() => Err(format!(
                "Header keys should not be equal to the null marker '{name}' as they can't be null"
            )),
            Some((name, value)) => Ok((name, self.not_null(value))),
            None if self.ignore_error => Ok((pair, None)),
            None => Err(format!("No header key separator found in pair '{pair}' on line number {number}")),
        };
        text.split(&syntax.separator).map(header).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(pairs: &[(&str, &str)]) -> Result<LineReader, String> {
        LineReader::new(&pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    #[test]
    fn lines_are_taken_apart() {
        let plain = reader(&[]).unwrap();
        assert_eq!(plain.read("a\tb", 1).unwrap(), Line { key: None, value: Some("a\tb"), headers: vec![] });
        let full =
            reader(&[("parse.key", "true"), ("parse.headers", "true"), ("null.marker", "NULL")]).unwrap();
        let line = full.read("a:1,b:NULL\tkey\tNULL", 1).unwrap();
        let headers = vec![("a", Some("1")), ("b", None)];
        assert_eq!(line, Line { key: Some("key"), value: None, headers });
        assert_eq!(
            full.read("NULL\tNULL\tv", 1).unwrap(),
            Line { key: None, value: Some("v"), headers: vec![] }
        );
    }

    #[test]
    fn wrong_lines_and_settings_are_refused() {
        let keyed = reader(&[("parse.key", "true"), ("key.separator", ":")]).unwrap();
        assert_eq!(keyed.read("no", 7).unwrap_err(), "No key separator found on line number 7: 'no'");
        let lenient = reader(&[("parse.key", "true"), ("ignore.error", "true")]).unwrap();
        assert_eq!(lenient.read("no", 1).unwrap().value, Some("no"));
        let error = reader(&[("headers.separator", ":")]).unwrap_err();
        assert_eq!(error, "headers.separator and headers.key.separator may not be equal");
        let error = reader(&[("null.marker", ",")]).unwrap_err();
        assert_eq!(error, "null.marker and headers.separator may not be equal");
    }
}
