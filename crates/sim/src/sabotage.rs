//! Deliberate faults. Each must be found, or the simulator proves nothing.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use ottla_commit_log::disk::DirEntry;
use ottla_commit_log::{Disk, DiskFile, OpenMode, SimDisk};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sabotage {
    /// No sync of a file does anything.
    ForgetSync,
    /// No sync of a partition's log does anything, though its topic waits for it.
    ForgetRecords,
    /// `quorum-state` stays as it was first written: epochs and votes are forgotten at every start.
    ForgetVote,
    /// No sync of a directory does anything: new files and names may be gone after a power loss.
    ForgetNames,
    /// Whoever asks for a vote is granted it.
    GrantEveryVote,
    /// A leader takes a log that is as long as its own for the same, whatever epoch it ends with.
    SkipEpochOfLog,
    /// A change is acknowledged before it is committed, a record before the followers have it.
    AnswerEarly,
    /// A block of producer ids is given out again.
    RepeatAnswers,
    /// A follower is not told where its log and its leader's part, and writes on without truncating.
    SkipDivergence,
    /// A leader serves whoever asks, whichever leader epoch he knows.
    SkipLeaderEpoch,
    /// Requests of a broker's earlier incarnations are taken for the present one's.
    SkipBrokerEpoch,
    /// A broker that comes back after a crash is taken for one that stopped cleanly.
    TakeCrashForStop,
    /// A leader takes the change of in-sync replicas that it asks for as made; the controller never hears of it. So
    /// the high watermark goes on without replicas that may be elected.
    AssumeInSync,
    /// The controller lets every replica in that runs, whatever it has, when a leader asks for a change.
    LetAllIn,
    /// Some commits of offsets are acknowledged and forgotten.
    ForgetCommits,
    /// A group coordinator answers from nothing while its partition is loaded.
    AnswerWhileLoading,
    /// A group takes commits of earlier generations for the present one's.
    SkipGeneration,
    /// A member of fixed identity is taken for the one that has its place now.
    SkipFencing,
    /// Every member of a group is told to own what the first one owns.
    MixAssignments,
}

impl Sabotage {
    /// Those that quorums of controllers show.
    pub const OF_QUORUMS: [Self; 7] = [
        Self::ForgetSync,
        Self::ForgetVote,
        Self::ForgetNames,
        Self::GrantEveryVote,
        Self::SkipEpochOfLog,
        Self::AnswerEarly,
        Self::RepeatAnswers,
    ];

    /// Those that clusters of whole nodes show.
    pub const OF_CLUSTERS: [Self; 15] = [
        Self::ForgetSync,
        Self::ForgetRecords,
        Self::AnswerEarly,
        Self::ForgetVote,
        Self::SkipDivergence,
        Self::SkipLeaderEpoch,
        Self::SkipBrokerEpoch,
        Self::TakeCrashForStop,
        Self::AssumeInSync,
        Self::LetAllIn,
        Self::ForgetCommits,
        Self::AnswerWhileLoading,
        Self::SkipGeneration,
        Self::SkipFencing,
        Self::MixAssignments,
    ];

    fn is_of_disk(self) -> bool {
        matches!(self, Self::ForgetSync | Self::ForgetRecords | Self::ForgetVote | Self::ForgetNames)
    }
}

/// A node's disk, as honest as the fault lets it be.
pub fn disk(disk: &SimDisk, sabotage: Option<Sabotage>) -> Arc<dyn Disk> {
    match sabotage {
        Some(sabotage) if sabotage.is_of_disk() => Arc::new(LyingDisk { disk: disk.clone(), sabotage }),
        _ => Arc::new(disk.clone()),
    }
}

/// A disk that does not do what it says.
#[derive(Debug)]
struct LyingDisk {
    disk: SimDisk,
    sabotage: Sabotage,
}

impl Disk for LyingDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let is_records = path.extension().is_some_and(|extension| extension == "log")
            && !path.components().any(|part| part.as_os_str() == "__cluster_metadata-0");
        let forgets_sync = match self.sabotage {
            Sabotage::ForgetSync => true,
            Sabotage::ForgetRecords => is_records,
            _ => false,
        };
        Ok(Arc::new(LyingFile { file: self.disk.open(path, mode)?, forgets_sync }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.sabotage == Sabotage::ForgetVote && to.ends_with("quorum-state") {
            return self.disk.remove_file(from);
        }
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.sabotage == Sabotage::ForgetNames { Ok(()) } else { self.disk.sync_dir(dir) }
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        if self.sabotage == Sabotage::ForgetNames { Ok(()) } else { self.disk.sync_all(dir) }
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync + std::fmt::Debug>>> {
        self.disk.lock(path)
    }

    fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        self.disk.modified_ms(path)
    }

    fn set_modified_ms(&self, path: &Path, ms: i64) -> io::Result<()> {
        self.disk.set_modified_ms(path, ms)
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        self.disk.space(path)
    }
}

#[derive(Debug)]
struct LyingFile {
    file: Arc<dyn DiskFile>,
    forgets_sync: bool,
}

impl DiskFile for LyingFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buf, position)
    }

    fn write_all_vectored_at(&self, bufs: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        self.file.write_all_vectored_at(bufs, position)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        if self.forgets_sync { Ok(()) } else { self.file.sync() }
    }

    fn allocate(&self, position: u64, len: u64) -> io::Result<()> {
        self.file.allocate(position, len)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_fd()
    }
}
