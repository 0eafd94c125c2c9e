//! What the log costs: appends per size and per write, restart after a crash, group commit. Real files below the
//! directory in `BENCH_DIR` (default: the system's temporary directory). Prints wall, user and system time.
//!
//! `cargo bench -p ottla-commit-log [-- <filter>]`

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_commit_log::{
    AppendOrigin, Disposition, FileCache, FirstBatch, Log, LogConfig, LogContext, LogDir, RealDisk, SyncJob,
    SyncKind, TailBudget,
};
use ottla_model::{LeaderEpoch, Millis, Offset, TopicPartition, Uuid};
use ottla_record::{Batch, BatchBuilder, ValidBatch};

const NOW: Millis = Millis(1_700_000_000_000);
const CLIENT: AppendOrigin = AppendOrigin::Client { verification: None };

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let base = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    for (name, size, per_write, total) in [
        ("append 16 KiB, 1 per write", 16 << 10, 1, 1 << 30),
        ("append 16 KiB, 8 per write", 16 << 10, 8, 1 << 30),
        ("append 1 KiB, 1 per write", 1 << 10, 1, 64 << 20),
        ("append 100 B, 1 per write", 100, 1, 16 << 20),
        ("append 100 B, 64 per write", 100, 64, 64 << 20),
    ] {
        if name.contains(&filter) {
            appends(&base, name, size, per_write, total);
        }
    }
    if "read tail".contains(&filter) {
        reads(&base);
    }
    if "restart".contains(&filter) {
        restart(&base, None);
        restart(&base, Some(1 << 20));
    }
    if "many partitions".contains(&filter) {
        many(&base);
    }
    if "group commit".contains(&filter) {
        for together in [false, true] {
            group_commit(&base, together);
        }
    }
}

fn open(path: &Path) -> LogDir {
    let context =
        LogContext { files: FileCache::new(Arc::new(RealDisk), 1000), tails: TailBudget::new(64 << 20) };
    LogDir::open(context, path).unwrap()
}

fn config() -> LogConfig {
    LogConfig { transaction_verification: false, ..LogConfig::default() }
}

fn create(dir: &LogDir, n: i32, config: LogConfig) -> Log {
    dir.create_log(&TopicPartition::new("bench", n), Uuid::from_u128(1 << 80), config, NOW).unwrap()
}

fn batch(size: usize) -> Batch {
    let mut builder = BatchBuilder::default();
    builder.append(NOW, None, Some(&vec![7; size - 75]));
    Batch::parse(&builder.build()).unwrap()
}

fn stage(log: &mut Log, batch: &Batch) {
    log.stage(ValidBatch::trusted(batch.clone()), LeaderEpoch(0), CLIENT, NOW).unwrap();
}

/// (user, system) time of this process so far.
fn cpu() -> (Duration, Duration) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let ticks = |at: usize| Duration::from_millis(fields.get(at).copied().unwrap_or(0) * 10);
    (ticks(11), ticks(12))
}

fn measure(name: &str, count: usize, unit: &str, run: impl FnOnce()) {
    let (started, before) = (Instant::now(), cpu());
    run();
    let (wall, after) = (started.elapsed(), cpu());
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!(
        "{name:<40} {count:>8} {unit}: {:>8.2} us wall, {:>7.2} us user, {:>7.2} us system each; {:.3} s",
        each(wall),
        each(after.0 - before.0),
        each(after.1 - before.1),
        wall.as_secs_f64()
    );
}

fn appends(base: &Path, name: &str, size: usize, per_write: usize, total: usize) {
    let temp = tempfile::tempdir_in(base).unwrap();
    let mut log = create(&open(temp.path()), 0, config());
    let (batch, count) = (batch(size), total / size);
    measure(name, count, "batches", || {
        for _ in 0..count / per_write {
            (0..per_write).for_each(|_| stage(&mut log, &batch));
            log.write_staged().unwrap();
        }
    });
}

