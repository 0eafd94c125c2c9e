//! How users name topics and partitions: `orders`, `ord*`, `orders:0,3-5`.

use std::str::FromStr;

use anyhow::{Result, bail};
use ottla_client::metadata::Metadata;
use ottla_client::{Admin, Peers};
use ottla_model::ErrorCode;

/// A topic's name, or a pattern in which `*` is any text and `?` any character.
#[derive(Clone, Debug)]
pub struct Pattern(String);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.is_empty() {
            true => Err("a name cannot be empty".into()),
            false => Ok(Self(text.into())),
        }
    }
}

impl Pattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_name(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    pub fn matches(&self, name: &str) -> bool {
        matches(self.0.as_bytes(), name.as_bytes())
    }
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) if matches(rest, name) => true,
        (Some((b'*', _)), Some((_, left))) => matches(pattern, left),
        (Some((want, rest)), Some((is, left))) => (*want == b'?' || want == is) && matches(rest, left),
        _ => false,
    }
}

/// The names among `all` that patterns mean, sorted; all without a pattern. A plain name that is not there is an
/// error, which `missing` words.
pub fn choose<'a>(
    all: impl Iterator<Item = &'a str>,
    patterns: &[Pattern],
    missing: impl Fn(&str) -> anyhow::Error,
) -> Result<Vec<String>> {
    let all: Vec<&str> = all.collect();
    if let Some(absent) =
        patterns.iter().find(|pattern| pattern.is_name() && !all.contains(&pattern.as_str()))
    {
        return Err(missing(absent.as_str()));
    }
    let wanted = |name: &&str| patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name));
    let mut chosen: Vec<String> = all.into_iter().filter(wanted).map(str::to_owned).collect();
    chosen.sort();
    Ok(chosen)
}

/// The topics that patterns mean.
pub fn topics(metadata: &Metadata, patterns: &[Pattern]) -> Result<Vec<String>> {
    choose(metadata.topics.keys().map(|name| &**name), patterns, no_topic)
}

/// An error at once where a broker would be asked again and again whether it has heard of the topic by now.
pub async fn must_exist(admin: &Admin, topic: &str) -> Result<()> {
    // Controllers tell no topics, and refuse what is not there themselves.
    match admin.client().peers() == Peers::Controllers || admin.metadata().await?.topic(topic).is_some() {
        true => Ok(()),
        false => Err(no_topic(topic)),
    }
}

pub fn no_topic(name: &str) -> anyhow::Error {
    ottla_client::Error::broker(ErrorCode::UnknownTopicOrPartition, Some(format!("there is no topic {name}")))
        .into()
}

/// A topic with some of its partitions, or all: `orders:0,3-5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partitions {
    pub topic: String,
    /// All if `None`.
    pub partitions: Option<Vec<i32>>,
}

impl FromStr for Partitions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, partitions) = match text.split_once(':') {
            Some((topic, list)) => (topic, Some(numbers(list)?)),
            None => (text, None),
        };
        match topic.is_empty() {
            true => Err("expected TOPIC or TOPIC:PARTITIONS, such as orders:0,3-5".into()),
            false => Ok(Self { topic: topic.into(), partitions }),
        }
    }
}

/// Reads `0,3-5`.
pub fn numbers(list: &str) -> Result<Vec<i32>, String> {
    let wrong = |part: &str| format!("{part:?} is no partition; expected numbers such as 0,3-5");
    let mut found = Vec::new();
    for part in list.split(',') {
        let number = |text: &str| text.trim().parse::<u16>().map(i32::from).map_err(|_| wrong(part));
        match part.split_once('-') {
            Some((first, last)) => found.extend(number(first)?..=number(last)?),
            None => found.push(number(part)?),
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

impl Partitions {
    /// The partitions by name and number. What does not exist is an error.
    pub fn resolve(&self, metadata: &Metadata) -> Result<Vec<(String, i32)>> {
        let Some(topic) = metadata.topic(&self.topic) else { return Err(no_topic(&self.topic)) };
        let count = topic.partitions.len() as i32;
        let wanted = self.partitions.clone().unwrap_or_else(|| (0..count).collect());
        if let Some(absent) = wanted.iter().find(|partition| **partition >= count) {
            bail!("{} has {count} partitions, none of them is {absent}", self.topic);
        }
        Ok(wanted.into_iter().map(|partition| (self.topic.clone(), partition)).collect())
    }
}

/// All that several selections mean, in order and without repetition; every partition of the cluster without any.
pub fn partitions(metadata: &Metadata, selections: &[Partitions]) -> Result<Vec<(String, i32)>> {
    let mut found = Vec::new();
    for selection in selections {
        found.extend(selection.resolve(metadata)?);
    }
    if selections.is_empty() {
        for topic in metadata.topics.values() {
            found.extend(
                (0..topic.partitions.len() as i32).map(|partition| (topic.name.to_string(), partition)),
            );
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Reads `NAME=VALUE`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().into(), value.into())),
        _ => Err("expected NAME=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let matches = |pattern: &str, name: &str| pattern.parse::<Pattern>().unwrap().matches(name);
        assert!(
            matches("*", "")
                && matches("*", "orders")
                && matches("o*s", "orders")
                && matches("o*d*", "orders")
        );
        assert!(matches("order?", "orders") && !matches("order?", "order") && !matches("o*x", "orders"));
        assert!(!matches("order", "orders") && !matches("orders", "order"));
        assert!("".parse::<Pattern>().is_err());
    }

    #[test]
    fn names_have_to_exist_and_patterns_have_not() {
        let all = || ["b", "a", "ab"].into_iter();
        let chosen = |patterns: &[&str]| {
            let patterns: Vec<_> = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
            choose(all(), &patterns, no_topic)
        };
        assert_eq!(chosen(&[]).unwrap(), ["a", "ab", "b"]);
        assert_eq!(chosen(&["a*", "a"]).unwrap(), ["a", "ab"]);
        assert!(chosen(&["x*"]).unwrap().is_empty());
        assert!(chosen(&["x"]).unwrap_err().to_string().contains("there is no topic x"));
    }

    #[test]
    fn topics_with_partitions() {
        let parse = |text: &str| text.parse::<Partitions>();
        assert_eq!(parse("a").unwrap(), Partitions { topic: "a".into(), partitions: None });
        assert_eq!(parse("a:5,1-3,2").unwrap().partitions, Some(vec![1, 2, 3, 5]));
        for wrong in ["", ":1", "a:", "a:x", "a:-1", "a:1-"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pairs() {
        assert_eq!(pair("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert_eq!(pair("a=").unwrap(), ("a".into(), "".into()));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }
}
