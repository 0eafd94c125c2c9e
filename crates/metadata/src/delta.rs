//! The delta: records replayed on top of an image, and what they changed.
//!
//! It works on a copy of the image, which is cheap as the maps are persistent: there is no second form of the
//! state that could differ. Invariant: `MetadataChanges` names everything in which the new image differs from
//! the old one (it may name more). Between the begin and the end of a metadata transaction nothing must be
//! published; an abort takes back everything since its begin.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_model::{NodeId, Uuid};
use ottla_protocol::records::metadata::{ClearElrRecord, MetadataRecord};

use crate::image::{ConfigResource, MetadataImage, Provenance, QuotaEntity, TopicImage};

/// Changes on their way into an image.
#[derive(Clone, Debug)]
pub struct MetadataDelta {
    base: MetadataImage,
    image: MetadataImage,
    changes: MetadataChanges,
    /// Until a snapshot is whole its topics have no index by name, and what it changes of topics is not known.
    in_snapshot: bool,
    /// The state at the begin of the metadata transaction that is open.
    transaction: Option<Box<(MetadataImage, MetadataChanges)>>,
}

/// What differs from the image before, for those who act on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataChanges {
    /// Names of features.
    pub features: BTreeSet<Arc<str>>,
    /// Brokers that registered, changed or are gone.
    pub brokers: BTreeSet<NodeId>,
    /// Controllers that registered or are gone.
    pub controllers: BTreeSet<NodeId>,
    pub topics: BTreeMap<Uuid, TopicChange>,
    pub configs: BTreeSet<ConfigResource>,
    pub client_quotas: BTreeSet<QuotaEntity>,
    pub producer_ids: bool,
    /// Ids of ACLs.
    pub acls: BTreeSet<Uuid>,
    /// Mechanism and user.
    pub scram: BTreeSet<(i8, Arc<str>)>,
    /// Ids of tokens.
    pub delegation_tokens: BTreeSet<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicChange {
    pub name: Arc<str>,
    pub kind: TopicChangeKind,
    /// Partitions that were created or changed; of a deleted topic, those it had before.
    pub partitions: BTreeSet<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicChangeKind {
    Created,
    Changed,
    Deleted,
}

/// A record that cannot be true after what came before it, or that this software does not understand.
///
/// On a controller this is fatal. A broker fails its start with it, and later logs it, counts it and goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("level {level} of feature {name} is outside the supported {min} to {max}")]
    UnsupportedFeatureLevel { name: String, level: i16, min: i16, max: i16 },
    #[error("{record}: {value} is not a value of {field}")]
    BadValue { record: &'static str, field: &'static str, value: i64 },
    #[error("broker {0} is not registered")]
    UnknownBroker(i32),
    #[error("broker {id} is registered with epoch {registered}, not {epoch}")]
    BrokerEpoch { id: i32, epoch: i64, registered: i64 },
    #[error("controller {0} is not registered")]
    UnknownController(i32),
    #[error("topic {0} is there already")]
    TopicExists(String),
    #[error("there is no topic with id {0}")]
    UnknownTopic(Uuid),
    #[error("there is no topic {0}")]
    UnknownTopicName(String),
    #[error("topic {0} has no partition {1}")]
    UnknownPartition(Uuid, i32),
    #[error("there is no ACL {0}")]
    UnknownAcl(Uuid),
    #[error("user {0} has no such SCRAM credential")]
    UnknownScramCredential(String),
    #[error("there is no delegation token {0}")]
    UnknownDelegationToken(String),
    #[error("a metadata transaction begins inside another")]
    TransactionInTransaction,
    #[error("a metadata transaction ends that did not begin")]
    NoTransaction,
}

impl MetadataDelta {
    /// Starts from an image; nothing has changed yet.
    pub fn new(image: &MetadataImage) -> Self {
        Self {
            base: image.clone(),
            image: image.clone(),
            changes: MetadataChanges::default(),
            in_snapshot: false,
            transaction: None,
        }
    }

    /// Starts a snapshot that takes the place of `image`: what the snapshot does not tell is gone.
    /// Call [`MetadataDelta::finish_snapshot`] after its last record.
    pub fn from_snapshot(image: &MetadataImage) -> Self {
        Self { image: MetadataImage::default(), in_snapshot: true, ..Self::new(image) }
    }

    /// The image before.
    pub fn base(&self) -> &MetadataImage {
        &self.base
    }

    /// The image as it is after the records so far, inside a transaction as well. Its provenance is the old one.
    pub fn image(&self) -> &MetadataImage {
        &self.image
    }

    pub fn changes(&self) -> &MetadataChanges {
        &self.changes
    }

    pub fn into_changes(self) -> MetadataChanges {
        self.changes
    }

    /// Whether the next image must not be published yet.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// The image with everything replayed so far; `provenance` is that of the last record. A transaction that
    /// is still open is not contained: finish it with this delta before.
    pub fn apply(&self, provenance: Provenance) -> MetadataImage {
        let image = self.transaction.as_ref().map_or(&self.image, |begin| &begin.0);
        MetadataImage { provenance, ..image.clone() }
    }

