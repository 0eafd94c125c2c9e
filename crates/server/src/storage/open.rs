//! Opening formatted directories: locks, identity, and what does not fit together.

use std::io;
use std::path::{Path, PathBuf};

use ottla_commit_log::{
    Disk, LogContext, LogDir, MetaProperties, OpenDirError, StorageError, read_meta_properties,
};
use ottla_model::{NodeId, Uuid};
use tracing::error;

use super::{META_PROPERTIES, directories};
use crate::config::ServerConfig;

/// A node's directories, locked for this process.
#[derive(Clone, Debug)]
pub struct Directories {
    pub cluster_id: String,
    /// The one the metadata log lies in; often one of `data` too.
    pub metadata: Directory,
    /// Those of `log.dirs` that can be used, in its order.
    pub data: Vec<Directory>,
    /// The others of `log.dirs`: nobody knows their ids.
    pub offline: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct Directory {
    pub log_dir: LogDir,
    pub id: Uuid,
}

/// Why a node cannot start on its directories.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is not formatted: run `ottla format` first", .0.display())]
    NotFormatted(PathBuf),
    #[error("none of the directories in log.dirs can be used")]
    NoneUsable,
    #[error(transparent)]
    Directory(#[from] OpenDirError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{} belongs to node {found}, but node.id is {expected}", path.display())]
    OtherNode { path: PathBuf, found: NodeId, expected: NodeId },
    #[error("{} belongs to cluster {found}, but {} to cluster {expected}", path.display(), first.display())]
    OtherCluster { path: PathBuf, found: String, first: PathBuf, expected: String },
    #[error("{} and {} have the same directory.id {id}: one is a copy of the other", path.display(), other.display())]
    SameId { path: PathBuf, other: PathBuf, id: Uuid },
}

/// Whether the directory has been formatted.
pub fn is_formatted(disk: &dyn Disk, directory: &Path) -> io::Result<bool> {
    match disk.list(directory) {
        Ok(entries) => Ok(entries.iter().any(|entry| entry.name == META_PROPERTIES)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Locks the node's directories and checks that they are its own. Directories formatted before directories had ids
/// get one from `new_id`.
///
/// A directory that the disk or its `meta.properties` fails is logged and left offline, as in Kafka. The metadata log's
/// must be usable, and one of `log.dirs` on a broker. One that is there and is not this node's, or not formatted, or in
/// use by another process, is a mistake that nothing is started with.
pub fn open(
    context: &LogContext,
    config: &ServerConfig,
    mut new_id: impl FnMut() -> Uuid,
) -> Result<Directories, OpenError> {
    let mut opened: Vec<Directory> = Vec::new();
    let mut offline = Vec::new();
    let mut cluster: Option<(PathBuf, String)> = None;
    for path in directories(config) {
        let (log_dir, mut properties) = match lock(context, &path) {
            Ok(Some(found)) => found,
            Ok(None) => return Err(OpenError::NotFormatted(path)),
            Err(error) if is_fault(&error) && path != config.metadata_log_dir => {
                error!(dir = %path.display(), %error, "the log directory is offline: it cannot be used");
                offline.push(path);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if properties.node_id != config.node_id {
            let (found, expected) = (properties.node_id, config.node_id);
            return Err(OpenError::OtherNode { path, found, expected });
        }
        let (first, expected) =
            cluster.get_or_insert_with(|| (path.clone(), properties.cluster_id.clone())).clone();
        if expected != properties.cluster_id {
            return Err(OpenError::OtherCluster { path, found: properties.cluster_id, first, expected });
        }
        let id = match properties.directory_id {
            Some(id) => id,
            None => {
                let id = new_id();
                properties.directory_id = Some(id);
                log_dir.write_meta_properties(&properties)?;
                id
            }
        };
        if let Some(other) = opened.iter().find(|other| other.id == id) {
            return Err(OpenError::SameId { path, other: other.log_dir.path().to_path_buf(), id });
        }
        opened.push(Directory { log_dir, id });
    }
    let by_path = |path: &PathBuf| opened.iter().find(|directory| directory.log_dir.path() == path).cloned();
    let metadata = by_path(&config.metadata_log_dir)
        .ok_or_else(|| OpenError::NotFormatted(config.metadata_log_dir.clone()))?;
    let data: Vec<Directory> = config.log_dirs.iter().filter_map(by_path).collect();
    if config.roles.broker && data.is_empty() {
        return Err(OpenError::NoneUsable);
    }
    let cluster_id = cluster.map(|(_, id)| id).unwrap_or_default();
    Ok(Directories { cluster_id, metadata, data, offline })
}

/// `None` if the directory was never formatted: it is not touched.
fn lock(context: &LogContext, path: &Path) -> Result<Option<(LogDir, MetaProperties)>, OpenDirError> {
    let Some(properties) = read_meta_properties(context.files.disk(), path)? else { return Ok(None) };
    Ok(Some((LogDir::open(context.clone(), path)?, properties)))
}

/// Whether the directory has failed, and is not merely taken.
fn is_fault(error: &OpenDirError) -> bool {
    !matches!(error, OpenDirError::Locked(_))
}

/// What `ottla info` (and `kafka-storage info`) prints, and whether the directories are fine.
pub fn info(disk: &dyn Disk, config: &ServerConfig) -> (String, bool) {
    use std::fmt::Write;
    let (mut found, mut problems, mut metadata) = (Vec::new(), Vec::new(), None::<MetaProperties>);
    for path in directories(config) {
        match disk.list(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                problems.push(format!("{} does not exist", path.display()));
            }
            Err(error) => problems.push(format!("{} cannot be read: {error}", path.display())),
            Ok(_) => {
                match read_meta_properties(disk, &path) {
                    Ok(Some(properties)) => {
                        if let Some(first) = &metadata
                            && (first.cluster_id != properties.cluster_id
                                || first.node_id != properties.node_id)
                        {
                            problems
                                .push(format!("Metadata for {} does not match the others", path.display()));
                        }
                        metadata.get_or_insert(properties);
                    }
                    Ok(None) => problems.push(format!("{} is not formatted.", path.display())),
                    Err(error) => problems.push(error.to_string()),
                }
                found.push(path);
            }
        }
    }
    let mut text = String::new();
    let section = |text: &mut String, title: &str, lines: &[String]| {
        if !lines.is_empty() {
            let plural = match (title.strip_suffix('y'), lines.len()) {
                (_, 1) => title.to_string(),
                (Some(stem), _) => format!("{stem}ies"),
                (None, _) => format!("{title}s"),
            };
            let _ = writeln!(text, "Found {plural}:\n  {}\n", lines.join("\n  "));
        }
    };
    let paths: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
    section(&mut text, "log directory", &paths);
    if let Some(properties) = metadata {
        let directory = properties.directory_id.map_or(String::new(), |id| format!("directory.id={id}, "));
        let _ = writeln!(
            text,
            "Found metadata: {{cluster.id={}, {directory}node.id={}, version=1}}\n",
            properties.cluster_id, properties.node_id
        );
    }
    section(&mut text, "problem", &problems);
    (text, problems.is_empty())
}
