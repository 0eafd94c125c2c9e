//! Crash images: a workload is stopped at every operation that changes the disk; whatever could be on the disk then is
//! opened again. Everything acknowledged under the policy must be there, nothing may be served that was not written,
//! and the log must go on.

use ottla_commit_log::disk::{CrashImage, SimDisk, SimFault};
use ottla_commit_log::{AppendOrigin, Log, LogConfig, StorageError, SyncKind};
use ottla_model::{LeaderEpoch, Millis, Offset, ProducerId};
use ottla_record::control::TransactionResult;
use ottla_record::{Batch, ValidBatch};

use crate::support::*;

fn settings() -> LogConfig {
    LogConfig { segment_bytes: 1500, index_interval_bytes: 150, retention_ms: -1, ..config() }
}

/// What the workload knows when it is stopped.
#[derive(Default)]
struct Ledger {
    /// Every batch ever given to the log, in the order of offsets, cut where the log was cut.
    written: Vec<Batch>,
    /// Batches of earlier lives of an offset that were cut off since the last sync: they may come back.
    cut: Vec<Batch>,
    /// Everything below was acknowledged as durable.
    synced: Offset,
    log_start: Offset,
    created: bool,
}

fn run(disk: &SimDisk, ledger: &mut Ledger) -> Result<(), StorageError> {
    let Ok(dir) = ottla_commit_log::LogDir::open(context(disk.clone()), DIR) else {
        return Err(StorageError::Offline);
    };
    let mut log = dir.create_log(&tp(), ottla_model::Uuid::from_u128(1 << 80), settings(), NOW)?;
    sync(&mut log, SyncKind::Commit, ledger)?;
    ledger.created = true;
    let mut sequence = 0;
    for round in 0..14 {
        log.become_leader(LeaderEpoch(round / 4));
        for n in 0..3 {
            let (batch, origin) = match (round + n) % 5 {
                4 => (marker(1, 0, TransactionResult::Abort), AppendOrigin::Marker { bumped_epoch: false }),
                0 | 1 => (batch(1 + n, 60, NOW.0 + i64::from(round)), CLIENT),
                _ => {
                    sequence += 1;
                    (producer_batch(1, 0, sequence - 1, 1, true), CLIENT)
                }
            };
            stage(&mut log, batch, round / 4, origin, ledger)?;
        }
        log.write_staged()?;
        log.set_high_watermark(log.log_end_offset());
        match round {
            1 | 3 | 5 | 9 => sync(&mut log, SyncKind::Commit, ledger)?,
            2 | 7 | 12 => {
                sync(&mut log, SyncKind::Checkpoint, ledger)?;
                dir.checkpoint_recovery_points()?;
                dir.checkpoint_high_watermarks()?;
            }
            8 => {
                // A follower gives up a part of what was acknowledged here; from then on it is not promised any more.
                let offset = read_all(&log.view(), Offset(0), 4000)[15].header.base_offset;
                ledger.cut.extend(ledger.written.iter().filter(|b| b.header.base_offset >= offset).cloned());
                ledger.written.retain(|batch| batch.header.base_offset < offset);
                ledger.synced = ledger.synced.min(offset);
                log.truncate_to(offset, NOW)?;
                sequence = log.producers().get(ProducerId(1)).map_or(0, |state| state.last_sequence() + 1);
            }
            10 => {
                log.set_config(LogConfig { retention_bytes: 2500, ..settings() });
                ledger.log_start = Offset(i64::MAX);
                log.apply_retention(NOW)?;
                ledger.log_start = log.log_start_offset();
                dir.checkpoint_log_starts()?;
                if let Some(job) = log.delete_job(NOW + 100_000) {
                    job.run()?;
                }
            }
            _ => {}
        }
    }
    log.close()?;
    ledger.synced = log.log_end_offset();
    dir.close_clean(ottla_model::BrokerEpoch(1))
}

fn stage(
    log: &mut Log,
    batch: Batch,
    epoch: i32,
    origin: AppendOrigin,
    ledger: &mut Ledger,
) -> Result<(), StorageError> {
    let stamped = |offset| ValidBatch::trusted(batch.clone()).stamp(offset, LeaderEpoch(epoch)).to_bytes();
    match log.stage(ValidBatch::trusted(batch.clone()), LeaderEpoch(epoch), origin, NOW) {
        Ok(staged) => {
            ledger.written.push(Batch::parse(&stamped(staged.base_offset)).unwrap());
            Ok(())
        }
        Err(ottla_commit_log::AppendError::Storage(error)) => {
            // It may have been written when the roll failed.
            Err(error)
        }
        Err(other) => panic!("{other}"),
    }
}

fn sync(log: &mut Log, kind: SyncKind, ledger: &mut Ledger) -> Result<(), StorageError> {
    if let Some(job) = log.sync_job(kind) {
        let outcome = job.run();
        log.complete_sync(outcome)?;
    }
    ledger.synced = log.synced_offset();
    Ok(())
}

