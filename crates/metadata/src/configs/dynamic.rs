//! Which of the settings that the cluster keeps for brokers a broker heeds.
//!
//! A broker refuses such changes when it is asked, but a controller that is asked past it keeps anything.

use std::sync::Arc;

use super::def::UpdateMode;
use super::effective::{ConfigMap, broker_or_listener, split_listener_prefix};
use super::value::ConfigError;

/// Whose settings are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerTarget {
    /// One broker's own.
    ThisBroker,
    /// Those of all brokers.
    AllBrokers,
}

/// Why a setting cannot be a dynamic one, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDynamic {
    /// It is the file's alone.
    ReadOnly,
    /// Only with a listener's prefix.
    PerListener,
    /// Only for one broker at a time.
    PerBroker,
}

/// With a listener's prefix these may change, without it never.
const PER_LISTENER: &[&str] = &[
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

/// Of the settings with a listener's prefix, those that all brokers may share.
const SHARED_BY_LISTENERS: &[&str] =
    &["max.connections", "max.connection.creation.rate", "num.network.threads"];

/// Whether, and why, `name` cannot be set while brokers run. Unknown names can.
pub fn not_dynamic(target: BrokerTarget, name: &str) -> Option<NotDynamic> {
    let (listener, base) = split_listener_prefix(name);
    let mode = match listener {
        Some(_) => None,
        None => super::broker(name).map(|def| def.mode),
    };
    if mode == Some(UpdateMode::ReadOnly) {
        return Some(NotDynamic::ReadOnly);
    }
    if PER_LISTENER.contains(&name) {
        return Some(NotDynamic::PerListener);
    }
    let own = match listener {
        Some(_) => !SHARED_BY_LISTENERS.contains(&base),
        None => mode == Some(UpdateMode::PerBroker),
    };
    (own && target == BrokerTarget::AllBrokers).then_some(NotDynamic::PerBroker)
}

/// Why `value` is none for `name`. Of unknown names everything is.
pub fn check_broker_value(name: &str, value: &str) -> Result<(), ConfigError> {
    broker_or_listener(name).map_or(Ok(()), |def| def.parse(value).map(drop))
}

/// Those of a broker's dynamic settings that count; as Kafka does, [`ignored`] ones are left out.
pub fn heeded(target: BrokerTarget, mut settings: ConfigMap) -> ConfigMap {
    for name in ignored(target, &settings) {
        settings.remove(&name);
    }
    settings
}

/// Names of dynamic settings that no broker would have let in.
pub fn ignored(target: BrokerTarget, settings: &ConfigMap) -> Vec<Arc<str>> {
    let is_heeded = |name: &str, value: &str| {
        not_dynamic(target, name).is_none() && check_broker_value(name, value).is_ok()
    };
    settings.iter().filter(|(name, value)| !is_heeded(name, value)).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_broker_would_let_in_is_ignored() {
        let settings = [
            ("background.threads", "soon"),
            ("listener.name.a.num.network.threads", "2"),
            ("listener.name.a.ssl.keystore.type", "JKS"),
            ("listeners", "PLAINTEXT://:1"),
            ("log.retention.hours", "3"),
            ("log.retention.ms", "7"),
            ("no.such", "1"),
            ("node.id", "4"),
            ("num.io.threads", "0"),
            ("ssl.keystore.location", "/x"),
        ];
        let settings: ConfigMap =
            settings.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect();
        let heeded =
            |target| heeded(target, settings.clone()).keys().map(|name| name.to_string()).collect::<Vec<_>>();
        let shared = ["listener.name.a.num.network.threads", "log.retention.ms", "no.such"];
        assert_eq!(heeded(BrokerTarget::AllBrokers), shared);
        let own = [shared[0], "listener.name.a.ssl.keystore.type", "listeners", shared[1], shared[2]];
        assert_eq!(heeded(BrokerTarget::ThisBroker), own);
    }
}
