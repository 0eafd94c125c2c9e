//! Compaction: what stays and what goes, and that a crash in the middle does no harm.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_commit_log::disk::{CrashImage, SimDisk, SimFault};
use ottla_commit_log::{
    AppendOrigin, CleanStats, CleanerLimits, Disk, Log, LogConfig, LogDir, StorageError, SyncKind,
};
use ottla_model::{BrokerEpoch, Millis, Offset, ProducerEpoch, ProducerId};
use ottla_record::control::TransactionResult;
use ottla_record::{Batch, BatchBuilder, Codec, Compression};

use crate::support::*;

fn settings() -> LogConfig {
    LogConfig {
        segment_bytes: 1500,
        index_interval_bytes: 200,
        cleanup_compact: true,
        cleanup_delete: false,
        min_cleanable_dirty_ratio: 0.01,
        delete_retention_ms: 1000,
        ..config()
    }
}

fn keyed(key: &str, value: Option<&str>, codec: Codec) -> Batch {
    let mut builder = BatchBuilder::new(Compression::of(codec));
    builder.append(NOW, Some(key.as_bytes()), value.map(str::as_bytes));
    builder.append(NOW + 1, Some(b"every"), Some(key.as_bytes()));
    Batch::parse(&builder.build()).unwrap()
}

fn clean(
    dir: &LogDir,
    log: &mut Log,
    limits: CleanerLimits,
    now: Millis,
) -> Result<CleanStats, StorageError> {
    log.set_high_watermark(log.log_end_offset());
    let cleanable = log.cleanable(dir.cleaner_offset(log.partition()), now)?.unwrap();
    assert!(cleanable.is_due(log.config()), "{cleanable:?}");
    let outcome = log.clean_job(cleanable, limits, now).run(&mut |_| ())?;
    let (end, stats) = log.complete_clean(outcome, now)?.unwrap();
    assert!(end > cleanable.first_dirty && end <= cleanable.first_uncleanable);
    let partition = log.partition().clone();
    dir.set_cleaner_offset(&partition, end)?;
    Ok(stats)
}

/// Latest value and offset by key, tombstones included.
fn latest(batches: &[Batch]) -> BTreeMap<Bytes, (Offset, Option<Bytes>)> {
    let records =
        batches.iter().filter(|batch| !batch.header.is_control()).flat_map(|batch| batch.records().unwrap());
    records.map(|record| record.unwrap()).map(|r| (r.key.unwrap(), (r.offset, r.value))).collect()
}

fn keys(batches: &[Batch]) -> Vec<(i64, Bytes)> {
    let records = batches.iter().flat_map(|batch| batch.records().unwrap()).map(|record| record.unwrap());
    records.map(|record| (record.offset.0, record.key.unwrap_or_default())).collect()
}

#[test]
fn only_the_latest_of_each_key_stays() {
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
        let disk = SimDisk::new();
        let dir = open_dir(disk.clone(), DIR);
        let mut log = create(&dir, &settings());
        for n in 0..200 {
            append(
                &mut log,
                keyed(&format!("k{}", n % 7), Some(&format!("value {n} {}", "x".repeat(40))), codec),
            );
        }
        let before = read_all(&log.view(), Offset(0), 1000);
        let active_base = 400 - before.iter().rev().map(|b| b.header.record_count).take(2).sum::<i32>();
        let stats = clean(&dir, &mut log, CleanerLimits::default(), NOW).unwrap();
        assert!(
            stats.bytes_written < stats.bytes_read / 3 && stats.segments_after <= stats.segments_before,
            "{stats:?}"
        );
        let after = read_all(&log.view(), Offset(0), 1000);
        assert_eq!(latest(&after), latest(&before));
        // In the clean part each key is there once, but for what is in the active segment as well.
        let cleaned = dir.cleaner_offset(log.partition()).unwrap();
        let mut seen: Vec<_> =
            keys(&after).into_iter().filter(|(at, _)| *at < cleaned.0).map(|(_, key)| key).collect();
        seen.sort();
        let count = seen.len();
        seen.dedup();
        assert_eq!(count, seen.len());
        assert!(cleaned.0 <= i64::from(active_base));
        for batch in &after {
            let found = log.view().read(
                batch.header.last_offset(),
                log.log_end_offset(),
                1,
                ottla_commit_log::FirstBatch::Whole,
            );
            assert_eq!(found.unwrap().to_bytes().unwrap(), batch.bytes);
        }
        // A gap is skipped forward; nothing of it is lost after restarts of both kinds.
        let found =
            log.view().read(Offset(0), log.log_end_offset(), 1, ottla_commit_log::FirstBatch::Whole).unwrap();
        assert_eq!(found.base_offset, Some(after[0].header.base_offset));
        let crashed = open_dir(disk.crash(CrashImage::ProcessKilled), DIR);
        let loaded = load_dir(&crashed, &settings());
        assert_eq!(read_all(&loaded.logs[0].view(), Offset(0), 1000), after);
        log.close().unwrap();
        dir.close_clean(BrokerEpoch(0)).unwrap();
        let dir = open_dir(disk, DIR);
        let mut log = load_dir(&dir, &settings()).logs.pop().unwrap();
        assert_eq!(read_all(&log.view(), Offset(0), 1000), after);
        // The next round takes up where the last one ended.
        for n in 0..60 {
            append(&mut log, keyed(&format!("k{}", n % 3), Some("later"), codec));
        }
        let before = read_all(&log.view(), Offset(0), 1000);
        clean(&dir, &mut log, CleanerLimits::default(), NOW).unwrap();
        assert_eq!(latest(&read_all(&log.view(), Offset(0), 1000)), latest(&before));
    }
}

