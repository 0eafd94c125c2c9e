//! A node's settings as they are written, each with the place where it was set.

use ottla_model::properties::parse;

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
        let parsed = parse(text).map_err(|error| ServerConfigError::one(format!("{file}, {error}")))?;
        for property in parsed {
            properties.set(&format!("{file}, line {}", property.line), &property.name, &property.value);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_settings_replace_earlier_ones_and_tell_their_place() {
        let properties = Properties::parse("f", "a=1\nb=2\na=9\n").unwrap();
        let pairs: Vec<_> = properties.iter().map(|p| (p.name.as_str(), p.value.as_str())).collect();
        assert_eq!(pairs, [("a", "9"), ("b", "2")]);
        assert_eq!(properties.get("a").unwrap().place, "f, line 3");
        let error = Properties::parse("f", "a=\\u12").unwrap_err();
        assert!(error.to_string().contains("f, line 1: \\u must be followed by 4 hex digits"), "{error}");
    }
}
