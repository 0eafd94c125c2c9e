//! What operators ask of a cluster: topics and where they are, configs, quotas, groups, offsets, producers, the cluster
//! itself.
//!
//! An [`Admin`] finds who has to answer (any broker, the leader, the coordinator, the controller), asks again where
//! that may help, and turns error codes into errors. It keeps no state beside its [`Client`].

mod cluster;
mod configs;
mod features;
mod groups;
mod offsets;
mod quotas;
mod reassignments;
mod topics;
mod transactions;

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_model::ErrorCode;
use ottla_protocol::Request;

use crate::client::{Client, Target};
use crate::config::ClientConfig;
use crate::error::{Error, Result};
use crate::state::metadata::Metadata;

pub use crate::state::reset_policy::OffsetSpec;
pub use cluster::{ClusterDescription, LogDir, QuorumDescription, VoterEndpoint};
pub use configs::{ConfigChange, ConfigEntry, Resource};
pub use features::{FeatureUpdate, Features, UpgradeType};
pub use groups::{CommittedOffset, GroupDescription, GroupListing, GroupMember};
pub use offsets::FoundOffset;
pub use ottla_model::ConfigResourceType;
pub use quotas::{QuotaEntity, QuotaMatch};
pub use reassignments::{ElectionType, OngoingReassignment, ReplicationFactorChange};
pub use topics::NewTopic;
pub use transactions::{ActiveProducer, TransactionDescription, TransactionFilter, TransactionListing};

/// A partition by topic and number.
pub type Partition = (String, i32);
/// What became of each partition that was asked for.
pub type PartitionResults = BTreeMap<Partition, Result<()>>;

/// A client for operators. Clones are handles of the same.
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

impl Admin {
    /// An admin client with connections of its own, which are closed after `connections.max.idle.ms`: five minutes if
    /// that is not set. No I/O is awaited.
    pub fn new(config: &ClientConfig) -> Result<Self> {
        let name = "connections.max.idle.ms";
        if config.is_set(name) {
            return Ok(Self::with_client(Client::new(config)?));
        }
        Ok(Self::with_client(Client::new(&config.clone().with(name, 300_000)?)?))
    }

    /// An admin client that shares the connections of others. All topics of the cluster are described from now on, and
    /// none is created by asking for it.
    pub fn with_client(client: Client) -> Self {
        client.set_auto_create(false);
        client.want_all_topics(true);
        Self { client }
    }

    /// The network handle, to be shared with others.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The cluster's brokers and topics as they are now.
    pub async fn metadata(&self) -> Result<Arc<Metadata>> {
        self.client.updated_metadata().await
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.client.api_timeout().as_millis()).unwrap_or(i32::MAX)
    }

    /// Asks, again where an answer or the network says that this may help. `check` finds the error in an answer.
    async fn ask<R: Request>(
        &self,
        target: Target,
        request: R,
        check: impl Fn(&R::Response) -> Result<()>,
    ) -> Result<R::Response> {
        let attempt = async |_| {
            let answer = self.client.call(target.clone(), request.clone()).await;
            let checked = answer.and_then(|answer| check(&answer).map(|()| answer));
            if let (Err(error), Target::Coordinator(key)) = (&checked, &target)
                && error.is_retriable()
                && let Ok(node) = self.client.coordinator(key).await
            {
                self.client.forget_coordinator(key, node);
            }
            if let (Err(error), Target::Controller) = (&checked, &target)
                && let Some(ErrorCode::NotController | ErrorCode::NotLeaderOrFollower) = error.code()
            {
                // Brokers of Apache Kafka go on passing requests to a controller that has lost its vote: metadata
                // names another broker to ask. A failure of its own is met again by the next attempt.
                let _ = self.client.updated_metadata().await;
            }
            match checked {
                // Nobody waits a minute for a topic that may never be; only partitions' leaders learn of theirs late.
                Err(error)
                    if matches!(target, Target::Controller | Target::Any)
                        && error.code() == Some(ErrorCode::UnknownTopicOrPartition) =>
                {
                    Ok(Err(error))
                }
                checked => checked.map(Ok),
            }
        };
        self.client.retry(self.client.api_timeout(), &format!("{:?}", R::KEY), attempt).await?
    }
}

fn missing<T>() -> Result<T> {
    Err(Error::Invalid("the broker did not answer for all that was asked".into()))
}

/// The error of a code without words.
fn checked(code: i16) -> Result<()> {
    Error::check(code, None::<&str>)
}

/// The numbers of partitions by their topics, as requests have them.
fn by_topic<'a>(partitions: impl IntoIterator<Item = &'a Partition>) -> BTreeMap<&'a str, Vec<i32>> {
    let mut topics = BTreeMap::<_, Vec<i32>>::new();
    for (topic, partition) in partitions {
        topics.entry(topic.as_str()).or_default().push(*partition);
    }
    topics
}
