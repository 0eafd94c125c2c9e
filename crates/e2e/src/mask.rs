//! Makes the output of two runs comparable: what differs by nature (ports, directories, ids, times) becomes a
//! word in braces, everything else stays.

use std::sync::OnceLock;

use regex::Regex;

/// Masks what differs between two runs by nature; `words` are what only this side has, and what stands for it.
pub fn normalised(text: &str, words: &[(String, String)]) -> String {
    let mut text = words.iter().fold(text.to_owned(), |text, (word, mask)| text.replace(word, mask));
    static RULES: OnceLock<Vec<(Regex, &str)>> = OnceLock::new();
    let rules = RULES.get_or_init(|| {
        [
            (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "{uuid}"),
            (r"console-consumer-\d+", "console-consumer"),
            (r"Valid (states|types) are: .*", "Valid $1 are in no order"),
            (r"TimeoutException: .*", "TimeoutException"),
            (r"set of voters \[.*\]", "set of voters in no order"),
            (r#"(?m)(^|[\s":,=\[])[\w-]{22}($|[\s",\]])"#, "$1{id}$2"),
            (r"\b1[6-9]\d{11}\b", "{ms}"),
            (r"-92233702\d+\b", "{ms}"),
            (r"@[0-9a-f]{6,8}\b", "@{hash}"),
            (r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.,:]\d+)?Z?", "{time}"),
            (r"\bcrc: \d+", "crc: {n}"),
            (r"\bEpoch: \d+", "Epoch: {n}"),
            (r"\bepoch=\d+", "epoch={n}"),
            // Columns are as wide as the widest masked word was.
            (r"  +", " "),
        ]
        .map(|(pattern, word)| (Regex::new(pattern).expect("a mask is a valid pattern"), word))
        .into()
    });
    for (pattern, word) in rules {
        text = pattern.replace_all(&text, *word).into_owned();
    }
    with_sorted_isr(&text)
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

/// Masks every number, for throughput figures.
pub fn without_numbers(text: &str) -> String {
    static NUMBER: OnceLock<Regex> = OnceLock::new();
    let number = NUMBER.get_or_init(|| Regex::new(r"-?\b\d[\d.,E]*\b|\bNaN\b").expect("a valid pattern"));
    number.replace_all(text, "{n}").into_owned()
}
