//! The log engine: segments, indexes, leader epochs, producer state, recovery, retention and compaction, in Apache
//! Kafka's format to the byte.
//!
//! Owns everything below a log directory but the quorum's own files (`quorum-state`, snapshots of the metadata log).
//! Must not know replication, the network or who may write. Files are touched through [`disk::Disk`] only; there is
//! no clock ("now" is told), no `async`, and no thread that outlives the call that starts it ([`LogDir::load_all`],
//! [`SyncJob::run_together`]).
//!
//! In reading order: [`disk`] (system calls), `file_cache`, the formats (`checkpoint`, `names`, `index`,
//! [`producer_state`], [`epoch_cache`]), `segment`, [`LogView`] (reading), [`Log`] (the owner), [`LogDir`].

pub mod checkpoint;
mod cleaner;
mod config;
pub mod disk;
pub mod epoch_cache;
mod error;
mod file_cache;
pub mod index;
mod log;
mod log_dir;
pub mod names;
pub mod producer_state;
mod scan;
mod segment;
mod tail;
mod view;

pub use checkpoint::{EpochEntry, MetaProperties, OffsetCheckpoint};
pub use cleaner::{CleanJob, CleanOutcome, CleanStats, Cleanable, CleanerLimits};
pub use config::LogConfig;
pub use disk::{Disk, DiskFile, OpenMode, RealDisk, SimDisk};
pub use epoch_cache::EpochCache;
pub use error::{AppendError, ReadError, StorageError};
pub use file_cache::{FileCache, FileHandle};
pub use index::AbortedTxn;
pub use log::{
    AppendInfo, DeleteJob, LoadOptions, LoadReport, Log, LogContext, Staged, SyncJob, SyncKind, SyncOutcome,
};
pub use log_dir::{Disposition, LoadedDir, LogDir, METADATA_TOPIC, OpenDirError, read_meta_properties};
pub use producer_state::{AppendOrigin, ProducerState, VerificationGuard};
pub use segment::Segment;
pub use tail::TailBudget;
pub use view::{Available, FirstBatch, LogView, ReadLimit, ReadPart, ReadPlan};
