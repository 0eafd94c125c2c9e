//! The settings of a client: Kafka's names, checked when they are set.
//!
//! One [`ClientConfig`] may serve producers, consumers and admin clients alike; each reads what concerns it.

mod builder;
mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ottla_model::properties;

pub use builder::{Acks, Compression, ConfigBuilder, OffsetReset};
pub use table::{Kind, REFUSED, SETTINGS, Setting, refusal, setting};

/// A setting that cannot be: what it is, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A name that no client of Kafka knows.
    #[error("there is no setting {name}; {hint}")]
    Unknown {
        /// The name.
        name: String,
        /// Names that are like it, or all that there are.
        hint: String,
    },
    /// A setting of Apache Kafka's clients that has no effect here.
    #[error("{name} is not supported: {reason}")]
    Refused {
        /// The name.
        name: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// A value that is not allowed, by itself or beside others.
    #[error("{name}={value}: must be {allowed}")]
    Invalid {
        /// Name of the setting.
        name: String,
        /// The value as it was given.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// Text that is no Java properties file; the line and what is wrong with it.
    #[error("the properties cannot be read: {0}")]
    Syntax(String),
    /// A properties file that cannot be read.
    #[error("cannot read {path}: {reason}")]
    File {
        /// Where it should be.
        path: String,
        /// The system's words, or the line and what is wrong with it.
        reason: String,
    },
}

/// Settings by Kafka's names. What is not set has the default of Apache Kafka's Java clients.
///
/// ```
/// use ottla_client::ClientConfig;
///
/// let config = ClientConfig::from_pairs([("bootstrap.servers", "localhost:9092"), ("linger.ms", "20")])?;
/// assert_eq!(config.int("linger.ms"), 20);
/// assert_eq!(config.int("batch.size"), 16384);
/// assert!(ClientConfig::from_pairs([("linger", "20")]).unwrap_err().to_string().contains("linger.ms"));
/// # Ok::<(), ottla_client::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientConfig {
    values: BTreeMap<&'static str, String>,
}

impl ClientConfig {
    /// Defaults, and where brokers are found first: `host:port`, several of them separated by commas.
    pub fn new(bootstrap_servers: &str) -> Self {
        Self { values: BTreeMap::from([("bootstrap.servers", bootstrap_servers.to_owned())]) }
    }

    /// Settings by name, later ones overriding earlier ones.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (name, value) in pairs {
            config.set(name.as_ref(), value.as_ref())?;
        }
        Ok(config)
    }

    /// The text of a Java properties file.
    pub fn from_properties(text: &str) -> Result<Self, ConfigError> {
        let properties = properties::parse(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        Self::from_pairs(properties.into_iter().map(|property| (property.name, property.value)))
    }

    /// A Java properties file.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let failed = |reason: String| ConfigError::File { path: path.display().to_string(), reason };
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        Self::from_properties(&properties::decode(bytes)).map_err(|error| match error {
            ConfigError::Syntax(reason) => failed(reason),
            error => error,
        })
    }

    /// Sets one value.
    ///
    /// Errors: [`ConfigError::Unknown`] for a name that no client knows, [`ConfigError::Refused`] for one that only
    /// Apache Kafka's clients know, [`ConfigError::Invalid`] for a value that is
    /// not allowed.
    pub fn set(&mut self, name: &str, value: impl ToString) -> Result<&mut Self, ConfigError> {
        let setting = setting(name).ok_or_else(|| match refusal(name) {
            Some(reason) => ConfigError::Refused { name: name.into(), reason },
            None => unknown(name),
        })?;
        let value = check(setting, value.to_string().trim())?;
        self.values.insert(setting.name, value);
        Ok(self)
    }

    /// As [`Self::set`], in a chain.
    pub fn with(mut self, name: &str, value: impl ToString) -> Result<Self, ConfigError> {
        self.set(name, value)?;
        Ok(self)
    }

    /// Whether a value was set, be it the default.
    pub fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value as text; empty where there is none.
    ///
    /// # Panics
    /// As all getters: for a name that is not in the table, which is a mistake of the program.
    pub fn text(&self, name: &str) -> &str {
        let setting = setting(name).unwrap_or_else(|| panic!("no setting {name}"));
        self.values.get(name).map_or(setting.default, String::as_str)
    }

    /// The value as a number, in the unit that its name ends with: `.ms` or `.bytes`.
    ///
    /// # Panics
    /// For a setting whose values are no numbers, and as [`Self::text`].
    pub fn int(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or_else(|_| panic!("{name} is no number"))
    }

    /// A number of milliseconds.
    pub fn millis(&self, name: &str) -> Duration {
        Duration::from_millis(self.int(name).max(0) as u64)
    }

    /// Whether the value is `true`, in capitals or not.
    pub fn bool(&self, name: &str) -> bool {
        self.text(name).eq_ignore_ascii_case("true")
    }

    /// The parts of a list.
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.text(name).split(',').map(str::trim).filter(|part| !part.is_empty()).collect()
    }
}

