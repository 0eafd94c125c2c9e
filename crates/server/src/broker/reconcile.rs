//! Keeps the broker's partitions in step with the metadata image: creates, leads, resigns, deletes, and passes
//! changed settings on.
//!
//! Runs on the thread that publishes images, one image after the other; may wait for the disk. Invariant: after an
//! image was applied, the table has every topic of it, and a handle for every partition that lives here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ottla_commit_log::{Disposition, LoadedDir, Log, LogDir, StorageError};
use ottla_metadata::configs::{self, BrokerTarget, Layers};
use ottla_metadata::{ConfigResource, MetadataImage, PartitionRegistration, TopicImage};
use ottla_metadata::{MetadataChanges, TopicChange, TopicChangeKind};
use ottla_model::{BrokerEpoch, ConfigResourceType, NodeId, TopicPartition, Uuid};
use ottla_protocol::Str;
use ottla_replication::Registration;
use tracing::{error, info, warn};

use super::internal_topics;
use super::partition::{Partition, PartitionHandle};
use super::shard::ShardState;
use super::table::{PartitionTable, TopicPartitions};
use super::topic_settings::TopicSettings;
use super::{Broker, BrokerDir};
use crate::clock;

/// Applies images to a broker.
pub struct Reconciler {
    broker: Arc<Broker>,
    /// Found on disk and not taken up yet, with the index of their directory.
    loaded: HashMap<TopicPartition, (usize, Log)>,
    /// Of moves that were under way at the last stop, with the index of their directory.
    futures: Vec<(usize, Log)>,
    /// Partitions (topic id, index) whose log the disk refused: as in Kafka, none is made elsewhere before the next
    /// start.
    unmade: HashSet<(Uuid, i32)>,
}

/// What loading the directories found.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    pub logs: usize,
    pub bytes_scanned: u64,
    pub clean: bool,
    /// The epoch at which the broker stopped cleanly; -1 if it did not.
    pub previous_broker_epoch: BrokerEpoch,
}

impl Reconciler {
    /// Loads the logs of every directory that the image gives to this broker; others are put aside as strays. A
    /// directory that the disk fails is offline from now on; the last error is returned if all are.
    pub fn load(broker: &Arc<Broker>, image: &MetadataImage) -> Result<(Self, Loaded), StorageError> {
        let layers = image.configs.layers(broker.node_id, broker.config.static_broker.clone());
        let threads =
            broker.layers().broker("num.recovery.threads.per.data.dir").and_then(|value| value.as_i64());
        let mut reconciler = Self {
            broker: Arc::clone(broker),
            loaded: HashMap::new(),
            futures: Vec::new(),
            unmade: HashSet::new(),
        };
        let mut sum =
            Loaded { logs: 0, bytes_scanned: 0, clean: true, previous_broker_epoch: BrokerEpoch::NONE };
        let mut last_fault = None;
        for (index, dir) in broker.dirs.iter().enumerate() {
            let choose = |partition: &TopicPartition, topic_id: Option<Uuid>| {
                disposition(image, &layers, broker.node_id, partition, topic_id)
            };
            let threads = threads.unwrap_or(2).max(1) as usize;
            let found = match load_dir(&dir.dir, threads, &choose) {
                Err(error @ StorageError::Foreign { .. }) => return Err(error),
                Err(error) => {
                    broker.log_dirs.fail_at_load(dir, &error);
                    last_fault = Some(error);
                    continue;
                }
                Ok(found) => found,
            };
            sum.bytes_scanned += found.report.bytes_scanned;
            sum.previous_broker_epoch = match index {
                0 => found.previous_broker_epoch,
                _ if found.previous_broker_epoch == sum.previous_broker_epoch => sum.previous_broker_epoch,
                _ => BrokerEpoch::NONE,
            };
            sum.clean &= found.clean;
            reconciler.futures.extend(found.future_logs.into_iter().map(|log| (index, log)));
            for log in found.logs {
                sum.logs += 1;
                let partition = log.partition().clone();
                if let Some((other, _)) = reconciler.loaded.insert(partition.clone(), (index, log)) {
                    return Err(StorageError::Foreign {
                        path: dir.dir.path().join(partition.to_string()),
                        reason: format!("also lies in {}", broker.dirs[other].dir.path().display()),
                    });
                }
            }
        }
        if let Some(error) = last_fault.filter(|_| broker.online_dirs().next().is_none()) {
            return Err(error);
        }
        reconciler.take_up_abandoned(image)?;
        Ok((reconciler, sum))
    }

