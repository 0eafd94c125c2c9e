//! The typed settings of a node, grouped by who uses them. Units are in the names; -1 means what Kafka says.

use std::path::PathBuf;
use std::sync::Arc;

use ottla_metadata::configs::{self, ConfigMap, ConfigValue, Layers, split_host_port};
use ottla_model::NodeId;

use super::listeners::{Endpoint, SecurityProtocol};
use super::properties::Properties;
use super::{ServerConfigError, rules, support};

/// Everything a node is told before it starts. Settings that can change while it runs (all `log.*` defaults
/// of topics, limits on connections, thread counts) are asked of [`ServerConfig::layers`] plus the image.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub node_id: NodeId,
    pub roles: Roles,
    /// What this node opens.
    pub listeners: Vec<Endpoint>,
    /// What this node tells others; hosts may be empty and ports 0 until the listeners are open.
    pub advertised_listeners: Vec<Endpoint>,
    /// In upper case; brokers connect to controllers with the first.
    pub controller_listener_names: Vec<String>,
    /// In upper case.
    pub inter_broker_listener: String,
    /// Listener name (upper case) and protocol, also of listeners that only others open.
    pub security_protocols: Vec<(String, SecurityProtocol)>,
    pub rack: Option<String>,
    pub log_dirs: Vec<PathBuf>,
    pub metadata_log_dir: PathBuf,
    pub network: NetworkConfig,
    pub quorum: QuorumConfig,
    pub metadata_log: MetadataLogConfig,
    pub lifecycle: BrokerLifecycleConfig,
    pub topic_defaults: TopicDefaults,
    pub log_manager: LogManagerConfig,
    pub replication: ReplicationConfig,
    pub fetch: FetchConfig,
    pub groups: GroupCoordinatorConfig,
    pub offsets: OffsetsConfig,
    pub transactions: TransactionConfig,
    pub shares: ShareCoordinatorConfig,
    /// All settings as written, the layer above the defaults.
    pub static_broker: ConfigMap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    pub broker: bool,
    pub controller: bool,
}

#[derive(Clone, Debug)]
pub struct NetworkConfig {
    pub request_bytes_max: i32,
    /// Most threads that serve connections, if set (`num.network.threads`).
    pub threads_max: Option<usize>,
    /// Most bytes of requests waiting to be processed; `None` is unlimited.
    pub queued_request_bytes_max: Option<i64>,
    pub queued_requests_max: i32,
    /// -1: left to the system.
    pub send_buffer_bytes: i32,
    /// -1: left to the system.
    pub receive_buffer_bytes: i32,
    pub listen_backlog: i32,
    pub connections_idle_ms_max: i64,
    pub failed_authentication_delay_ms: i32,
    /// Timeout of the node's own requests to brokers.
    pub request_timeout_ms: i32,
    pub connection_setup_timeout_ms: i64,
    pub connection_setup_timeout_ms_max: i64,
    pub controller_socket_timeout_ms: i32,
}

#[derive(Clone, Debug)]
pub struct QuorumConfig {
    /// Static voters (kraft.version 0); empty when the quorum keeps its voters itself.
    pub voters: Vec<QuorumVoter>,
    /// host and port, for finding the leader.
    pub bootstrap_servers: Vec<(String, u16)>,
    pub auto_join: bool,
    pub election_timeout_ms: i32,
    pub election_backoff_ms_max: i32,
    pub fetch_timeout_ms: i32,
    pub request_timeout_ms: i32,
    pub retry_backoff_ms: i32,
    pub append_linger_ms: i32,
    pub fetch_bytes_max: i32,
    pub fetch_snapshot_bytes_max: i32,
}

/// An entry of `controller.quorum.voters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumVoter {
    pub id: NodeId,
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Debug)]
pub struct MetadataLogConfig {
    pub segment_bytes: i32,
    pub segment_ms: i64,
    pub retention_bytes: i64,
    pub retention_ms: i64,
    pub snapshot_after_bytes: i64,
    /// 0: never by age.
    pub snapshot_after_ms: i64,
    /// 0: no no-op records.
    pub idle_interval_ms_max: i32,
    pub batch_bytes_max: i32,
}

