//! Rules across settings: what Apache Kafka refuses to start with.

use std::collections::BTreeSet;

use super::listeners::Endpoint;
use super::node::ServerConfig;
use super::properties::Properties;

/// Adds a line for each rule that is broken.
pub(super) fn check(config: &ServerConfig, properties: &Properties, problems: &mut Vec<String>) {
    let mut refuse = |setting: &str, why: String| {
        problems.push(match properties.get(setting) {
            Some(property) => format!("{}: {setting}={}: {why}", property.place, property.value),
            None => format!("{setting}: {why}"),
        });
    };
    roles(config, properties, &mut refuse);
    if config.controller_listener_names.is_empty() {
        refuse("controller.listener.names", "must name at least one listener".to_owned());
        return;
    }
    listeners(config, &mut refuse);
    if config.roles.broker {
        inter_broker(config, properties, &mut refuse);
    }
    quorum(config, &mut refuse);
    times(config, &mut refuse);
}

type Refuse<'a> = &'a mut dyn FnMut(&str, String);

fn roles(config: &ServerConfig, properties: &Properties, refuse: Refuse<'_>) {
    if !config.roles.broker && !config.roles.controller {
        refuse("process.roles", "must be set to broker, controller, or both".to_owned());
    }
    if config.log_dirs.is_empty() {
        refuse("log.dirs", "must name at least one directory".to_owned());
    }
    if properties.get("zookeeper.connect").is_some() && properties.get("process.roles").is_none() {
        refuse(
            "zookeeper.connect",
            "ZooKeeper is gone since Kafka 4.0; set process.roles instead".to_owned(),
        );
    }
}

fn names(endpoints: &[Endpoint]) -> BTreeSet<&str> {
    endpoints.iter().map(|endpoint| endpoint.listener.as_str()).collect()
}

fn listeners(config: &ServerConfig, refuse: Refuse<'_>) {
    let opened = names(&config.listeners);
    let valid = || opened.iter().copied().collect::<Vec<_>>().join(",");
    match (config.roles.broker, config.roles.controller) {
        (true, false) => {
            if let Some(own) = config.controller_listeners().next() {
                let why = format!(
                    "{} is in controller.listener.names, which a node that is only a broker must not open",
                    own.listener
                );
                refuse("listeners", why);
            }
        }
        (broker, true) => {
            if config.controller_listeners().next().is_none() {
                let names = config.controller_listener_names.join(",");
                refuse("controller.listener.names", format!("none of {names} is in listeners ({})", valid()));
            }
            if !broker && let Some(other) = config.broker_listeners().next() {
                let why = format!(
                    "{} is not in controller.listener.names, but the node is only a controller",
                    other.listener
                );
                refuse("listeners", why);
            }
        }
        (false, false) => (),
    }
    for (setting, endpoints) in
        [("listeners", &config.listeners), ("advertised.listeners", &config.advertised_listeners)]
    {
        for (at, one) in endpoints.iter().enumerate() {
            for other in &endpoints[..at] {
                // One name (and one port) may stand twice for an IPv4 and an IPv6 address.
                let pair = one.host.contains(':') != other.host.contains(':')
                    && !one.host.is_empty()
                    && !other.host.is_empty();
                if one.listener == other.listener && !pair {
                    refuse(setting, format!("listener {} is there twice", one.listener));
                }
                let same_port = setting == "listeners" && one.port != 0 && one.port == other.port;
                if same_port && !pair {
                    let why =
                        format!("{} and {} have the same port {}", other.listener, one.listener, one.port);
                    refuse(setting, why);
                }
            }
        }
    }
    for endpoint in &config.advertised_listeners {
        if !opened.contains(endpoint.listener.as_str()) {
            let why = format!("listener {} is not in listeners ({})", endpoint.listener, valid());
            refuse("advertised.listeners", why);
        }
        let from_listeners = config.listeners.contains(endpoint);
        if endpoint.host == "0.0.0.0" && !from_listeners {
            let why = "cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address".to_owned();
            refuse("advertised.listeners", why);
        }
    }
    for endpoint in config.broker_listeners() {
        let told = config.advertised_listeners.iter().any(|other| other.listener == endpoint.listener);
        if endpoint.host == "0.0.0.0" && told && config.advertised_listeners.contains(endpoint) {
            let why = format!(
                "{endpoint} would be advertised as 0.0.0.0; set advertised.listeners to an address that others can reach"
            );
            refuse("listeners", why);
        }
    }
}

