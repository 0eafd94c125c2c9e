//! Which value counts: a resource's own, else the broker's dynamic, dynamic default, static, or the default.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::def::{ConfigDef, ConfigType, UpdateMode};
use super::value::ConfigValue;
use super::{all_broker, all_client_metrics, all_group, all_topic, broker, group, topic};

/// Settings of one resource as text, by name. Persistent: a clone is cheap.
pub type ConfigMap = imbl::OrdMap<Arc<str>, Arc<str>>;

/// Where a value comes from; the numbers are DescribeConfigs' `ConfigSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    Topic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    BrokerLogger = 6,
    ClientMetrics = 7,
    Group = 8,
}

/// What DescribeConfigs answers about one setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    pub name: String,
    /// `None` when unset, or when clients must not see it.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub synonyms: Vec<SynonymValue>,
    /// `None` for names that are not in the table.
    pub kind: Option<ConfigType>,
    pub read_only: bool,
    pub sensitive: bool,
    pub doc: Option<&'static str>,
}

/// One place where a setting or a synonym of it is set, by precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynonymValue {
    pub name: String,
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// A broker's settings: three layers over the defaults.
///
/// Values that do not parse are as good as not set: a log may hold values that an older or another broker
/// let in, and the node must run all the same.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Records of resource BROKER with this broker's id.
    pub dynamic_broker: ConfigMap,
    /// Records of resource BROKER with an empty name.
    pub dynamic_default: ConfigMap,
    /// `server.properties` and command-line overrides.
    pub static_broker: ConfigMap,
}

impl Layers {
    /// The value of the node's setting `name`; `None` when it is unset or unknown.
    ///
    /// A synonym set in a higher layer hides this one in a lower: a dynamic `log.retention.ms` wins over a
    /// static `log.retention.hours`, but each is answered in its own unit only when asked by its own name.
    pub fn broker(&self, name: &str) -> Option<ConfigValue> {
        let def = broker_or_listener(name)?;
        let names = broker_synonyms(name);
        for (layer, _) in self.layers() {
            if let Some(value) = parsed(layer, name, def) {
                return Some(value);
            }
            let set = |other: &String| other != name && layer.contains_key(other.as_str());
            if !name.starts_with(LISTENER_PREFIX) && names.iter().any(set) {
                break;
            }
        }
        match def.name == name {
            true => def.default_value().ok().flatten(),
            false => self.broker(def.name),
        }
    }

    /// The value of a topic's setting given what is set on the topic; `None` when it is unset or unknown.
    pub fn topic(&self, overrides: &ConfigMap, name: &str) -> Option<ConfigValue> {
        let def = topic(name)?;
        parsed(overrides, name, def).or_else(|| self.inherited(def))
    }

    /// The value of a group's setting given what is set on the group; `None` when it is unset or unknown.
    pub fn group(&self, overrides: &ConfigMap, name: &str) -> Option<ConfigValue> {
        let def = group(name)?;
        parsed(overrides, name, def).or_else(|| self.inherited(def))
    }

    /// What the broker's settings make of a topic's or group's setting.
    fn inherited(&self, def: &ConfigDef) -> Option<ConfigValue> {
        for (layer, _) in self.layers() {
            for synonym in def.synonyms {
                let Some(value) = broker(synonym.name).and_then(|at| parsed(layer, synonym.name, at)) else {
                    continue;
                };
                return Some(scaled(def, value, synonym.factor));
            }
        }
        let own = def.default_value().ok().flatten();
        own.or_else(|| {
            let synonym = def.synonyms.first()?;
            let value = broker(synonym.name)?.default_value().ok().flatten()?;
            Some(scaled(def, value, synonym.factor))
        })
    }

    /// What DescribeConfigs tells of a node: all settings that are not internal, and whatever else is set.
    pub fn describe_node(&self) -> Vec<Described> {
        let set = self.layers().into_iter().flat_map(|(layer, _)| layer.keys().map(|name| &**name));
        let listed =
            all_broker().filter(|def| !def.internal && !is_dynamic_only(def.name)).map(|def| def.name);
        let names: BTreeSet<&str> = set.chain(listed).collect();
        names.into_iter().map(|name| self.describe_broker(name)).collect()
    }