#[derive(Clone, Debug)]
pub struct BrokerLifecycleConfig {
    pub heartbeat_interval_ms: i32,
    pub session_timeout_ms: i32,
    pub initial_registration_timeout_ms: i32,
    pub controlled_shutdown: bool,
    pub auto_leader_rebalance: bool,
    pub leader_imbalance_check_interval_seconds: i64,
    pub unclean_leader_election_interval_ms: i64,
    pub log_dir_failure_timeout_ms: i64,
}

#[derive(Clone, Debug)]
pub struct TopicDefaults {
    pub num_partitions: i32,
    pub replication_factor: i32,
    pub auto_create: bool,
    pub delete_enabled: bool,
    /// Most partitions in one answer to DescribeTopicPartitions.
    pub request_partition_size_limit: i32,
}

#[derive(Clone, Debug)]
pub struct LogManagerConfig {
    pub retention_check_interval_ms: i64,
    pub flush_scheduler_interval_ms: i64,
    pub recovery_point_checkpoint_interval_ms: i32,
    pub start_offset_checkpoint_interval_ms: i32,
    pub initial_task_delay_ms: i64,
    pub producer_id_expiration_check_interval_ms: i32,
}

#[derive(Clone, Debug)]
pub struct ReplicationConfig {
    pub fetch_wait_ms_max: i32,
    pub fetch_bytes_min: i32,
    pub fetch_bytes_max: i32,
    pub fetch_response_bytes_max: i32,
    pub fetch_backoff_ms: i32,
    pub lag_time_ms_max: i64,
    pub high_watermark_checkpoint_interval_ms: i64,
    pub socket_timeout_ms: i32,
    pub socket_receive_buffer_bytes: i32,
    pub selector_class: Option<String>,
}

#[derive(Clone, Debug)]
pub struct FetchConfig {
    pub bytes_max: i32,
    pub session_cache_slots_max: i32,
}

/// Limits and timers of groups; the ones a group may override are in `configs::group`.
#[derive(Clone, Debug)]
pub struct GroupCoordinatorConfig {
    /// Lower case: classic, consumer, share, streams.
    pub protocols: Vec<String>,
    pub min_session_timeout_ms: i32,
    pub max_session_timeout_ms: i32,
    pub initial_rebalance_delay_ms: i32,
    pub size_max: i32,
    pub append_linger_ms: i32,
    pub consumer_size_max: i32,
    pub consumer_assignors: Vec<String>,
    /// Upper case: DISABLED, DOWNGRADE, UPGRADE or BIDIRECTIONAL.
    pub consumer_migration_policy: String,
    pub share_size_max: i32,
    pub share_sessions_max: i32,
    pub streams_size_max: i32,
}

#[derive(Clone, Debug)]
pub struct OffsetsConfig {
    pub topic_num_partitions: i32,
    pub topic_replication_factor: i16,
    pub topic_segment_bytes: i32,
    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub topic_compression_codec: i32,
    pub retention_minutes: i32,
    pub retention_check_interval_ms: i64,
    pub commit_timeout_ms: i32,
    pub load_buffer_bytes: i32,
    pub metadata_bytes_max: i32,
}

#[derive(Clone, Debug)]
pub struct TransactionConfig {
    pub topic_num_partitions: i32,
    pub topic_replication_factor: i16,
    pub topic_min_insync_replicas: i32,
    pub topic_segment_bytes: i32,
    pub load_buffer_bytes: i32,
    pub timeout_ms_max: i32,
    pub transactional_id_expiration_ms: i32,
    pub abort_timed_out_interval_ms: i32,
    pub remove_expired_interval_ms: i32,
    pub two_phase_commit: bool,
}

