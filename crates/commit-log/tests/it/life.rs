//! What a log does between its creation and its end.

use ottla_commit_log::{
    AppendOrigin, Available, FirstBatch, LogConfig, LogDir, OpenDirError, RealDisk, SimDisk, SyncKind,
    disk::{CrashImage, SimFault},
};
use ottla_model::{BrokerEpoch, LeaderEpoch, Millis, Offset, ProducerId, TopicPartition};
use ottla_record::ValidBatch;
use ottla_record::control::TransactionResult;

use crate::support::*;

fn small() -> LogConfig {
    LogConfig { segment_bytes: 2000, index_interval_bytes: 200, ..config() }
}

#[test]
fn batches_are_read_back_wherever_they_lie() {
    let temp = tempfile::tempdir().unwrap();
    let dir = open_dir(RealDisk, temp.path());
    let mut log = create(&dir, &small());
    let view = log.view();
    for n in 0..100 {
        let staged = append(&mut log, batch(1 + n % 3, 50, 1000 + i64::from(n)));
        assert_eq!(staged.last_offset + 1, view.log_end_offset());
    }
    assert!(view.segment_count() > 5);
    let all = read_all(&view, Offset(0), 1 << 20);
    assert_eq!(all.len(), 100);
    assert_eq!(offsets(&all), offsets(&read_all(&view, Offset(0), 1)));
    for batch in &all {
        assert_eq!(batch.header.leader_epoch, LeaderEpoch(0));
        for offset in batch.header.base_offset.0..=batch.header.last_offset().0 {
            let plan = view.read(Offset(offset), view.log_end_offset(), 1, FirstBatch::Whole).unwrap();
            assert_eq!(plan.to_bytes().unwrap(), batch.bytes, "offset {offset}");
        }
    }
    // The same after a restart, clean or not.
    for clean in [true, false] {
        log.close().unwrap();
        if clean {
            dir.close_clean(BrokerEpoch(7)).unwrap()
        } else {
            dir.unlock().unwrap()
        }
        drop(log);
        let dir = open_dir(RealDisk, temp.path());
        let mut loaded = load_dir(&dir, &small());
        assert_eq!((loaded.clean, loaded.previous_broker_epoch.0), (clean, if clean { 7 } else { -1 }));
        log = loaded.logs.pop().unwrap();
        assert_eq!(offsets(&read_all(&log.view(), Offset(0), 700)), offsets(&all));
        assert_eq!(log.log_end_offset(), view.log_end_offset());
        dir.unlock().unwrap();
    }
}

#[test]
fn several_batches_are_one_write() {
    let disk = SimDisk::new();
    let dir = open_dir(disk.clone(), DIR);
    let mut log = create(&dir, &config());
    append(&mut log, batch(1, 10, 0));
    let before = disk.operations();
    for _ in 0..40 {
        stage(&mut log, batch(1, 1000, 0), 0, CLIENT);
    }
    assert_eq!(log.log_end_offset(), Offset(1), "nothing is visible before it is written");
    log.write_staged().unwrap();
    assert_eq!(disk.operations(), before + 1);
    assert_eq!(log.log_end_offset(), Offset(41));
}