    /// Replays one record. After an error the delta is as before the record.
    pub fn replay(&mut self, record: &MetadataRecord) -> Result<(), ReplayError> {
        let (image, changes) = (&mut self.image, &mut self.changes);
        match record {
            MetadataRecord::RegisterBroker(record) => {
                changes.brokers.insert(image.cluster.register_broker(record));
            }
            MetadataRecord::UnregisterBroker(record) => {
                let id = image.cluster.unregister_broker(record.broker_id, record.broker_epoch)?;
                changes.brokers.insert(id);
            }
            MetadataRecord::FenceBroker(record) => {
                changes.brokers.insert(image.cluster.set_fenced(record.id, record.epoch, true)?);
            }
            MetadataRecord::UnfenceBroker(record) => {
                changes.brokers.insert(image.cluster.set_fenced(record.id, record.epoch, false)?);
            }
            MetadataRecord::BrokerRegistrationChange(record) => {
                changes.brokers.insert(image.cluster.change_broker(record)?);
            }
            MetadataRecord::RegisterController(record) => {
                changes.controllers.insert(image.cluster.register_controller(record));
            }
            MetadataRecord::UnregisterController(record) => {
                changes.controllers.insert(image.cluster.unregister_controller(record.controller_id)?);
            }
            MetadataRecord::Topic(record) => {
                let name = image.topics.add_topic(record)?;
                if !self.in_snapshot {
                    image.topics.add_name(&name, record.topic_id)?;
                }
                self.topic_changed(record.topic_id, |_| Some(name));
            }
            MetadataRecord::Partition(record) => {
                image.topics.add_partition(record)?;
                self.partition_changed(record.topic_id, record.partition_id);
            }
            MetadataRecord::PartitionChange(record) => {
                image.topics.change_partition(record)?;
                self.partition_changed(record.topic_id, record.partition_id);
            }
            MetadataRecord::RemoveTopic(record) => {
                let topic = image.topics.remove_topic(record.topic_id)?;
                let configs = ConfigResource::topic(&topic.name);
                if image.configs.remove(&configs) {
                    changes.configs.insert(configs);
                }
                self.topic_removed(&topic);
            }
            MetadataRecord::ClearElr(record) => self.clear_elr(record)?,
            MetadataRecord::Config(record) => {
                changes.configs.insert(image.configs.replay(record)?);
            }
            MetadataRecord::ClientQuota(record) => {
                changes.client_quotas.insert(image.client_quotas.replay(record));
            }
            MetadataRecord::ProducerIds(record) => {
                image.producer_ids.replay(record)?;
                changes.producer_ids = true;
            }
            MetadataRecord::FeatureLevel(record) => {
                image.features.replay(record)?;
                changes.features.insert(Arc::from(&*record.name));
            }
            MetadataRecord::AccessControlEntry(record) => {
                image.acls.add(record);
                changes.acls.insert(record.id);
            }
            MetadataRecord::RemoveAccessControlEntry(record) => {
                image.acls.remove(record.id)?;
                changes.acls.insert(record.id);
            }
            MetadataRecord::UserScramCredential(record) => {
                image.scram.set(record);
                changes.scram.insert((record.mechanism, Arc::from(&*record.name)));
            }
            MetadataRecord::RemoveUserScramCredential(record) => {
                image.scram.remove(record.mechanism, &record.name)?;
                changes.scram.insert((record.mechanism, Arc::from(&*record.name)));
            }
            MetadataRecord::DelegationToken(record) => {
                image.delegation_tokens.set(record);
                changes.delegation_tokens.insert(Arc::from(&*record.token_id));
            }
            MetadataRecord::RemoveDelegationToken(record) => {
                image.delegation_tokens.remove(&record.token_id)?;
                changes.delegation_tokens.insert(Arc::from(&*record.token_id));
            }
            MetadataRecord::BeginTransaction(_) => {
                if self.transaction.is_some() {
                    return Err(ReplayError::TransactionInTransaction);
                }
                self.transaction = Some(Box::new((image.clone(), changes.clone())));
            }
            MetadataRecord::EndTransaction(_) => {
                self.transaction.take().ok_or(ReplayError::NoTransaction)?;
            }
            MetadataRecord::AbortTransaction(_) => {
                let begin = self.transaction.take().ok_or(ReplayError::NoTransaction)?;
                (self.image, self.changes) = *begin;
            }
            MetadataRecord::NoOp(_) | MetadataRecord::ZkMigrationState(_) => (),
        }
        Ok(())
    }