#[derive(Clone, Debug)]
pub struct ShareCoordinatorConfig {
    pub topic_num_partitions: i32,
    pub topic_replication_factor: i16,
    pub topic_min_insync_replicas: i16,
    pub topic_segment_bytes: i32,
    pub topic_compression_codec: i32,
    pub load_buffer_bytes: i32,
    pub write_timeout_ms: i32,
    pub append_linger_ms: i32,
    pub updates_per_snapshot: i32,
}

impl ServerConfig {
    /// Checks and types the settings; the warnings name settings that have no effect.
    pub fn from_properties(properties: &Properties) -> Result<(Self, Vec<String>), ServerConfigError> {
        let mut problems = support::wrong_values(properties);
        if !problems.is_empty() {
            return Err(ServerConfigError { problems });
        }
        let values = Values::new(properties);
        let config = Self::typed(&values, &mut problems);
        rules::check(&config, properties, &mut problems);
        support::refuse_unprotected(&config, properties, &mut problems);
        match problems.is_empty() {
            true => Ok((config, support::warnings(properties))),
            false => Err(ServerConfigError { problems }),
        }
    }

    /// The node's settings without what the cluster has set dynamically.
    pub fn layers(&self) -> Layers {
        Layers { static_broker: self.static_broker.clone(), ..Layers::default() }
    }

    /// The listeners that this node opens for clients and brokers.
    pub fn broker_listeners(&self) -> impl Iterator<Item = &Endpoint> {
        self.listeners.iter().filter(|endpoint| !self.is_controller_listener(&endpoint.listener))
    }

    /// The listeners that this node opens for the quorum.
    pub fn controller_listeners(&self) -> impl Iterator<Item = &Endpoint> {
        self.listeners.iter().filter(|endpoint| self.is_controller_listener(&endpoint.listener))
    }

    /// Whether this listener (upper case) is one of controllers.
    pub fn is_controller_listener(&self, name: &str) -> bool {
        self.controller_listener_names.iter().any(|known| known == name)
    }

    /// The security protocol of a listener (upper case) of this or another node.
    pub fn security_protocol(&self, listener: &str) -> Option<SecurityProtocol> {
        self.security_protocols.iter().find(|(name, _)| name == listener).map(|&(_, protocol)| protocol)
    }

