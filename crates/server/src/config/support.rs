//! What Ottla makes of each setting that was given: wrong, unknown, without effect, or not safe to ignore.

use ottla_metadata::configs::{self, ConfigDef, ConfigType, split_listener_prefix};

use super::node::ServerConfig;
use super::properties::{Properties, Property};
use super::providers::is_provider_setting;

/// Known to Kafka and to us, but without effect so far: names, or beginnings that end with a dot.
const NOT_YET: &[&str] = &[
    "add.partitions.to.txn.",
    "alter.log.dirs.replication.quota.",
    "client.quota.callback.class",
    "controlled.shutdown.enable",
    "controller.quota.",
    "cordoned.log.dirs",
    "delegation.token.",
    "errors.deadletterqueue.",
    "follower.fetch.last.tiered.offset.enable",
    "group.consumer.",
    "group.coordinator.append.linger.ms",
    "group.share.",
    "group.streams.",
    "kafka.metrics.",
    "log.dir.failure.timeout.ms",
    "max.connection.creation.rate",
    "metric.reporters",
    "metrics.",
    "queued.max.requests",
    "quota.window.",
    "remote.",
    "security.providers",
    "telemetry.max.bytes",
    "transaction.abort.",
    "transaction.max.timeout.ms",
    "transaction.remove.",
    "transaction.two.phase.commit.enable",
    "transactional.id.expiration.ms",
];

/// Settings of the authorizer, which are not in Kafka's table.
const AUTHORIZER: &[&str] = &["super.users", "allow.everyone.if.no.acl.found"];

/// Java classes that decide what is allowed: not to be ignored.
const POLICIES: &[&str] = &["create.topic.policy.class.name", "alter.config.policy.class.name"];

/// A line for each value that does not parse or is not allowed.
pub(super) fn wrong_values(properties: &Properties) -> Vec<String> {
    let mut problems = Vec::new();
    for property in properties.iter() {
        let Some(def) = configs::broker_or_listener(&property.name) else { continue };
        if let Err(error) = def.parse(&property.value) {
            let text = error.to_string();
            let prefix = format!("Invalid value {} for configuration {}: ", property.value, def.name);
            let why = text.strip_prefix(&prefix).unwrap_or(&text);
            problems.push(format!("{}: {why} ({})", shown(property, def), allowed(def)));
        }
    }
    for def in configs::all_broker().filter(|def| def.required) {
        // broker.id is the old name of node.id, and may stand alone.
        let old_name = def.name == "node.id" && properties.get("broker.id").is_some();
        if properties.get(def.name).is_none() && !old_name {
            problems.push(format!("{} is not set ({})", def.name, allowed(def)));
        }
    }
    problems
}

/// A line for each setting that protects and that this version cannot honour.
pub(super) fn refuse_unprotected(config: &ServerConfig, properties: &Properties, problems: &mut Vec<String>) {
    let opened = config.listeners.iter().map(|endpoint| (endpoint.to_string(), endpoint.protocol));
    let names = config.controller_listener_names.iter().filter(|_| !config.roles.controller);
    let reached = names.filter_map(|name| Some((name.clone(), config.security_protocol(name)?)));
    for (endpoint, protocol) in opened.chain(reached) {
        if protocol.is_tls() || protocol.is_sasl() {
            problems.push(format!(
                "listeners: {endpoint} is {}, which this version cannot speak yet; it does not start, as speaking \
                 it unprotected would be worse",
                protocol.name()
            ));
        }
    }
    for name in [&["authorizer.class.name"], POLICIES].concat() {
        if let Some(property) = properties.get(name).filter(|property| !property.value.trim().is_empty()) {
            problems.push(format!(
                "{}: {name}={}: not available in this version; it does not start, as running without would allow \
                 what this setting is to refuse",
                property.place, property.value
            ));
        }
    }
    let builder = "principal.builder.class";
    let standard = configs::broker(builder).and_then(|def| def.default);
    if let Some(property) = properties.get(builder).filter(|p| Some(p.value.trim()) != standard) {
        problems.push(format!(
            "{}: {builder}={}: Java classes cannot be loaded; only the default is available",
            property.place, property.value
        ));
    }
}

/// A line for each setting that has no effect.
pub(super) fn warnings(properties: &Properties) -> Vec<String> {
    let mut warnings = Vec::new();
    for property in properties.iter() {
        let Property { name, place, .. } = property;
        match configs::broker_or_listener(name) {
            None if AUTHORIZER.contains(&name.as_str()) => {
                warnings.push(format!("{place}: {name} has no effect without authorizer.class.name"));
            }
            None if is_provider_setting(name) => (),
            None => warnings.push(format!("{place}: {name} is not a known setting and is ignored")),
            Some(def) => {
                let listed =
                    |entry: &str| entry == def.name || entry.ends_with('.') && def.name.starts_with(entry);
                let changed = def.parse(&property.value).ok() != def.default_value().ok().flatten();
                let per_listener = split_listener_prefix(name).0.is_some();
                if per_listener || changed && NOT_YET.iter().any(|entry| listed(entry)) {
                    warnings.push(format!("{place}: {name} is not honoured by this version yet"));
                }
            }
        }
    }
    warnings
}

fn shown(property: &Property, def: &ConfigDef) -> String {
    let value = if def.is_sensitive() { "[hidden]" } else { &property.value };
    format!("{}: {}={value}", property.place, property.name)
}

fn allowed(def: &ConfigDef) -> String {
    let article = if def.kind == ConfigType::Int { "an" } else { "a" };
    match def.valid {
        configs::Valid::Any => format!("{article} {}", def.kind),
        valid => format!("{article} {}, {valid}", def.kind),
    }
}