fn check(disk: SimDisk, ledger: &Ledger, what: &str) {
    let dir = open_dir(disk.clone(), DIR);
    let mut loaded = load_dir(&dir, &settings());
    let Some(mut log) = loaded.logs.pop() else {
        assert!(!ledger.created, "{what}: the log is gone");
        return;
    };
    let view = log.view();
    let batches = read_all(&view, log.log_start_offset(), 1000);
    for batch in &batches {
        assert!(
            ledger.written.contains(batch) || ledger.cut.contains(batch),
            "{what}: batch at {} was never written",
            batch.header.base_offset
        );
    }
    let log_start = ledger.log_start.max(log.log_start_offset());
    if ledger.log_start != Offset(i64::MAX) {
        assert!(log.log_start_offset() <= ledger.log_start.max(Offset(0)), "{what}: log start");
    }
    for written in ledger.written.iter().filter(|batch| batch.header.last_offset() < ledger.synced) {
        if written.header.base_offset >= log_start {
            assert!(batches.contains(written), "{what}: lost {}", written.header.base_offset);
        }
    }
    // No holes, every batch found by its offset, epochs and producers as the batches say.
    for pair in batches.windows(2) {
        assert_eq!(pair[0].header.next_offset(), pair[1].header.base_offset, "{what}");
        let epoch = log.epochs().epoch_of(pair[1].header.base_offset);
        assert_eq!(
            epoch,
            Some(pair[1].header.leader_epoch),
            "{what}: epoch at {}",
            pair[1].header.base_offset
        );
    }
    let last = batches.iter().rev().find(|b| b.header.has_producer_id() && !b.header.is_control());
    if let Some(last) = last.filter(|_| log.log_start_offset() == Offset(0)) {
        let sequence = log.producers().get(ProducerId(1)).map(|state| state.last_sequence());
        assert_eq!(sequence, Some(last.header.last_sequence()), "{what}");
    }
    for batch in &batches {
        let found = view.read(
            batch.header.last_offset(),
            view.log_end_offset(),
            1,
            ottla_commit_log::FirstBatch::Whole,
        );
        assert_eq!(found.unwrap().to_bytes().unwrap(), batch.bytes, "{what}");
        let timestamp = view.offset_for_timestamp(batch.header.max_timestamp).unwrap();
        assert!(timestamp.is_some_and(|(found, _)| found >= batch.header.max_timestamp), "{what}");
    }
    // It goes on, and a clean stop brings it back whole.
    let end = log.log_end_offset();
    append(&mut log, crate::support::batch(1, 10, 0));
    log.close().unwrap();
    dir.close_clean(ottla_model::BrokerEpoch(2)).unwrap();
    let dir = open_dir(disk.crash(CrashImage::LoseUnsynced), DIR);
    let loaded = load_dir(&dir, &settings());
    assert!(loaded.clean, "{what}");
    assert_eq!(loaded.logs[0].log_end_offset(), end + 1, "{what}");
    assert_eq!(
        read_all(&loaded.logs[0].view(), log_start, 1000).last().unwrap().header.base_offset,
        end,
        "{what}"
    );
}

#[test]
fn every_crash_image_keeps_what_was_acknowledged() {
    let whole = SimDisk::new();
    run(&whole, &mut Ledger::default()).unwrap();
    let operations = whole.operations();
    assert!(operations > 100, "{operations}");
    for stop_at in 0..=operations {
        let disk = SimDisk::new();
        disk.set_clock_ms(NOW.0);
        disk.inject(SimFault::StopAt(stop_at));
        let mut ledger = Ledger::default();
        let result = run(&disk, &mut ledger);
        assert_eq!(result.is_err(), stop_at < operations);
        let images = [CrashImage::ProcessKilled, CrashImage::LoseUnsynced]
            .into_iter()
            .chain((0..4).map(|seed| CrashImage::Torn(seed * 7919 + stop_at)));
        for image in images {
            check(disk.crash(image), &ledger, &format!("stopped at {stop_at} of {operations}, {image:?}"));
        }
    }
}

#[test]
fn a_batch_with_a_wrong_checksum_ends_the_log() {
    let disk = SimDisk::new();
    let dir = open_dir(disk.clone(), DIR);
    let mut log = create(&dir, &settings());
    for n in 0..40 {
        append(&mut log, batch(1, 50, n));
    }
    let batches = read_all(&log.view(), Offset(0), 1 << 20);
    drop(log);
    dir.unlock().unwrap();
    // Damage one byte in the middle of the second segment.
    let segments: Vec<_> = ottla_commit_log::Disk::list(&disk, "/data/t-0".as_ref()).unwrap();
    let logs: Vec<_> = segments.into_iter().filter(|file| file.name.ends_with(".log")).collect();
    assert!(logs.len() > 3);
    let path = std::path::Path::new("/data/t-0").join(&logs[1].name);
    let file = ottla_commit_log::Disk::open(&disk, &path, ottla_commit_log::OpenMode::ReadWrite).unwrap();
    file.write_all_at(&[0xee], logs[1].len / 2).unwrap();
    let dir = open_dir(disk.clone(), DIR);
    let loaded = load_dir(&dir, &settings());
    let log = &loaded.logs[0];
    assert!(loaded.report.bytes_truncated > 0);
    assert_eq!(log.view().segment_count(), 2, "what follows damage is gone");
    let left = read_all(&log.view(), Offset(0), 1 << 20);
    assert!(!left.is_empty() && batches.starts_with(&left));
    let _ = Millis(0);
}
