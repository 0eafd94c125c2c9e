//! One setting: its row in the table.

use std::fmt;

use super::value::{ConfigError, ConfigValue};

/// One setting, as a row of the table.
#[derive(Debug)]
pub struct ConfigDef {
    pub name: &'static str,
    pub kind: ConfigType,
    /// Kafka's text form; `None` means unset, or required.
    pub default: Option<&'static str>,
    /// Whether a node cannot start without it.
    pub required: bool,
    pub valid: Valid,
    /// How a broker's setting can change while it runs; settings of other resources always can.
    pub mode: UpdateMode,
    /// The broker settings that are this one's default, highest precedence first.
    pub synonyms: &'static [Synonym],
    pub importance: Importance,
    /// Honoured, but not described to clients.
    pub internal: bool,
    /// What it does, in a line.
    pub doc: &'static str,
}

/// A broker setting from which a topic's or group's default comes.
#[derive(Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    /// Units of the setting per unit of this synonym (hours of a retention in milliseconds: 3,600,000).
    pub factor: i64,
}

/// A setting's type; the numbers are DescribeConfigs' `ConfigType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigType {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

/// How a broker's setting can be changed while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateMode {
    ReadOnly,
    /// Only for one broker at a time.
    PerBroker,
    /// For one broker, or as the default of all.
    ClusterWide,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// What values are allowed, beyond the type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Valid {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    Ratio(f64, f64),
    OneOf(&'static [&'static str]),
    OneOfIgnoringCase(&'static [&'static str]),
    NonEmptyString,
    /// No entry is empty; duplicates go.
    List,
    NonEmptyList,
    ListOf(&'static [&'static str]),
    NonEmptyListOf(&'static [&'static str]),
    /// -1, or a level of 1 to 9.
    GzipLevel,
    /// `*`, or `partition:broker` entries.
    ThrottledReplicas,
    /// `latest`, `earliest` or `by_duration:` and an ISO-8601 duration.
    ShareOffsetReset,
    /// `id@host:port` entries.
    QuorumVoters,
    /// `host:port` entries.
    BootstrapServers,
}

impl ConfigDef {
    /// Whether clients never see the value.
    pub fn is_sensitive(&self) -> bool {
        self.kind == ConfigType::Password
    }

    /// The default, or `None` for a setting that is unset (or required) without one.
    pub fn default_value(&self) -> Result<Option<ConfigValue>, ConfigError> {
        self.default.map(|text| self.parse(text)).transpose()
    }

    /// Reads a value as Kafka does: trimmed, typed, duplicates in lists removed, checked. The error's text is
    /// Kafka's.
    pub fn parse(&self, text: &str) -> Result<ConfigValue, ConfigError> {
        let mut value = ConfigValue::parse(self.name, self.kind, text)?;
        if let (ConfigValue::List(entries), true) = (&mut value, self.valid.is_list()) {
            let mut seen = std::collections::HashSet::new();
            entries.retain(|entry| seen.insert(entry.clone()));
        }
        self.valid.check(self.name, &value)?;
        Ok(value)
    }
}

impl Valid {
    fn is_list(&self) -> bool {
        matches!(self, Valid::List | Valid::NonEmptyList | Valid::ListOf(_) | Valid::NonEmptyListOf(_))
    }
}

impl fmt::Display for ConfigType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConfigType::Boolean => "BOOLEAN",
            ConfigType::String => "STRING",
            ConfigType::Int => "INT",
            ConfigType::Short => "SHORT",
            ConfigType::Long => "LONG",
            ConfigType::Double => "DOUBLE",
            ConfigType::List => "LIST",
            ConfigType::Class => "CLASS",
            ConfigType::Password => "PASSWORD",
        })
    }
}

impl fmt::Display for Valid {
    /// What is allowed, for a person who has to correct a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Valid::Any => f.write_str("any value"),
            Valid::AtLeast(min) => write!(f, "at least {min}"),
            Valid::Between(min, max) => write!(f, "{min} to {max}"),
            Valid::Ratio(min, max) => write!(f, "{min} to {max}"),
            Valid::OneOf(allowed) => write!(f, "one of {}", allowed.join(", ")),
            Valid::OneOfIgnoringCase(allowed) => write!(f, "one of {} in any case", allowed.join(", ")),
            Valid::NonEmptyString => f.write_str("not empty"),
            Valid::List => f.write_str("a list"),
            Valid::NonEmptyList => f.write_str("a list, not empty"),
            Valid::ListOf(allowed) => write!(f, "a list of {}", allowed.join(", ")),
            Valid::NonEmptyListOf(allowed) => write!(f, "a list of {}, not empty", allowed.join(", ")),
            Valid::GzipLevel => f.write_str("1 to 9, or -1"),
            Valid::ThrottledReplicas => f.write_str("`*`, or partition:broker,partition:broker,..."),
            Valid::ShareOffsetReset => {
                f.write_str("latest, earliest, or by_duration: and an ISO-8601 duration")
            }
            Valid::QuorumVoters => f.write_str("id@host:port,id@host:port,..."),
            Valid::BootstrapServers => f.write_str("host:port,host:port,..."),
        }
    }
}

pub(super) const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

pub(super) const fn minutes(name: &'static str) -> Synonym {
    Synonym { name, factor: 60_000 }
}

pub(super) const fn hours(name: &'static str) -> Synonym {
    Synonym { name, factor: 3_600_000 }
}

/// Rows of settings; the forms are explained in the heads of the tables.
macro_rules! config_table {
    ($(#[$doc:meta])* pub static $table:ident: broker;
     $($kind:ident $name:literal = $default:tt, $valid:expr, $mode:ident, $importance:ident $($internal:ident)?, $text:literal;)*) => {
        $(#[$doc])*
        pub static $table: [ConfigDef; { [$($name),*].len() }] = {
            #[allow(unused_imports)]
            use $crate::configs::def::Valid::*;
            [$($crate::configs::def::config_row!($kind $name $default ($valid) $mode [] $importance [$($internal)?] $text)),*]
        };
    };
    ($(#[$doc:meta])* pub static $table:ident: scoped;
     $($kind:ident $name:literal = $default:tt, $valid:expr, [$($synonym:expr),*], $importance:ident $($internal:ident)?, $text:literal;)*) => {
        $(#[$doc])*
        pub static $table: [ConfigDef; { [$($name),*].len() }] = {
            #[allow(unused_imports)]
            use $crate::configs::def::Valid::*;
            [$($crate::configs::def::config_row!($kind $name $default ($valid) ClusterWide [$($synonym),*] $importance [$($internal)?] $text)),*]
        };
    };
}

macro_rules! config_row {
    ($kind:ident $name:literal $default:tt ($valid:expr) $mode:ident [$($synonym:expr),*] $importance:ident [$($internal:ident)?] $text:literal) => {
        $crate::configs::def::ConfigDef {
            name: $name,
            kind: $crate::configs::def::ConfigType::$kind,
            default: $crate::configs::def::config_row!(@default $default),
            required: $crate::configs::def::config_row!(@required $default),
            valid: $valid,
            mode: $crate::configs::def::UpdateMode::$mode,
            synonyms: &[$($synonym),*],
            importance: $crate::configs::def::Importance::$importance,
            internal: $crate::configs::def::config_row!(@internal $($internal)?),
            doc: $text,
        }
    };
    (@default none) => { None };
    (@default required) => { None };
    (@default $text:literal) => { Some($text) };
    (@required required) => { true };
    (@required $other:tt) => { false };
    (@internal internal) => { true };
    (@internal) => { false };
}

pub(super) use {config_row, config_table};
