//! What of the settings concerns a consumer, checked together.

use std::time::Duration;

use ottla_protocol::Str;

use crate::config::{ClientConfig, ConfigError};
use crate::error::Result;
use crate::state::assignors::Assignor;
use crate::state::membership::MembershipConfig;
use crate::state::reset_policy::ResetPolicy;

/// The settings of one consumer.
#[derive(Clone, Debug)]
pub(super) struct ConsumerConfig {
    pub group: Option<MembershipConfig>,
    pub reset: ResetPolicy,
    /// `None`: the application commits.
    pub auto_commit_interval: Option<Duration>,
    pub read_committed: bool,
    pub check_crcs: bool,
    pub max_poll_records: usize,
    pub fetch_max_bytes: i32,
    pub fetch_max_wait_ms: i32,
    pub fetch_min_bytes: i32,
    pub max_partition_fetch_bytes: i32,
    pub rack: Str,
    pub auto_create: bool,
    pub exclude_internal: bool,
    pub request_timeout: Duration,
    pub metadata_max_age_ms: i64,
    pub retry_backoff_ms: i64,
}

impl ConsumerConfig {
    pub fn new(config: &ClientConfig) -> Result<Self> {
        let group_id = config.text("group.id");
        let text = |name| Some(config.text(name)).filter(|text| !text.is_empty()).map(Str::from);
        let rack = config.text("client.rack");
        let group = if group_id.is_empty() {
            None
        } else {
            Some(MembershipConfig {
                group_id: group_id.into(),
                group_instance_id: text("group.instance.id"),
                session_timeout_ms: config.int("session.timeout.ms") as i32,
                heartbeat_interval_ms: config.int("heartbeat.interval.ms") as i32,
                max_poll_interval_ms: config.int("max.poll.interval.ms") as i32,
                retry_backoff_ms: config.int("retry.backoff.ms"),
                assignors: assignors(config)?,
                rack: text("client.rack"),
            })
        };
        let session = config.int("session.timeout.ms");
        if group.is_some() && config.int("heartbeat.interval.ms") >= session {
            return Err(ConfigError::Invalid {
                name: "heartbeat.interval.ms".into(),
                value: config.text("heartbeat.interval.ms").into(),
                allowed: format!("less than session.timeout.ms, which is {session}"),
            }
            .into());
        }
        let reset = config.text("auto.offset.reset");
        let reset = ResetPolicy::parse(reset).ok_or_else(|| ConfigError::Invalid {
            name: "auto.offset.reset".into(),
            value: reset.into(),
            allowed: "earliest, latest, none, or by_duration: with a duration such as PT1H".into(),
        })?;
        // Without a group there is nothing to commit to, unless somebody asks for it, which is a mistake.
        if group.is_none() && config.is_set("enable.auto.commit") && config.bool("enable.auto.commit") {
            return Err(ConfigError::Invalid {
                name: "enable.auto.commit".into(),
                value: "true".into(),
                allowed: "false without a group.id".into(),
            }
            .into());
        }
        let commits = group.is_some() && config.bool("enable.auto.commit");
        Ok(Self {
            group,
            reset,
            auto_commit_interval: commits.then(|| config.millis("auto.commit.interval.ms")),
            read_committed: config.text("isolation.level") == "read_committed",
            check_crcs: config.bool("check.crcs"),
            max_poll_records: config.int("max.poll.records") as usize,
            fetch_max_bytes: config.int("fetch.max.bytes") as i32,
            fetch_max_wait_ms: config.int("fetch.max.wait.ms") as i32,
            fetch_min_bytes: config.int("fetch.min.bytes") as i32,
            max_partition_fetch_bytes: config.int("max.partition.fetch.bytes") as i32,
            rack: rack.into(),
            auto_create: config.bool("allow.auto.create.topics"),
            exclude_internal: config.bool("exclude.internal.topics"),
            request_timeout: config.millis("request.timeout.ms"),
            metadata_max_age_ms: config.int("metadata.max.age.ms"),
            retry_backoff_ms: config.int("retry.backoff.ms").max(1),
        })
    }
}

fn assignors(config: &ClientConfig) -> Result<Vec<Assignor>> {
    let names = config.list("partition.assignment.strategy");
    let assignors: Option<Vec<_>> = names.iter().map(|name| Assignor::from_name(name)).collect();
    assignors.filter(|assignors| !assignors.is_empty()).ok_or_else(|| {
        ConfigError::Invalid {
            name: "partition.assignment.strategy".into(),
            value: config.text("partition.assignment.strategy").into(),
            allowed: "some of range, roundrobin, sticky, cooperative-sticky".into(),
        }
        .into()
    })
}
