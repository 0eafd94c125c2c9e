//! Whether the settings of a resource are allowed, as a whole. Messages and codes are Kafka's.

use ottla_model::ErrorCode;

use super::def::ConfigDef;
use super::effective::{ConfigMap, Layers};
use super::{client_metrics, group, topic};

/// A refusal: its code, and the message for the client.
pub type Refused = (ErrorCode, String);

/// Checks everything that is set on a topic. INVALID_CONFIG.
pub fn check_topic(settings: &ConfigMap, layers: &Layers) -> Result<(), Refused> {
    let unknown = |name: &str| (ErrorCode::InvalidConfig, format!("Unknown topic config name: {name}"));
    check_each(settings, topic, unknown)?;
    let invalid = |message: String| Err((ErrorCode::InvalidConfig, message));
    let flag = |name: &str| layers.topic(settings, name).and_then(|value| value.as_bool()).unwrap_or(false);
    let long = |name: &str| layers.topic(settings, name).and_then(|value| value.as_i64()).unwrap_or(0);
    let (min, max) = (long("min.compaction.lag.ms"), long("max.compaction.lag.ms"));
    if min > max {
        return invalid(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        ));
    }
    let tiered = layers.broker("remote.log.storage.system.enable").and_then(|value| value.as_bool());
    if flag("remote.storage.enable") && tiered != Some(true) {
        return invalid(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log \
             storage."
                .to_owned(),
        );
    }
    Ok(())
}

/// Checks everything that is set on a group, also against the broker's limits. INVALID_CONFIG.
pub fn check_group(settings: &ConfigMap, layers: &Layers) -> Result<(), Refused> {
    let unknown = |name: &str| (ErrorCode::InvalidConfig, format!("Unknown group config name: {name}"));
    check_each(settings, group, unknown)?;
    let invalid = |message: String| Err((ErrorCode::InvalidConfig, message));
    let broker = |name: &str| layers.broker(name).and_then(|value| value.as_i64());
    for (name, text) in settings {
        let Some(value) = group(name).and_then(|def| def.parse(text).ok()) else { continue };
        let Some((kind, what)) = name.split_once('.') else { continue };
        if let Some(number) = value.as_i64() {
            let min = broker(&format!("group.{kind}.min.{what}"));
            let limit = what.strip_prefix("num.").unwrap_or(what);
            let max = broker(&format!("group.{kind}.max.{limit}"));
            match (min, max) {
                (Some(min), Some(max)) if !(min..=max).contains(&number) => {
                    return invalid(format!("{name} must be in the range {min} to {max} inclusive."));
                }
                (None, Some(max)) if number > max => {
                    return invalid(format!("{name} must be less than or equal to {max}"));
                }
                (Some(min), None) if number < min => {
                    return invalid(format!("{name} must be greater than or equal to {min}"));
                }
                _ => (),
            }
        }
        if &**name == "streams.assignor.name" {
            let known = layers.broker("group.streams.assignors");
            let known = known.as_ref().and_then(|value| value.as_list()).unwrap_or_default();
            if !known.contains(&value.to_string()) {
                let known = known.join(", ");
                return invalid(format!(
                    "{name} '{value}' is not a registered task assignor. Registered assignors are: [{known}]."
                ));
            }
        }
    }
    for kind in ["consumer", "share", "streams"] {
        let (heartbeat, session) =
            (format!("{kind}.heartbeat.interval.ms"), format!("{kind}.session.timeout.ms"));
        let long = |name: &str| layers.group(settings, name).and_then(|value| value.as_i64()).unwrap_or(0);
        if long(&heartbeat) >= long(&session) {
            return invalid(format!("{session} must be greater than {heartbeat}"));
        }
    }
    Ok(())
}

/// Checks everything that is set on a client-metrics subscription. INVALID_REQUEST for unknown names and
/// intervals out of range, otherwise INVALID_CONFIG.
pub fn check_client_metrics(settings: &ConfigMap) -> Result<(), Refused> {
    let unknown =
        |name: &str| (ErrorCode::InvalidRequest, format!("Unknown client metrics configuration: {name}"));
    check_each(settings, client_metrics, unknown)?;
    for (name, text) in settings {
        let Some(value) = client_metrics(name).and_then(|def| def.parse(text).ok()) else { continue };
        match &**name {
            "interval.ms" if !value.as_i64().is_some_and(|ms| (100..=3_600_000).contains(&ms)) => {
                let message = format!(
                    "Invalid value {value} for interval.ms, interval must be between 100 and 3600000 (1 hour)"
                );
                return Err((ErrorCode::InvalidRequest, message));
            }
            "match" => {
                for pattern in value.as_list().unwrap_or_default() {
                    if !is_client_pattern(pattern) {
                        let message = format!("Illegal client matching pattern: {pattern}");
                        return Err((ErrorCode::InvalidConfig, message));
                    }
                }
            }
            _ => (),
        }
    }
    Ok(())
}

