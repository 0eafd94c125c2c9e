//! The producer: records into batches, batches to the leaders of their partitions, receipts back.
//!
//! `send` encodes a record straight into its partition's batch under a lock that nobody holds for long; no task is
//! woken and nothing allocated for a record. One task on the client's thread, the sender, takes batches that are full
//! or have lingered, gives them their sequence numbers (`state::window`) and sends them.

mod batch;
mod callback;
mod memory;
mod receipt;
mod request;
mod sender;
mod settings;
mod topics;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ottla_model::Millis;
use ottla_record::{Codec, HEADER_BYTES};
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use self::receipt::Receipt;
use self::settings::ProducerSettings;
use crate::client::{Client, random};
use crate::config::ClientConfig;
use crate::error::{Error, Result};
use crate::record::{Record, RecordMetadata};
use crate::state::accumulator::{Append, OpenBatch, Place};
use crate::state::delivery::Decider;
use crate::state::outstanding::Outstanding;
use crate::state::partitioner::NamedPartitioner;

pub use crate::state::partitioner::{Choice, Partitioner};
use memory::Memory;
use topics::{Partition, Topic, Topics};

/// The most that a record takes beside key, value and headers.
const RECORD_OVERHEAD_BYTES: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
const HEADER_OVERHEAD_BYTES: usize = 5 + 5;

/// Sends records. Clones are handles of the same producer.
///
/// Dropping the last handle gives up what is not delivered yet: [`Self::flush`] or [`Self::close`] first.
///
/// ```no_run
/// use ottla_client::{ClientConfig, Producer, Record};
///
/// # async fn example() -> ottla_client::Result<()> {
/// let producer = Producer::new(&ClientConfig::new("localhost:9092"))?;
/// let receipt = producer.send(Record::to("orders").key("customer-7").value("two apples")).await?;
/// println!("at offset {}", receipt.await?.offset);
/// producer.close(std::time::Duration::from_secs(10)).await
/// # }
/// ```
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    owner: Arc<Owner>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("client", &self.owner.client).finish_non_exhaustive()
    }
}

/// Ends the sender with the last handle.
struct Owner {
    client: Client,
    owns_client: bool,
    shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.stop();
        if self.owns_client {
            self.client.close();
        }
    }
}

/// What callers and the sender share.
pub(crate) struct Shared {
    settings: ProducerSettings,
    partitioner: Box<dyn Partitioner>,
    memory: Arc<Memory>,
    topics: Topics,
    outstanding: Mutex<Outstanding>,
    drained: Notify,
    /// The first failure that nobody was told of by a flush.
    failure: Mutex<Option<Error>>,
    /// Partitions that the sender does not know to have something.
    listed: Mutex<Vec<Arc<Partition>>>,
    wake: Notify,
    /// The sender looks again at this time, or at once if it was woken (0).
    wakes_at_ms: AtomicU64,
    closed: AtomicBool,
    epoch: Instant,
}