fn inter_broker(config: &ServerConfig, properties: &Properties, refuse: Refuse<'_>) {
    let (name, protocol) = ("inter.broker.listener.name", "security.inter.broker.protocol");
    if properties.get(name).is_some() && properties.get(protocol).is_some() {
        refuse(name, format!("only one of {name} and {protocol} can be set"));
    }
    let setting = if properties.get(name).is_some() { name } else { protocol };
    let listener = &config.inter_broker_listener;
    if config.is_controller_listener(listener) {
        refuse(setting, format!("{listener} is a controller listener (controller.listener.names)"));
    } else if !config.advertised_listeners.iter().any(|endpoint| endpoint.listener == *listener) {
        let valid = names(&config.advertised_listeners).into_iter().collect::<Vec<_>>().join(",");
        refuse(setting, format!("listener {listener} must be one of advertised.listeners ({valid})"));
    }
}

fn quorum(config: &ServerConfig, refuse: Refuse<'_>) {
    let voters = &config.quorum.voters;
    if voters.is_empty() && config.quorum.bootstrap_servers.is_empty() {
        let why =
            "either controller.quorum.bootstrap.servers or controller.quorum.voters must be set".to_owned();
        refuse("controller.quorum.bootstrap.servers", why);
    }
    if voters.is_empty() {
        return;
    }
    let id = config.node_id;
    let is_voter = voters.iter().any(|voter| voter.id == id);
    if config.roles.controller && !is_voter {
        refuse("controller.quorum.voters", format!("must contain node {id}, as it is a controller"));
    }
    if !config.roles.controller && is_voter {
        refuse("controller.quorum.voters", format!("must not contain node {id}, as it is only a broker"));
    }
}

fn times(config: &ServerConfig, refuse: Refuse<'_>) {
    let layers = config.layers();
    let long = |name: &str| layers.broker(name).and_then(|value| value.as_i64());
    if long("log.roll.ms").is_some_and(|ms| ms < 1) {
        refuse("log.roll.ms", "must be at least 1".to_owned());
    }
    if long("log.roll.jitter.ms").is_some_and(|ms| ms < 0) {
        refuse("log.roll.jitter.ms", "must be at least 0".to_owned());
    }
    for name in ["log.retention.ms", "log.retention.minutes", "log.retention.hours"] {
        if long(name) == Some(0) {
            refuse(name, "must be unlimited (-1) or at least 1".to_owned());
        }
    }
    let replication = &config.replication;
    if replication.fetch_wait_ms_max > replication.socket_timeout_ms {
        let why =
            format!("must not be less than replica.fetch.wait.max.ms ({})", replication.fetch_wait_ms_max);
        refuse("replica.socket.timeout.ms", why);
    }
    if i64::from(replication.fetch_wait_ms_max) > replication.lag_time_ms_max {
        let why = format!("must not be more than replica.lag.time.max.ms ({})", replication.lag_time_ms_max);
        refuse("replica.fetch.wait.max.ms", why);
    }
    if config.lifecycle.heartbeat_interval_ms.saturating_mul(2) > config.lifecycle.session_timeout_ms {
        let why = format!(
            "must be at most half of broker.session.timeout.ms ({})",
            config.lifecycle.session_timeout_ms
        );
        refuse("broker.heartbeat.interval.ms", why);
    }
    for kind in ["consumer", "share", "streams"] {
        for what in ["session.timeout.ms", "heartbeat.interval.ms", "assignment.interval.ms"] {
            let name = format!("group.{kind}.{what}");
            let (low, high) = (format!("group.{kind}.min.{what}"), format!("group.{kind}.max.{what}"));
            let (Some(value), Some(min), Some(max)) = (long(&name), long(&low), long(&high)) else {
                continue;
            };
            if min > max {
                refuse(&high, format!("must not be less than {low} ({min})"));
            } else if !(min..=max).contains(&value) {
                refuse(&name, format!("must be between {low} ({min}) and {high} ({max})"));
            }
        }
        let (heartbeat, session) =
            (format!("group.{kind}.heartbeat.interval.ms"), format!("group.{kind}.session.timeout.ms"));
        if let (Some(beat), Some(timeout)) = (long(&heartbeat), long(&session))
            && beat >= timeout
        {
            refuse(&heartbeat, format!("must be less than {session} ({timeout})"));
        }
    }
    if config.groups.min_session_timeout_ms > config.groups.max_session_timeout_ms {
        let why = format!(
            "must not be less than group.min.session.timeout.ms ({})",
            config.groups.min_session_timeout_ms
        );
        refuse("group.max.session.timeout.ms", why);
    }
}
