//! A setting's value: from text, checked, and back to text. Messages and text forms are Kafka's.

use std::fmt;

use super::def::{ConfigType, Valid};

/// A typed value. `List` holds the trimmed entries, `Password` the secret in clear.
#[derive(Clone, PartialEq)]
pub enum ConfigValue {
    Boolean(bool),
    String(String),
    Int(i32),
    Short(i16),
    Long(i64),
    Double(f64),
    List(Vec<String>),
    Class(String),
    Password(String),
}

/// A refused value, with Kafka's message (error code INVALID_CONFIG or INVALID_REQUEST, as the request says).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl ConfigError {
    /// "Invalid value abc for configuration retention.ms: Not a number of type LONG".
    pub fn invalid(name: &str, value: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self(format!("Invalid value {value} for configuration {name}: {why}"))
    }
}

impl ConfigValue {
    /// Reads `text` as a value of `kind`, without checking what is allowed.
    pub fn parse(name: &str, kind: ConfigType, text: &str) -> Result<Self, ConfigError> {
        let trimmed = text.trim_matches(|c: char| c <= ' ');
        let not_a_number = || ConfigError::invalid(name, text, format_args!("Not a number of type {kind}"));
        Ok(match kind {
            ConfigType::Boolean if trimmed.eq_ignore_ascii_case("true") => Self::Boolean(true),
            ConfigType::Boolean if trimmed.eq_ignore_ascii_case("false") => Self::Boolean(false),
            ConfigType::Boolean => {
                return Err(ConfigError::invalid(name, text, "Expected value to be either true or false"));
            }
            ConfigType::String => Self::String(trimmed.to_owned()),
            ConfigType::Int => Self::Int(trimmed.parse().map_err(|_| not_a_number())?),
            ConfigType::Short => Self::Short(trimmed.parse().map_err(|_| not_a_number())?),
            ConfigType::Long => Self::Long(trimmed.parse().map_err(|_| not_a_number())?),
            ConfigType::Double => Self::Double(parse_java_double(trimmed).ok_or_else(not_a_number)?),
            ConfigType::List if trimmed.is_empty() => Self::List(Vec::new()),
            ConfigType::List => Self::List(trimmed.split(',').map(|entry| entry.trim().to_owned()).collect()),
            ConfigType::Class => Self::Class(trimmed.to_owned()),
            ConfigType::Password => Self::Password(trimmed.to_owned()),
        })
    }

    /// The number, of any integer type.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Int(value) => Some(value.into()),
            Self::Short(value) => Some(value.into()),
            Self::Long(value) => Some(value),
            _ => None,
        }
    }

    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::Double(value) => Some(value),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Boolean(value) => Some(value),
            _ => None,
        }
    }

    /// The text of a string or class name.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Class(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_list(&self) -> Option<&[String]> {
        match self {
            Self::List(entries) => Some(entries),
            _ => None,
        }
    }
}

impl fmt::Display for ConfigValue {
    /// Kafka's text form, as DescribeConfigs answers it. Passwords are written in clear: ask
    /// `ConfigDef::is_sensitive` before showing a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::String(text) | Self::Class(text) | Self::Password(text) => f.write_str(text),
            Self::Int(value) => value.fmt(f),
            Self::Short(value) => value.fmt(f),
            Self::Long(value) => value.fmt(f),
            Self::Double(value) => f.write_str(&java_double(*value)),
            Self::List(entries) => f.write_str(&entries.join(",")),
        }
    }
}

impl fmt::Debug for ConfigValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password(_) => f.write_str("[hidden]"),
            value => fmt::Display::fmt(value, f),
        }
    }
}