    fn typed(values: &Values<'_>, problems: &mut Vec<String>) -> Self {
        let roles = values.list("process.roles");
        let roles = Roles {
            broker: roles.iter().any(|role| role == "broker"),
            controller: roles.iter().any(|role| role == "controller"),
        };
        let upper = |name: String| name.to_ascii_uppercase();
        let controller_listener_names: Vec<String> =
            values.list("controller.listener.names").into_iter().map(upper).collect();
        let security_protocols = security_protocols(values, &controller_listener_names, problems);
        let mut endpoints = |setting: &str| -> Vec<Endpoint> {
            let mut parsed = Vec::new();
            for text in values.list(setting) {
                let Some(mut endpoint) = Endpoint::parse(&text) else {
                    problems.push(format!(
                        "{}: {text} is not a listener (NAME://host:port)",
                        values.place(setting)
                    ));
                    continue;
                };
                match security_protocols.iter().find(|(name, _)| *name == endpoint.listener) {
                    Some(&(_, protocol)) => endpoint.protocol = protocol,
                    None => problems.push(format!(
                        "{}: no security protocol is defined for listener {} in listener.security.protocol.map",
                        values.place(setting),
                        endpoint.listener
                    )),
                }
                parsed.push(endpoint);
            }
            parsed
        };
        let listeners = endpoints("listeners");
        let mut advertised_listeners = endpoints("advertised.listeners");
        // Controllers may advertise theirs too; what is not advertised is told as opened.
        if !values.is_set("advertised.listeners") {
            advertised_listeners = listeners.clone();
        }
        let told = |name: &str| advertised_listeners.iter().any(|endpoint| endpoint.listener == name);
        let untold = |e: &&Endpoint| controller_listener_names.contains(&e.listener) && !told(&e.listener);
        let mut untold: Vec<Endpoint> = listeners.iter().filter(untold).cloned().collect();
        advertised_listeners.append(&mut untold);
        for endpoint in &mut advertised_listeners {
            if endpoint.host == "0.0.0.0" && controller_listener_names.contains(&endpoint.listener) {
                endpoint.host.clear();
            }
        }
        if !roles.broker {
            advertised_listeners.retain(|endpoint| controller_listener_names.contains(&endpoint.listener));
        }

        let inter_broker_listener = values
            .text("inter.broker.listener.name")
            .or_else(|| values.text("security.inter.broker.protocol"))
            .map(upper)
            .unwrap_or_default();
        let mut log_dirs: Vec<PathBuf> = values.list("log.dirs").into_iter().map(PathBuf::from).collect();
        if log_dirs.is_empty() {
            log_dirs = values.list("log.dir").into_iter().map(PathBuf::from).collect();
        }
        let metadata_log_dir = match values.text("metadata.log.dir") {
            Some(dir) => PathBuf::from(dir),
            None => log_dirs.first().cloned().unwrap_or_default(),
        };

        Self {
            node_id: NodeId(node_id(values, problems)),
            roles,
            listeners,
            advertised_listeners,
            controller_listener_names,
            inter_broker_listener,
            security_protocols,
            rack: values.text("broker.rack"),
            log_dirs,
            metadata_log_dir,
            network: NetworkConfig {
                request_bytes_max: values.int("socket.request.max.bytes"),
                threads_max: values
                    .is_set("num.network.threads")
                    .then(|| values.int("num.network.threads").max(1) as usize),
                queued_request_bytes_max: Some(values.long("queued.max.request.bytes")).filter(|&n| n > 0),
                queued_requests_max: values.int("queued.max.requests"),
                send_buffer_bytes: values.int("socket.send.buffer.bytes"),
                receive_buffer_bytes: values.int("socket.receive.buffer.bytes"),
                listen_backlog: values.int("socket.listen.backlog.size"),
                connections_idle_ms_max: values.long("connections.max.idle.ms"),
                failed_authentication_delay_ms: values.int("connection.failed.authentication.delay.ms"),
                request_timeout_ms: values.int("request.timeout.ms"),
                connection_setup_timeout_ms: values.long("socket.connection.setup.timeout.ms"),
                connection_setup_timeout_ms_max: values.long("socket.connection.setup.timeout.max.ms"),
                controller_socket_timeout_ms: values.int("controller.socket.timeout.ms"),
            },
            quorum: QuorumConfig {
                voters: values.list("controller.quorum.voters").iter().filter_map(|e| voter(e)).collect(),
                bootstrap_servers: values
                    .list("controller.quorum.bootstrap.servers")
                    .iter()
                    .filter_map(|entry| split_host_port(entry).map(|(host, port)| (host.to_owned(), port)))
                    .collect(),
                auto_join: values.flag("controller.quorum.auto.join.enable"),
                election_timeout_ms: values.int("controller.quorum.election.timeout.ms"),
                election_backoff_ms_max: values.int("controller.quorum.election.backoff.max.ms"),
                fetch_timeout_ms: values.int("controller.quorum.fetch.timeout.ms"),
                request_timeout_ms: values.int("controller.quorum.request.timeout.ms"),
                retry_backoff_ms: values.int("controller.quorum.retry.backoff.ms"),
                append_linger_ms: values.int("controller.quorum.append.linger.ms"),
                fetch_bytes_max: values.int("controller.quorum.fetch.max.bytes"),
                fetch_snapshot_bytes_max: values.int("controller.quorum.fetch.snapshot.max.bytes"),
            },
            metadata_log: MetadataLogConfig {
                segment_bytes: match values.get("internal.metadata.log.segment.bytes") {
                    Some(_) => values.int("internal.metadata.log.segment.bytes"),
                    None => values.int("metadata.log.segment.bytes"),
                },
                segment_ms: values.long("metadata.log.segment.ms"),
                retention_bytes: values.long("metadata.max.retention.bytes"),
                retention_ms: values.long("metadata.max.retention.ms"),
                snapshot_after_bytes: values.long("metadata.log.max.record.bytes.between.snapshots"),
                snapshot_after_ms: values.long("metadata.log.max.snapshot.interval.ms"),
                idle_interval_ms_max: values.int("metadata.max.idle.interval.ms"),
                batch_bytes_max: values.int("internal.metadata.max.batch.size.in.bytes"),
            },
            lifecycle: BrokerLifecycleConfig {
                heartbeat_interval_ms: values.int("broker.heartbeat.interval.ms"),
                session_timeout_ms: values.int("broker.session.timeout.ms"),
                initial_registration_timeout_ms: values.int("initial.broker.registration.timeout.ms"),
                controlled_shutdown: values.flag("controlled.shutdown.enable"),
                auto_leader_rebalance: values.flag("auto.leader.rebalance.enable"),
                leader_imbalance_check_interval_seconds: values
                    .long("leader.imbalance.check.interval.seconds"),
                unclean_leader_election_interval_ms: values.long("unclean.leader.election.interval.ms"),
                log_dir_failure_timeout_ms: values.long("log.dir.failure.timeout.ms"),
            },
            topic_defaults: TopicDefaults {
                num_partitions: values.int("num.partitions"),
                replication_factor: values.int("default.replication.factor"),
                auto_create: values.flag("auto.create.topics.enable"),
                delete_enabled: values.flag("delete.topic.enable"),
                request_partition_size_limit: values.int("max.request.partition.size.limit"),
            },
            log_manager: LogManagerConfig {
                retention_check_interval_ms: values.long("log.retention.check.interval.ms"),
                flush_scheduler_interval_ms: values.long("log.flush.scheduler.interval.ms"),
                recovery_point_checkpoint_interval_ms: values.int("log.flush.offset.checkpoint.interval.ms"),
                start_offset_checkpoint_interval_ms: values
                    .int("log.flush.start.offset.checkpoint.interval.ms"),
                initial_task_delay_ms: values.long("log.initial.task.delay.ms"),
                producer_id_expiration_check_interval_ms: values
                    .int("producer.id.expiration.check.interval.ms"),
            },
            replication: ReplicationConfig {
                fetch_wait_ms_max: values.int("replica.fetch.wait.max.ms"),
                fetch_bytes_min: values.int("replica.fetch.min.bytes"),
                fetch_bytes_max: values.int("replica.fetch.max.bytes"),
                fetch_response_bytes_max: values.int("replica.fetch.response.max.bytes"),
                fetch_backoff_ms: values.int("replica.fetch.backoff.ms"),
                lag_time_ms_max: values.long("replica.lag.time.max.ms"),
                high_watermark_checkpoint_interval_ms: values
                    .long("replica.high.watermark.checkpoint.interval.ms"),
                socket_timeout_ms: values.int("replica.socket.timeout.ms"),
                socket_receive_buffer_bytes: values.int("replica.socket.receive.buffer.bytes"),
                selector_class: values.text("replica.selector.class"),
            },
            fetch: FetchConfig {
                bytes_max: values.int("fetch.max.bytes"),
                session_cache_slots_max: values.int("max.incremental.fetch.session.cache.slots"),
            },
            groups: GroupCoordinatorConfig {
                protocols: values.list("group.coordinator.rebalance.protocols"),
                min_session_timeout_ms: values.int("group.min.session.timeout.ms"),
                max_session_timeout_ms: values.int("group.max.session.timeout.ms"),
                initial_rebalance_delay_ms: values.int("group.initial.rebalance.delay.ms"),
                size_max: values.int("group.max.size"),
                append_linger_ms: values.int("group.coordinator.append.linger.ms"),
                consumer_size_max: values.int("group.consumer.max.size"),
                consumer_assignors: values.list("group.consumer.assignors"),
                consumer_migration_policy: values
                    .text("group.consumer.migration.policy")
                    .map(upper)
                    .unwrap_or_default(),
                share_size_max: values.int("group.share.max.size"),
                share_sessions_max: values.int("group.share.max.share.sessions"),
                streams_size_max: values.int("group.streams.max.size"),
            },
            offsets: OffsetsConfig {
                topic_num_partitions: values.int("offsets.topic.num.partitions"),
                topic_replication_factor: values.short("offsets.topic.replication.factor"),
                topic_segment_bytes: values.int("offsets.topic.segment.bytes"),
                topic_compression_codec: values.int("offsets.topic.compression.codec"),
                retention_minutes: values.int("offsets.retention.minutes"),
                retention_check_interval_ms: values.long("offsets.retention.check.interval.ms"),
                commit_timeout_ms: values.int("offsets.commit.timeout.ms"),
                load_buffer_bytes: values.int("offsets.load.buffer.size"),
                metadata_bytes_max: values.int("offset.metadata.max.bytes"),
            },
            transactions: TransactionConfig {
                topic_num_partitions: values.int("transaction.state.log.num.partitions"),
                topic_replication_factor: values.short("transaction.state.log.replication.factor"),
                topic_min_insync_replicas: values.int("transaction.state.log.min.isr"),
                topic_segment_bytes: values.int("transaction.state.log.segment.bytes"),
                load_buffer_bytes: values.int("transaction.state.log.load.buffer.size"),
                timeout_ms_max: values.int("transaction.max.timeout.ms"),
                transactional_id_expiration_ms: values.int("transactional.id.expiration.ms"),
                abort_timed_out_interval_ms: values
                    .int("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
                remove_expired_interval_ms: values
                    .int("transaction.remove.expired.transaction.cleanup.interval.ms"),
                two_phase_commit: values.flag("transaction.two.phase.commit.enable"),
            },
            shares: ShareCoordinatorConfig {
                topic_num_partitions: values.int("share.coordinator.state.topic.num.partitions"),
                topic_replication_factor: values.short("share.coordinator.state.topic.replication.factor"),
                topic_min_insync_replicas: values.short("share.coordinator.state.topic.min.isr"),
                topic_segment_bytes: values.int("share.coordinator.state.topic.segment.bytes"),
                topic_compression_codec: values.int("share.coordinator.state.topic.compression.codec"),
                load_buffer_bytes: values.int("share.coordinator.load.buffer.size"),
                write_timeout_ms: values.int("share.coordinator.write.timeout.ms"),
                append_linger_ms: values.int("share.coordinator.append.linger.ms"),
                updates_per_snapshot: values.int("share.coordinator.snapshot.update.records.per.snapshot"),
            },
            static_broker: with_both_ids(values.layers.static_broker.clone()),
        }
    }
}

/// Whichever name of the node's id was given, clients see both.
fn with_both_ids(mut settings: ConfigMap) -> ConfigMap {
    let names = ["node.id", "broker.id"];
    if let Some(id) = names.iter().find_map(|name| settings.get(*name).cloned()) {
        for name in names {
            settings.insert(name.into(), id.clone());
        }
    }
    settings
}

/// `node.id`, or its old name; both only if they agree.
fn node_id(values: &Values<'_>, problems: &mut Vec<String>) -> i32 {
    let old = values.get("broker.id").and_then(|value| value.as_i64()).filter(|_| values.is_set("broker.id"));
    let new = values.get("node.id").and_then(|value| value.as_i64());
    match (new, old) {
        (None, None) => problems.push("node.id is not set (an INT, at least 0)".to_owned()),
        (Some(new), Some(old)) if new != old => problems.push(format!(
            "{}: node.id={new} and broker.id={old} differ; broker.id is the old name of node.id",
            values.place("node.id")
        )),
        (None, Some(old)) if old < 0 => {
            problems.push(format!("{}: Value must be at least 0", values.place("broker.id")));
        }
        _ => (),
    }
    new.or(old).and_then(|id| i32::try_from(id).ok()).unwrap_or(-1)
}

fn voter(entry: &str) -> Option<QuorumVoter> {
    let (id, address) = entry.split_once('@')?;
    let (host, port) = split_host_port(address)?;
    Some(QuorumVoter { id: NodeId(id.parse().ok()?), host: host.to_owned(), port })
}

/// The map as written; when it is not, controller listeners without TLS or SASL in sight are plaintext.
fn security_protocols(
    values: &Values<'_>,
    controller_names: &[String],
    problems: &mut Vec<String>,
) -> Vec<(String, SecurityProtocol)> {
    const MAP: &str = "listener.security.protocol.map";
    let mut map = Vec::new();
    for entry in values.text(MAP).unwrap_or_default().split(',').map(str::trim).filter(|e| !e.is_empty()) {
        let parts = entry.rsplit_once(':').and_then(|(name, protocol)| {
            Some((name.trim().to_ascii_uppercase(), SecurityProtocol::from_name(protocol.trim())?))
        });
        match parts {
            Some(pair) => map.push(pair),
            None => problems.push(format!(
                "{}: {entry} is not NAME:PROTOCOL with PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
                values.place(MAP)
            )),
        }
    }
    let secured = |name: &str| {
        SecurityProtocol::from_name(name).is_some_and(|protocol| protocol != SecurityProtocol::Plaintext)
    };
    let listener_names = values.list("listeners");
    let mut names = listener_names.iter().filter_map(|text| text.split_once("://")).map(|(name, _)| name);
    if !values.is_set(MAP) && !controller_names.iter().any(|n| secured(n)) && !names.any(secured) {
        for name in controller_names.iter().filter(|name| *name != "PLAINTEXT") {
            map.push((name.clone(), SecurityProtocol::Plaintext));
        }
    }
    map
}

/// Typed access to checked settings. Asking for a setting that is not in the table, or as another type, is a
/// bug.
pub(super) struct Values<'a> {
    properties: &'a Properties,
    layers: Layers,
}

