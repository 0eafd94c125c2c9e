//! The directories a node stores in: formatting them, and opening formatted ones.
//!
//! Owns `meta.properties` and the snapshot that formatting writes; `meta.properties` is written last, so a directory
//! that has it is formatted. Must not know what is in the logs.

mod format;
mod open;
pub mod scram;

pub use format::{
    FormatError, FormatOptions, Formatted, FormattedDirectory, InitialController, Quorum, format,
};
pub use open::{Directories, Directory, OpenError, info, is_formatted, open};

use ottla_commit_log::Disk;
use ottla_model::Uuid;

use std::path::PathBuf;

use crate::config::ServerConfig;

/// Says which cluster, node and directory this is.
pub const META_PROPERTIES: &str = "meta.properties";
/// Bootstrap records as versions up to 4.3 wrote them, in every directory.
pub const BOOTSTRAP_CHECKPOINT: &str = "bootstrap.checkpoint";
/// The directory of the metadata log below the metadata log directory.
pub const METADATA_PARTITION: &str = "__cluster_metadata-0";

/// A new random id, of a kind Kafka would draw.
pub fn random_id() -> Uuid {
    loop {
        if let Some(id) = Uuid::from_random(crate::random::bytes16()) {
            return id;
        }
    }
}

/// Formats the directories of a node that is started for the first time without being told how: a cluster of its own,
/// with this node as the only voter. Does nothing if any directory is formatted; returns whether it formatted.
pub fn format_if_new(disk: &dyn Disk, config: &ServerConfig) -> Result<bool, FormatError> {
    for path in directories(config) {
        let formatted = is_formatted(disk, &path);
        if formatted.map_err(|source| FormatError::Io { action: "read", path, source })? {
            return Ok(false);
        }
    }
    let quorum = if config.quorum.voters.is_empty() { Quorum::Standalone } else { Quorum::Configured };
    let options = FormatOptions { cluster_id: random_id().to_string(), quorum, ..FormatOptions::default() };
    format(disk, config, &options, crate::clock::now(), random_id)?;
    Ok(true)
}

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
