//! A node's settings: Apache Kafka's `server.properties` as it is, checked, typed.
//!
//! Owns reading, the rules across settings, and what is told about them: a wrong value or a broken rule is an
//! error that names file, line, setting, value and what is allowed (all of them at once); a setting that is
//! unknown or cannot be honoured yet is a warning; a setting that protects and cannot be honoured yet is an
//! error: what was configured closed is never run open. Must not know what the settings do elsewhere.

pub mod dynamic;
mod listeners;
pub mod log_levels;
mod node;
mod properties;
mod providers;
mod rules;
mod support;

pub use listeners::{Endpoint, SecurityProtocol};
pub use node::{
    BrokerLifecycleConfig, FetchConfig, GroupCoordinatorConfig, LogManagerConfig, MetadataLogConfig,
    NetworkConfig, OffsetsConfig, QuorumConfig, QuorumVoter, ReplicationConfig, Roles, ServerConfig,
    ShareCoordinatorConfig, TopicDefaults, TransactionConfig,
};
pub use properties::{Properties, Property};

use std::fmt;
use std::path::Path;

use ottla_model::properties::decode;

/// What a node runs with when no file is given: one node, both roles, reachable from this machine only.
pub const DEFAULT_PROPERTIES: &str = "\
node.id=1
process.roles=broker,controller
listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:9093
log.dirs=./ottla-data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
";

/// Reads the file (or the built-in default) and the `--override name=value` arguments, which win.
///
/// The warnings are for the log; nothing has been logged yet.
pub fn load(
    file: Option<&Path>,
    overrides: &[String],
) -> Result<(ServerConfig, Vec<String>), ServerConfigError> {
    let mut properties = match file {
        None => Properties::parse("built-in default", DEFAULT_PROPERTIES)?,
        Some(path) => {
            let name = path.display().to_string();
            let bytes = std::fs::read(path)
                .map_err(|error| ServerConfigError::one(format!("cannot read {name}: {error}")))?;
            Properties::parse(&name, &decode(bytes))?
        }
    };
    for argument in overrides {
        let Some((name, value)) = argument.split_once('=') else {
            return Err(ServerConfigError::one(format!("--override {argument}: expected name=value")));
        };
        properties.set("--override", name.trim(), value.trim());
    }
    let problems = providers::resolve(&mut properties);
    match problems.is_empty() {
        true => ServerConfig::from_properties(&properties),
        false => Err(ServerConfigError { problems }),
    }
}

/// Everything that is wrong with a node's settings, a line each.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerConfigError {
    pub problems: Vec<String>,
}

impl ServerConfigError {
    pub(crate) fn one(problem: String) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for ServerConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for ServerConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_one_node_with_both_roles() {
        let (config, warnings) = load(None, &[]).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(config.node_id.0, 1);
        assert!(config.roles.broker && config.roles.controller);
        assert_eq!(config.broker_listeners().map(|l| l.port).collect::<Vec<_>>(), [9092]);
        assert_eq!(config.controller_listeners().map(|l| l.port).collect::<Vec<_>>(), [9093]);
        assert!(config.quorum.voters.is_empty());
    }

    /// What Apache Kafka's own file sets, with nothing to say about any of it.
    #[test]
    fn the_file_that_comes_with_kafka_is_read_as_it_is() {
        let text = "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.bootstrap.servers=localhost:9093\n\
             listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
             advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n\
             num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\n\
             socket.receive.buffer.bytes=102400\nsocket.request.max.bytes=104857600\n\
             log.dirs=/tmp/kraft-combined-logs\nnum.partitions=1\nnum.recovery.threads.per.data.dir=2\n\
             offsets.topic.replication.factor=1\nshare.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\nlog.retention.hours=168\nlog.segment.bytes=1073741824\n\
             log.retention.check.interval.ms=300000\n";
        let (config, warnings) =
            ServerConfig::from_properties(&Properties::parse("f", text).unwrap()).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        let advertised: Vec<String> = config.advertised_listeners.iter().map(Endpoint::to_string).collect();
        assert_eq!(advertised, ["PLAINTEXT://localhost:9092", "CONTROLLER://localhost:9093"]);
    }

    #[test]
    fn overrides_win_and_are_named_when_wrong() {
        let (config, _) = load(None, &["node.id=7".into(), "num.partitions = 3".into()]).unwrap();
        assert_eq!((config.node_id.0, config.topic_defaults.num_partitions), (7, 3));
        let error = load(None, &["num.partitions=0".into()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--override: num.partitions=0: Value must be at least 1 (an INT, at least 1)"
        );
    }

    /// Each block of testdata/config-rules.txt: settings, what Kafka does with them, what we say.
    #[test]
    fn rules_across_settings_are_kafkas() {
        const BASE: &str = "node.id=1\nprocess.roles=broker,controller\n\
             listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n\
             controller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers=127.0.0.1:9093\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/config-rules.txt");
        let text = std::fs::read_to_string(path).unwrap();
        let (head, blocks) = text.split_once("\n\n").unwrap();
        let mut rewritten = vec![head.to_owned()];
        for block in blocks.trim_end().split("\n\n") {
            let (settings, outcome) = block.split_once("---- ").unwrap();
            let kafka = outcome.lines().next().unwrap();
            let properties = Properties::parse("file", &format!("{BASE}{settings}")).unwrap();
            let outcome = ServerConfig::from_properties(&properties);
            assert_eq!(outcome.is_ok(), kafka == "Apache Kafka starts", "{settings}");
            let ours = match outcome {
                Ok((_, warnings)) => {
                    warnings.into_iter().map(|warning| format!("\nwarning: {warning}")).collect()
                }
                Err(error) => format!("\n{error}"),
            };
            rewritten.push(format!("{settings}---- {kafka}{ours}"));
        }
        let rewritten = rewritten.join("\n\n") + "\n";
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(path, &rewritten).unwrap();
        }
        assert!(text == rewritten, "differs from {path}; UPDATE_EXPECT=1 rewrites it:\n{rewritten}");
    }
}
