//! Java's properties syntax: comments, continuation lines, escapes, and `=`, `:` or blanks between name and value.

use super::ServerConfigError;

/// One setting as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    pub name: String,
    pub value: String,
    /// Where it was set, for messages: `server.properties, line 12` or `--override`.
    pub place: String,
}

/// Settings in the order of their first appearance; a later one of the same name replaces the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    entries: Vec<Property>,
}

impl Properties {
    /// Parses the text of `file`. The only syntax error that exists is a broken `\u` escape.
    pub fn parse(file: &str, text: &str) -> Result<Self, ServerConfigError> {
        let mut properties = Self::default();
        for (line, logical) in logical_lines(text) {
            let place = format!("{file}, line {line}");
            let (name, value) = split(&logical);
            let unescaped = unescape(name).and_then(|name| Some((name, unescape(value)?)));
            let Some((name, value)) = unescaped else {
                return Err(ServerConfigError::one(format!("{place}: \\u must be followed by 4 hex digits")));
            };
            properties.set(&place, &name, &value);
        }
        Ok(properties)
    }

    /// Sets or replaces a setting.
    pub fn set(&mut self, place: &str, name: &str, value: &str) {
        let property = Property { name: name.to_owned(), value: value.to_owned(), place: place.to_owned() };
        match self.entries.iter_mut().find(|entry| entry.name == name) {
            Some(entry) => *entry = property,
            None => self.entries.push(property),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Property> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.get(name).map(|property| property.value.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Property> {
        self.entries.iter()
    }
}

/// The text of a properties file: UTF-8, or else ISO 8859-1, as old files are.
pub fn decode(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| error.as_bytes().iter().map(|&b| char::from(b)).collect())
}

/// Lines without comments and blanks in front, continuation lines joined; with the number of the first.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\x0c');
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = text.split('\n').enumerate();
    let mut logical = Vec::new();
    while let Some((at, line)) = lines.next() {
        let line = line.trim_start_matches(blank);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut joined = line.to_owned();
        while ends_with_odd_backslashes(&joined) {
            joined.pop();
            match lines.next() {
                Some((_, next)) => joined.push_str(next.trim_start_matches(blank)),
                None => break,
            }
        }
        logical.push((at + 1, joined));
    }
    logical
}

fn ends_with_odd_backslashes(line: &str) -> bool {
    line.bytes().rev().take_while(|&b| b == b'\\').count() % 2 == 1
}

/// Splits at the first `=`, `:` or blank that is not escaped; blanks around one `=` or `:` belong to neither.
fn split(line: &str) -> (&str, &str) {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\x0c');
    let mut escaped = false;
    let end = line.char_indices().find(|&(_, c)| {
        let found = !escaped && (blank(c) || matches!(c, '=' | ':'));
        escaped = c == '\\' && !escaped;
        found
    });
    let (name, rest) = line.split_at(end.map_or(line.len(), |(at, _)| at));
    let rest = rest.trim_start_matches(blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (name, value.trim_start_matches(blank))
}

fn unescape(text: &str) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            '\\' => match chars.next() {
                None => break,
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let valid = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                    units.push(if valid { u16::from_str_radix(&digits, 16).ok()? } else { return None });
                    continue;
                }
                Some(other) => other,
            },
            other => other,
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_as_java_reads_it() {
        let text = "# comment\n  ! other\n\na=1\nb : 2\nc 3\nd=\ne\nf\\ g=h\\:i\\=j\n\
                    list=x,\\\n   y,\\\n\tz\nunicode=\\u00e9\\ud83d\\ude00\\t.\npath=C:\\\\dir\\\\\nlast = v \na=9\r\n";
        let properties = Properties::parse("f", text).unwrap();
        let pairs: Vec<_> = properties.iter().map(|p| (p.name.as_str(), p.value.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("a", "9"),
                ("b", "2"),
                ("c", "3"),
                ("d", ""),
                ("e", ""),
                ("f g", "h:i=j"),
                ("list", "x,y,z"),
                ("unicode", "é😀\t."),
                ("path", "C:\\dir\\"),
                ("last", "v "),
            ]
        );
        assert_eq!(properties.get("a").unwrap().place, "f, line 16");
        assert_eq!(properties.get("unicode").unwrap().place, "f, line 13");
        assert!(Properties::parse("f", "a=\\u12").is_err());
        assert_eq!(decode(b"caf\xe9".to_vec()), "café");
    }
}
