//! One change to a partition: who is in sync, who leads, which reassignment is done.

use ottla_metadata::{LeaderRecoveryState, PartitionRegistration};
use ottla_model::{NodeId, Uuid};
use ottla_protocol::records::metadata::{MetadataRecord, PartitionChangeRecord};

use crate::State;

/// How a leader may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Election {
    /// The first replica if it can be, even where another one leads.
    Preferred,
    /// The current leader if it can stay, else the first replica that can lead without loss.
    Online,
    /// As `Online`, and if there is none, any living replica, whatever it misses.
    Unclean,
}

/// The partition as it shall be; [`Self::build`] elects and gives the record with what differs.
pub(crate) struct PartitionChange<'a> {
    state: &'a State<'a>,
    topic: &'a str,
    topic_id: Uuid,
    index: i32,
    partition: &'a PartitionRegistration,
    pub election: Election,
    /// Goes away, whatever its registration says.
    gone: Option<NodeId>,
    /// About to be unfenced.
    back: Option<NodeId>,
    pub isr: Vec<NodeId>,
    pub replicas: Vec<NodeId>,
    pub removing: Vec<NodeId>,
    pub adding: Vec<NodeId>,
    pub recovery_state: LeaderRecoveryState,
    /// Does not have what it had.
    lost: Option<NodeId>,
    /// Directories that replicas move to.
    pub directories: Vec<(NodeId, Uuid)>,
}

impl<'a> PartitionChange<'a> {
    pub fn new(
        state: &'a State<'a>,
        topic: &'a str,
        topic_id: Uuid,
        index: i32,
        partition: &'a PartitionRegistration,
    ) -> Self {
        Self {
            state,
            topic,
            topic_id,
            index,
            partition,
            election: Election::Online,
            gone: None,
            back: None,
            isr: partition.isr.clone(),
            replicas: partition.replicas.clone(),
            removing: partition.removing_replicas.clone(),
            adding: partition.adding_replicas.clone(),
            recovery_state: partition.leader_recovery_state,
            lost: None,
            directories: Vec::new(),
        }
    }

    /// Elects uncleanly if the topic allows it.
    pub fn with_topics_election(mut self) -> Self {
        if self.state.unclean_election_enabled(self.topic) {
            self.election = Election::Unclean;
        }
        self
    }

    /// Takes a broker out of the in-sync replicas, and out of the election.
    pub fn without(mut self, gone: NodeId) -> Self {
        self.gone = Some(gone);
        self.isr.retain(|&replica| replica != gone);
        self
    }

    /// As [`Self::without`]; the broker does not have what it had, and is no eligible leader any more.
    pub fn without_lost(self, lost: NodeId) -> Self {
        Self { lost: Some(lost), ..self.without(lost) }
    }

    /// Takes a broker that is about to be unfenced for active.
    pub fn with(self, back: NodeId) -> Self {
        Self { back: Some(back), ..self }
    }

    /// The record for this change; `None` if nothing changes.
    pub fn build(mut self) -> Option<MetadataRecord> {
        let partition = self.partition;
        let elr_enabled = self.state.elr_enabled();
        let mut record =
            PartitionChangeRecord { topic_id: self.topic_id, partition_id: self.index, ..Default::default() };
        self.complete_reassignment();
        let mut elr = if elr_enabled { self.eligible_leader_replicas() } else { Vec::new() };

        let elected = self.elect(&elr);
        if elected.leader != partition.leader {
            if elr.contains(&elected.leader) {
                self.isr = vec![elected.leader];
                elr.retain(|&replica| replica != elected.leader);
            }
            record.leader = elected.leader.0;
            if elected.unclean {
                record.isr = Some(vec![elected.leader.0]);
                elr.clear();
                if partition.leader_recovery_state != LeaderRecoveryState::Recovering {
                    record.leader_recovery_state = LeaderRecoveryState::Recovering as i8;
                }
            }
        }
        if record.leader == NO_CHANGE
            && !partition.replicas.iter().all(|replica| self.replicas.contains(replica))
        {
            // Setting the leader raises the leader epoch: replicas that are gone must notice.
            record.leader = partition.leader.0;
        }
        if elr != partition.elr {
            record.eligible_leader_replicas = Some(ids(&elr));
        }
        if record.isr.is_none() && (!self.isr.is_empty() || elr_enabled) && self.isr != partition.isr {
            record.isr = Some(ids(&self.isr));
        }
        self.bump_on_shrink_where_needed(&mut record);
        if elr_enabled {
            self.update_last_known_leader(&mut record);
        }
        self.set_assignment(&mut record);
        if self.recovery_state != partition.leader_recovery_state {
            record.leader_recovery_state = self.recovery_state as i8;
        }
        let unchanged =
            PartitionChangeRecord { topic_id: self.topic_id, partition_id: self.index, ..Default::default() };
        (record != unchanged).then_some(MetadataRecord::PartitionChange(record))
    }

    fn complete_reassignment(&mut self) {
        if self.removing.is_empty() && self.adding.is_empty() {
            return;
        }
        let kept = |list: &[NodeId]| -> Vec<NodeId> {
            list.iter().copied().filter(|replica| !self.removing.contains(replica)).collect()
        };
        let (isr, replicas) = (kept(&self.isr), kept(&self.replicas));
        let done = !isr.is_empty()
            && !replicas.is_empty()
            && self.adding.iter().all(|replica| isr.contains(replica))
            && (self.adding.len() >= self.removing.len()
                || replicas.iter().all(|replica| isr.contains(replica)));
        if done {
            (self.isr, self.replicas) = (isr, replicas);
            self.removing.clear();
            self.adding.clear();
        }
    }