#[test]
fn tombstones_stay_until_their_horizon() {
    let dir = open_dir(SimDisk::new(), DIR);
    let mut log = create(&dir, &settings());
    let fill = |log: &mut Log| {
        (0..30).for_each(|n| _ = append(log, keyed(&format!("f{}", n % 3), Some("x"), Codec::None)))
    };
    append(&mut log, keyed("gone", Some("value"), Codec::None));
    append(&mut log, keyed("gone", None, Codec::None));
    fill(&mut log);
    let tombstones = |log: &Log| {
        let batches = read_all(&log.view(), Offset(0), 1000);
        latest(&batches).into_iter().filter(|(_, (_, value))| value.is_none()).count()
    };
    clean(&dir, &mut log, CleanerLimits::default(), NOW).unwrap();
    assert_eq!(tombstones(&log), 1);
    let batches = read_all(&log.view(), Offset(0), 1000);
    let batch = batches.iter().find(|batch| batch.header.delete_horizon().is_some()).unwrap();
    assert_eq!(batch.header.delete_horizon(), Some(NOW + 1000));
    let record = batch.records().unwrap().next().unwrap().unwrap();
    assert_eq!((record.timestamp, &record.key.unwrap()[..], record.value), (NOW, &b"gone"[..], None));
    fill(&mut log);
    clean(&dir, &mut log, CleanerLimits::default(), NOW + 999).unwrap();
    assert_eq!(tombstones(&log), 1);
    fill(&mut log);
    clean(&dir, &mut log, CleanerLimits::default(), NOW + 1000).unwrap();
    assert_eq!(tombstones(&log), 0);
    assert!(!latest(&read_all(&log.view(), Offset(0), 1000)).contains_key(&b"gone"[..]));
}