fn reads(base: &Path) {
    let temp = tempfile::tempdir_in(base).unwrap();
    let mut log = create(&open(temp.path()), 0, config());
    let batch = batch(16 << 10);
    for _ in 0..10_000 {
        stage(&mut log, &batch);
        log.write_staged().unwrap();
    }
    let view = log.view();
    let end = view.log_end_offset();
    measure("read tail, one batch", 1_000_000, "reads", || {
        for n in 0..1_000_000 {
            let plan = view.read(Offset(end.0 - 1 - n % 20), end, 1, FirstBatch::Whole).unwrap();
            assert_eq!(plan.parts.len(), 1);
        }
    });
    measure("read anywhere, plan of a file range", 100_000, "reads", || {
        for n in 0..100_000 {
            let plan = view.read(Offset(n * 7919 % 9000), end, 1 << 20, FirstBatch::Whole).unwrap();
            assert!(plan.size_bytes > 0);
        }
    });
}

/// 2 GiB in 100 partitions, killed; `unsynced`: bytes per partition behind the recovery point (`None`: all).
fn restart(base: &Path, unsynced: Option<usize>) {
    let temp = tempfile::tempdir_in(base).unwrap();
    let dir = open(temp.path());
    let batch = batch(16 << 10);
    let per_partition = (2usize << 30) / 100 / batch.bytes.len();
    for n in 0..100 {
        let mut log = create(&dir, n, config());
        for at in 0..per_partition {
            stage(&mut log, &batch);
            log.write_staged().unwrap();
            if unsynced.is_some_and(|bytes| at == per_partition - bytes / batch.bytes.len()) {
                let outcome = log.sync_job(SyncKind::Checkpoint).unwrap().run();
                log.complete_sync(outcome).unwrap();
                dir.checkpoint_recovery_points().unwrap();
            }
        }
    }
    dir.unlock().unwrap();
    let name = format!("restart after kill, unsynced {unsynced:?}");
    measure(&name, 100, "partitions", || {
        let loaded = open(temp.path()).load_all(2, &|_, _| Disposition::Load(config()), NOW).unwrap();
        assert_eq!(loaded.logs.len(), 100);
        println!("    {:?}", loaded.report);
    });
}

/// Many partitions: what they cost to create, to keep and to start with. (On a disk, creating is syncing.)
fn many(base: &Path) {
    let temp = tempfile::tempdir_in(base).unwrap();
    let count = 20_000;
    let dir = open(temp.path());
    let mut logs = Vec::new();
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<usize>().ok()).unwrap_or(0)
    };
    let before = resident();
    measure("create", count, "partitions", || {
        logs.extend((0..count as i32).map(|n| create(&dir, n, config())))
    });
    println!("    {} bytes each", (resident() - before) * 1024 / count);
    let batch = batch(1 << 10);
    measure("append one batch to each", count, "partitions", || {
        for log in &mut logs {
            stage(log, &batch);
            log.write_staged().unwrap();
        }
    });
    println!("    {} bytes each", (resident() - before) * 1024 / count);
    measure("close", count, "partitions", || dir.close_logs(std::mem::take(&mut logs)).unwrap());
    dir.close_clean(ottla_model::BrokerEpoch(0)).unwrap();
    for clean in [true, false] {
        let dir = open(temp.path());
        measure(&format!("start, clean: {clean}"), count, "partitions", || {
            let loaded = dir.load_all(2, &|_, _| Disposition::Load(config()), NOW).unwrap();
            assert_eq!((loaded.logs.len(), loaded.clean), (count, clean));
        });
        dir.unlock().unwrap();
    }
}

/// Rounds of 16 requests to 8 partitions, each round synced.
fn group_commit(base: &Path, together: bool) {
    let temp = tempfile::tempdir_in(base).unwrap();
    let dir = open(temp.path());
    let mut logs: Vec<Log> = (0..8).map(|n| create(&dir, n, config())).collect();
    let batch = batch(1 << 10);
    let rounds = 200;
    measure(&format!("group commit, at the same time: {together}"), rounds * 128, "appends", || {
        for _ in 0..rounds {
            for log in &mut logs {
                (0..16).for_each(|_| stage(log, &batch));
                log.write_staged().unwrap();
            }
            let jobs: Vec<_> = logs.iter_mut().map(|log| log.sync_job(SyncKind::Commit).unwrap()).collect();
            let outcomes = match together {
                true => SyncJob::run_together(jobs),
                false => jobs.into_iter().map(SyncJob::run).collect(),
            };
            for (log, outcome) in logs.iter_mut().zip(outcomes) {
                log.complete_sync(outcome).unwrap();
            }
        }
    });
}
