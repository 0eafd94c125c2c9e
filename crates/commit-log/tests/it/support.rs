//! A log directory on some disk, and batches for it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla_commit_log::{
    AppendOrigin, Disk, Disposition, FileCache, FirstBatch, LoadedDir, Log, LogConfig, LogContext, LogDir,
    LogView, Staged, TailBudget,
};
use ottla_model::{LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId, TopicPartition, Uuid};
use ottla_record::control::{EndTxnMarker, TransactionResult};
use ottla_record::{Batch, BatchBuilder, Batches, ValidBatch};

pub const DIR: &str = "/data";
pub const NOW: Millis = Millis(1_700_000_000_000);
pub const CLIENT: AppendOrigin = AppendOrigin::Client { verification: None };

pub fn context(disk: impl Disk + 'static) -> LogContext {
    LogContext { files: FileCache::new(Arc::new(disk), 100), tails: TailBudget::new(64 << 20) }
}

pub fn open_dir(disk: impl Disk + 'static, path: impl AsRef<Path>) -> LogDir {
    LogDir::open(context(disk), path.as_ref()).unwrap()
}

pub fn load_dir(dir: &LogDir, config: &LogConfig) -> LoadedDir {
    dir.load_all(2, &|_, _| Disposition::Load(config.clone()), NOW).unwrap()
}

pub fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

pub fn config() -> LogConfig {
    LogConfig { transaction_verification: false, ..LogConfig::default() }
}

pub fn create(dir: &LogDir, config: &LogConfig) -> Log {
    dir.create_log(&tp(), Uuid::from_u128(1 << 80), config.clone(), NOW).unwrap()
}

/// A batch of `count` records whose values are `size` bytes.
pub fn batch(count: i32, size: usize, timestamp: i64) -> Batch {
    let mut builder = BatchBuilder::default();
    for n in 0..count {
        builder.append(Millis(timestamp), Some(format!("k{n}").as_bytes()), Some(&vec![b'v'; size]));
    }
    Batch::parse(&builder.build()).unwrap()
}

pub fn producer_batch(pid: i64, epoch: i16, sequence: i32, count: i32, transactional: bool) -> Batch {
    let mut builder = BatchBuilder::default().producer(ProducerId(pid), ProducerEpoch(epoch), sequence);
    if transactional {
        builder = builder.transactional();
    }
    for n in 0..count {
        builder.append(NOW, Some(format!("p{pid}-{n}").as_bytes()), Some(b"value"));
    }
    Batch::parse(&builder.build()).unwrap()
}

pub fn marker(pid: i64, epoch: i16, result: TransactionResult) -> Batch {
    let marker = EndTxnMarker { result, coordinator_epoch: 0 };
    Batch::parse(&marker.to_batch(ProducerId(pid), ProducerEpoch(epoch), NOW)).unwrap()
}

pub fn stage(log: &mut Log, batch: Batch, epoch: i32, origin: AppendOrigin) -> Staged {
    log.stage(ValidBatch::trusted(batch), LeaderEpoch(epoch), origin, NOW).unwrap()
}

/// Stages and writes one batch in epoch 0.
pub fn append(log: &mut Log, batch: Batch) -> Staged {
    let staged = stage(log, batch, 0, CLIENT);
    log.write_staged().unwrap();
    staged
}

/// Everything from `from` to the log end, read as a follower does: batch by batch of `max_bytes`.
pub fn read_all(view: &LogView, from: Offset, max_bytes: usize) -> Vec<Batch> {
    let mut all = Vec::new();
    let mut at = from;
    loop {
        let plan = view.read(at, view.log_end_offset(), max_bytes, FirstBatch::Whole).unwrap();
        let bytes: Bytes = plan.to_bytes().unwrap();
        assert_eq!(bytes.len(), plan.size_bytes);
        let batches: Vec<Batch> = Batches::new(bytes).map(|batch| batch.unwrap()).collect();
        let Some(last) = batches.last() else { return all };
        assert_eq!(plan.base_offset, Some(batches[0].header.base_offset));
        assert!(last.header.next_offset() <= plan.upper_bound);
        at = last.header.next_offset();
        for batch in batches {
            batch.verify_crc().unwrap();
            all.push(batch);
        }
    }
}

pub fn offsets(batches: &[Batch]) -> Vec<(i64, i64)> {
    batches.iter().map(|batch| (batch.header.base_offset.0, batch.header.last_offset().0)).collect()
}
