//! Changes of a broker's settings while it runs: what the broker refuses before the controller is asked.
//!
//! Codes and messages are Kafka's where Kafka has its own; what a rule across settings refuses is said in the
//! words of `rules`.

use std::collections::HashSet;

use ottla_metadata::configs::{
    self, BrokerTarget, ConfigMap, Layers, NotDynamic, broker_or_listener, broker_synonyms,
    split_listener_prefix,
};

use super::ServerConfig;
use super::properties::Properties;

/// May at most double or halve in one step.
const THREAD_COUNTS: &[&str] = &[
    "background.threads",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
    "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.expiration.thread.pool.size",
    "remote.log.manager.follower.thread.pool.size",
    "remote.log.reader.threads",
];

/// What needs a restart of this software, although Kafka can change it.
const NOT_WHILE_RUNNING: &[&str] = &["listeners", "listener.security.protocol.map"];

/// Checks what would be set on `target` (`after`, everything, not only the change), given what counts now. An
/// error's text goes to the client with INVALID_REQUEST.
pub fn check_broker_change(
    config: &ServerConfig,
    now: &Layers,
    target: BrokerTarget,
    after: &ConfigMap,
) -> Result<(), String> {
    let refuse = |reason, why: &str| refuse_names(target, after, reason, why);
    refuse(NotDynamic::ReadOnly, "Cannot update these configs dynamically")?;
    refuse(
        NotDynamic::PerListener,
        "These security configs can be dynamically updated only per-listener using the listener prefix",
    )?;
    for (name, value) in after {
        configs::check_broker_value(name, value).map_err(|error| error.to_string())?;
    }
    refuse(
        NotDynamic::PerBroker,
        "Cannot update these configs at default cluster level, broker id must be specified",
    )?;
    let mut next = now.clone();
    match target {
        BrokerTarget::ThisBroker => next.dynamic_broker = after.clone(),
        BrokerTarget::AllBrokers => next.dynamic_default = after.clone(),
    }
    for name in NOT_WHILE_RUNNING {
        if after.contains_key(*name) && next.broker(name) != now.broker(name) {
            return Err(format!(
                "{name} cannot be changed while this broker runs; change its file and restart it"
            ));
        }
    }
    check_rules(config, &next)?;
    check_threads(now, &next)
}

/// What a broker would be told that started with these settings.
fn check_rules(config: &ServerConfig, next: &Layers) -> Result<(), String> {
    let mut effective = config.static_broker.clone();
    for layer in [&next.dynamic_default, &next.dynamic_broker] {
        for (name, value) in layer {
            // A synonym of lower precedence must not shine through.
            if split_listener_prefix(name).0.is_none() {
                for synonym in broker_synonyms(name) {
                    effective.remove(synonym.as_str());
                }
            }
            effective.insert(name.clone(), value.clone());
        }
    }
    let mut properties = Properties::default();
    for (name, value) in &effective {
        properties.set("dynamic configuration", name, value);
    }
    let problems = ServerConfig::from_properties(&properties).err();
    match problems.and_then(|error| error.problems.into_iter().next()) {
        None => Ok(()),
        Some(problem) => Err(problem.strip_prefix("dynamic configuration: ").unwrap_or(&problem).to_owned()),
    }
}

fn check_threads(now: &Layers, next: &Layers) -> Result<(), String> {
    let count =
        |layers: &Layers, name: &str| layers.broker(name).and_then(|value| value.as_i64()).unwrap_or(0);
    // Kafka wraps these twice, and clients may look for the words inside.
    let wrapped = |text: String| {
        Err(format!(
            "Invalid value org.apache.kafka.common.config.ConfigException: {text} for configuration Invalid dynamic \
             configuration"
        ))
    };
    for name in THREAD_COUNTS {
        let (old, new) = (count(now, name), count(next, name));
        let failed = format!("Dynamic thread count update validation failed for {name}={new}");
        if new < old / 2 {
            return wrapped(format!("{failed}, value should be at least half the current value {old}"));
        }
        if new > old * 2 {
            return wrapped(format!(
                "{failed}, value should not be greater than double the current value {old}"
            ));
        }
    }
    let name = "log.cleaner.threads";
    let (old, new) = (count(now, name), count(next, name));
    if new < 1 {
        return wrapped("Log cleaner threads should be at least 1".to_owned());
    }
    if new < old / 2 {
        return wrapped(format!(
            "Log cleaner threads cannot be reduced to less than half the current value {old}"
        ));
    }
    if new > old * 2 {
        return wrapped(format!(
            "Log cleaner threads cannot be increased to more than double the current value {old}"
        ));
    }
    Ok(())
}

fn refuse_names(
    target: BrokerTarget,
    after: &ConfigMap,
    reason: NotDynamic,
    why: &str,
) -> Result<(), String> {
    let is_refused = |name: &&str| configs::not_dynamic(target, name) == Some(reason);
    let refused: Vec<&str> = after.keys().map(|name| &**name).filter(is_refused).collect();
    match refused.is_empty() {
        true => Ok(()),
        false => Err(format!("{why}: [{}]", refused.join(", "))),
    }
}

/// How one setting of a resource is changed; the numbers are those of IncrementalAlterConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum AlterOperation {
    Set = 0,
    Delete = 1,
    Append = 2,
    Subtract = 3,
}

impl AlterOperation {
    pub fn from_number(number: i8) -> Option<Self> {
        [Self::Set, Self::Delete, Self::Append, Self::Subtract].into_iter().find(|op| *op as i8 == number)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Delete => "DELETE",
            Self::Append => "APPEND",
            Self::Subtract => "SUBTRACT",
        }
    }
}

