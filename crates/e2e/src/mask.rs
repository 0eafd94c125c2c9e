//! Makes the output of two runs comparable: what differs by nature (ports, directories, ids, times) becomes a
//! word in braces, everything else stays, blanks too unless a masked word may have been longer or shorter.

use std::sync::OnceLock;

use regex::Regex;

/// What is masked: a pattern, the word in its place, and whether all that it matches is equally long.
type Rule = (Regex, &'static str, Width);

#[derive(Clone, Copy, PartialEq)]
enum Width {
    Equal,
    Any,
}

/// Masks what differs between two runs by nature; `words` are what only this side has, and what stands for it.
/// Columns are as wide as the widest word: where one of any length is masked, blanks are squeezed, and cut at the ends
/// of lines.
pub fn normalised(text: &str, words: &[(String, String)]) -> String {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    let rules = RULES.get_or_init(|| {
        use Width::{Any, Equal};
        [
            (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "{uuid}", Equal),
            (r"console-consumer-\d+", "console-consumer", Any),
            (r"Valid (states|types) are: .*", "Valid $1 are in no order", Any),
            (r"TimeoutException: .*", "TimeoutException", Any),
            (r"set of voters \[.*\]", "set of voters in no order", Any),
            (r#"(?m)(^|[\s":,=\[])[\w-]{22}($|[\s",\]])"#, "$1{id}$2", Equal),
            (r"\b1[6-9]\d{11}\b", "{ms}", Equal),
            (r"-92233702\d+\b", "{ms}", Any),
            (r"@[0-9a-f]{6,8}\b", "@{hash}", Any),
            (r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.,:]\d+)?Z?", "{time}", Any),
            (r"\bcrc: \d+", "crc: {n}", Any),
            (r"\bEpoch: \d+", "Epoch: {n}", Any),
            (r"\bepoch=\d+", "epoch={n}", Any),
        ]
        .map(|(pattern, word, width)| (Regex::new(pattern).expect("a mask is a valid pattern"), word, width))
        .into()
    });
    let mut masked = words.iter().fold(text.to_owned(), |text, (word, mask)| text.replace(word, mask));
    let mut any_width = masked != text;
    for (pattern, word, width) in rules {
        any_width |= *width == Width::Any && pattern.is_match(&masked);
        masked = pattern.replace_all(&masked, *word).into_owned();
    }
    with_sorted_isr(&if any_width { squeezed(&masked) } else { masked })
}

/// Several blanks as one, and none at the ends of lines.
fn squeezed(text: &str) -> String {
    static BLANKS: OnceLock<Regex> = OnceLock::new();
    let blanks = BLANKS.get_or_init(|| Regex::new("  +").expect("a valid pattern"));
    blanks.replace_all(text, " ").lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// In-sync replicas are a set: which order they come in depends on who came first.
fn with_sorted_isr(text: &str) -> String {
    static ISR: OnceLock<Regex> = OnceLock::new();
    let isr = ISR.get_or_init(|| Regex::new(r"Isr: [\d,]+").expect("a valid pattern"));
    isr.replace_all(text, |found: &regex::Captures<'_>| {
        let mut ids: Vec<&str> = found[0]["Isr: ".len()..].split(',').collect();
        ids.sort_unstable();
        format!("Isr: {}", ids.join(","))
    })
    .into_owned()
}

/// Masks every number, for throughput figures, and squeezes blanks.
pub fn without_numbers(text: &str) -> String {
    static NUMBER: OnceLock<Regex> = OnceLock::new();
    let number = NUMBER.get_or_init(|| Regex::new(r"-?\b\d[\d.,E]*\b|\bNaN\b").expect("a valid pattern"));
    squeezed(&number.replace_all(text, "{n}"))
}
