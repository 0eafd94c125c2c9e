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
    listeners(config, properties, &mut refuse);
    if config.roles.broker {
        inter_broker(config, properties, &mut refuse);
    }
    quorum(config, &mut refuse);
    times(config, &mut refuse);
    groups(config, &mut refuse);
    limits(config, properties, &mut refuse);
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

fn listeners(config: &ServerConfig, properties: &Properties, refuse: Refuse<'_>) {
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
            for name in config.controller_listener_names.iter().filter(|name| !opened.contains(name.as_str()))
            {
                refuse("controller.listener.names", format!("{name} is not in listeners ({})", valid()));
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
                if one.listener == other.listener {
                    refuse(setting, format!("listener {} is there twice", one.listener));
                }
                // One port may serve an IPv4 and an IPv6 address.
                let address = |endpoint: &Endpoint| endpoint.host.parse::<std::net::IpAddr>().ok();
                let pair = match (address(one), address(other)) {
                    (Some(one), Some(other)) => one.is_ipv4() != other.is_ipv4(),
                    _ => false,
                };
                if setting == "listeners" && one.port != 0 && one.port == other.port && !pair {
                    let (one_name, other_name) = (&one.listener, &other.listener);
                    refuse(setting, format!("{other_name} and {one_name} have the same port {}", one.port));
                }
            }
        }
    }
    for endpoint in &config.advertised_listeners {
        if !opened.contains(endpoint.listener.as_str()) {
            let why = format!("listener {} is not in listeners ({})", endpoint.listener, valid());
            refuse("advertised.listeners", why);
        }
        if endpoint.host == "0.0.0.0" && !config.is_controller_listener(&endpoint.listener) {
            let why =
                "0.0.0.0 is no address that others can reach; set advertised.listeners to one".to_owned();
            refuse("advertised.listeners", why);
        }
    }
    if config.roles.broker
        && !config.advertised_listeners.iter().any(|e| !config.is_controller_listener(&e.listener))
    {
        let why = "must contain a listener that is not in controller.listener.names".to_owned();
        refuse("advertised.listeners", why);
    }
    for listener in properties_list(properties, "early.start.listeners") {
        let listener = listener.to_ascii_uppercase();
        if !opened.contains(listener.as_str()) && !config.is_controller_listener(&listener) {
            let why = format!("{listener} is neither in listeners nor in controller.listener.names");
            refuse("early.start.listeners", why);
        }
    }
}

fn properties_list(properties: &Properties, name: &str) -> Vec<String> {
    let def = ottla_metadata::configs::broker(name);
    let value = def.and_then(|def| def.parse(properties.value(name)?).ok());
    value.and_then(|value| value.as_list().map(<[String]>::to_vec)).unwrap_or_default()
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
    let retention = ["log.retention.ms", "log.retention.minutes", "log.retention.hours"];
    if let Some(name) = retention.into_iter().find(|name| layers.static_broker.contains_key(*name))
        && long(name) == Some(0)
    {
        refuse(name, "must be unlimited (-1) or at least 1".to_owned());
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
}

fn groups(config: &ServerConfig, refuse: Refuse<'_>) {
    let layers = config.layers();
    let long = |name: &str| layers.broker(name).and_then(|value| value.as_i64());
    let timers = ["session.timeout.ms", "heartbeat.interval.ms", "assignment.interval.ms"];
    let of_all =
        ["consumer", "share", "streams"].into_iter().flat_map(|kind| timers.map(|what| (kind, what)));
    let of_shares = ["record.lock.duration.ms", "delivery.count.limit", "partition.max.record.locks"];
    let limited = of_all.chain(of_shares.map(|what| ("share", what)));
    for (kind, what) in limited {
        let name = format!("group.{kind}.{what}");
        let (low, high) = (format!("group.{kind}.min.{what}"), format!("group.{kind}.max.{what}"));
        let (Some(value), Some(min), Some(max)) = (long(&name), long(&low), long(&high)) else { continue };
        if min > max {
            refuse(&high, format!("must not be less than {low} ({min})"));
        } else if !(min..=max).contains(&value) {
            refuse(&name, format!("must be between {low} ({min}) and {high} ({max})"));
        }
    }
    for kind in ["consumer", "share", "streams"] {
        let heartbeat = format!("group.{kind}.heartbeat.interval.ms");
        let session = format!("group.{kind}.session.timeout.ms");
        if let (Some(interval), Some(timeout)) = (long(&heartbeat), long(&session))
            && interval >= timeout
        {
            refuse(&heartbeat, format!("must be less than {session} ({timeout})"));
        }
    }
    for what in ["standby", "warmup"] {
        let name = format!("group.streams.num.{what}.replicas");
        let high = format!("group.streams.max.{what}.replicas");
        if let (Some(value), Some(max)) = (long(&name), long(&high))
            && value > max
        {
            refuse(&name, format!("must not be more than {high} ({max})"));
        }
    }
    for assignor in &config.groups.consumer_assignors {
        let class = assignor.strip_prefix("org.apache.kafka.coordinator.group.assignor.").unwrap_or(assignor);
        if !matches!(class, "uniform" | "range" | "UniformAssignor" | "RangeAssignor") {
            refuse("group.consumer.assignors", format!("{assignor} is neither uniform nor range"));
        }
    }
    if !config.groups.protocols.iter().any(|protocol| protocol == "classic") {
        refuse("group.coordinator.rebalance.protocols", "must contain classic".to_owned());
    }
}

fn limits(config: &ServerConfig, properties: &Properties, refuse: Refuse<'_>) {
    let layers = config.layers();
    let long = |name: &str| layers.broker(name).and_then(|value| value.as_i64());
    if config
        .network
        .queued_request_bytes_max
        .is_some_and(|max| max < config.network.request_bytes_max.into())
    {
        let why =
            format!("must not be less than socket.request.max.bytes ({})", config.network.request_bytes_max);
        refuse("queued.max.request.bytes", why);
    }
    let overrides = properties.value("max.connections.per.ip.overrides").unwrap_or_default();
    if long("max.connections.per.ip") == Some(0) && overrides.trim().is_empty() {
        let why = "can be 0 only if max.connections.per.ip.overrides is set".to_owned();
        refuse("max.connections.per.ip", why);
    }
    for entry in overrides.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        if !entry
            .rsplit_once(':')
            .is_some_and(|(host, limit)| !host.is_empty() && limit.parse::<u32>().is_ok())
        {
            refuse("max.connections.per.ip.overrides", format!("{entry} is not host:limit"));
        }
    }
    for name in ["offsets.topic.compression.codec", "share.coordinator.state.topic.compression.codec"] {
        if !long(name).is_some_and(|codec| (0..=4).contains(&codec)) {
            refuse(name, "must be 0 (none), 1 (gzip), 2 (snappy), 3 (lz4) or 4 (zstd)".to_owned());
        }
    }
    let dedupe = "log.cleaner.dedupe.buffer.size";
    if let (Some(bytes), Some(threads)) = (long(dedupe), long("log.cleaner.threads"))
        && threads > 0
        && bytes / threads <= 1 << 20
    {
        refuse(dedupe, format!("must be more than 1 MiB for each of the {threads} log.cleaner.threads"));
    }
    for dir in properties_list(properties, "cordoned.log.dirs").iter().filter(|dir| *dir != "*") {
        if !config.log_dirs.iter().any(|known| known.as_os_str() == dir.as_str()) {
            refuse("cordoned.log.dirs", format!("{dir} is not in log.dirs"));
        }
    }
}
