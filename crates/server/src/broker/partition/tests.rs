//! A partition on a disk that fails, or loses what was not synced.

use std::time::Duration;

use bytes::Bytes;
use ottla_commit_log::disk::{CrashImage, SimFault};
use ottla_commit_log::{Disposition, FileCache, LogConfig, LogContext, LogDir, SimDisk, TailBudget};
use ottla_model::PartitionEpoch;
use ottla_record::validate::{self, ValidBatch};
use ottla_record::{BatchBuilder, Compression, StampedBatch};
use tokio::sync::{Notify, oneshot};

use super::super::shard::ShardState;
use super::*;

fn built() -> Bytes {
    let mut builder = BatchBuilder::new(Compression::NONE);
    builder.append(Millis(1), None, Some(b"value"));
    builder.build()
}

fn batch() -> ValidBatch {
    let batch = validate::request_batch(&built(), 13).unwrap();
    validate::produce_batch(batch, &ProduceRules::default(), &name(), Millis(1)).unwrap()
}

/// A partition of `t` on a disk of its own, synced before anything counts, and where it lives.
async fn durable_partition(disk: &SimDisk) -> (Arc<Shard>, Slot) {
    let log = log_dir(disk).create_log(&name(), Uuid::ONE, LogConfig::default(), Millis(1)).unwrap();
    let shard = Shard::new();
    let owner = Arc::clone(&shard);
    let add = move |state: &mut ShardState| {
        let slot = state.add(|slot| {
            let context = Arc::new(ReplicaContext {
                node_id: NodeId(1),
                lag_ms_max: 30_000,
                high_watermark_news: HighWatermarkNews::WithNextFetch,
                isr_changes: IsrChanges::new(),
            });
            let (rules, place) = (ProduceRules::default(), (Uuid::ONE, Syncer::new()));
            Partition::new(log, Uuid::ONE, false, rules, (owner, slot), place, context)
        });
        state.partition(slot).unwrap().set_durability(Durability::Fsync);
        slot
    };
    let slot = shard.run(add).await;
    (shard, slot)
}

fn name() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn log_dir(disk: &SimDisk) -> LogDir {
    let context =
        LogContext { files: FileCache::new(Arc::new(disk.clone()), 16), tails: TailBudget::new(1 << 20) };
    LogDir::open(context, "/data").unwrap()
}

/// Where the log ends that is found after a power loss now.
fn end_after_power_loss(disk: &SimDisk) -> Offset {
    let choose = |_: &TopicPartition, _: Option<Uuid>| Disposition::Load(LogConfig::default());
    let after = disk.crash(CrashImage::LoseUnsynced);
    let loaded = log_dir(&after).load_all(1, &choose, Millis(2)).unwrap();
    loaded.logs.first().map_or(Offset::ZERO, Log::log_end_offset)
}

fn registration(leader: NodeId) -> Registration {
    Registration {
        replicas: vec![NodeId(1), leader],
        isr: vec![leader],
        leader,
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(0),
    }
}

fn append(partition: &mut Partition, acks: Acks, told: impl FnOnce(AppendOutcome) + Send + 'static) {
    let completion = Completion::Coordinator { epoch: LeaderEpoch(0), told: Box::new(told) };
    let append = StagedAppend { batch: batch(), acks, deadline: Millis::MAX, completion };
    partition.stage(append, Millis(1));
    partition.write_staged(Millis(1));
}

async fn in_time<T>(told: oneshot::Receiver<T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), told).await.expect("an answer").unwrap()
}

/// A failed write takes the log offline. Appends that were written before and wait for their sync must be
/// refused then: nothing will sync them, and a producer would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_that_wait_for_a_sync_are_refused_when_the_log_goes_offline() {
    let disk = SimDisk::new();
    let (shard, slot) = durable_partition(&disk).await;
    let (answer, answered) = oneshot::channel();
    shard
        .run(move |state| {
            let partition = state.partition(slot).unwrap();
            partition.apply(&registration(NodeId(1)), Millis(1));
            append(partition, Acks::All, |outcome| answer.send(outcome.error).unwrap());
            disk.inject(SimFault::FailWrite(0));
            append(partition, Acks::All, |outcome| assert_eq!(outcome.error, ErrorCode::KafkaStorageError));
        })
        .await;
    assert_eq!(in_time(answered).await, ErrorCode::KafkaStorageError);
}

/// What a leader shows as committed, even if nobody waits for it, a power loss does not take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_synced_on_the_leader() {
    let disk = SimDisk::new();
    let (shard, slot) = durable_partition(&disk).await;
    let committed = Arc::new(Notify::new());
    let wakes = Arc::clone(&committed);
    let handle = shard
        .run(move |state| {
            let partition = state.partition(slot).unwrap();
            partition.apply(&registration(NodeId(1)), Millis(1));
            partition.handle.waiters.register(&wakes);
            append(partition, Acks::None, |_| ());
            // The syncer needs the shard to go on.
            assert_eq!(partition.log.high_watermark(), Offset::ZERO);
            Arc::clone(&partition.handle)
        })
        .await;
    tokio::time::timeout(Duration::from_secs(10), committed.notified()).await.expect("committed");
    assert_eq!(handle.view().high_watermark(), Offset(1));
    assert_eq!(end_after_power_loss(&disk), Offset(1));
}

/// A follower's fetch tells its leader what it has: it is told so only of what a power loss does not take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_follower_has_counts_when_it_is_synced() {
    let disk = SimDisk::new();
    let (shard, slot) = durable_partition(&disk).await;
    let (told, synced) = oneshot::channel();
    let after = disk.clone();
    shard
        .run(move |state| {
            let partition = state.partition(slot).unwrap();
            partition.apply(&registration(NodeId(2)), Millis(1));
            let stamped = StampedBatch::restamp(Batch::parse(&built()).unwrap(), Offset(0), LeaderEpoch(0));
            let replicated = Replicated {
                epoch: LeaderEpoch(0),
                batches: vec![Batch::parse(&stamped.to_bytes()).unwrap()],
                high_watermark: Offset(0),
                log_start: Offset(0),
            };
            let log = partition.replicate(replicated, Millis(1)).unwrap();
            assert_eq!((log.end, log.counts), (Offset(1), false));
            assert_eq!(end_after_power_loss(&disk), Offset::ZERO);
            partition.tell_when_synced(Box::new(|end| told.send(end).unwrap()));
        })
        .await;
    assert_eq!(in_time(synced).await, Offset(1));
    assert_eq!(end_after_power_loss(&after), Offset(1));
    let log = shard.run(move |state| state.partition(slot).unwrap().look(LeaderEpoch(0)).unwrap()).await;
    assert!(log.counts);
}