impl<'a> Values<'a> {
    fn new(properties: &'a Properties) -> Self {
        let text = |text: &str| Arc::<str>::from(text);
        let static_broker = properties.iter().map(|p| (text(&p.name), text(&p.value))).collect();
        Self { properties, layers: Layers { static_broker, ..Layers::default() } }
    }

    fn is_set(&self, name: &str) -> bool {
        self.properties.get(name).is_some()
    }

    fn get(&self, name: &str) -> Option<ConfigValue> {
        assert!(configs::broker(name).is_some(), "{name} is not in the table of configs");
        self.layers.broker(name)
    }

    fn integer(&self, name: &str) -> i64 {
        let value = self.get(name).and_then(|value| value.as_i64());
        value.unwrap_or_else(|| panic!("{name} is an integer with a default"))
    }

    fn long(&self, name: &str) -> i64 {
        self.integer(name)
    }

    fn int(&self, name: &str) -> i32 {
        i32::try_from(self.integer(name)).unwrap_or_else(|_| panic!("{name} is an INT"))
    }

    fn short(&self, name: &str) -> i16 {
        i16::try_from(self.integer(name)).unwrap_or_else(|_| panic!("{name} is a SHORT"))
    }

    fn flag(&self, name: &str) -> bool {
        let value = self.get(name).and_then(|value| value.as_bool());
        value.unwrap_or_else(|| panic!("{name} is a BOOLEAN with a default"))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|value| value.as_str().map(str::to_owned)).filter(|text| !text.is_empty())
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.get(name).and_then(|value| value.as_list().map(<[String]>::to_vec)).unwrap_or_default()
    }

    /// Where a setting was set, with its name and value, for messages.
    fn place(&self, name: &str) -> String {
        match self.properties.get(name) {
            Some(property) => format!("{}: {name}={}", property.place, property.value),
            None => format!("{name} (default)"),
        }
    }
}
