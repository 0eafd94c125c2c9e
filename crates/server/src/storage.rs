//! The directories a node stores in: formatting them, and opening formatted ones (spec: storage-format.md §1, kraft.md
//! §7).
//!
//! Owns `meta.properties` and the snapshot that formatting writes; `meta.properties` is written last, so a directory
//! that has it is formatted. Must not know what is in the logs.

mod format;
mod open;

pub use format::{
    FormatError, FormatOptions, Formatted, FormattedDirectory, InitialController, Quorum, format,
};
pub use open::{Directories, Directory, OpenError, info, is_formatted, open};

use std::path::PathBuf;

use ottla_commit_log::RealDisk;

use crate::config::ServerConfig;
use crate::{clock, random};

/// Says which cluster, node and directory this is.
pub const META_PROPERTIES: &str = "meta.properties";
/// Bootstrap records as versions up to 4.3 wrote them, in every directory.
pub const BOOTSTRAP_CHECKPOINT: &str = "bootstrap.checkpoint";
/// The directory of the metadata log below the metadata log directory.
pub const METADATA_PARTITION: &str = "__cluster_metadata-0";

/// Every directory of the node, the metadata log's first, each once.
pub fn directories(config: &ServerConfig) -> Vec<PathBuf> {
    let mut all = vec![config.metadata_log_dir.clone()];
    for directory in &config.log_dirs {
        if !all.contains(directory) {
            all.push(directory.clone());
        }
    }
    all
}

/// Formats a node that runs alone, unless its directories are formatted already: for a first start without a
/// configuration. The cluster gets a new id.
pub fn format_if_new(config: &ServerConfig) -> Result<(), FormatError> {
    let disk = RealDisk::default();
    let io_error = |path: &PathBuf| {
        let path = path.clone();
        move |source| FormatError::Io { action: "read", path, source }
    };
    for path in directories(config) {
        if is_formatted(&disk, &path).map_err(io_error(&path))? {
            return Ok(());
        }
    }
    let options = FormatOptions {
        cluster_id: random::uuid().to_string(),
        quorum: Quorum::Standalone,
        ..FormatOptions::default()
    };
    format(&disk, config, &options, clock::now(), random::uuid).map(|_| ())
}
