//! What the active controller keeps beside its decisions: when it acts by itself, and who waits for a commit.

use std::collections::{BTreeMap, VecDeque};

use ottla_controller::{Controller, ControllerConfig, ELECTIONS_PER_ROUND, Random};
use ottla_metadata::MetadataImage;
use ottla_model::{LeaderEpoch, Millis, NodeId, Offset};
use ottla_protocol::records::metadata::MetadataRecord;

use super::handle::{ControllerError, Release};
use crate::config::ServerConfig;

/// How often an active controller does what nobody asks for.
#[derive(Clone, Copy)]
pub(super) struct Intervals {
    /// 0: no records without effect.
    no_op_ms: i64,
    /// `None`: leaders stay where they are.
    balance_ms: Option<i64>,
    unclean_ms: i64,
}

impl Intervals {
    pub fn new(config: &ServerConfig) -> Self {
        let balance_ms = config.lifecycle.leader_imbalance_check_interval_seconds.saturating_mul(1000);
        Self {
            no_op_ms: config.metadata_log.idle_interval_ms_max.into(),
            balance_ms: config.lifecycle.auto_leader_rebalance.then_some(balance_ms),
            unclean_ms: config.lifecycle.unclean_leader_election_interval_ms,
        }
    }
}

/// A term as the active controller.
pub(super) struct Active {
    pub epoch: LeaderEpoch,
    pub controller: Controller,
    /// Answers by the log end that must be committed first.
    pub pending: VecDeque<(Offset, Release)>,
    pub last_append: Millis,
    next_balance: Millis,
    next_unclean: Millis,
}

impl Active {
    #[allow(clippy::too_many_arguments, reason = "what a controller begins with")]
    pub fn new(
        now: Millis,
        epoch: LeaderEpoch,
        config: ControllerConfig,
        image: MetadataImage,
        log_end: Offset,
        registered_at: BTreeMap<NodeId, Offset>,
        seed: [u64; 2],
        intervals: &Intervals,
    ) -> Self {
        Self {
            epoch,
            controller: Controller::new(now, config, image, log_end, registered_at, Random::from_seed(seed)),
            pending: VecDeque::new(),
            last_append: now,
            next_balance: now + intervals.balance_ms.unwrap_or(0),
            next_unclean: now + intervals.unclean_ms,
        }
    }

    /// The records of what is to be done now: one thing at a time, as the next must see what this one changes. Asked
    /// again until there is nothing more.
    pub fn due(&mut self, now: Millis, intervals: &Intervals) -> Vec<MetadataRecord> {
        let records = self.controller.fence_stale_broker(now);
        if !records.is_empty() {
            return records;
        }
        if let Some(interval) = intervals.balance_ms.filter(|_| now >= self.next_balance) {
            let records = self.controller.balance_leaders();
            if records.len() < ELECTIONS_PER_ROUND {
                self.next_balance = now + interval;
            }
            if !records.is_empty() {
                return records;
            }
        }
        if now >= self.next_unclean {
            let records = self.controller.elect_uncleanly();
            if records.len() < ELECTIONS_PER_ROUND {
                self.next_unclean = now + intervals.unclean_ms;
            }
            if !records.is_empty() {
                return records;
            }
        }
        match intervals.no_op_ms {
            0 => Vec::new(),
            interval if now - self.last_append < interval => Vec::new(),
            _ => self.controller.no_op(),
        }
    }

    /// When [`Self::due`] next has something.
    pub fn deadline(&self, intervals: &Intervals) -> Millis {
        let no_op = match intervals.no_op_ms {
            0 => Millis::MAX,
            interval => self.last_append + interval,
        };
        let balance = intervals.balance_ms.map_or(Millis::MAX, |_| self.next_balance);
        let session_end = self.controller.next_session_end().unwrap_or(Millis::MAX);
        no_op.min(session_end).min(balance).min(self.next_unclean)
    }

    /// Lets go the answers whose records are committed.
    pub fn release(&mut self, high_watermark: Offset) {
        while let Some((_, release)) = self.pending.pop_front_if(|(end, _)| *end <= high_watermark) {
            release(Ok(()));
        }
    }

    /// The term is over: nobody knows yet whether what waits will be committed.
    pub fn abandon(self, error: ControllerError) {
        for (_, release) in self.pending {
            release(Err(error));
        }
    }
}