    /// Where a partition's log is gone and the controller has heard that it moved, the move's target is the log.
    fn take_up_abandoned(&mut self, image: &MetadataImage) -> Result<(), StorageError> {
        for (index, mut log) in std::mem::take(&mut self.futures) {
            let (dir, name) = (&self.broker.dirs[index], log.partition().clone());
            let topic = image.topics.by_name(&name.topic);
            let registration = topic.and_then(|topic| topic.partitions.get(&name.partition));
            let lives_here =
                registration.and_then(|known| known.directory(self.broker.node_id)) == Some(dir.id);
            if lives_here && !self.loaded.contains_key(&name) {
                info!(partition = %name, dir = %dir.dir.path().display(), "taking up a move's target as the log");
                dir.dir.promote_future_log(&mut log)?;
                self.loaded.insert(name, (index, log));
            } else {
                self.futures.push((index, log));
            }
        }
        Ok(())
    }

    /// Goes on with the moves that were under way at the last stop.
    pub fn resume_moves(&mut self) {
        for (index, log) in std::mem::take(&mut self.futures) {
            let (broker, dir) = (&self.broker, &self.broker.dirs[index]);
            match broker.partition_by_name(&log.partition().topic, log.partition().partition) {
                Ok(handle) if handle.dir_id != dir.id => {
                    info!(partition = %handle.name, to = %dir.dir.path().display(), "going on with a move");
                    broker.log_dir_moves.start(broker, &handle, dir.id, Some(log));
                }
                _ => warn!(path = %log.path().display(), "nothing to move here"),
            }
        }
    }

