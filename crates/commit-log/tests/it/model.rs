//! Random lives of a log beside a model of it: a list of batches and a few offsets.

use ottla_commit_log::disk::{CrashImage, SimDisk};
use ottla_commit_log::{FirstBatch, Log, LogConfig, LogDir, SyncKind};
use ottla_model::{BrokerEpoch, LeaderEpoch, Millis, Offset};
use ottla_record::Batch;
use proptest::prelude::*;

use crate::support::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Append { count: u8, size: u8, producer: bool },
    Lead,
    Sync(bool),
    Truncate(u8),
    StartAt(u8),
    Replicate(u8),
    DeleteRecords(u8),
    Retain(u8),
    Restart { clean: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (1..6u8, any::<u8>(), any::<bool>()).prop_map(|(count, size, producer)| Step::Append { count, size, producer }),
        2 => Just(Step::Lead),
        2 => any::<bool>().prop_map(Step::Sync),
        1 => any::<u8>().prop_map(Step::Truncate),
        1 => any::<u8>().prop_map(Step::StartAt),
        3 => any::<u8>().prop_map(Step::Replicate),
        1 => any::<u8>().prop_map(Step::DeleteRecords),
        1 => any::<u8>().prop_map(Step::Retain),
        2 => any::<bool>().prop_map(|clean| Step::Restart { clean }),
    ];
    proptest::collection::vec(step, 1..60)
}

fn settings() -> LogConfig {
    LogConfig { segment_bytes: 1200, index_interval_bytes: 150, retention_ms: -1, ..config() }
}

/// A batch boundary of the model, chosen by `n`.
fn boundary(batches: &[Batch], n: u8, start: Offset, end: Offset) -> Offset {
    match batches.get(usize::from(n) % (batches.len() + 1)) {
        Some(batch) => batch.header.base_offset.max(start),
        None => end,
    }
}

fn check(log: &Log, batches: &[Batch], end: Offset) {
    let view = log.view();
    assert_eq!(log.log_end_offset(), end);
    let start = log.log_start_offset();
    let visible: Vec<_> =
        batches.iter().filter(|batch| batch.header.last_offset() >= start).cloned().collect();
    let first = visible.first().map_or(end, |batch| batch.header.base_offset.max(start));
    assert_eq!(read_all(&view, first, 500), visible);
    for batch in visible.iter().step_by(3) {
        let at = batch.header.last_offset();
        let plan = view.read(at, batch.header.next_offset(), 1 << 20, FirstBatch::WithinLimit).unwrap();
        assert_eq!(plan.to_bytes().unwrap(), batch.bytes);
        assert_eq!(log.epochs().epoch_of(at), Some(batch.header.leader_epoch));
    }
    let entries = log.epochs().entries();
    assert!(
        entries
            .windows(2)
            .all(|pair| pair[0].epoch < pair[1].epoch && pair[0].start_offset < pair[1].start_offset)
    );
    assert!(log.log_start_offset() <= log.high_watermark() && log.high_watermark() <= end);
}

fn live(steps: &[Step]) {
    let disk = SimDisk::new();
    let mut dir: LogDir = open_dir(disk.clone(), DIR);
    let mut disk = disk;
    let mut log = create(&dir, &settings());
    let mut batches: Vec<Batch> = Vec::new();
    let (mut end, mut epoch, mut sequence, mut now) = (Offset(0), 0, 0, NOW);
    for step in steps {
        now = now + 10;
        match *step {
            Step::Append { count, size, producer } => {
                let new = if producer {
                    let new = producer_batch(5, 0, sequence, i32::from(count), false);
                    sequence += i32::from(count);
                    new
                } else {
                    batch(i32::from(count), usize::from(size) % 180, now.0)
                };
                let staged = stage(&mut log, new.clone(), epoch, CLIENT);
                log.write_staged().unwrap();
                assert_eq!((staged.base_offset, staged.duplicate), (end, false));
                end = staged.last_offset + 1;
                let stamped =
                    ottla_record::StampedBatch::restamp(new, staged.base_offset, LeaderEpoch(epoch));
                batches.push(Batch::parse(&stamped.to_bytes()).unwrap());
            }
            Step::Lead => {
                epoch += 1;
                log.become_leader(LeaderEpoch(epoch));
            }
            Step::Sync(checkpoint) => {
                let kind = if checkpoint { SyncKind::Checkpoint } else { SyncKind::Commit };
                if let Some(job) = log.sync_job(kind) {
                    let outcome = job.run();
                    log.complete_sync(outcome).unwrap();
                }
                if checkpoint {
                    dir.checkpoint_recovery_points().unwrap();
                }
            }
            Step::Truncate(n) => {
                end = boundary(&batches, n, log.log_start_offset(), end);
                batches.retain(|batch| batch.header.base_offset < end);
                log.truncate_to(end, now).unwrap();
                sequence = log
                    .producers()
                    .get(ottla_model::ProducerId(5))
                    .map_or(0, |state| state.last_sequence() + 1);
            }
            Step::StartAt(n) => {
                end += i64::from(n);
                batches.clear();
                log.truncate_fully_and_start_at(end, now).unwrap();
                sequence = 0;
            }
            Step::Replicate(n) => {
                let offset = boundary(&batches, n, log.log_start_offset(), end);
                log.set_high_watermark(offset);
            }
            Step::DeleteRecords(n) => {
                let offset = boundary(&batches, n, log.log_start_offset(), end).min(log.high_watermark());
                log.delete_records(offset).unwrap();
                dir.checkpoint_log_starts().unwrap();
            }
            Step::Retain(n) => {
                log.set_config(LogConfig { retention_bytes: i64::from(n) * 20, ..settings() });
                log.apply_retention(now).unwrap();
                dir.checkpoint_log_starts().unwrap();
                if let Some(job) = log.delete_job(now + 100_000) {
                    job.run().unwrap();
                }
                let start = log.log_start_offset();
                batches.retain(|batch| batch.header.last_offset() >= start);
            }
            Step::Restart { clean } => {
                let start = log.log_start_offset();
                if clean {
                    log.close().unwrap();
                    dir.close_clean(BrokerEpoch(1)).unwrap();
                }
                // Nothing is lost by a killed process.
                disk = disk.crash(CrashImage::ProcessKilled);
                dir = open_dir(disk.clone(), DIR);
                log = load_dir(&dir, &settings()).logs.pop().unwrap();
                assert!(log.log_start_offset() <= start);
                let last = log.latest_epoch().map_or(-1, |entry| entry.epoch.0);
                assert!(last <= epoch);
            }
        }
        let known: Vec<Batch> = batches
            .iter()
            .filter(|batch| batch.header.last_offset() >= log.log_start_offset())
            .cloned()
            .collect();
        check(&log, &known, end);
        assert_eq!(
            log.producers().get(ottla_model::ProducerId(5)).map_or(0, |state| state.last_sequence() + 1),
            sequence
        );
        let _ = Millis(0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_behaves_as_a_list_of_batches(steps in steps()) {
        live(&steps);
    }
}