    /// After the last record of a snapshot: what the old image had and the snapshot has not is gone.
    /// Fails if two of its topics have one name.
    pub fn finish_snapshot(&mut self) -> Result<(), ReplayError> {
        self.image.topics.add_names()?;
        let (old, new) = (&self.base, &self.image);
        let changes = &mut self.changes;
        let gone_features = old.features.iter().filter(|(name, _)| new.features.level(name) == 0);
        changes.features.extend(gone_features.map(|(name, _)| Arc::from(name)));
        let gone_brokers = old.cluster.brokers().filter(|broker| new.cluster.broker(broker.id).is_none());
        changes.brokers.extend(gone_brokers.map(|broker| broker.id));
        let gone_controllers = old.cluster.controllers().filter(|c| new.cluster.controller(c.id).is_none());
        changes.controllers.extend(gone_controllers.map(|controller| controller.id));
        let configs: BTreeSet<_> = new.configs.iter().map(|(resource, _)| resource).collect();
        let gone_configs = old.configs.iter().map(|(resource, _)| resource).filter(|r| !configs.contains(r));
        changes.configs.extend(gone_configs.cloned());
        let gone_quotas =
            old.client_quotas.iter().filter(|(entity, _)| new.client_quotas.of(entity).is_none());
        changes.client_quotas.extend(gone_quotas.map(|(entity, _)| entity.clone()));
        changes.producer_ids |= old.producer_ids != new.producer_ids;
        changes.acls.extend(old.acls.iter().map(|(id, _)| *id).filter(|id| new.acls.get(*id).is_none()));
        let gone_scram =
            old.scram.iter().filter(|(mechanism, user, _)| new.scram.get(*mechanism, user).is_none());
        changes.scram.extend(gone_scram.map(|(mechanism, user, _)| (mechanism, Arc::from(user))));
        let gone_tokens =
            old.delegation_tokens.iter().filter(|(id, _)| new.delegation_tokens.get(id).is_none());
        changes.delegation_tokens.extend(gone_tokens.map(|(id, _)| Arc::from(id)));

        self.in_snapshot = false;
        changes.topics =
            self.image.topics.iter().filter_map(|after| change(old.topics.by_id(after.id), after)).collect();
        let gone: Vec<_> =
            old.topics.iter().filter(|topic| new.topics.by_id(topic.id).is_none()).cloned().collect();
        gone.iter().for_each(|topic| self.topic_removed(topic));
        Ok(())
    }

    fn clear_elr(&mut self, record: &ClearElrRecord) -> Result<(), ReplayError> {
        let topics: Vec<Uuid> = match &*record.topic_name {
            "" => self.image.topics.iter().map(|topic| topic.id).collect(),
            name => {
                let unknown = || ReplayError::UnknownTopicName(name.to_owned());
                vec![self.image.topics.id(name).ok_or_else(unknown)?]
            }
        };
        for topic in topics {
            for partition in self.image.topics.clear_elr(topic) {
                self.partition_changed(topic, partition);
            }
        }
        Ok(())
    }

    /// The entry of a topic that was created or changed.
    fn topic_changed(
        &mut self,
        id: Uuid,
        name: impl FnOnce(&MetadataImage) -> Option<Arc<str>>,
    ) -> Option<&mut TopicChange> {
        if self.in_snapshot {
            return None;
        }
        match self.changes.topics.entry(id) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(new) => {
                let name = name(&self.image)?;
                let kind = match self.base.topics.by_id(id) {
                    Some(_) => TopicChangeKind::Changed,
                    None => TopicChangeKind::Created,
                };
                Some(new.insert(TopicChange { name, kind, partitions: BTreeSet::new() }))
            }
        }
    }

    fn partition_changed(&mut self, topic: Uuid, partition: i32) {
        let name = |image: &MetadataImage| Some(image.topics.by_id(topic)?.name.clone());
        if let Some(change) = self.topic_changed(topic, name) {
            change.partitions.insert(partition);
        }
    }

    fn topic_removed(&mut self, topic: &TopicImage) {
        match self.base.topics.by_id(topic.id) {
            // Created and deleted in one delta: as if it never was.
            None => drop(self.changes.topics.remove(&topic.id)),
            Some(before) => {
                let change = TopicChange {
                    name: before.name.clone(),
                    kind: TopicChangeKind::Deleted,
                    partitions: before.partitions.keys().copied().collect(),
                };
                self.changes.topics.insert(topic.id, change);
            }
        }
    }
}

/// How a topic of a snapshot differs from what it was `before`.
fn change(before: Option<&Arc<TopicImage>>, after: &TopicImage) -> Option<(Uuid, TopicChange)> {
    let differs = |p: &i32| before.is_none_or(|before| before.partitions.get(p) != after.partitions.get(p));
    let partitions: BTreeSet<i32> = after.partitions.keys().copied().filter(differs).collect();
    let kind = match before {
        Some(_) if partitions.is_empty() => return None,
        Some(_) => TopicChangeKind::Changed,
        None => TopicChangeKind::Created,
    };
    Some((after.id, TopicChange { name: after.name.clone(), kind, partitions }))
}

impl MetadataChanges {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