#[test]
fn aborted_data_goes_and_markers_follow() {
    let dir = open_dir(SimDisk::new(), DIR);
    let mut log = create(&dir, &settings());
    let markers = AppendOrigin::Marker { bumped_epoch: false };
    let fill = |log: &mut Log| {
        (0..30).for_each(|n| _ = append(log, keyed(&format!("f{}", n % 3), Some("x"), Codec::None)))
    };
    let txn = |log: &mut Log, sequence: i32, result| {
        append(log, producer_batch(7, 0, sequence, 2, true));
        stage(log, marker(7, 0, result), 0, markers);
        log.write_staged().unwrap();
    };
    txn(&mut log, 0, TransactionResult::Abort);
    txn(&mut log, 2, TransactionResult::Commit);
    // The producer goes on elsewhere in the log, so that it does not hold its batches here.
    append(&mut log, producer_batch(7, 0, 4, 1, false));
    fill(&mut log);
    let of_producer = |log: &Log| {
        let batches = read_all(&log.view(), Offset(0), 1000);
        let mine = batches.into_iter().filter(|batch| batch.header.producer_id == ProducerId(7));
        mine.map(|batch| (batch.header.base_offset.0, batch.header.record_count)).collect::<Vec<_>>()
    };
    assert_eq!(of_producer(&log), [(0, 2), (2, 1), (3, 2), (5, 1), (6, 1)]);
    clean(&dir, &mut log, CleanerLimits::default(), NOW).unwrap();
    // Aborted data is gone, its marker stays and is still in the index: consumers may have read before.
    assert_eq!(of_producer(&log), [(2, 1), (3, 1), (5, 1), (6, 1)]);
    let aborted = log.view().aborted_transactions(Offset(0), log.log_end_offset()).unwrap();
    assert_eq!(
        aborted.iter().map(|txn| (txn.first_offset.0, txn.last_offset.0)).collect::<Vec<_>>(),
        [(0, 2)]
    );
    fill(&mut log);
    clean(&dir, &mut log, CleanerLimits::default(), NOW).unwrap();
    assert_eq!(of_producer(&log)[0], (2, 1), "no data left: the marker gets its horizon");
    let first = read_all(&log.view(), Offset(0), 1000)
        .into_iter()
        .find(|b| b.header.base_offset == Offset(2))
        .unwrap();
    assert_eq!(first.header.delete_horizon(), Some(NOW + 1000));
    fill(&mut log);
    clean(&dir, &mut log, CleanerLimits::default(), NOW + 1000).unwrap();
    assert_eq!(of_producer(&log)[0], (3, 1));
}

#[test]
fn an_active_producers_last_batch_stays_even_empty() {
    let disk = SimDisk::new();
    let dir = open_dir(disk.clone(), DIR);
    let mut log = create(&dir, &settings());
    let mine = |sequence| {
        let mut builder = BatchBuilder::default().producer(ProducerId(3), ProducerEpoch(0), sequence);
        builder.append(NOW, Some(b"f0"), Some(b"mine"));
        Batch::parse(&builder.build()).unwrap()
    };
    append(&mut log, mine(0));
    append(&mut log, mine(1));
    for n in 0..40 {
        append(&mut log, keyed(&format!("f{}", n % 3), Some("x"), Codec::None));
    }
    clean(&dir, &mut log, CleanerLimits::default(), NOW).unwrap();
    let batches = read_all(&log.view(), Offset(0), 1000);
    let header = batches[0].header;
    assert_eq!((header.base_offset, header.record_count, header.size_bytes()), (Offset(1), 0, 61));
    assert_eq!((header.producer_id, header.last_sequence(), header.max_timestamp), (ProducerId(3), 1, NOW));
    // It is what a restart without snapshots finds.
    drop(log);
    dir.unlock().unwrap();
    for file in disk.list("/data/t-0".as_ref()).unwrap() {
        if file.name.ends_with(".snapshot") {
            disk.remove_file(&std::path::Path::new("/data/t-0").join(file.name)).unwrap();
        }
    }
    let mut log = load_dir(&dir, &settings()).logs.pop().unwrap();
    assert!(append(&mut log, mine(1)).duplicate);
    assert!(!append(&mut log, mine(2)).duplicate);
}

#[test]
fn what_does_not_fit_into_the_map_waits() {
    let dir = open_dir(SimDisk::new(), DIR);
    let mut log = create(&dir, &settings());
    for n in 0..300 {
        append(&mut log, keyed(&format!("k{}", n % 100), Some("x"), Codec::None));
    }
    let before = read_all(&log.view(), Offset(0), 1000);
    log.set_high_watermark(log.log_end_offset());
    let limits = CleanerLimits { map_bytes: 24 * 40, ..CleanerLimits::default() };
    let mut rounds = 0;
    while log.cleanable(dir.cleaner_offset(log.partition()), NOW).unwrap().unwrap().is_due(log.config())
        && rounds < 50
    {
        clean(&dir, &mut log, limits, NOW).unwrap();
        rounds += 1;
        assert_eq!(latest(&read_all(&log.view(), Offset(0), 1000)), latest(&before));
    }
    assert!(rounds > 3, "{rounds}");
}