    /// What DescribeConfigs tells of the defaults of all brokers: what is set there.
    pub fn describe_default_brokers(&self) -> Vec<Described> {
        let only_default = |mut described: Described| {
            described.synonyms.retain(|synonym| synonym.source == ConfigSource::DynamicDefaultBroker);
            described.source = ConfigSource::DynamicDefaultBroker;
            let own = self.dynamic_default.get(described.name.as_str());
            described.value = own.filter(|_| !described.sensitive).map(|value| value.to_string());
            described
        };
        self.dynamic_default.keys().map(|name| only_default(self.describe_broker(name))).collect()
    }

    /// What DescribeConfigs tells of a node's setting, known or not.
    pub fn describe_broker(&self, name: &str) -> Described {
        let def = broker_or_listener(name);
        let sensitive = def.is_none_or(ConfigDef::is_sensitive);
        let synonyms = self.synonyms(name, sensitive);
        Described {
            name: name.to_owned(),
            value: match sensitive {
                true => None,
                false => self.broker(name).map(|value| value.to_string()),
            },
            source: synonyms.first().map_or(ConfigSource::Default, |first| first.source),
            synonyms,
            kind: def.map(|def| def.kind),
            // With a listener's prefix as well, although it can be changed.
            read_only: broker(name).is_none_or(|def| def.mode == UpdateMode::ReadOnly),
            sensitive,
            doc: def.map(|def| def.doc),
        }
    }

    /// What DescribeConfigs tells of a topic: all its settings that are not internal.
    pub fn describe_topic_configs(&self, overrides: &ConfigMap) -> Vec<Described> {
        let listed = all_topic().filter(|def| !def.internal || overrides.contains_key(def.name));
        listed.map(|def| self.describe_topic(overrides, def)).collect()
    }

    /// What DescribeConfigs tells of a group: all its settings that are not internal.
    pub fn describe_group_configs(&self, overrides: &ConfigMap) -> Vec<Described> {
        all_group().filter(|def| !def.internal).map(|def| self.describe_group(overrides, def)).collect()
    }

    /// What DescribeConfigs tells of a client-metrics subscription.
    pub fn describe_client_metrics(overrides: &ConfigMap) -> Vec<Described> {
        let describe = |def: &'static ConfigDef| {
            let own = parsed(overrides, def.name, def);
            let value =
                own.clone().or_else(|| def.default_value().ok().flatten()).map(|value| value.to_string());
            let synonym = |_| SynonymValue {
                name: def.name.to_owned(),
                value: value.clone(),
                source: ConfigSource::ClientMetrics,
            };
            let synonyms: Vec<_> = own.iter().map(synonym).collect();
            let source = synonyms.first().map_or(ConfigSource::Default, |first| first.source);
            Described {
                name: def.name.to_owned(),
                value,
                source,
                synonyms,
                kind: Some(def.kind),
                read_only: false,
                sensitive: false,
                doc: Some(def.doc),
            }
        };
        all_client_metrics().map(describe).collect()
    }

    /// What DescribeConfigs tells of a topic's setting.
    pub fn describe_topic(&self, overrides: &ConfigMap, def: &'static ConfigDef) -> Described {
        self.describe_scoped(overrides, def, ConfigSource::Topic, self.topic(overrides, def.name))
    }

    /// What DescribeConfigs tells of a group's setting.
    pub fn describe_group(&self, overrides: &ConfigMap, def: &'static ConfigDef) -> Described {
        let value = self.group(overrides, def.name);
        let mut described = self.describe_scoped(overrides, def, ConfigSource::Group, value);
        if let (true, Some(default)) = (def.synonyms.is_empty(), def.default) {
            let (name, value) = (def.name.to_owned(), Some(default.to_owned()));
            described.synonyms.push(SynonymValue { name, value, source: ConfigSource::Default });
        }
        described
    }

    fn describe_scoped(
        &self,
        overrides: &ConfigMap,
        def: &'static ConfigDef,
        own: ConfigSource,
        value: Option<ConfigValue>,
    ) -> Described {
        let value = value.map(|value| value.to_string());
        let mut synonyms = Vec::new();
        if overrides.contains_key(def.name) {
            synonyms.push(SynonymValue { name: def.name.to_owned(), value: value.clone(), source: own });
        }
        if let Some(first) = def.synonyms.first() {
            synonyms.extend(self.synonyms(first.name, false));
        }
        Described {
            name: def.name.to_owned(),
            value,
            source: synonyms.first().map_or(ConfigSource::Default, |first| first.source),
            synonyms,
            kind: Some(def.kind),
            read_only: false,
            sensitive: false,
            doc: Some(def.doc),
        }
    }

    /// Where `name` and its synonyms are set, by precedence, beginning with `name` itself.
    fn synonyms(&self, name: &str, sensitive: bool) -> Vec<SynonymValue> {
        let names = broker_synonyms(name);
        let mut found = Vec::new();
        let mut add = |name: &str, value: &str, source| {
            let value = (!sensitive).then(|| value.to_owned());
            found.push(SynonymValue { name: name.to_owned(), value, source });
        };
        for (layer, source) in self.layers() {
            for name in &names {
                if let Some(value) = layer.get(name.as_str()) {
                    add(name, value, source);
                }
            }
        }
        for name in &names {
            let known = broker(name).filter(|def| !is_dynamic_only(def.name));
            if let Some(value) = known.and_then(|def| def.default) {
                add(name, value, ConfigSource::Default);
            }
        }
        let own = found.iter().position(|synonym| synonym.name == name).unwrap_or(found.len());
        found.split_off(own)
    }

    fn layers(&self) -> [(&ConfigMap, ConfigSource); 3] {
        [
            (&self.dynamic_broker, ConfigSource::DynamicBroker),
            (&self.dynamic_default, ConfigSource::DynamicDefaultBroker),
            (&self.static_broker, ConfigSource::StaticBroker),
        ]
    }
}