#[test]
fn a_read_is_cut_at_its_limits() {
    let dir = open_dir(SimDisk::new(), DIR);
    // What is in memory of these batches: their bytes, where they lie, nothing.
    for kept in 0..3 {
        let mut log = create(&dir, &config());
        let sizes: Vec<usize> = (0..10)
            .map(|n| {
                let batch = batch(1, 100 + 300 * n, 0);
                let size = batch.bytes.len();
                append(&mut log, batch);
                size
            })
            .collect();
        match kept {
            0 => {}
            1 => log.maintain(NOW + 100_000),
            _ => {
                for _ in 0..200 {
                    append(&mut log, batch(1, 1, 0));
                }
            }
        }
        let view = log.view();
        let end = log.log_end_offset().0;
        let read = |from, upper, max, first| view.read(Offset(from), Offset(upper), max, first).unwrap();
        let len = |from, upper, max, first| {
            let plan = read(from, upper, max, first);
            assert_eq!(plan.to_bytes().unwrap().len(), plan.size_bytes);
            (plan.size_bytes, plan.found_bytes)
        };
        let whole = |size| (size, size);
        assert_eq!(len(2, 5, 1 << 20, FirstBatch::WithinLimit), whole(sizes[2] + sizes[3] + sizes[4]));
        // The last batch is cut where nobody knows that it begins there.
        let limit = sizes[2] + 7;
        let sent = if kept < 2 { sizes[2] } else { limit };
        assert_eq!(len(2, 5, limit, FirstBatch::WithinLimit), (sent, limit));
        assert_eq!(len(2, 5, sizes[2], FirstBatch::WithinLimit), whole(sizes[2]));
        assert_eq!(len(2, 5, sizes[2] - 1, FirstBatch::WithinLimit), whole(0));
        assert_eq!(len(2, 5, sizes[2] - 1, FirstBatch::Whole), whole(sizes[2]));
        assert_eq!(len(5, 5, 1 << 20, FirstBatch::Whole), whole(0));
        assert_eq!(len(end, end, 1 << 20, FirstBatch::Whole), whole(0));
        let refused = view.read(Offset(end + 1), Offset(end + 1), 1, FirstBatch::Whole).unwrap_err();
        assert_eq!(refused.error_code().code(), 1);
        let available = view.available(Offset(3), Offset(5)).unwrap();
        assert_eq!(available, Available::Bytes((sizes[3] + sizes[4]) as u64));
        dir.delete_log(log).unwrap();
    }
}

#[test]
fn a_second_process_is_locked_out() {
    let disk = SimDisk::new();
    let dir = open_dir(disk.clone(), DIR);
    assert!(matches!(LogDir::open(context(disk.clone()), DIR), Err(OpenDirError::Locked(_))));
    dir.unlock().unwrap();
    open_dir(disk, DIR);
    let temp = tempfile::tempdir().unwrap();
    let dir = open_dir(RealDisk, temp.path());
    for _ in 0..2 {
        // Not even within one process, where the system would allow it.
        assert!(matches!(LogDir::open(context(RealDisk), temp.path()), Err(OpenDirError::Locked(_))));
    }
    dir.unlock().unwrap();
    open_dir(RealDisk, temp.path());
}

#[test]
fn truncation_forgets_batches_epochs_and_producers() {
    let dir = open_dir(SimDisk::new(), DIR);
    let mut log = create(&dir, &small());
    for n in 0..60 {
        log.become_leader(LeaderEpoch(n / 20));
        stage(&mut log, producer_batch(1, 0, n * 2, 2, false), n / 20, CLIENT);
        log.write_staged().unwrap();
    }
    log.set_high_watermark(Offset(120));
    let all = read_all(&log.view(), Offset(0), 1 << 20);
    for cut in [119, 90, 80, 41, 40, 7, 0] {
        log.truncate_to(Offset(cut), NOW).unwrap();
        assert_eq!(log.log_end_offset(), Offset(cut));
        assert_eq!(log.high_watermark(), Offset(cut));
        let left = read_all(&log.view(), Offset(0), 1 << 20);
        let expected: Vec<_> = all.iter().filter(|b| b.header.last_offset() < Offset(cut)).cloned().collect();
        assert_eq!(offsets(&left), offsets(&expected), "cut at {cut}");
        let latest = log.latest_epoch().map(|entry| entry.epoch.0);
        assert_eq!(latest, (cut > 0).then_some((cut as i32 - 1) / 40));
        let sequence = log.producers().get(ProducerId(1)).map(|state| state.last_sequence());
        assert_eq!(sequence, expected.last().map(|batch| batch.header.last_sequence()), "cut at {cut}");
    }
    let staged = append(&mut log, producer_batch(1, 0, 0, 2, false));
    assert_eq!(staged.base_offset, Offset(0));
    log.truncate_fully_and_start_at(Offset(500), NOW).unwrap();
    assert_eq!(append(&mut log, batch(1, 1, 0)).base_offset, Offset(500));
    assert_eq!(log.log_start_offset(), Offset(500));
}

