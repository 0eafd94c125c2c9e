//! `ottla dump`: what lies in a log directory, file by file, readably or as JSON with one line per thing.
//!
//! Owns finding files and telling their kind by name. Reads only; works on the files of a running node too (what is
//! being written may then look cut off). Damage is shown where it is found and makes the exit code non-zero.

mod content;
mod output;
mod segment;
mod side_files;
mod verify;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use content::Topic;
use output::Output;

#[derive(clap::Args)]
pub struct Args {
    /// Files, or directories to look through
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    /// Print the records of each batch; those of the metadata log and of internal topics are decoded
    #[arg(long)]
    records: bool,
    /// Print keys and values in full, not only their beginning (implies --records)
    #[arg(long)]
    values: bool,
    /// Compare index entries with the log beside them
    #[arg(long)]
    verify: bool,
}

/// How much of each batch is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Batches,
    Records,
    /// Records with whole keys and values.
    Values,
}

pub fn run(args: &Args) -> Result<()> {
    let detail = match (args.values, args.records) {
        (true, _) => Detail::Values,
        (false, true) => Detail::Records,
        (false, false) => Detail::Batches,
    };
    let mut output = Output::new(args.json);
    let mut dump = || {
        for path in &args.paths {
            if path.is_dir() {
                directory(path, detail, args.verify, &mut output)?;
            } else {
                file(path, detail, args.verify, &mut output)?;
            }
        }
        output.finish()
    };
    match dump() {
        // The reader of a pipe has seen enough.
        Err(error) if output::is_broken_pipe(&error) => return Ok(()),
        outcome => outcome?,
    }
    match output.faults() {
        0 => Ok(()),
        1 => bail!("1 fault found"),
        n => bail!("{n} faults found"),
    }
}

fn directory(dir: &Path, detail: Detail, verify: bool, output: &mut Output) -> Result<()> {
    let list = || std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = list().with_context(|| format!("list {}", dir.display()))?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            directory(&path, detail, verify, output)?;
        } else if Kind::of(&path).is_some() {
            file(&path, detail, verify, output)?;
        }
    }
    Ok(())
}

/// What a file is, by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Segment,
    OffsetIndex,
    TimeIndex,
    TxnIndex,
    ProducerSnapshot,
    /// A snapshot of the metadata, or bootstrap records: batches, as in a segment.
    Snapshot,
    OffsetCheckpoint,
    EpochCheckpoint,
    PartitionMetadata,
    MetaProperties,
    QuorumState,
    CleanShutdown,
}

impl Kind {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        // What is being swapped in or on its way out is read like what it was.
        let name = [".deleted", ".cleaned", ".swap", ".part"]
            .into_iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        let kind = match name {
            "leader-epoch-checkpoint" => Self::EpochCheckpoint,
            "partition.metadata" => Self::PartitionMetadata,
            "meta.properties" => Self::MetaProperties,
            "quorum-state" => Self::QuorumState,
            ".kafka_cleanshutdown" => Self::CleanShutdown,
            _ if name.ends_with("-offset-checkpoint") => Self::OffsetCheckpoint,
            _ => match name.rsplit_once('.')?.1 {
                "log" => Self::Segment,
                "index" => Self::OffsetIndex,
                "timeindex" => Self::TimeIndex,
                "txnindex" => Self::TxnIndex,
                "snapshot" => Self::ProducerSnapshot,
                "checkpoint" => Self::Snapshot,
                _ => return None,
            },
        };
        Some(kind)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::OffsetIndex => "offset index",
            Self::TimeIndex => "time index",
            Self::TxnIndex => "transaction index",
            Self::ProducerSnapshot => "producer snapshot",
            Self::Snapshot => "metadata snapshot",
            Self::OffsetCheckpoint => "offset checkpoint",
            Self::EpochCheckpoint => "leader epoch checkpoint",
            Self::PartitionMetadata => "partition metadata",
            Self::MetaProperties => "meta properties",
            Self::QuorumState => "quorum state",
            Self::CleanShutdown => "clean shutdown marker",
        }
    }
}

fn file(path: &Path, detail: Detail, verify: bool, output: &mut Output) -> Result<()> {
    let Some(kind) = Kind::of(path) else {
        bail!("{}: no file of a log directory by its name", path.display())
    };
    let size = std::fs::metadata(path).with_context(|| format!("read {}", path.display()))?.len();
    output.begin_file(path, kind.name(), size)?;
    match kind {
        Kind::Segment => segment::dump(path, Topic::of(path), detail, output),
        Kind::Snapshot => segment::dump(path, Topic::Metadata, detail, output),
        Kind::OffsetIndex if verify => verify::offset_index(path, output),
        Kind::TimeIndex if verify => verify::time_index(path, output),
        Kind::TxnIndex if verify => verify::txn_index(path, output),
        _ => side_files::dump(path, kind, output),
    }
    .with_context(|| format!("read {}", path.display()))
}
