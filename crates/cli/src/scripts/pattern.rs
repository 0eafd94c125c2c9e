//! Patterns of topic names: Java's regular expressions, with commas for alternatives, matched as a whole.

use regex::Regex;

/// A pattern of topic names.
#[derive(Clone, Debug)]
pub struct TopicPattern(Regex);

impl TopicPattern {
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim().replace(',', "|").replace(' ', "");
        let text = text.trim_matches(['"', '\'']);
        let regex = Regex::new(&format!("^(?:{text})$"));
        regex.map(Self).map_err(|_| format!("{text} is an invalid regex."))
    }

    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

/// Whether Apache's tools take a topic for an internal one, by its name.
pub fn is_internal(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_a_whole() {
        let pattern = TopicPattern::new("'orders, t-.*'").unwrap();
        assert!(pattern.matches("orders") && pattern.matches("t-1") && !pattern.matches("my-orders"));
        assert_eq!(TopicPattern::new("t[").unwrap_err(), "t[ is an invalid regex.");
    }
}