/// Applies one change to a broker's settings; `inherited` is what counts while nothing is set. An error's text
/// goes to the client.
pub fn apply_change(
    settings: &mut ConfigMap,
    inherited: &Layers,
    name: &str,
    operation: AlterOperation,
    value: &str,
) -> Result<(), String> {
    let base = || match settings.get(name) {
        Some(text) => text.to_string(),
        None => inherited.broker(name).map(|value| value.to_string()).unwrap_or_default(),
    };
    let entries = |text: &str| -> Vec<String> {
        text.split(',').map(|entry| entry.trim().to_owned()).filter(|entry| !entry.is_empty()).collect()
    };
    let is_list = || broker_or_listener(name).is_some_and(|def| def.kind == configs::ConfigType::List);
    let text = match operation {
        AlterOperation::Delete => {
            settings.remove(name);
            return Ok(());
        }
        AlterOperation::Set => value.to_owned(),
        _ if !is_list() => {
            return Err(format!(
                "Config value {} is not allowed for config key: {name} as it is not a LIST",
                operation.name()
            ));
        }
        AlterOperation::Append => {
            let mut list = entries(&base());
            let mut known: HashSet<String> = list.iter().cloned().collect();
            list.extend(entries(value).into_iter().filter(|entry| known.insert(entry.clone())));
            list.join(",")
        }
        AlterOperation::Subtract => {
            let removed = entries(value);
            entries(&base())
                .into_iter()
                .filter(|entry| !removed.contains(entry))
                .collect::<Vec<_>>()
                .join(",")
        }
    };
    settings.insert(name.into(), text.as_str().into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers of Apache Kafka 4.4.0, where the words are its own.
    #[test]
    fn changes_are_refused_as_kafka_does() {
        let (config, _) = super::super::load(None, &[]).unwrap();
        let mut now = config.layers();
        apply_change(
            &mut now.dynamic_broker,
            &config.layers(),
            "log.cleaner.threads",
            AlterOperation::Set,
            "2",
        )
        .unwrap();
        let change = |target, name: &str, value: &str| {
            let mut after = match target {
                BrokerTarget::ThisBroker => now.dynamic_broker.clone(),
                BrokerTarget::AllBrokers => now.dynamic_default.clone(),
            };
            apply_change(&mut after, &now, name, AlterOperation::Set, value)?;
            check_broker_change(&config, &now, target, &after)
        };
        let (one, all) = (BrokerTarget::ThisBroker, BrokerTarget::AllBrokers);
        for (target, name, value) in [
            (one, "num.io.threads", "12"),
            (one, "foo.bar", "1"),
            (all, "foo.bar", "1"),
            (all, "log.retention.ms", "-7"),
            (one, "listener.name.plaintext.max.connections", "55"),
            (one, "unclean.leader.election.enable", "true"),
            (one, "log.cleaner.threads", "4"),
            (all, "min.insync.replicas", "2"),
            (all, "leader.replication.throttled.rate", "6000"),
            (one, "acks.durability", "fsync"),
        ] {
            assert_eq!(change(target, name, value), Ok(()), "{name}={value}");
        }
        for (target, name, value, text) in [
            (one, "node.id", "3", "Cannot update these configs dynamically: [node.id]"),
            (
                one,
                "log.retention.hours",
                "3",
                "Cannot update these configs dynamically: [log.retention.hours]",
            ),
            (
                all,
                "listeners",
                "PLAINTEXT://:1",
                "Cannot update these configs at default cluster level, broker id must be specified: [listeners]",
            ),
            (
                all,
                "ssl.keystore.location",
                "/x",
                "These security configs can be dynamically updated only per-listener using the listener prefix: \
                 [ssl.keystore.location]",
            ),
            (
                one,
                "log.cleaner.threads",
                "9",
                "Invalid value org.apache.kafka.common.config.ConfigException: Log cleaner threads cannot be increased to \
                 more than double the current value 2 for configuration Invalid dynamic configuration",
            ),
            (
                one,
                "num.io.threads",
                "1",
                "Invalid value org.apache.kafka.common.config.ConfigException: Dynamic thread count update validation \
                 failed for num.io.threads=1, value should be at least half the current value 8 for configuration \
                 Invalid dynamic configuration",
            ),
            (
                one,
                "num.network.threads",
                "x",
                "Invalid value x for configuration num.network.threads: Not a number of type INT",
            ),
            (
                all,
                "min.insync.replicas",
                "0",
                "Invalid value 0 for configuration min.insync.replicas: Value must be at least 1",
            ),
            (all, "log.retention.ms", "0", "log.retention.ms=0: must be unlimited (-1) or at least 1"),
        ] {
            assert_eq!(change(target, name, value), Err(text.to_owned()));
        }
    }

    #[test]
    fn lists_grow_and_shrink() {
        let layers = Layers::default();
        let mut settings = ConfigMap::new();
        let mut change = |operation, value| {
            let result = apply_change(&mut settings, &layers, "log.cleanup.policy", operation, value);
            result
                .map(|()| settings.get("log.cleanup.policy").map(|text| text.to_string()).unwrap_or_default())
        };
        assert_eq!(change(AlterOperation::Append, "compact").unwrap(), "delete,compact");
        assert_eq!(change(AlterOperation::Append, "delete").unwrap(), "delete,compact");
        assert_eq!(change(AlterOperation::Subtract, "delete,x").unwrap(), "compact");
        assert_eq!(change(AlterOperation::Delete, "").unwrap(), "");
    }
}