/// Why a record was not taken at once.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrySendError {
    /// [`Producer::send`] would wait: for room, or to learn the topic's partitions.
    #[error("sending would wait: {0}")]
    WouldWait(Error),
    /// The record is not taken, and would not be later either, as [`Producer::send`] would say.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Producer {
    /// A producer with a client of its own. Connections are made when there is something to send.
    pub fn new(config: &ClientConfig) -> Result<Self> {
        Self::start(Client::new(config)?, config, None, true)
    }

    /// A producer whose partitions are chosen by `partitioner`.
    pub fn with_partitioner(config: &ClientConfig, partitioner: impl Partitioner + 'static) -> Result<Self> {
        Self::start(Client::new(config)?, config, Some(Box::new(partitioner)), true)
    }

    /// A producer that shares connections and metadata.
    pub fn with_client(client: Client, config: &ClientConfig) -> Result<Self> {
        Self::start(client, config, None, false)
    }

    fn start(
        client: Client,
        config: &ClientConfig,
        partitioner: Option<Box<dyn Partitioner>>,
        owns_client: bool,
    ) -> Result<Self> {
        client.check_brokers()?;
        let settings = ProducerSettings::new(config)?;
        let seed = (random() * 1e9) as usize;
        let named = NamedPartitioner::from_name(&settings.partitioner, settings.ignore_keys, seed);
        let named = named.map(|named| -> Box<dyn Partitioner> { Box::new(named) });
        let partitioner = partitioner.or(named).ok_or_else(|| Error::invalid("no such partitioner"))?;
        client.set_auto_create(true);
        let shared = Arc::new(Shared {
            memory: Memory::new(settings.buffer_bytes, settings.batch_bytes),
            partitioner,
            topics: Topics::new(seed as u64),
            outstanding: Mutex::default(),
            drained: Notify::new(),
            failure: Mutex::default(),
            listed: Mutex::default(),
            wake: Notify::new(),
            wakes_at_ms: AtomicU64::new(u64::MAX),
            closed: AtomicBool::new(false),
            epoch: Instant::now(),
            settings,
        });
        sender::spawn(Arc::clone(&shared), &client);
        let owner = Owner { client, owns_client, shared: Arc::clone(&shared) };
        Ok(Self { shared, owner: Arc::new(owner) })
    }

    /// Takes a record, waiting at most `max.block.ms` for room and for the topic's metadata.
    ///
    /// Errors: [`Error::RecordTooLarge`], [`Error::TimedOut`] with the reason of the wait, [`Error::Closed`]; what
    /// happens to the record later is the receipt's.
    pub async fn send(&self, record: Record<'_>) -> Result<Receipt> {
        match self.try_send(record) {
            Ok(receipt) => Ok(receipt),
            Err(TrySendError::Failed(error)) => Err(error),
            Err(TrySendError::WouldWait(_)) => self.send_waiting(record).await,
        }
    }

    /// As [`Self::send`]; what becomes of the record is told to `done`, exactly once, on the client's thread. It must
    /// not block; a panic there ends nothing but itself. A record that was not taken is this call's error instead.
    ///
    /// A flush may come back before the last of these calls. It costs a task per record, which a receipt does not.
    pub async fn send_with(
        &self,
        record: Record<'_>,
        done: impl FnOnce(Result<RecordMetadata>) + Send + 'static,
    ) -> Result<()> {
        let receipt = self.send(record).await?;
        self.owner.client.spawn(callback::tell(receipt, done));
        Ok(())
    }

    #[cold]
    async fn send_waiting(&self, record: Record<'_>) -> Result<Receipt> {
        let shared = &self.shared;
        let mut last = None;
        let attempts = async {
            loop {
                match self.try_send(record) {
                    Ok(receipt) => return Ok(receipt),
                    Err(TrySendError::Failed(error)) => return Err(error),
                    Err(TrySendError::WouldWait(error @ Error::BufferFull { .. })) => {
                        last = Some(error);
                        if let Some(receipt) = self.send_when_released(record).await? {
                            return Ok(receipt);
                        }
                    }
                    Err(TrySendError::WouldWait(error)) => {
                        last.get_or_insert(error);
                        last = self.learn(record.topic).await?.or(last.take());
                    }
                }
            }
        };
        match self.owner.client.timeout(shared.settings.max_block, attempts).await {
            Some(result) => result,
            None if shared.is_closed() => Err(Error::Closed),
            None => {
                let last = self.owner.client.metadata_failure().or(last);
                let last = last.map(|last| last.to_string().into());
                let what = format!("sending to {}", record.topic).into();
                Err(Error::TimedOut { what, after: shared.settings.max_block, last })
            }
        }
    }

    /// Tries once more, and if there still is no room waits until some is released.
    async fn send_when_released(&self, record: Record<'_>) -> Result<Option<Receipt>> {
        let wait = self.shared.memory.wait();
        let mut released = std::pin::pin!(wait.released());
        // Registered before the attempt, so that a release in between is not missed.
        released.as_mut().enable();
        match self.try_send(record) {
            Ok(receipt) => return Ok(Some(receipt)),
            Err(TrySendError::Failed(error)) => return Err(error),
            Err(TrySendError::WouldWait(_)) => {}
        }
        self.shared.wake_now();
        released.await;
        Ok(None)
    }

    /// Waits for metadata of a topic that was not known: why it cannot be used yet, if the cluster says so.
    async fn learn(&self, topic: &str) -> Result<Option<Error>> {
        let client = &self.owner.client;
        client.want_topics([Arc::from(topic)]);
        let known = || client.metadata().topic(topic).cloned();
        if known().is_none_or(|topic| topic.partitions.is_empty()) {
            let metadata = client.updated_metadata_within(self.shared.settings.max_block).await?;
            if let Some(code) = metadata.topic(topic).and_then(|topic| topic.error) {
                let error = Error::broker(code, Some(topic));
                return if code.is_retriable() { Ok(Some(error)) } else { Err(error) };
            }
        }
        if let Some(topic) = known().filter(|topic| !topic.partitions.is_empty()) {
            self.shared.topics.update(&topic);
        }
        Ok(None)
    }

    /// Takes a record if that needs no waiting.
    pub fn try_send(&self, record: Record<'_>) -> Result<Receipt, TrySendError> {
        let mut receipt = None;
        self.shared.append(&record, |batch, index| {
            receipt = Some(Receipt { delivery: Arc::clone(batch.decider.delivery()), index });
        })?;
        receipt.ok_or(TrySendError::Failed(Error::Closed))
    }

    /// As [`Self::try_send`] without a receipt, which costs nothing then: failures show in [`Self::flush`].
    pub fn post(&self, record: Record<'_>) -> Result<(), TrySendError> {
        self.shared.append(&record, |_, _| {})
    }

    /// Sends what waits and waits until all that was taken before this call is decided.
    ///
    /// Errors: the first failure of a batch since the last flush.
    pub async fn flush(&self) -> Result<()> {
        let shared = &self.shared;
        let flushed = shared.outstanding.lock().flush();
        shared.wake_now();
        loop {
            let drained = shared.drained.notified();
            let mut drained = std::pin::pin!(drained);
            drained.as_mut().enable();
            if shared.outstanding.lock().is_drained(flushed) {
                break;
            }
            if self.owner.client.is_closed() {
                return Err(Error::Closed);
            }
            drained.await;
        }
        shared.failure.lock().take().map_or(Ok(()), Err)
    }

    /// Takes no more records, flushes for at most `timeout`, and ends.
    ///
    /// Errors: those of [`Self::flush`]; [`Error::TimedOut`] when records were given up.
    pub async fn close(&self, timeout: Duration) -> Result<()> {
        self.shared.closed.store(true, Ordering::Release);
        let flushed = self.owner.client.timeout(timeout, self.flush()).await;
        self.shared.stop();
        if self.owner.owns_client {
            self.owner.client.close();
        }
        flushed.unwrap_or_else(|| {
            Err(Error::TimedOut { what: "closing the producer".into(), after: timeout, last: None })
        })
    }

    /// The network handle, to be shared with others.
    pub fn client(&self) -> &Client {
        &self.owner.client
    }
}

