//! Which topic names are legal, in Kafka's words.

/// Longest legal name: it must fit into a directory name together with the partition and a suffix.
const NAME_LEN_MAX: usize = 249;

/// Why `name` is no topic name (`INVALID_TOPIC_EXCEPTION`); `None` if it is one.
pub fn invalid_reason(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("Topic name is invalid: the empty string is not allowed".into());
    }
    if name == "." || name == ".." {
        return Some(format!("Topic name is invalid: '{name}' is not allowed"));
    }
    // Java counts UTF-16 units.
    if name.encode_utf16().count() > NAME_LEN_MAX {
        return Some(format!(
            "Topic name is invalid: the length of '{name}' is longer than the max allowed length {NAME_LEN_MAX}"
        ));
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (!name.bytes().all(legal)).then(|| {
        format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' \
             and '-'"
        )
    })
}

/// Whether `.` and `_` make the two names one in metric names, where Kafka writes both as `_`.
pub fn collide(a: &str, b: &str) -> bool {
    a.len() == b.len()
        && a.bytes().zip(b.bytes()).all(|(a, b)| a == b || (is_separator(a) && is_separator(b)))
}

/// Whether the name could collide with another one at all.
pub fn may_collide(name: &str) -> bool {
    name.bytes().any(is_separator)
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'.' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for legal in ["a", "a.b_c-D9", "__consumer_offsets", "...", &"x".repeat(249)] {
            assert_eq!(invalid_reason(legal), None, "{legal}");
        }
        for illegal in ["", ".", "..", "a b", "é", "a/b", &"x".repeat(250)] {
            assert!(invalid_reason(illegal).is_some(), "{illegal}");
        }
        assert!(collide("a.b", "a_b") && !collide("a.b", "a-b") && !collide("a.b", "a.bc"));
    }
}