#[test]
fn followers_append_verbatim() {
    let dir = open_dir(SimDisk::new(), DIR);
    let mut leader = create(&dir, &small());
    for n in 0..30 {
        stage(&mut leader, batch(2, 30, 0), n / 10, CLIENT);
        leader.write_staged().unwrap();
    }
    let other = open_dir(SimDisk::new(), DIR);
    let mut follower = create(&other, &small());
    let batches = read_all(&leader.view(), Offset(0), 1000);
    for chunk in batches.chunks(7) {
        follower.append_as_follower(chunk.to_vec(), NOW).unwrap();
    }
    assert_eq!(read_all(&follower.view(), Offset(0), 100), batches);
    assert_eq!(follower.epochs(), leader.epochs());
    let refused = follower.append_as_follower(batches[3..4].to_vec(), NOW).unwrap_err();
    assert!(refused.to_string().contains("append at offset 6"), "{refused}");
}

#[test]
fn aborted_transactions_are_found_and_hold_the_last_stable_offset() {
    let dir = open_dir(SimDisk::new(), DIR);
    let mut log = create(&dir, &small());
    let markers = AppendOrigin::Marker { bumped_epoch: false };
    for round in 0..40 {
        let first = append(&mut log, producer_batch(1, 0, round * 2, 2, true)).base_offset;
        log.set_high_watermark(log.log_end_offset());
        assert_eq!(log.last_stable_offset(), first);
        let result = if round % 2 == 0 { TransactionResult::Abort } else { TransactionResult::Commit };
        stage(&mut log, marker(1, 0, result), 0, markers);
        log.write_staged().unwrap();
        assert_eq!(log.last_stable_offset(), first, "the marker is not replicated yet");
        log.set_high_watermark(log.log_end_offset());
        assert_eq!(log.last_stable_offset(), log.log_end_offset());
    }
    let check = |log: &ottla_commit_log::Log| {
        let view = log.view();
        assert!(view.segment_count() > 3);
        let aborted = |from, to| {
            let found = view.aborted_transactions(Offset(from), Offset(to)).unwrap();
            found.iter().map(|txn| (txn.first_offset.0, txn.last_offset.0)).collect::<Vec<_>>()
        };
        assert_eq!(aborted(0, 120).len(), 20);
        assert_eq!(aborted(0, 3), [(0, 2)]);
        assert_eq!(aborted(2, 9), [(0, 2), (6, 8)]);
        assert_eq!(aborted(3, 6), []);
        assert_eq!(aborted(60, 61), [(60, 62)]);
    };
    check(&log);
    // Indexes and producers are rebuilt after a crash.
    drop(log);
    dir.unlock().unwrap();
    let mut loaded = load_dir(&dir, &small());
    assert!(loaded.report.segments_recovered > 3);
    check(&loaded.logs.pop().unwrap());
}

#[test]
fn duplicates_are_answered_with_their_first_offsets() {
    let dir = open_dir(SimDisk::new(), DIR);
    let mut log = create(&dir, &config());
    append(&mut log, batch(3, 10, 5));
    let first = append(&mut log, producer_batch(9, 0, 0, 2, false));
    append(&mut log, producer_batch(9, 0, 2, 1, false));
    let again = append(&mut log, producer_batch(9, 0, 0, 2, false));
    assert!(again.duplicate);
    assert_eq!((again.base_offset, again.last_offset), (first.base_offset, first.last_offset));
    assert_eq!(log.log_end_offset(), Offset(6));
    let refused =
        log.stage(ValidBatch::trusted(producer_batch(9, 0, 7, 1, false)), LeaderEpoch(0), CLIENT, NOW);
    assert_eq!(refused.unwrap_err().error_code().code(), 45);
}