#[test]
fn open_transactions_and_young_segments_are_left_alone() {
    let dir = open_dir(SimDisk::new(), DIR);
    let mut log = create(&dir, &settings());
    let put = |log: &mut Log| {
        (0..40).for_each(|n| _ = append(log, keyed(&format!("f{}", n % 3), Some("x"), Codec::None)))
    };
    put(&mut log);
    let open = append(&mut log, producer_batch(1, 0, 0, 1, true)).base_offset;
    put(&mut log);
    log.set_high_watermark(log.log_end_offset());
    let cleanable = log.cleanable(None, NOW).unwrap().unwrap();
    assert!(cleanable.first_uncleanable <= open && cleanable.first_uncleanable > Offset(0));
    log.set_config(LogConfig { min_compaction_lag_ms: 5000, ..settings() });
    assert!(!log.cleanable(None, NOW + 5000).unwrap().unwrap().is_due(log.config()));
    assert!(log.cleanable(None, NOW + 5002).unwrap().unwrap().is_due(log.config()));
    log.set_config(LogConfig { min_cleanable_dirty_ratio: 1.0, max_compaction_lag_ms: 60_000, ..settings() });
    assert!(!log.cleanable(None, NOW).unwrap().unwrap().is_due(log.config()));
    assert!(log.cleanable(None, NOW + 60_002).unwrap().unwrap().is_due(log.config()));
    assert!(log.cleanable(Some(Offset(1 << 40)), NOW).unwrap().unwrap().checkpoint_invalid);
}

#[test]
fn what_is_cut_off_and_written_again_is_dirty() {
    let dir = open_dir(SimDisk::new(), DIR);
    let mut log = create(&dir, &settings());
    let put = |log: &mut Log| {
        for n in 0..60 {
            append(log, keyed(&format!("k{}", n % 3), Some("x"), Codec::None));
        }
    };
    put(&mut log);
    clean(&dir, &mut log, CleanerLimits::default(), NOW).unwrap();
    assert!(dir.cleaner_offset(log.partition()).unwrap() > Offset(20));
    log.truncate_to(Offset(20), NOW).unwrap();
    assert_eq!(dir.cleaner_offset(log.partition()), Some(Offset(20)));
    put(&mut log);
    log.set_high_watermark(log.log_end_offset());
    let cleanable = log.cleanable(dir.cleaner_offset(log.partition()), NOW).unwrap().unwrap();
    assert_eq!((cleanable.first_dirty, cleanable.checkpoint_invalid), (Offset(20), false));
}

#[test]
fn a_log_that_was_cut_meanwhile_stays_as_it_is() {
    let dir = open_dir(SimDisk::new(), DIR);
    let mut log = create(&dir, &settings());
    for n in 0..60 {
        append(&mut log, keyed(&format!("k{}", n % 3), Some("x"), Codec::None));
    }
    log.set_high_watermark(log.log_end_offset());
    let cleanable = log.cleanable(None, NOW).unwrap().unwrap();
    let outcome = log.clean_job(cleanable, CleanerLimits::default(), NOW).run(&mut |_| ()).unwrap();
    log.truncate_to(Offset(20), NOW).unwrap();
    let left = read_all(&log.view(), Offset(0), 1000);
    assert_eq!(log.complete_clean(outcome, NOW).unwrap(), None);
    assert_eq!(read_all(&log.view(), Offset(0), 1000), left);
}