impl Valid {
    /// Refuses what is not allowed, in Kafka's words.
    pub fn check(&self, name: &str, value: &ConfigValue) -> Result<(), ConfigError> {
        match (self, value) {
            (Valid::Any, _) => Ok(()),
            (Valid::AtLeast(min), _) => in_range(name, value, *min, i64::MAX),
            (Valid::Between(min, max), _) => in_range(name, value, *min, *max),
            (Valid::Ratio(min, max), ConfigValue::Double(ratio)) => {
                if ratio < min {
                    Err(ConfigError::invalid(name, value, format_args!("Value must be at least {min}")))
                } else if ratio > max {
                    Err(ConfigError::invalid(name, value, format_args!("Value must be no more than {max}")))
                } else {
                    Ok(())
                }
            }
            (Valid::OneOf(allowed), ConfigValue::String(text)) => one_of(name, text, allowed),
            (Valid::OneOfIgnoringCase(allowed), ConfigValue::String(text)) => {
                if allowed.iter().any(|known| known.eq_ignore_ascii_case(text)) {
                    return Ok(());
                }
                let allowed = allowed.join(", ");
                let why = format_args!("String must be one of (case insensitive): {allowed}");
                Err(ConfigError::invalid(name, text, why))
            }
            (Valid::NonEmptyString, ConfigValue::String(text)) => {
                if text.is_empty() {
                    return Err(ConfigError::invalid(name, text, "String must be non-empty"));
                }
                Ok(())
            }
            (Valid::List, ConfigValue::List(entries)) => list_of(name, entries, &[], true),
            (Valid::NonEmptyList, ConfigValue::List(entries)) => list_of(name, entries, &[], false),
            (Valid::ListOf(allowed), ConfigValue::List(entries)) => list_of(name, entries, allowed, true),
            (Valid::NonEmptyListOf(allowed), ConfigValue::List(entries)) => {
                list_of(name, entries, allowed, false)
            }
            (Valid::GzipLevel, ConfigValue::Int(level)) => {
                if *level == -1 || (1..=9).contains(level) {
                    return Ok(());
                }
                Err(ConfigError::invalid(name, level, "Value must be between 1 and 9 or equal to -1"))
            }
            (Valid::ThrottledReplicas, ConfigValue::List(entries)) => throttled_replicas(name, entries),
            (Valid::ShareOffsetReset, ConfigValue::String(text)) => share_offset_reset(name, text),
            (Valid::QuorumVoters, ConfigValue::List(entries)) => {
                match entries.iter().all(|entry| is_quorum_voter(entry)) {
                    true => Ok(()),
                    false => Err(ConfigError(format!(
                        "Invalid configuration value for {name}. Each entry should be in the form `{{id}}@{{host}}:{{port}}`."
                    ))),
                }
            }
            (Valid::BootstrapServers, ConfigValue::List(entries)) => {
                match entries.iter().find(|entry| split_host_port(entry).is_none()) {
                    None => Ok(()),
                    Some(bad) => Err(ConfigError(format!(
                        "Failed to parse host name from {bad} for the configuration {name}. Each entry should be in the form \"{{host}}:{{port}}\""
                    ))),
                }
            }
            (valid, value) => unreachable!("the table gives {name} {valid:?} for a value {value:?}"),
        }
    }
}

fn in_range(name: &str, value: &ConfigValue, min: i64, max: i64) -> Result<(), ConfigError> {
    let Some(number) = value.as_i64() else { unreachable!("the table gives {name} an integer range") };
    if number < min {
        return Err(ConfigError::invalid(name, number, format_args!("Value must be at least {min}")));
    }
    if number > max {
        return Err(ConfigError::invalid(name, number, format_args!("Value must be no more than {max}")));
    }
    Ok(())
}

fn one_of(name: &str, text: &str, allowed: &[&str]) -> Result<(), ConfigError> {
    if allowed.contains(&text) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(ConfigError::invalid(name, text, format_args!("String must be one of: {allowed}")))
}

fn list_of(name: &str, entries: &[String], allowed: &[&str], empty: bool) -> Result<(), ConfigError> {
    if entries.is_empty() && !empty {
        let what = match allowed {
            [] => "any non-empty value".to_owned(),
            allowed => format!("[{}]", allowed.join(", ")),
        };
        return Err(ConfigError(format!(
            "Configuration '{name}' must not be empty. Valid values include: {what}"
        )));
    }
    for entry in entries {
        if entry.is_empty() {
            return Err(ConfigError(format!("Configuration '{name}' values must not be empty.")));
        }
        if !allowed.is_empty() {
            one_of(name, entry, allowed)?;
        }
    }
    Ok(())
}

fn throttled_replicas(name: &str, entries: &[String]) -> Result<(), ConfigError> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_replica = |entry: &String| {
        entry.split_once(':').is_some_and(|(partition, broker)| digits(partition) && digits(broker))
    };
    if entries.len() == 1 && entries[0] == "*" || entries.iter().all(is_replica) {
        return Ok(());
    }
    let shown = format!("[{}]", entries.join(", "));
    let why = format!(
        "{name} must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."
    );
    Err(ConfigError::invalid(name, shown, why))
}

