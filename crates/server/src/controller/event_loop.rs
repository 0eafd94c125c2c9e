//! The thread that owns the quorum, the controller and the loader of images. Every node has one: a broker's only
//! observes and publishes.
//!
//! It takes what is in the inbox: requests for the controller are decided one by one and their records appended,
//! messages of the quorum go through the step machine. Then it sends what is to be sent, syncs once for all that was
//! appended, publishes what is committed, and releases the answers that waited for it. So many requests share one
//! sync, followers write at the same time as their leader, and a client that was answered finds what it asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI16, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use bytes::Bytes;
use ottla_controller::{ControllerConfig, RECORDS_PER_BATCH_MAX};
use ottla_metadata::features::MetadataVersion;
use ottla_metadata::{ReplayError, WriteOptions};
use ottla_model::{LeaderEpoch, Millis, NodeId, Offset};
use ottla_protocol::EncodeError;
use ottla_protocol::records::metadata::MetadataRecord;
use ottla_raft::{Outgoing, Token};
use tokio::sync::{mpsc, oneshot};

use super::handle::{Atomicity, ControllerError, Decision, Message, QuorumInfo, QuorumLeader, Release};
use super::leadership::{Active, Intervals};
use super::syncer::Syncer;
use crate::clock;
use crate::loops;
use crate::metadata::MetadataLoader;
use crate::quorum::snapshots::Snapshots;
use crate::quorum::wire::Reply;
use crate::quorum::{Driver, QuorumError};
use crate::rpc::NodeAddress;
use crate::watch;

/// Messages handled before a sync; more wait for the next.
const MESSAGES_PER_SYNC_MAX: usize = 1000;

/// How long records without effect may wait for a sync, unless something else is appended: every sync of a file that
/// grows makes the file system's journal hold up all who write.
const NO_OP_SYNC_DELAY_MS: i64 = 5_000;