/// Settings that exist only as dynamic ones, and are told only when they are set.
fn is_dynamic_only(name: &str) -> bool {
    let rates = [
        "follower.replication.throttled.rate",
        "leader.replication.throttled.rate",
        "replica.alter.log.dirs.io.max.bytes.per.second",
    ];
    rates.contains(&name)
}

const LISTENER_PREFIX: &str = "listener.name.";

/// Settings that may stand behind `listener.name.<listener>.<mechanism>.`.
const MECHANISM_CONFIGS: [&str; 5] = [
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
    "connections.max.reauth.ms",
];

/// Splits `listener.name.<listener>.<setting>`; a setting without that prefix is `(None, name)`. A SASL
/// mechanism in between stays with the setting: see [`broker_synonyms`].
pub fn split_listener_prefix(name: &str) -> (Option<&str>, &str) {
    match name.strip_prefix(LISTENER_PREFIX).and_then(|rest| rest.split_once('.')) {
        Some((listener, base)) => (Some(listener), base),
        None => (None, name),
    }
}

/// The definition of a node's setting, with or without listener and mechanism prefix.
pub fn broker_or_listener(name: &str) -> Option<&'static ConfigDef> {
    let (listener, base) = split_listener_prefix(name);
    match listener {
        None => broker(base),
        Some(_) => broker(without_mechanism(base)),
    }
}

fn without_mechanism(base: &str) -> &str {
    let ends = |config: &&&str| base.strip_suffix(**config).is_some_and(|before| before.ends_with('.'));
    MECHANISM_CONFIGS.iter().find(ends).map_or(base, |config| &base[base.len() - config.len()..])
}

/// The names under which a node's setting may be given, highest precedence first.
pub fn broker_synonyms(name: &str) -> Vec<String> {
    let families: [&[&str]; 4] = [
        &["log.roll.ms", "log.roll.hours"],
        &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
        &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
    ];
    if let Some(family) = families.iter().find(|family| family.contains(&name)) {
        // The scheduler's interval is a default of the other but not the same setting.
        if name != "log.flush.scheduler.interval.ms" {
            return family.iter().map(|name| name.to_string()).collect();
        }
    }
    match split_listener_prefix(name) {
        (Some(_), base) => vec![name.to_owned(), without_mechanism(base).to_owned()],
        (None, _) => vec![name.to_owned()],
    }
}