impl Shared {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends the sender.
    fn stop(&self) {
        self.closed.store(true, Ordering::Release);
        self.outstanding.lock().stop();
        self.drained.notify_waiters();
        self.wake_now();
    }

    fn now_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    fn append(
        &self,
        record: &Record<'_>,
        done: impl FnOnce(&OpenBatch<memory::Buffer>, u32),
    ) -> Result<(), TrySendError> {
        if self.is_closed() {
            return Err(Error::Closed.into());
        }
        let topics = self.topics.load();
        let Some(topic) = topics.get(record.topic) else {
            return Err(TrySendError::WouldWait(Error::invalid("the topic's metadata is not known yet")));
        };
        let bytes = record_bytes(record);
        self.check_size(bytes)?;
        let (index, sticky) = self.choose(topic, record)?;
        let partition = &topic.partitions[index];
        let timestamp = record.timestamp.unwrap_or_else(wall_clock);
        let mut queue = partition.queue.lock();
        // Looked at again under the lock: whoever ends the producer gives up what is in the queues.
        if self.is_closed() {
            return Err(Error::Closed.into());
        }
        match queue.append(record, timestamp, bytes) {
            Append::Done(index) => {
                if let Some(open) = queue.open() {
                    done(open, index);
                }
                drop(queue);
            }
            Append::NeedsBatch => {
                let is_full = queue.has_full();
                let lent = if self.settings.compression.codec == Codec::None { None } else { queue.lend() };
                let Some(batch) = self.new_batch(topic, index, timestamp, bytes) else {
                    drop(queue);
                    if let Some((place, batch)) = lent {
                        self.compress_lent(partition, place, batch);
                    }
                    if is_full {
                        self.list(partition);
                    }
                    return Err(TrySendError::WouldWait(Error::BufferFull {
                        bytes_max: self.memory.bytes_max(),
                    }));
                };
                let due = batch.created_ms + self.settings.linger.as_millis() as u64;
                queue.open_with(batch, record, timestamp);
                if let Some(open) = queue.open() {
                    done(open, 0);
                }
                let listed = std::mem::replace(&mut queue.listed, true);
                drop(queue);
                if !listed {
                    self.listed.lock().push(Arc::clone(partition));
                }
                let can_be_sent = match lent {
                    Some((place, batch)) => self.compress_lent(partition, place, batch),
                    None => is_full,
                };
                // Woken for a batch, not for a record: for a full one, or earlier than the sender would look.
                if can_be_sent || self.wakes_at_ms.load(Ordering::Acquire) > due {
                    self.wake_now();
                }
                if sticky && is_full {
                    topic.sticky.turn(topic, self.settings.adaptive);
                }
            }
        }
        Ok(())
    }