    /// Closes every log and marks the directories as cleanly stopped by the broker's incarnation `epoch`. One that
    /// fails does not keep the others from it.
    pub fn close(&mut self, epoch: BrokerEpoch) -> Result<(), StorageError> {
        self.broker.fetchers.stop();
        let table = self.broker.table();
        let mut first_error = None;
        // What failed is not marked as whole: the next start looks through it.
        for dir in self.broker.online_dirs() {
            let here = table.partitions().filter(|handle| handle.dir_id == dir.id);
            let logs = here.filter_map(|handle| {
                let slot = handle.slot;
                handle.shard.run_blocking(move |state| {
                    let mut partition = state.take(slot)?;
                    partition.resign();
                    Some(partition.log)
                })
            });
            let closed = dir.dir.close_logs(logs.collect()).and_then(|()| dir.dir.close_clean(epoch));
            first_error = first_error.or(closed.err());
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Does what an image asks for beyond the one before.
    pub fn apply(&mut self, image: &MetadataImage, changes: &MetadataChanges) {
        if changes.topics.is_empty() && changes.configs.is_empty() {
            return;
        }
        let layers = self.layers(image);
        if !changes.topics.is_empty() {
            let mut table = PartitionTable::clone(&self.broker.table.load());
            let (mut deleted, mut gone) = (Vec::new(), Vec::new());
            for (id, change) in &changes.topics {
                if change.kind == TopicChangeKind::Deleted {
                    if let Some(topic) = table.remove(*id) {
                        gone.extend(topic.partitions.iter().flatten().cloned());
                        deleted.push(Str::from(&*topic.name));
                    }
                } else if let Some(topic) = image.topics.by_id(*id) {
                    self.apply_topic(image, &layers, (topic, change), &mut table, &mut gone);
                }
            }
            self.delete(gone);
            self.broker.table.store(Arc::new(table));
            if !deleted.is_empty() {
                self.broker.groups.topics_deleted(&deleted);
            }
        }
        self.apply_configs(image, &layers, changes);
    }

    fn layers(&self, image: &MetadataImage) -> Layers {
        image.configs.layers(self.broker.node_id, self.broker.config.static_broker.clone())
    }

    fn apply_topic(
        &mut self,
        image: &MetadataImage,
        layers: &Layers,
        (topic, change): (&TopicImage, &TopicChange),
        table: &mut PartitionTable,
        gone: &mut Vec<Arc<PartitionHandle>>,
    ) {
        let known = table.topic_by_id(topic.id).cloned();
        let settings = TopicSettings::resolve(layers, &image.configs.topic(&topic.name));
        let count = topic.partitions.keys().next_back().map_or(0, |last| *last as usize + 1);
        let mut partitions = vec![None; count];
        for (index, registration) in &topic.partitions {
            let slot = *index as usize;
            let handle = known.as_ref().and_then(|known| known.partitions.get(slot).cloned().flatten());
            let lives_here = registration.replicas.contains(&self.broker.node_id);
            partitions[slot] = match handle {
                Some(handle) if lives_here => {
                    if change.partitions.contains(index) || change.kind == TopicChangeKind::Created {
                        self.apply_registration(&handle, registration);
                    }
                    Some(handle)
                }
                Some(handle) => {
                    gone.push(handle);
                    None
                }
                // No other log is made for one that nobody can look at, or that may be half made.
                None if lives_here
                    && !self.broker.lies_offline(registration)
                    && !self.unmade.contains(&(topic.id, *index)) =>
                {
                    let name = TopicPartition::new(Arc::clone(&topic.name), *index);
                    match self.create(&name, topic.id, registration, &settings) {
                        Ok(handle) => {
                            self.apply_registration(&handle, registration);
                            Some(handle)
                        }
                        Err(error) => {
                            error!(partition = %name, %error, "cannot open the partition's log");
                            self.unmade.insert((topic.id, *index));
                            None
                        }
                    }
                }
                None => None,
            };
        }
        if &*topic.name == internal_topics::CONSUMER_OFFSETS {
            for (index, registration) in &topic.partitions {
                let handle = partitions[*index as usize].as_ref();
                let leads = registration.leader == self.broker.node_id;
                self.broker.groups.follow(*index, handle.filter(|_| leads), registration.leader_epoch);
            }
        }
        table.insert(TopicPartitions { name: Arc::clone(&topic.name), id: topic.id, partitions });
    }

    /// Takes up a log that was found on disk, or makes a new one.
    fn create(
        &mut self,
        name: &TopicPartition,
        topic_id: Uuid,
        registration: &PartitionRegistration,
        settings: &TopicSettings,
    ) -> Result<Arc<PartitionHandle>, StorageError> {
        let (dir, mut log) = match self.loaded.remove(name) {
            Some((index, log)) => (&self.broker.dirs[index], log),
            None => {
                let dir = self.choose_dir(registration);
                (dir, dir.dir.create_log(name, topic_id, settings.log.clone(), clock::now())?)
            }
        };
        log.set_topic_id(topic_id)?;
        let shard = Arc::clone(self.broker.shard_of(name));
        let dir = (dir.id, Arc::clone(&dir.syncer));
        let is_internal = internal_topics::is_internal(&name.topic);
        let (settings, owner) = (settings.clone(), Arc::clone(&shard));
        let context = Arc::clone(&self.broker.replica_context);
        let handle = shard.run_blocking(move |state| {
            let slot = state.add(|slot| {
                let mut partition =
                    Partition::new(log, topic_id, is_internal, settings.rules, (owner, slot), dir, context);
                partition.set_settings(settings);
                partition
            });
            Arc::clone(&state.partition(slot).expect("just added").handle)
        });
        Ok(handle)
    }

    /// Puts a caught-up log of the directory `to` in the place of a partition's log, which is deleted. Gives the log
    /// back if it is not what the other is by now. Who waits at the partition is told to come again.
    pub fn replace_log(
        &mut self,
        handle: &Arc<PartitionHandle>,
        mut log: Log,
        to: usize,
    ) -> Result<Option<Log>, StorageError> {
        let image = self.broker.image().clone();
        let mut table = PartitionTable::clone(&self.broker.table.load());
        let (Some(topic), Some(known)) =
            (image.topics.by_id(handle.topic_id), table.topic_by_id(handle.topic_id).cloned())
        else {
            return Ok(Some(log));
        };
        let index = handle.name.partition;
        let Some(registration) = topic.partitions.get(&index) else { return Ok(Some(log)) };
        // Of its last record: a leader may have begun an epoch without one.
        let last_epoch = |log: &Log| log.view().epochs().epoch_of(log.log_end_offset() + -1);
        let (slot, end, epoch) = (handle.slot, log.log_end_offset(), last_epoch(&log));
        let removed = handle.shard.run_blocking(move |state| {
            let old = &state.partition(slot)?.log;
            let is_same = old.log_end_offset() == end && last_epoch(old) == epoch;
            let mut partition = if is_same { state.take(slot)? } else { return None };
            partition.resign();
            Some(partition.log)
        });
        let Some(old) = removed else { return Ok(Some(log)) };
        self.broker.fetchers.forget(handle);
        log.set_high_watermark(old.high_watermark());
        log.increment_log_start(old.log_start_offset());
        let delay_ms = old.config().file_delete_delay_ms;
        self.broker.dirs[to].dir.promote_future_log(&mut log)?;
        if let Some(dir) = self.broker.dir(handle.dir_id) {
            let path = dir.dir.delete_log(old)?;
            super::background::remove_later(dir.dir.clone(), vec![path], delay_ms);
        }
        self.loaded.insert(handle.name.clone(), (to, log));
        let settings = TopicSettings::resolve(&self.layers(&image), &image.configs.topic(&topic.name));
        let moved = self.create(&handle.name, topic.id, registration, &settings)?;
        self.apply_registration(&moved, registration);
        let mut partitions = known.partitions.clone();
        partitions[index as usize] = Some(Arc::clone(&moved));
        if &*topic.name == internal_topics::CONSUMER_OFFSETS {
            let leads = registration.leader == self.broker.node_id;
            self.broker.groups.resign(index);
            self.broker.groups.follow(index, Some(&moved).filter(|_| leads), registration.leader_epoch);
        }
        table.insert(TopicPartitions { name: Arc::clone(&known.name), id: known.id, partitions });
        self.broker.table.store(Arc::new(table));
        Ok(None)
    }

    /// The directory that the controller chose, else the one with the fewest logs.
    fn choose_dir(&self, registration: &PartitionRegistration) -> &BrokerDir {
        let assigned = registration.directory(self.broker.node_id);
        let online = || self.broker.online_dirs();
        online()
            .find(|dir| Some(dir.id) == assigned)
            .or_else(|| online().min_by_key(|dir| dir.dir.log_count()))
            .or(self.broker.dirs.first())
            .expect("a broker has a log directory")
    }

    /// Puts a partition into the role that the metadata gives to this broker, and its fetcher to work or to rest.
    fn apply_registration(&self, handle: &Arc<PartitionHandle>, registration: &PartitionRegistration) {
        let known = Registration {
            replicas: registration.replicas.clone(),
            isr: registration.isr.clone(),
            leader: registration.leader,
            leader_epoch: registration.leader_epoch,
            partition_epoch: registration.partition_epoch,
        };
        with_partition(handle, move |_, partition| partition.apply(&known, clock::steady()));
        let is_online = !handle.view().is_offline();
        if is_online
            && registration.directory(self.broker.node_id) != Some(handle.dir_id)
            && self.broker.image().metadata_version().supports_directories()
        {
            self.broker.log_dirs.assign(handle.topic_id, handle.name.partition, handle.dir_id);
        }
        if is_online && registration.has_leader() && registration.leader != self.broker.node_id {
            self.broker.fetchers.follow(&self.broker, handle, registration.leader, registration.leader_epoch);
        } else {
            self.broker.fetchers.forget(handle);
        }
    }

    /// Stops partitions and renames their directories, all at once; the files go after `file.delete.delay.ms`.
    fn delete(&self, handles: Vec<Arc<PartitionHandle>>) {
        for dir in &self.broker.dirs {
            let (mut logs, mut delay_ms) = (Vec::new(), 0);
            for handle in handles.iter().filter(|handle| handle.dir_id == dir.id) {
                if &*handle.name.topic == internal_topics::CONSUMER_OFFSETS {
                    self.broker.groups.resign(handle.name.partition);
                }
                self.broker.fetchers.forget(handle);
                let slot = handle.slot;
                let removed = handle.shard.run_blocking(move |state| {
                    let mut partition = state.take(slot)?;
                    partition.resign();
                    Some(partition)
                });
                let Some(partition) = removed else { continue };
                delay_ms = partition.log.config().file_delete_delay_ms.max(delay_ms);
                info!(partition = %handle.name, "deleting");
                logs.push(partition.log);
            }
            if logs.is_empty() {
                continue;
            }
            match dir.dir.delete_logs(logs) {
                Ok(paths) => super::background::remove_later(dir.dir.clone(), paths, delay_ms),
                Err(error) => warn!(%error, "cannot delete logs"),
            }
        }
    }

    fn apply_configs(&self, image: &MetadataImage, layers: &Layers, changes: &MetadataChanges) {
        let is_broker = |resource: &ConfigResource| resource.kind == ConfigResourceType::Broker;
        let broker_changed = changes.configs.iter().any(is_broker);
        for (target, resource) in [
            (BrokerTarget::ThisBroker, ConfigResource::broker(self.broker.node_id)),
            (BrokerTarget::AllBrokers, ConfigResource::default_broker()),
        ] {
            let ignored = configs::ignored(target, &image.configs.of(&resource));
            if changes.configs.contains(&resource) && !ignored.is_empty() {
                warn!(broker = %resource.name, "ignoring dynamic settings that are not valid: {}", ignored.join(", "));
            }
        }
        for topic in image.topics.iter() {
            if !broker_changed && !changes.configs.contains(&ConfigResource::topic(&topic.name)) {
                continue;
            }
            let settings = TopicSettings::resolve(layers, &image.configs.topic(&topic.name));
            let table = self.broker.table.load();
            let Some(known) = table.topic_by_id(topic.id) else { continue };
            for handle in known.partitions.iter().flatten() {
                let settings = settings.clone();
                with_partition(handle, move |_, partition| partition.set_settings(settings));
            }
        }
    }
}

/// Loads a directory's logs and removes what is left of deleted ones.
fn load_dir(
    dir: &LogDir,
    threads: usize,
    choose: &(dyn Fn(&TopicPartition, Option<Uuid>) -> Disposition + Sync),
) -> Result<LoadedDir, StorageError> {
    let found = dir.load_all(threads, choose, clock::now())?;
    for path in &found.deleted_dirs {
        info!(path = %path.display(), "removing the rest of a deleted partition");
        dir.remove_dir(path)?;
    }
    Ok(found)
}

/// Whether a log on disk belongs to a partition of this broker.
fn disposition(
    image: &MetadataImage,
    layers: &Layers,
    node_id: NodeId,
    partition: &TopicPartition,
    topic_id: Option<Uuid>,
) -> Disposition {
    let known =
        image.topics.by_name(&partition.topic).filter(|topic| topic_id.is_none_or(|id| id == topic.id));
    let registration = known.and_then(|topic| topic.partitions.get(&partition.partition));
    match registration {
        Some(registration) if registration.replicas.contains(&node_id) => {
            Disposition::Load(TopicSettings::resolve(layers, &image.configs.topic(&partition.topic)).log)
        }
        _ => {
            warn!(%partition, "the metadata does not know this partition here: set aside as -stray");
            Disposition::Stray
        }
    }
}

/// Runs `task` with the partition inside its shard, unless it is gone.
fn with_partition(
    handle: &Arc<PartitionHandle>,
    task: impl FnOnce(&Arc<PartitionHandle>, &mut Partition) + Send + 'static,
) {
    let target = Arc::clone(handle);
    handle.shard.run_blocking(move |state: &mut ShardState| {
        if let Some(partition) = state.partition(target.slot) {
            task(&target, partition);
        }
    });
}
