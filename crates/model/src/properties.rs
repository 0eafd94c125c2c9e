//! Java's properties syntax, in which every configuration and `meta.properties` is written: comments, continuation
//! lines, escapes, and `=`, `:` or blanks between name and value.

use std::fmt;

/// One setting as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Where it begins, counted from 1.
    pub line: usize,
    pub name: String,
    pub value: String,
}

/// A `\u` without 4 hex digits: the only syntax error that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PropertiesError {
    pub line: usize,
}

impl fmt::Display for PropertiesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: \\u must be followed by 4 hex digits", self.line)
    }
}

impl std::error::Error for PropertiesError {}

/// All settings of a text in their order, those of the same name too: the last one counts.
pub fn parse(text: &str) -> Result<Vec<Property>, PropertiesError> {
    let property = |(line, logical): (usize, String)| {
        let (name, value) = split(&logical);
        let unescaped = unescape(name).and_then(|name| Some((name, unescape(value)?)));
        let (name, value) = unescaped.ok_or(PropertiesError { line })?;
        Ok(Property { line, name, value })
    };
    logical_lines(text).into_iter().map(property).collect()
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

    /// What `java.util.Properties.load` makes of the same text.
    #[test]
    fn syntax_as_java_reads_it() {
        let text = "# comment\n  ! other \\\n\na=1\nb : 2\nc 3\nd=\ne\nf\\ g=h\\:i\\=j\n\
                    list=x,\\\n   y,\\\n\tz\nunicode=\\u00e9\\ud83d\\ude00\\t.\npath=C:\\\\dir\\\\\nlast = v \n\
                    blank=x\\\n\nhash=1\\\n#2\n=none\nodd\\k\u{c}:\tv\\z\na=9\r\nend=\\";
        let properties = parse(text).unwrap();
        let pairs: Vec<_> = properties.iter().map(|p| (p.line, p.name.as_str(), p.value.as_str())).collect();
        assert_eq!(
            pairs,
            [
                (4, "a", "1"),
                (5, "b", "2"),
                (6, "c", "3"),
                (7, "d", ""),
                (8, "e", ""),
                (9, "f g", "h:i=j"),
                (10, "list", "x,y,z"),
                (13, "unicode", "é😀\t."),
                (14, "path", "C:\\dir\\"),
                (15, "last", "v "),
                (16, "blank", "x"),
                (18, "hash", "1#2"),
                (20, "", "none"),
                (21, "oddk", "vz"),
                (22, "a", "9"),
                (23, "end", ""),
            ]
        );
        assert_eq!(
            parse("a=1\nb=\\u12").unwrap_err().to_string(),
            "line 2: \\u must be followed by 4 hex digits"
        );
        assert_eq!(decode(b"caf\xe9".to_vec()), "café");
    }
}