    /// Compresses a full batch on the thread that filled it, while the sender does the same with those before it. Tells
    /// whether the batch is the next one to be sent.
    fn compress_lent(&self, partition: &Partition, place: Place, batch: OpenBatch<memory::Buffer>) -> bool {
        let batch = self.compress(partition, batch);
        partition.queue.lock().give_back(place, batch)
    }

    /// Compresses a batch, if nobody has done it yet.
    fn compress(&self, partition: &Partition, batch: OpenBatch<memory::Buffer>) -> OpenBatch<memory::Buffer> {
        let compression = self.settings.compression;
        if batch.codec == compression.codec {
            return batch;
        }
        let len = batch.buffer.as_ref().len();
        let batch = batch::compress(batch, compression, &self.memory);
        partition.shrinkage.learn(len, HEADER_BYTES + batch.buffer.as_ref().len());
        batch
    }

    fn list(&self, partition: &Arc<Partition>) {
        if !std::mem::replace(&mut partition.queue.lock().listed, true) {
            self.listed.lock().push(Arc::clone(partition));
        }
        self.wake_now();
    }

    fn wake_now(&self) {
        // Once is enough until the sender has looked.
        if self.wakes_at_ms.swap(0, Ordering::AcqRel) != 0 {
            self.wake.notify_one();
        }
    }

    fn check_size(&self, bytes: usize) -> Result<()> {
        let too_large = |limit, setting| Err(Error::RecordTooLarge { bytes, limit, setting });
        if bytes + HEADER_BYTES > self.settings.request_bytes_max {
            return too_large(self.settings.request_bytes_max, "max.request.size");
        }
        if bytes > self.settings.buffer_bytes {
            return too_large(self.settings.buffer_bytes, "buffer.memory");
        }
        Ok(())
    }

    /// The partition's index, and whether it is the sticky one.
    fn choose(&self, topic: &Topic, record: &Record<'_>) -> Result<(usize, bool)> {
        let count = topic.partitions.len();
        let choice = match record.partition {
            Some(partition) => Choice::Partition(usize::try_from(partition).unwrap_or(usize::MAX)),
            None => self.partitioner.choose(record.topic, record.key, record.value, count),
        };
        match choice {
            Choice::Sticky => Ok((topic.sticky.partition(count), true)),
            Choice::Partition(index) if index < count => Ok((index, false)),
            Choice::Partition(_) => {
                Err(Error::invalid(format!("{} has {count} partitions, no such one was meant", record.topic)))
            }
        }
    }

    fn new_batch(
        &self,
        topic: &Topic,
        index: usize,
        timestamp: Millis,
        bytes: usize,
    ) -> Option<OpenBatch<memory::Buffer>> {
        // What compresses well may be longer before: the batch is meant to be of its size when it is sent.
        let limit = topic.shrinkage.plain_bytes(self.settings.batch_bytes);
        let buffer = self.memory.take(bytes.max(limit)).or_else(|| self.memory.take(bytes))?;
        let flush_epoch = self.outstanding.lock().begin();
        let decider = Decider::new(Arc::clone(&topic.name), index as i32);
        let limit = limit.saturating_sub(HEADER_BYTES);
        Some(OpenBatch::new(buffer, timestamp, self.now_ms(), flush_epoch, decider, limit))
    }
}

/// The most that a record takes in a batch.
fn record_bytes(record: &Record<'_>) -> usize {
    let headers = record
        .headers
        .iter()
        .map(|header| HEADER_OVERHEAD_BYTES + header.key.len() + header.value.map_or(0, <[u8]>::len));
    RECORD_OVERHEAD_BYTES
        + record.key.map_or(0, <[u8]>::len)
        + record.value.map_or(0, <[u8]>::len)
        + headers.sum::<usize>()
}

fn wall_clock() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Millis(since.map_or(0, |since| since.as_millis() as i64))
}