fn parsed(layer: &ConfigMap, name: &str, def: &ConfigDef) -> Option<ConfigValue> {
    def.parse(layer.get(name)?).ok()
}

/// A broker's value as the topic's or group's: in its unit, and in its type.
fn scaled(def: &ConfigDef, value: ConfigValue, factor: i64) -> ConfigValue {
    match (def.kind, value.as_i64()) {
        (ConfigType::Long, Some(number)) => {
            // Every negative retention means "unlimited".
            let number = if def.name == "retention.ms" && number < 0 { -1 } else { number };
            ConfigValue::Long(if number < 0 { number } else { number.saturating_mul(factor) })
        }
        (ConfigType::String, None) => match value {
            // Of a list of assignors the first is the default.
            ConfigValue::List(entries) => ConfigValue::String(entries.into_iter().next().unwrap_or_default()),
            value => value,
        },
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> ConfigMap {
        entries.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect()
    }

    fn long(layers: &Layers, overrides: &[(&str, &str)], name: &str) -> i64 {
        layers.topic(&map(overrides), name).and_then(|value| value.as_i64()).unwrap()
    }

    #[test]
    fn retention_follows_layers_then_units() {
        let mut layers = Layers::default();
        assert_eq!(long(&layers, &[], "retention.ms"), 604_800_000);
        layers.static_broker = map(&[("log.retention.hours", "1"), ("log.retention.minutes", "2")]);
        assert_eq!(long(&layers, &[], "retention.ms"), 120_000);
        layers.dynamic_default = map(&[("log.retention.ms", "7")]);
        assert_eq!(long(&layers, &[], "retention.ms"), 7);
        layers.dynamic_broker = map(&[("log.retention.ms", "-7")]);
        assert_eq!(long(&layers, &[], "retention.ms"), -1);
        assert_eq!(long(&layers, &[("retention.ms", "8")], "retention.ms"), 8);
        assert_eq!(long(&layers, &[("retention.ms", "x")], "retention.ms"), -1);
        assert_eq!(layers.broker("log.retention.ms").unwrap().as_i64(), Some(-7));
    }

    #[test]
    fn a_listener_override_falls_back_to_the_plain_setting() {
        let layers = Layers {
            static_broker: map(&[
                ("ssl.client.auth", "required"),
                ("listener.name.in.ssl.client.auth", "none"),
            ]),
            ..Layers::default()
        };
        let text = |name| layers.broker(name).unwrap().to_string();
        assert_eq!(text("listener.name.in.ssl.client.auth"), "none");
        assert_eq!(text("listener.name.out.ssl.client.auth"), "required");
        assert_eq!(
            broker_synonyms("listener.name.in.plain.sasl.jaas.config"),
            ["listener.name.in.plain.sasl.jaas.config", "sasl.jaas.config"]
        );
        assert!(layers.describe_broker("listener.name.in.plain.sasl.jaas.config").sensitive);
    }

    #[test]
    fn a_description_lists_the_layers() {
        let layers = Layers {
            dynamic_default: map(&[("log.segment.bytes", "2000000")]),
            static_broker: map(&[("log.segment.bytes", "3000000")]),
            ..Layers::default()
        };
        let overrides = map(&[("segment.bytes", "1048576")]);
        let described = layers.describe_topic(&overrides, topic("segment.bytes").unwrap());
        let synonyms: Vec<_> = described
            .synonyms
            .iter()
            .map(|synonym| (synonym.name.as_str(), synonym.value.as_deref().unwrap(), synonym.source as i8))
            .collect();
        assert_eq!(described.value.as_deref(), Some("1048576"));
        assert_eq!(described.source, ConfigSource::Topic);
        assert_eq!(
            synonyms,
            [
                ("segment.bytes", "1048576", 1),
                ("log.segment.bytes", "2000000", 3),
                ("log.segment.bytes", "3000000", 4),
                ("log.segment.bytes", "1073741824", 5)
            ]
        );
    }
}