#[test]
fn a_crash_while_cleaning_loses_no_key() {
    let run = |disk: &SimDisk, expected: &mut Option<Vec<Batch>>| -> Result<(), StorageError> {
        let Ok(dir) = LogDir::open(context(disk.clone()), DIR) else { return Err(StorageError::Offline) };
        let mut log = dir.create_log(&tp(), ottla_model::Uuid::from_u128(1 << 80), settings(), NOW)?;
        for n in 0..60 {
            let batch = keyed(&format!("k{}", n % 5), (n % 4 != 3).then_some("some value"), Codec::None);
            stage(&mut log, batch, 0, CLIENT);
            log.write_staged()?;
        }
        if let Some(job) = log.sync_job(SyncKind::Checkpoint) {
            let outcome = job.run();
            log.complete_sync(outcome)?;
        }
        dir.checkpoint_recovery_points()?;
        log.set_high_watermark(log.log_end_offset());
        dir.checkpoint_high_watermarks()?;
        *expected = Some(read_all(&log.view(), Offset(0), 1000));
        clean(&dir, &mut log, CleanerLimits::default(), NOW)?;
        if let Some(job) = log.sync_job(SyncKind::Checkpoint) {
            let outcome = job.run();
            log.complete_sync(outcome)?;
        }
        if let Some(job) = log.delete_job(NOW + 100_000) {
            job.run()?;
        }
        Ok(())
    };
    let whole = SimDisk::new();
    let mut expected = None;
    run(&whole, &mut expected).unwrap();
    let expected = latest(&expected.unwrap());
    for stop_at in 0..=whole.operations() {
        let disk = SimDisk::new();
        disk.inject(SimFault::StopAt(stop_at));
        let mut complete = None;
        let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&disk, &mut complete)));
        if complete.is_none() || stopped.is_err() {
            continue; // Before the cleaning: the other crash tests are about that.
        }
        let images = [CrashImage::ProcessKilled, CrashImage::LoseUnsynced].into_iter();
        for image in images.chain((0..4).map(|seed| CrashImage::Torn(seed * 31 + stop_at))) {
            let dir = open_dir(disk.crash(image), DIR);
            let log = load_dir(&dir, &settings()).logs.pop().unwrap();
            let found = latest(&read_all(&log.view(), Offset(0), 1000));
            assert_eq!(found, expected, "stopped at {stop_at}, {image:?}");
        }
    }
}

/// An uncompressed message of format 1, as brokers before 0.11 wrote it.
fn legacy_message(offset: i64, key: &[u8], value: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![1u8, 0];
    body.extend_from_slice(&(NOW.0 + offset).to_be_bytes());
    body.extend_from_slice(&(key.len() as u32).to_be_bytes());
    body.extend_from_slice(key);
    body.extend_from_slice(&value.map_or(-1, |value| value.len() as i32).to_be_bytes());
    body.extend_from_slice(value.unwrap_or_default());
    let mut message = offset.to_be_bytes().to_vec();
    message.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    message.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
    message.extend_from_slice(&body);
    message
}

#[test]
fn segments_of_older_formats_are_read_and_compacted() {
    let disk = SimDisk::new();
    let dir = open_dir(disk.clone(), DIR);
    let mut log = create(&dir, &settings());
    log.close().unwrap();
    drop(log);
    dir.unlock().unwrap();
    let mut bytes = Vec::new();
    for offset in 0..30 {
        bytes.extend(legacy_message(offset, format!("k{}", offset % 4).as_bytes(), Some(b"old")));
    }
    let path = "/data/t-0/00000000000000000000.log";
    let file = disk.open(path.as_ref(), ottla_commit_log::OpenMode::ReadWrite).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    let dir = open_dir(disk.clone(), DIR);
    let mut log = load_dir(&dir, &settings()).logs.pop().unwrap();
    assert_eq!(log.log_end_offset(), Offset(30));
    let size = bytes.len() / 30;
    let read = |log: &Log, offset| {
        let view = log.view();
        view.read(Offset(offset), view.log_end_offset(), 1, ottla_commit_log::FirstBatch::Whole).unwrap()
    };
    assert_eq!(read(&log, 7).to_bytes().unwrap(), bytes[7 * size..8 * size]);
    let found = log.view().offset_for_timestamp(NOW + 17).unwrap();
    assert_eq!(found, Some((NOW + 17, Offset(17))));
    for n in 0..30 {
        append(&mut log, keyed(&format!("k{}", n % 3), Some("new"), Codec::None));
    }
    clean(&dir, &mut log, CleanerLimits::default(), NOW).unwrap();
    // Of the old messages only the last of the key that was not written again is left.
    assert_eq!(read(&log, 0).to_bytes().unwrap(), bytes[27 * size..28 * size]);
    assert!(read(&log, 28).base_offset >= Some(Offset(30)));
    // A damaged one ends the log like any other batch.
    bytes[5 * size + 30] ^= 1;
    let disk = SimDisk::new();
    let dir = open_dir(disk.clone(), DIR);
    drop(create(&dir, &settings()));
    dir.unlock().unwrap();
    disk.open(path.as_ref(), ottla_commit_log::OpenMode::ReadWrite).unwrap().write_all_at(&bytes, 0).unwrap();
    let dir = open_dir(disk, DIR);
    assert_eq!(load_dir(&dir, &settings()).logs[0].log_end_offset(), Offset(5));
}