/// What ends the thread.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    #[error("cannot start the thread that publishes metadata: {0}")]
    Thread(std::io::Error),
    #[error("a metadata record cannot be replayed: {0}")]
    Replay(#[from] ReplayError),
    #[error("a metadata record cannot be encoded: {0}")]
    Encode(#[from] ottla_protocol::EncodeError),
}

/// Work that would keep the thread from its own, to be done elsewhere; it is told the time.
pub(super) type Aside = Box<dyn FnOnce(Millis) + Send>;
pub(super) type RunAside = Box<dyn FnMut(Aside) -> std::io::Result<()> + Send>;

/// What the thread owns.
pub(super) struct ControllerThread {
    pub driver: Driver,
    pub loader: MetadataLoader,
    /// Takes requests to the quorum's other nodes.
    pub send_request: Box<dyn FnMut(Outgoing) + Send>,
    pub run_aside: RunAside,
    /// There while this node is the active controller.
    pub active: Option<Active>,
    pub controller_config: ControllerConfig,
    pub seed: [u64; 2],
    /// Records of the snapshot that formatting wrote, for a leader that finds no others.
    pub bootstrap: Vec<MetadataRecord>,
    /// Offsets of the brokers' registration records.
    pub registered_at: BTreeMap<NodeId, Offset>,
    /// Requests of other nodes to the quorum that are not answered yet.
    pub waiting: BTreeMap<Token, oneshot::Sender<Reply>>,
    pub next_token: u64,
    pub inbox: mpsc::UnboundedReceiver<Message>,
    pub self_sender: mpsc::UnboundedSender<Message>,
    /// For ApiVersions.
    pub kraft_version: Arc<AtomicI16>,
    pub leader: watch::Sender<QuorumLeader>,
    /// `None` before the thread runs and when it ends: everything is synced at once then.
    pub syncer: Option<Syncer>,
    pub snapshots: Snapshots,
    pub intervals: Intervals,
    /// A broker that only observes promises nobody that its log is on disk.
    pub is_controller: bool,
    /// While nothing but records without effect waits for a sync: where they begin and end, and when the sync is due.
    pub unhurried: Option<(Offset, Offset, Millis)>,
    pub listener: String,
    /// Told when this node leads no more, before it stops.
    pub handing_over: Option<oneshot::Sender<()>>,
}

impl ControllerThread {
    pub async fn run(mut self) -> Result<(), Fault> {
        loop {
            let timeout = Duration::from_millis((self.next_deadline() - clock::steady()).max(0) as u64);
            let next = match loops::receive(&mut self.inbox, timeout).await {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(self.close(clock::steady()).await?),
            };
            let now = clock::steady();
            if let Some(stopped) = self.pass(now, next)? {
                if let Some(syncer) = self.syncer.take() {
                    syncer.end().await;
                }
                self.settle(now)?;
                self.close(now).await?;
                // Whoever waits may open the directory again: nothing of it is held any more.
                drop(self);
                let _ = stopped.send(());
                return Ok(());
            }
        }
    }

    /// Handles what is in the inbox after `first`, and does what it and the time call for. Comes back early with whom
    /// to tell when the thread is to end.
    pub fn pass(
        &mut self,
        now: Millis,
        first: Option<Message>,
    ) -> Result<Option<oneshot::Sender<()>>, Fault> {
        let (mut next, mut handled) = (first, 0);
        while let Some(message) = next.take() {
            if let Some(stopped) = self.handle(now, message)? {
                return Ok(Some(stopped));
            }
            handled += 1;
            if handled < MESSAGES_PER_SYNC_MAX {
                next = self.inbox.try_recv().ok();
            }
        }
        self.driver.tick(now)?;
        self.tick(now)?;
        self.settle(now)?;
        Ok(None)
    }

    fn handle(&mut self, now: Millis, message: Message) -> Result<Option<oneshot::Sender<()>>, Fault> {
        match message {
            Message::Decide(decide) => {
                let raft = self.driver.raft();
                let leads = |active: &&mut Active| raft.is_leader() && active.epoch == raft.epoch();
                let active = self.active.as_mut().filter(leads);
                let controller = active.map(|active| &mut active.controller);
                let decision = decide(now, controller.ok_or(ControllerError::NotController), raft);
                self.perform(now, decision)?;
            }
            Message::Lost(broker, epoch) => {
                if let Some(active) = &mut self.active {
                    active.controller.lost(now, broker, epoch);
                }
            }
            Message::DescribeQuorum(reply) => {
                let _ = reply.send(self.describe(now));
            }
            Message::Quorum(request, reply) => {
                let token = Token(self.next_token);
                self.next_token += 1;
                self.waiting.insert(token, reply);
                self.driver.request(now, token, request)?;
            }
            Message::Answered(id, result) => self.driver.answered(now, id, result)?,
            Message::AddPublisher(publisher, added) => {
                let sender = self.self_sender.clone();
                // The thread has ended: nobody misses it.
                let published = move |offset| drop(sender.send(Message::Published(offset)));
                self.loader.add_publisher(publisher, added, published).map_err(Fault::Thread)?;
            }
            Message::Published(offset) => {
                self.loader.published(offset);
                self.release();
            }
            Message::SnapshotWritten(id) => {
                self.snapshots.written(id);
                self.driver.snapshots_changed(now)?;
            }
            Message::Synced(outcome) => {
                if let Some(syncer) = &mut self.syncer {
                    syncer.is_idle = true;
                }
                self.driver.synced(now, outcome)?;
            }
            Message::HandOver(done) => {
                self.handing_over = Some(done);
                self.driver.shutdown(now)?;
            }
            Message::Stop(stopped) => return Ok(Some(stopped)),
        }
        Ok(None)
    }

    /// Does everything that the messages handled so far call for, until nothing is left to do.
    pub fn settle(&mut self, now: Millis) -> Result<(), Fault> {
        loop {
            self.send();
            if self.is_sync_due(now) {
                self.sync(now)?;
            }
            // Before whoever raised it is answered.
            let kraft_version = self.driver.raft().history().kraft_version();
            self.kraft_version.store(kraft_version, Ordering::Relaxed);
            self.deliver(now)?;
            self.follow_leadership(now)?;
            if self.syncer.is_some() || !self.is_sync_due(now) {
                break;
            }
        }
        // Also what rests on nothing new.
        self.release();
        self.send();
        if self.driver.raft().may_stop()
            && let Some(done) = self.handing_over.take()
        {
            let _ = done.send(());
        }
        Ok(())
    }

    fn is_sync_due(&self, now: Millis) -> bool {
        self.is_controller
            && self.driver.is_dirty()
            && self.unhurried_until().is_none_or(|until| now >= until)
    }

    /// Beside this thread, which goes on with what others ask; one sync at a time.
    fn sync(&mut self, now: Millis) -> Result<(), Fault> {
        match &mut self.syncer {
            None => self.driver.flush(now)?,
            Some(syncer) if syncer.is_idle => {
                if let Some(job) = self.driver.sync_job() {
                    syncer.start(job);
                }
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn unhurried_until(&self) -> Option<Millis> {
        let (_, end, until) = self.unhurried?;
        (end == self.driver.raft().end().offset).then_some(until)
    }

    /// Behind the last record that has an effect: what answers rest on.
    fn effective_end(&self) -> Offset {
        let end = self.driver.raft().end().offset;
        self.unhurried.filter(|(_, until, _)| *until == end).map_or(end, |(begin, ..)| begin)
    }

    fn send(&mut self) {
        for (token, reply) in self.driver.take_answers() {
            if let Some(waiting) = self.waiting.remove(&token) {
                // Whoever asked may have gone.
                let _ = waiting.send(reply);
            }
        }
        for outgoing in self.driver.take_requests() {
            (self.send_request)(outgoing);
        }
    }

    pub fn perform(&mut self, now: Millis, decision: Decision) -> Result<(), Fault> {
        let Decision { mut records, atomicity, kraft_version, release } = decision;
        if records.len() > RECORDS_PER_BATCH_MAX && atomicity == Atomicity::Atomic {
            release(Err(ControllerError::TooManyRecords));
            return Ok(());
        }
        while records.len() > RECORDS_PER_BATCH_MAX {
            let rest = records.split_off(RECORDS_PER_BATCH_MAX);
            self.append(now, std::mem::replace(&mut records, rest))?;
        }
        self.append(now, records)?;
        if let Some(version) = kraft_version {
            self.driver.set_kraft_version(now, version)?;
        }
        let end = self.driver.raft().end().offset;
        let rests_on = self.effective_end();
        match &mut self.active {
            Some(active) => {
                active.controller.advance(end);
                active.pending.push_back((rests_on, release));
            }
            None => release(Err(ControllerError::NotController)),
        }
        Ok(())
    }

    /// Appends the records as one batch and lets the controller see them at once.
    pub fn append(&mut self, now: Millis, records: Vec<MetadataRecord>) -> Result<(), Fault> {
        let Some(active) = self.active.as_mut().filter(|_| !records.is_empty()) else { return Ok(()) };
        let version = active.controller.image().metadata_version();
        let values = encode(version, &records)?;
        active.controller.replay(now, self.driver.raft().end().offset, &records)?;
        active.last_append = now;
        let is_no_op = records.iter().all(|record| matches!(record, MetadataRecord::NoOp(_)));
        let begin = self.effective_end();
        let until = match self.driver.is_dirty() {
            false => Some(now + NO_OP_SYNC_DELAY_MS),
            true => self.unhurried_until(),
        };
        if self.driver.append(now, records, &values)?.is_err() {
            self.deactivate();
        }
        let end = self.driver.raft().end().offset;
        self.unhurried = until.filter(|_| is_no_op).map(|until| (begin, end, until));
        Ok(())
    }

    fn tick(&mut self, now: Millis) -> Result<(), Fault> {
        while let Some(active) = &mut self.active {
            let records = active.due(now, &self.intervals);
            if records.is_empty() {
                break;
            }
            let (release, atomicity): (Release, _) = (Box::new(|_| ()), Atomicity::Splittable);
            self.perform(now, Decision { records, atomicity, kraft_version: None, release })?;
        }
        if self.snapshots.clean(now, &mut self.driver)? {
            self.driver.snapshots_changed(now)?;
        }
        Ok(())
    }

    pub fn next_deadline(&self) -> Millis {
        let active = self.active.as_ref().map_or(Millis::MAX, |active| active.deadline(&self.intervals));
        let is_waiting = self.driver.is_dirty() && self.syncer.as_ref().is_none_or(|syncer| syncer.is_idle);
        let sync = self.unhurried_until().filter(|_| is_waiting).unwrap_or(Millis::MAX);
        active.min(self.driver.deadline()).min(self.snapshots.next_clean()).min(sync)
    }

    /// Lets go the answers to what is committed and published.
    fn release(&mut self) {
        let high_watermark = self.driver.raft().high_watermark().unwrap_or(Offset::ZERO);
        if let Some(active) = &mut self.active {
            active.release(self.loader.published_end(high_watermark));
        }
    }

    /// Publishes what is committed, and releases what waited for it.
    fn deliver(&mut self, now: Millis) -> Result<(), Fault> {
        let Some(delivery) = self.driver.deliver() else { return Ok(()) };
        if let Some(snapshot) = delivery.snapshot {
            self.load_snapshot(snapshot.id.end, &snapshot.records);
            self.loader.load_snapshot(snapshot.id, snapshot.timestamp, &snapshot.records)?;
            self.snapshots.installed(snapshot.id, snapshot.timestamp);
        }
        for batch in &delivery.batches {
            self.snapshots.delivered(batch.size_bytes);
            for (record, offset) in batch.records.iter().zip(batch.base.0..) {
                self.note_registration(Offset(offset), record);
            }
        }
        self.loader.load(&delivery.batches)?;
        self.release();
        if let Some(last) = delivery.batches.last() {
            self.snapshot_if_due(now, last.end)?;
        }
        Ok(())
    }

    /// Takes note of a snapshot's records; it takes the place of everything before.
    pub fn load_snapshot(&mut self, end: Offset, records: &[MetadataRecord]) {
        self.registered_at.clear();
        for record in records {
            self.note_registration(Offset(end.0 - 1), record);
        }
    }

    fn note_registration(&mut self, offset: Offset, record: &MetadataRecord) {
        match record {
            MetadataRecord::RegisterBroker(record) => {
                self.registered_at.insert(NodeId(record.broker_id), offset);
            }
            MetadataRecord::UnregisterBroker(record) => {
                self.registered_at.remove(&NodeId(record.broker_id));
            }
            _ => {}
        }
    }

    /// Becomes the active controller, or ceases to be it, as the quorum has decided; tells who leads.
    fn follow_leadership(&mut self, now: Millis) -> Result<(), Fault> {
        let raft = self.driver.raft();
        let (epoch, leads) = (raft.epoch(), raft.is_leader());
        // Everything of earlier leaders is in the image as soon as something of this epoch is committed.
        let has_begun = leads && raft.high_watermark() > raft.epoch_start();
        if self.active.as_ref().is_some_and(|active| !leads || active.epoch != epoch) {
            self.deactivate();
        }
        if has_begun && self.active.is_none() {
            self.activate(now)?;
        }
        let raft = self.driver.raft();
        let address = raft.leader_endpoints().iter().find(|endpoint| endpoint.listener == self.listener);
        let leader = QuorumLeader {
            epoch,
            leader: raft.leader(),
            address: address.map(|endpoint| NodeAddress { host: endpoint.host.clone(), port: endpoint.port }),
            is_active: self.active.is_some(),
            is_cut_off: raft.is_cut_off(),
        };
        self.leader.send_if_modified(|known| {
            let changed = *known != leader;
            *known = leader;
            changed
        });
        Ok(())
    }

    fn activate(&mut self, now: Millis) -> Result<(), Fault> {
        let epoch = self.driver.raft().epoch();
        let end = self.driver.raft().end().offset;
        let image = self.loader.image();
        let open_transaction = self.loader.in_transaction();
        let seed = [self.seed[0], self.seed[1] ^ epoch.0 as u64];
        let image = (**image).clone();
        let active = Active::new(
            now,
            epoch,
            self.controller_config.clone(),
            image,
            end,
            self.registered_at.clone(),
            seed,
            &self.intervals,
        );
        let records = active.controller.activate(&self.bootstrap, open_transaction);
        tracing::info!(
            epoch = epoch.0,
            offset = end.0,
            "leading the metadata quorum as the active controller"
        );
        if open_transaction {
            // The controller's image is the one before the transaction; the end of it is for the loaders.
            let version = active.controller.image().metadata_version();
            let values = encode(version, &records)?;
            if self.driver.append(now, records, &values)?.is_ok() {
                self.active = Some(active);
            }
            return Ok(());
        }
        self.active = Some(active);
        self.append(now, records)
    }

    /// Waiting requests are refused; whoever sent them finds the new controller.
    fn deactivate(&mut self) {
        if let Some(active) = self.active.take() {
            tracing::info!(epoch = active.epoch.0, "no longer the active controller");
            active.abandon(ControllerError::NotController);
        }
    }

    /// Writes a snapshot on a thread of its own: the image does not change under it.
    fn snapshot_if_due(&mut self, now: Millis, end: Offset) -> Result<(), Fault> {
        let image = self.loader.image();
        let provenance = image.provenance;
        // In the middle of a metadata transaction the image is older than the log.
        if provenance.offset.0 + 1 != end.0 {
            return Ok(());
        }
        let epoch = LeaderEpoch(provenance.epoch);
        let Some(job) = self.snapshots.due(now, &self.driver, end, epoch, provenance.time) else {
            return Ok(());
        };
        let (image, sender) = (image.clone(), self.self_sender.clone());
        let write = Box::new(move |now| {
            let version = image.metadata_version();
            let records = image.write(&WriteOptions { metadata_version: version });
            let written = encode(version, &records)
                .map_err(crate::quorum::snapshot::SnapshotError::from)
                .and_then(|values| job.run(now, values.into_iter()));
            match &written {
                Ok(id) => tracing::info!(snapshot = id.file_name(), "wrote a snapshot of the metadata"),
                Err(error) => tracing::error!(%error, "cannot write a snapshot of the metadata"),
            }
            let _ = sender.send(Message::SnapshotWritten(written.ok()));
        });
        if let Err(error) = (self.run_aside)(write) {
            tracing::error!(%error, "cannot start a thread for a snapshot of the metadata");
            self.snapshots.written(None);
        }
        Ok(())
    }

    fn describe(&self, now: Millis) -> QuorumInfo {
        let raft = self.driver.raft();
        QuorumInfo {
            leader: raft.leader(),
            epoch: raft.epoch(),
            high_watermark: raft.high_watermark().unwrap_or(Offset::NONE),
            replicas: self.driver.replicas(now),
            voters: raft.voters().clone(),
            kraft_version: raft.history().kraft_version(),
        }
    }

    pub async fn close(&mut self, now: Millis) -> Result<(), QuorumError> {
        if let Some(active) = self.active.take() {
            active.abandon(ControllerError::Stopping);
        }
        self.loader.close().await;
        self.driver.close(now)
    }
}

/// Records as they stand in the metadata log at `version`.
fn encode(version: MetadataVersion, records: &[MetadataRecord]) -> Result<Vec<Bytes>, EncodeError> {
    records.iter().map(|record| record.encode(version.record_version(record))).collect()
}