/// The value as it is kept, if it is allowed.
fn check(setting: &Setting, value: &str) -> Result<String, ConfigError> {
    let number = value.parse::<i64>().ok();
    let is_in = |min: i64, max: i64| number.is_some_and(|number| (min..=max).contains(&number));
    let ignoring_case =
        |words: &[&'static str]| words.iter().find(|word| word.eq_ignore_ascii_case(value)).copied();
    let kept = match setting.kind {
        Kind::Bool => ignoring_case(&["true", "false"]),
        Kind::Int(min, max) => is_in(min, max).then_some(value),
        Kind::IntOr(other, min, max) => (number == Some(other) || is_in(min, max)).then_some(value),
        Kind::OneOf(words) => words.contains(&value).then_some(value),
        Kind::AnyCase(words) => ignoring_case(words),
        Kind::Name => (!value.is_empty()).then_some(value),
        Kind::Text | Kind::List => Some(value),
    };
    kept.map(str::to_owned).ok_or_else(|| ConfigError::Invalid {
        name: setting.name.into(),
        value: value.into(),
        allowed: allowed(setting),
    })
}

fn allowed(setting: &Setting) -> String {
    match setting.kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Int(min, i64::MAX) => format!("a number of at least {min}"),
        Kind::Int(min, max) => format!("a number from {min} to {max}"),
        Kind::IntOr(other, min, max) => format!("{other} or a number from {min} to {max}"),
        Kind::OneOf([word]) | Kind::AnyCase([word]) => format!("{word}: {}", setting.doc),
        Kind::OneOf(words) | Kind::AnyCase(words) => format!("one of {}", words.join(", ")),
        Kind::Name => "some text, or not set".to_owned(),
        Kind::Text | Kind::List => "text".to_owned(),
    }
}

/// Names that share a word with the wrong one, and as many words and first letters as any does.
fn unknown(name: &str) -> ConfigError {
    let words: Vec<&str> = name.split(['.', '_', '-']).filter(|word| word.len() > 1).collect();
    let likeness = |known: &str| {
        let shared = words.iter().filter(|word| known.split('.').any(|part| part == **word)).count();
        (shared, known.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count())
    };
    let best = SETTINGS.iter().map(|row| likeness(row.name)).max().filter(|(shared, _)| *shared > 0);
    let mut near: Vec<&str> =
        SETTINGS.iter().map(|row| row.name).filter(|known| Some(likeness(known)) == best).collect();
    near.sort_unstable();
    near.truncate(5);
    let hint = match near.is_empty() {
        true => {
            let all: Vec<&str> = SETTINGS.iter().map(|row| row.name).collect();
            format!("there are {}", all.join(", "))
        }
        false => format!("did you mean {}?", near.join(", ")),
    };
    ConfigError::Unknown { name: name.into(), hint }
}

#[cfg(test)]
mod apache_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_allowed_and_names_are_unique() {
        for (i, row) in SETTINGS.iter().enumerate() {
            let none = row.kind == Kind::Name && row.default.is_empty();
            assert!(none || check(row, row.default).as_deref() == Ok(row.default), "{}", row.name);
            assert!(!SETTINGS[..i].iter().any(|earlier| earlier.name == row.name), "{} twice", row.name);
        }
    }

    #[test]
    fn wrong_settings_say_what_is_allowed() {
        let error = |name, value| ClientConfig::default().set(name, value).unwrap_err().to_string();
        assert_eq!(error("acks", "2"), "acks=2: must be one of all, -1, 0, 1");
        assert_eq!(error("linger.ms", "soon"), "linger.ms=soon: must be a number of at least 0");
        assert_eq!(error("batch.size", "-1"), "batch.size=-1: must be a number from 0 to 2147483647");
        assert!(error("security.protocol", "SASL_SSL").contains("not there yet"));
        assert!(error("ssl.protocol", "TLS").contains("ssl.protocol is not supported: TLS is not there yet"));
        assert!(error("key.serializer", "x").contains("records are bytes"));
        assert_eq!(
            error("compression.gzip.level", "0"),
            "compression.gzip.level=0: must be -1 or a number from 1 to 9"
        );
        for level in ["0", "18", "-1", "fast"] {
            let expected = format!("compression.lz4.level={level}: must be a number from 1 to 17");
            assert_eq!(error("compression.lz4.level", level), expected);
        }
        assert!(error("bootstrap.serverz", "a:1").contains("did you mean bootstrap.servers?"));
        assert!(error("nonsense", "1").contains("there are bootstrap.servers, "));
    }

    #[test]
    fn values_have_types() {
        let config = ClientConfig::from_properties("bootstrap.servers = a:1, b:2,\nlinger.ms=7").unwrap();
        assert_eq!(config.list("bootstrap.servers"), ["a:1", "b:2"]);
        assert_eq!(config.millis("linger.ms"), Duration::from_millis(7));
        assert!(config.bool("enable.idempotence") && !config.is_set("enable.idempotence"));
        assert_eq!(config.text("group.id"), "");
        let config = ClientConfig::from_pairs([("metadata.recovery.strategy", "NONE")]).unwrap();
        assert_eq!(config.text("metadata.recovery.strategy"), "none");
    }
}