#[test]
fn offsets_are_found_by_time() {
    let dir = open_dir(SimDisk::new(), DIR);
    let mut log = create(&dir, &small());
    for n in 0..100 {
        append(&mut log, batch(1, 40, 1000 + n * 10));
    }
    append(&mut log, batch(1, 40, 1005));
    let view = log.view();
    for (timestamp, offset) in [(0, 0), (1000, 0), (1001, 1), (1500, 50), (1985, 99), (1990, 99)] {
        let found = view.offset_for_timestamp(Millis(timestamp)).unwrap();
        assert_eq!(found.map(|(_, offset)| offset.0), Some(offset), "{timestamp}");
    }
    assert_eq!(view.offset_for_timestamp(Millis(1991)).unwrap(), None);
    assert_eq!(view.max_timestamp().unwrap(), Some((Millis(1990), Offset(99))));
}

#[test]
fn retention_removes_a_prefix_below_the_high_watermark() {
    let disk = SimDisk::new();
    let dir = open_dir(disk.clone(), DIR);
    let config = LogConfig { retention_ms: 1000, ..small() };
    let mut log = create(&dir, &config);
    for n in 0..60 {
        append(&mut log, batch(1, 100, NOW.0 + n * 100));
    }
    assert_eq!(log.apply_retention(NOW + 10_000).unwrap(), 0, "nothing is replicated");
    log.set_high_watermark(Offset(30));
    let removed = log.apply_retention(NOW + 3_000).unwrap();
    assert!(removed > 0 && log.log_start_offset() > Offset(0) && log.log_start_offset() <= Offset(20));
    assert_eq!(log.epochs().earliest().unwrap().start_offset, log.log_start_offset());
    let renamed = |disk: &SimDisk| {
        let files = ottla_commit_log::Disk::list(disk, "/data/t-0".as_ref()).unwrap();
        files.iter().filter(|file| file.name.ends_with(".deleted")).count()
    };
    assert_eq!(renamed(&disk), removed * 3);
    assert!(log.delete_job(NOW + 3_000).is_none());
    log.delete_job(NOW + 3_000 + 60_000).unwrap().run().unwrap();
    assert_eq!(renamed(&disk), 0);
    // By size, and then everything by time: an empty segment stays.
    log.set_high_watermark(Offset(60));
    log.set_config(LogConfig { retention_ms: -1, retention_bytes: 4000, ..config.clone() });
    log.apply_retention(NOW).unwrap();
    assert!((4000..6500).contains(&log.size_bytes()), "{}", log.size_bytes());
    log.set_config(config);
    log.apply_retention(NOW + 1_000_000).unwrap();
    assert_eq!((log.size_bytes(), log.log_start_offset()), (0, Offset(60)));
    assert_eq!(append(&mut log, batch(1, 1, 0)).base_offset, Offset(60));
}

#[test]
fn deleted_records_stay_deleted() {
    let disk = SimDisk::new();
    let dir = open_dir(disk.clone(), DIR);
    let mut log = create(&dir, &small());
    for _ in 0..50 {
        append(&mut log, batch(2, 50, 0));
    }
    assert_eq!(log.delete_records(Offset(31)).unwrap_err().error_code().code(), 1);
    log.set_high_watermark(Offset(100));
    log.delete_records(Offset(31)).unwrap();
    assert_eq!(log.log_start_offset(), Offset(31));
    assert!(log.view().read(Offset(30), Offset(100), 1, FirstBatch::Whole).is_err());
    log.set_config(LogConfig { retention_ms: -1, ..small() });
    assert!(log.apply_retention(NOW).unwrap() > 0);
    log.close().unwrap();
    dir.close_clean(BrokerEpoch(1)).unwrap();
    let dir = open_dir(disk, DIR);
    let log = load_dir(&dir, &small()).logs.pop().unwrap();
    assert_eq!((log.log_start_offset(), log.high_watermark()), (Offset(31), Offset(100)));
}