    /// Replicas outside the ISR that hold everything committed, while the ISR is too small (KIP-966).
    /// One that was moved away holds nothing when it comes back; Apache Kafka keeps it, and elects it then.
    fn eligible_leader_replicas(&self) -> Vec<NodeId> {
        if self.isr.len() >= self.state.effective_min_isr(self.topic, self.partition.replicas.len()) {
            return Vec::new();
        }
        let candidates = self.partition.elr.iter().chain(&self.partition.isr).copied();
        let holds_all = |replica: &NodeId| {
            self.replicas.contains(replica) && !self.isr.contains(replica) && self.lost != Some(*replica)
        };
        let mut elr: Vec<NodeId> = candidates.filter(holds_all).collect();
        elr.sort_unstable();
        elr.dedup();
        elr
    }

    fn elect(&self, elr: &[NodeId]) -> Elected {
        let acceptable = |replica: NodeId| self.is_acceptable(replica);
        let valid = |replica: NodeId| {
            (self.isr.contains(&replica) || self.isr.is_empty() && elr.contains(&replica))
                && acceptable(replica)
        };
        let clean = |leader| Elected { leader, unclean: false };
        let unclean = |leader| Elected { leader, unclean: true };
        let preferred = self.replicas.first().copied().filter(|_| self.election == Election::Preferred);
        let current = Some(self.partition.leader);
        let first_choices = preferred.into_iter().chain(current);
        if let Some(leader) =
            first_choices.chain(self.replicas.iter().copied()).find(|&replica| valid(replica))
        {
            return clean(leader);
        }
        if let [last_known] = self.partition.last_known_elr[..]
            && self.state.elr_enabled()
            && elr.is_empty()
            && self.isr.is_empty()
            && acceptable(last_known)
        {
            return unclean(last_known);
        }
        if self.election == Election::Unclean
            && let Some(&leader) = self.replicas.iter().find(|&&replica| acceptable(replica))
        {
            return unclean(leader);
        }
        clean(NodeId::NONE)
    }

    fn is_acceptable(&self, replica: NodeId) -> bool {
        if self.gone == Some(replica) {
            return false;
        }
        (self.back == Some(replica) || self.state.is_active(replica))
            && self.state.has_online_directory(replica, self.partition)
    }

    /// Before 3.6 brokers only noticed a smaller ISR by a new leader epoch.
    fn bump_on_shrink_where_needed(&self, record: &mut PartitionChangeRecord) {
        let shrinks = record
            .isr
            .as_ref()
            .is_some_and(|isr| !self.partition.isr.iter().all(|replica| isr.contains(&replica.0)));
        if record.leader == NO_CHANGE
            && shrinks
            && !self.state.metadata_version().keeps_leader_epoch_on_isr_shrink()
        {
            record.leader = self.partition.leader.0;
        }
    }

    /// While there is no leader, the "last known" replicas hold who led last. Of replicas in sync that nobody led when
    /// they went it is the first; Apache Kafka writes -1 there, and can elect nobody who comes back.
    fn update_last_known_leader(&self, record: &mut PartitionChangeRecord) {
        let partition = self.partition;
        let last = match partition.isr[..] {
            [first, ..] if !partition.leader.is_some() => first,
            _ => partition.leader,
        };
        let becomes_leaderless = record.isr.as_ref().is_some_and(Vec::is_empty);
        let will_have_leader =
            record.leader >= 0 || partition.leader.is_some() && record.leader != NodeId::NONE.0;
        if becomes_leaderless && partition.last_known_elr != [last] {
            record.last_known_elr = Some(vec![last.0]);
        } else if will_have_leader && !partition.last_known_elr.is_empty() {
            record.last_known_elr = Some(Vec::new());
        }
    }

    fn set_assignment(&self, record: &mut PartitionChangeRecord) {
        let partition = self.partition;
        if self.state.has_directories() {
            let directory = |&replica: &NodeId| {
                let moved =
                    self.directories.iter().find(|(id, _)| *id == replica).map(|(_, directory)| *directory);
                let at = partition.replicas.iter().position(|&id| id == replica);
                let known = || at.and_then(|at| partition.directories.get(at)).copied();
                moved.or_else(known).unwrap_or_else(|| self.state.default_directory(replica))
            };
            let directories: Vec<Uuid> = self.replicas.iter().map(directory).collect();
            if directories != partition.directories {
                record.directories = Some(directories);
            }
        }
        if self.replicas != partition.replicas {
            record.replicas = Some(ids(&self.replicas));
        }
        if self.removing != partition.removing_replicas {
            record.removing_replicas = Some(ids(&self.removing));
        }
        if self.adding != partition.adding_replicas {
            record.adding_replicas = Some(ids(&self.adding));
        }
    }
}

struct Elected {
    leader: NodeId,
    unclean: bool,
}

/// `Leader` of a [`PartitionChangeRecord`] that does not touch it.
const NO_CHANGE: i32 = -2;

pub(crate) fn ids(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}
