//! The syntax of Java's `.properties` files.

/// The pairs of a file in their order. Comments begin with `#` or `!`; a backslash joins lines and escapes characters;
/// name and value are parted by `=`, `:` or blanks.
pub fn parse(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while (logical.len() - logical.trim_end_matches('\\').len()) % 2 == 1 {
            logical.pop();
            let Some(next) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        pairs.push(split(&logical));
    }
    pairs
}

fn split(line: &str) -> (String, String) {
    let mut name = String::new();
    let mut chars = line.chars();
    let mut separator = None;
    while let Some(c) = chars.next() {
        match c {
            '\\' => unescape(&mut chars, &mut name),
            '=' | ':' => {
                separator = Some(c);
                break;
            }
            c if c.is_whitespace() => break,
            c => name.push(c),
        }
    }
    let mut rest = chars.as_str().trim_start();
    if separator.is_none() {
        rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
    }
    let mut value = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => unescape(&mut chars, &mut value),
            c => value.push(c),
        }
    }
    (name, value)
}

fn unescape(chars: &mut std::str::Chars<'_>, out: &mut String) {
    match chars.next() {
        Some('t') => out.push('\t'),
        Some('n') => out.push('\n'),
        Some('r') => out.push('\r'),
        Some('f') => out.push('\u{c}'),
        Some('u') => {
            let code = chars.as_str().get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
            match code.and_then(char::from_u32) {
                Some(c) => {
                    out.push(c);
                    chars.nth(3);
                }
                None => out.push('u'),
            }
        }
        Some(c) => out.push(c),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javas_syntax() {
        let text = "# comment\n! too\n\na=1\n b : 2 \nc 3\nd=x\\\n   y\ne\\=f=g\\tz\\u0041\nempty=\n";
        let pairs = parse(text);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let expected = [("a", "1"), ("b", "2 "), ("c", "3"), ("d", "xy"), ("e=f", "g\tzA"), ("empty", "")];
        assert_eq!(pairs, expected);
    }
}