#[test]
fn rolls_by_time_and_by_index_size() {
    let dir = open_dir(SimDisk::new(), DIR);
    let mut log = create(&dir, &LogConfig { segment_ms: 100, ..config() });
    for timestamp in [1000, 1050, 1100, 1101, 1150] {
        append(&mut log, batch(1, 10, timestamp));
    }
    assert_eq!(log.view().segment_count(), 2);
    dir.delete_log(log).unwrap();
    let mut log = create(&dir, &LogConfig { segment_index_bytes: 60, index_interval_bytes: 100, ..config() });
    for n in 0..40 {
        append(&mut log, batch(1, 100, n));
    }
    assert!((6..=12).contains(&log.view().segment_count()), "{}", log.view().segment_count());
}

#[test]
fn a_fault_takes_the_log_offline_for_good() {
    for fault in [SimFault::FailWrite(0), SimFault::Full(10)] {
        let disk = SimDisk::new();
        let dir = open_dir(disk.clone(), DIR);
        let mut log = create(&dir, &config());
        stage(&mut log, batch(1, 100, 0), 0, CLIENT);
        disk.inject(fault);
        assert_eq!(log.write_staged().unwrap_err().error_code().code(), 56);
        disk.heal();
        assert_eq!(log.log_end_offset(), Offset(0));
        let refused =
            log.stage(ValidBatch::trusted(batch(1, 1, 0)), LeaderEpoch(0), CLIENT, NOW).unwrap_err();
        assert_eq!(refused.error_code().code(), 56);
        assert!(log.is_offline() && log.view().is_offline());
    }
    let disk = SimDisk::new();
    let dir = open_dir(disk.clone(), DIR);
    let mut log = create(&dir, &config());
    append(&mut log, batch(1, 100, 0));
    disk.inject(SimFault::FailSync(0));
    let outcome = log.sync_job(SyncKind::Commit).unwrap().run();
    log.complete_sync(outcome).unwrap_err();
    assert_eq!(log.synced_offset(), Offset(0));
    assert!(log.sync_job(SyncKind::Commit).is_none(), "a failed sync is never tried again");
}

#[test]
fn directories_come_and_go() {
    let disk = SimDisk::new();
    let dir = open_dir(disk.clone(), DIR);
    let mut log = create(&dir, &config());
    append(&mut log, batch(1, 100, 0));
    let view = log.view();
    let gone = dir.delete_log(log).unwrap();
    assert_eq!(read_all(&view, Offset(0), 100).len(), 1, "readers finish");
    let stray = dir.create_log(&TopicPartition::new("s", 3), ottla_model::Uuid::ONE, config(), NOW).unwrap();
    dir.stray_log(stray).unwrap();
    dir.unlock().unwrap();
    let loaded = load_dir(&dir, &config());
    assert_eq!(loaded.logs.len(), 0);
    assert_eq!(loaded.deleted_dirs, std::slice::from_ref(&gone));
    dir.remove_dir(&gone).unwrap();
    assert_eq!(load_dir(&dir, &config()).deleted_dirs.len(), 0);
    ottla_commit_log::Disk::create_dir(&disk, "/data/lost+found".as_ref()).unwrap();
    dir.load_all(1, &|_, _| unreachable!(), NOW).unwrap_err();
}

#[test]
fn a_partition_moves_to_another_directory() {
    let (disk, other) = (SimDisk::new(), SimDisk::new());
    let (dir, target) = (open_dir(disk, DIR), open_dir(other.clone(), DIR));
    let mut log = create(&dir, &small());
    for n in 0..40 {
        append(&mut log, batch(1, 50, n));
    }
    let mut future = target.create_future_log(&tp(), log.topic_id().unwrap(), small(), NOW).unwrap();
    let batches = read_all(&log.view(), Offset(0), 1000);
    future.append_as_follower(batches.clone(), NOW).unwrap();
    assert_eq!(target.log_count(), 0);
    target.unlock().unwrap();
    let mut loaded = load_dir(&target, &small());
    assert_eq!(
        (loaded.logs.len(), loaded.future_logs.len()),
        (0, 1),
        "a restart finds the move where it was"
    );
    let mut future = loaded.future_logs.pop().unwrap();
    dir.delete_log(log).unwrap();
    target.promote_future_log(&mut future).unwrap();
    assert_eq!(read_all(&future.view(), Offset(0), 1000), batches);
    append(&mut future, batch(1, 2000 - 200, 0));
    target.close_logs(vec![future]).unwrap();
    target.close_clean(BrokerEpoch(0)).unwrap();
    let loaded = load_dir(&open_dir(other, DIR), &small());
    assert_eq!(
        (loaded.logs[0].log_end_offset(), loaded.logs[0].path().to_str()),
        (Offset(41), Some("/data/t-0"))
    );
}