fn share_offset_reset(name: &str, text: &str) -> Result<(), ConfigError> {
    let is_duration = || text.strip_prefix("by_duration:").and_then(iso_8601_millis).is_some();
    if matches!(text, "latest" | "earliest") || is_duration() {
        return Ok(());
    }
    let why = format!(
        "Invalid value `{text}` for configuration {name}. The value must be either 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'."
    );
    Err(ConfigError::invalid(name, text, why))
}

/// Milliseconds of an ISO-8601 duration of days, hours, minutes and seconds (`PnDTnHnMn.nS`), not negative.
pub fn iso_8601_millis(text: &str) -> Option<i64> {
    let upper = text.to_ascii_uppercase();
    let (days, time) = match upper.strip_prefix('P')?.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (upper.strip_prefix('P')?, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let whole = |text: &str| -> Option<f64> { text.parse::<i64>().ok().map(|number| number as f64) };
    let mut millis = 0.0;
    if !days.is_empty() {
        millis += whole(days.strip_suffix('D')?)? * 86_400_000.0;
    }
    let mut rest = time;
    for (unit, factor) in [('H', 3_600_000.0), ('M', 60_000.0)] {
        if let Some((number, after)) = rest.split_once(unit) {
            millis += whole(number)? * factor;
            rest = after;
        }
    }
    if !rest.is_empty() {
        let seconds = rest.strip_suffix('S')?;
        let plain = seconds.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'));
        millis += if plain { seconds.parse::<f64>().ok()? * 1000.0 } else { return None };
    }
    (millis >= 0.0 && millis < i64::MAX as f64).then_some(millis as i64)
}

fn is_quorum_voter(entry: &str) -> bool {
    entry
        .split_once('@')
        .is_some_and(|(id, address)| id.parse::<i32>().is_ok() && split_host_port(address).is_some())
}

/// Splits `host:port`; an IPv6 address stands in brackets, which are taken off.
pub fn split_host_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.is_empty()).then_some((host, port.parse().ok()?))
}

/// What `Double.parseDouble` accepts of the decimal forms.
fn parse_java_double(text: &str) -> Option<f64> {
    let (sign, magnitude) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    match magnitude {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(sign * f64::INFINITY),
        _ => (),
    }
    let digits = magnitude.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(magnitude);
    match digits.as_bytes().first()? {
        b'0'..=b'9' | b'.' => Some(sign * digits.parse::<f64>().ok()?),
        _ => None,
    }
}

/// `Double.toString`: always a fraction, and an exponent outside 10^-3 to 10^7.
fn java_double(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        format!("{value:?}")
    } else {
        let text = format!("{value:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if digits.contains('.') => format!("{digits}E{exponent}"),
            Some((digits, exponent)) => format!("{digits}.0E{exponent}"),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_look_as_in_java() {
        for (value, text) in [
            (0.5, "0.5"),
            (f64::MAX, "1.7976931348623157E308"),
            (2147483647.0, "2.147483647E9"),
            (1e20, "1.0E20"),
            (1e-4, "1.0E-4"),
            (100.0, "100.0"),
            (0.0, "0.0"),
        ] {
            assert_eq!(java_double(value), text);
            assert_eq!(parse_java_double(text), Some(value));
        }
        assert_eq!(parse_java_double("1d"), Some(1.0));
        assert!(["", "-", "inf", "nan", "x", "1.5.2"].iter().all(|bad| parse_java_double(bad).is_none()));
    }

    #[test]
    fn addresses_and_durations() {
        assert_eq!(split_host_port("[::1]:9092"), Some(("::1", 9092)));
        assert_eq!(split_host_port("kafka:9092"), Some(("kafka", 9092)));
        assert!(
            [":9092", "kafka", "kafka:", "::1:9", "k:99999"].iter().all(|a| split_host_port(a).is_none())
        );
        assert_eq!(iso_8601_millis("P1DT1H1M1.5S"), Some(90_061_500));
        assert_eq!(iso_8601_millis("pt0s"), Some(0));
        assert!(
            ["", "P", "PT", "1H", "PT-1H", "PTxS", "PT1H1D"].iter().all(|d| iso_8601_millis(d).is_none())
        );
    }
}
