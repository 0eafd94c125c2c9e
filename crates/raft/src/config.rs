//! Who a node is and how patient it is.

use crate::{Endpoint, ReplicaKey, VersionRange};

/// Who this node is.
#[derive(Clone, Debug)]
pub struct Identity {
    pub key: ReplicaKey,
    /// Its advertised controller listeners, the default one first. A broker has none.
    pub endpoints: Vec<Endpoint>,
    pub kraft_version: VersionRange,
}

/// What a node may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A controller: votes while it is in the voter set. Its fetches promise that what lies below them is synced.
    Controller,
    /// A broker: observes, and need not sync before it fetches on.
    Broker,
}

/// An entry of `controller.quorum.bootstrap.servers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

/// Everything that does not change while a node runs. Times are Kafka's `controller.quorum.…` settings.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    pub me: Identity,
    pub part: Part,
    /// `controller.listener.names[0]`: the listener that requests to other nodes go to.
    pub listener: String,
    /// `bootstrap.servers`; where it is empty the configured voters are asked instead.
    pub bootstrap: Vec<Address>,
    pub election_timeout_ms: i64,
    pub fetch_timeout_ms: i64,
    pub election_backoff_ms_max: i64,
    pub request_timeout_ms: i64,
    pub request_backoff_ms: i64,
    pub fetch_bytes_max: u32,
    pub fetch_snapshot_bytes_max: u32,
    pub auto_join: bool,
    /// Of all random choices: election timeouts, bootstrap servers. Another one for every node and start.
    pub seed: u64,
    #[cfg(test)]
    pub(crate) sabotage: Option<Sabotage>,
}

/// Deliberate faults, each of which the tests must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Grants a vote to whoever asks.
    VoteTwice,
    /// Grants it to those who lack what is committed.
    VoteForShortLogs,
    /// Answers before its vote and epoch are stored.
    AnswerBeforeStored,
    /// Fetches on before what it has is synced.
    FetchBeforeFlushed,
    /// Counts itself where its log ends, synced or not, and nobody else.
    CommitAlone,
    /// Lets the high watermark move over what earlier leaders left.
    CommitOldEpochs,
    /// Counts replicas whose logs part from its own.
    SkipPositionCheck,
    /// Keeps what the leader does not have.
    KeepDiverged,
    /// Changes voters while the last change is not committed.
    ChangeVotersAtOnce,
    /// Takes up its epoch again after a restart.
    LeadAgain,
}

impl RaftConfig {
    /// Kafka's defaults for a controller.
    pub fn new(me: Identity) -> Self {
        Self {
            me,
            part: Part::Controller,
            listener: "CONTROLLER".into(),
            bootstrap: Vec::new(),
            election_timeout_ms: 1000,
            fetch_timeout_ms: 2000,
            election_backoff_ms_max: 1000,
            request_timeout_ms: 2000,
            request_backoff_ms: 20,
            fetch_bytes_max: 1 << 20,
            fetch_snapshot_bytes_max: 1 << 20,
            auto_join: false,
            seed: 0,
            #[cfg(test)]
            sabotage: None,
        }
    }

    /// Always false but in tests.
    #[cfg(not(test))]
    pub(crate) fn is_sabotaged(&self, _: Sabotage) -> bool {
        false
    }

    #[cfg(test)]
    pub(crate) fn is_sabotaged(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }
}