#[test]
fn a_restart_after_a_crash_looks_only_behind_the_recovery_point() {
    let disk = SimDisk::new();
    let dir = open_dir(disk.clone(), DIR);
    let config = LogConfig { index_interval_bytes: 200, ..config() };
    let mut log = create(&dir, &config);
    for n in 0..500 {
        append(&mut log, producer_batch(1, 0, n, 1, false));
    }
    let outcome = log.sync_job(SyncKind::Checkpoint).unwrap().run();
    log.complete_sync(outcome).unwrap();
    assert_eq!((log.recovery_point(), log.view().dirty_bytes()), (Offset(500), 0));
    assert!(log.sync_job(SyncKind::Checkpoint).is_none());
    dir.checkpoint_recovery_points().unwrap();
    let size = log.size_bytes();
    for n in 500..510 {
        append(&mut log, producer_batch(1, 0, n, 1, false));
    }
    let behind = log.size_bytes() - size;
    let dir = open_dir(disk.crash(CrashImage::ProcessKilled), DIR);
    let mut loaded = load_dir(&dir, &config);
    assert_eq!((loaded.report.bytes_scanned, loaded.report.bytes_truncated), (behind, 0));
    let log = loaded.logs.pop().unwrap();
    assert_eq!(read_all(&log.view(), Offset(0), 3000).len(), 510);
    assert_eq!(log.producers().get(ProducerId(1)).unwrap().last_sequence(), 509);
    let found = log.view().read(Offset(321), Offset(510), 1, FirstBatch::Whole).unwrap();
    assert_eq!(found.base_offset, Some(Offset(321)));
}

#[test]
fn many_logs_close_with_two_syncs() {
    let disk = SimDisk::new();
    let dir = open_dir(disk.clone(), DIR);
    let logs: Vec<_> = (0..70)
        .map(|n| {
            let partition = TopicPartition::new("many", n);
            let mut log =
                dir.create_log(&partition, ottla_model::Uuid::from_u128(1 << 90), config(), NOW).unwrap();
            log.become_leader(LeaderEpoch(3));
            stage(&mut log, producer_batch(1, 0, 0, 1 + n, false), 3, CLIENT);
            log.write_staged().unwrap();
            log
        })
        .collect();
    let ends: Vec<_> = logs.iter().map(|log| log.log_end_offset()).collect();
    dir.close_logs(logs).unwrap();
    dir.close_clean(BrokerEpoch(1)).unwrap();
    let after = disk.crash(CrashImage::LoseUnsynced);
    let dir = open_dir(after.clone(), DIR);
    let mut loaded = load_dir(&dir, &config());
    assert!(loaded.clean);
    for (log, end) in loaded.logs.iter_mut().zip(&ends) {
        assert_eq!((log.log_end_offset(), log.recovery_point()), (*end, *end));
        assert_eq!(log.producers().get(ProducerId(1)).unwrap().last_sequence() + 1, end.0 as i32);
        assert_eq!(log.latest_epoch().unwrap().epoch, LeaderEpoch(3));
    }
    // Nothing happened: closing again writes nothing at all.
    let before = after.operations();
    dir.close_logs(loaded.logs).unwrap();
    assert_eq!(after.operations(), before);
    dir.close_clean(BrokerEpoch(1)).unwrap();
    // A failing disk is told of by every log.
    let dir = open_dir(after.clone(), DIR);
    let mut loaded = load_dir(&dir, &config());
    loaded.logs.iter_mut().for_each(|log| _ = append(log, batch(1, 1, 0)));
    after.inject(SimFault::FailSync(0));
    dir.close_logs(loaded.logs).unwrap_err();
}