fn check_each(
    settings: &ConfigMap,
    find: fn(&str) -> Option<&'static ConfigDef>,
    unknown: impl Fn(&str) -> Refused,
) -> Result<(), Refused> {
    if let Some(name) = settings.keys().find(|name| find(name).is_none()) {
        return Err(unknown(name));
    }
    for (name, text) in settings {
        if let Some(Err(error)) = find(name).map(|def| def.parse(text)) {
            return Err((ErrorCode::InvalidConfig, error.to_string()));
        }
    }
    Ok(())
}

/// `attribute=regular expression`.
fn is_client_pattern(pattern: &str) -> bool {
    const ATTRIBUTES: [&str; 6] = [
        "client_instance_id",
        "client_id",
        "client_software_name",
        "client_software_version",
        "client_source_address",
        "client_source_port",
    ];
    let known =
        |(name, expression): (&str, &str)| ATTRIBUTES.contains(&name.trim()) && is_regex(expression.trim());
    pattern.split_once('=').is_some_and(known)
}

/// Whether groups and classes are closed, nothing is escaped at the end, and no repetition comes first. What
/// this lets through and is no expression all the same matches no client.
fn is_regex(expression: &str) -> bool {
    let (mut groups, mut in_class, mut escaped, mut start) = (0, false, false, true);
    for c in expression.chars() {
        let repeats = matches!(c, '*' | '+' | '?');
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' if in_class => in_class = false,
            _ if in_class => (),
            '[' => in_class = true,
            '(' => groups += 1,
            ')' => groups -= 1,
            _ if repeats && start => return false,
            _ => (),
        }
        if groups < 0 {
            return false;
        }
        // A question mark may follow a bracket that opens a special group.
        start = matches!(c, '|') && !in_class;
    }
    groups == 0 && !in_class && !escaped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn map(entries: &[(&str, &str)]) -> ConfigMap {
        entries.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect()
    }

    /// What Apache Kafka 4.4.0 answered.
    #[test]
    fn settings_as_a_whole() {
        let layers = Layers::default();
        let topic =
            |entries: &[_]| check_topic(&map(entries), &layers).map_err(|(code, text)| (code.code(), text));
        let group =
            |entries: &[_]| check_group(&map(entries), &layers).map_err(|(code, text)| (code.code(), text));
        let metrics =
            |entries: &[_]| check_client_metrics(&map(entries)).map_err(|(code, text)| (code.code(), text));
        let refused = |code: i16, text: &str| Err((code, text.to_owned()));
        assert_eq!(topic(&[("foo", "1")]), refused(40, "Unknown topic config name: foo"));
        assert_eq!(
            topic(&[("min.compaction.lag.ms", "9"), ("max.compaction.lag.ms", "3")]),
            refused(
                40,
                "conflict topic config setting min.compaction.lag.ms (9) > max.compaction.lag.ms (3)"
            )
        );
        assert_eq!(topic(&[("cleanup.policy", "delete,delete"), ("retention.ms", " 77 ")]), Ok(()));
        for (name, value, text) in [
            (
                "consumer.session.timeout.ms",
                "5",
                "consumer.session.timeout.ms must be in the range 45000 to 60000 inclusive.",
            ),
            (
                "share.delivery.count.limit",
                "99",
                "share.delivery.count.limit must be in the range 2 to 10 inclusive.",
            ),
            (
                "streams.num.standby.replicas",
                "9",
                "streams.num.standby.replicas must be less than or equal to 2",
            ),
            (
                "streams.assignor.name",
                "foo",
                "streams.assignor.name 'foo' is not a registered task assignor. Registered assignors are: [sticky].",
            ),
            ("foo", "5", "Unknown group config name: foo"),
        ] {
            assert_eq!(group(&[(name, value)]), refused(40, text));
        }
        assert_eq!(
            group(&[("consumer.session.timeout.ms", "50000"), ("share.partition.max.record.locks", "101")]),
            Ok(())
        );
        assert_eq!(metrics(&[("foo", "1")]), refused(42, "Unknown client metrics configuration: foo"));
        assert_eq!(
            metrics(&[("interval.ms", "5")]),
            refused(42, "Invalid value 5 for interval.ms, interval must be between 100 and 3600000 (1 hour)")
        );
        for bad in ["bad", "client_software_name=(", "foo=a", "client_id=[a", "client_id=*a", "client_id=a\\"]
        {
            assert_eq!(
                metrics(&[("match", bad)]),
                refused(40, &format!("Illegal client matching pattern: {bad}"))
            );
        }
        assert_eq!(metrics(&[("match", "client_id=a.*,client_source_address=(?i)[(]x?")]), Ok(()));
    }
}
