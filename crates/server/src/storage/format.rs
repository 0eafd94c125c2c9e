//! Formatting: what `ottla format` (and Kafka's `kafka-storage format`) does.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_commit_log::disk::write_file_atomically;
use ottla_commit_log::{Disk, MetaProperties, OpenDirError, read_meta_properties};
use ottla_metadata::features::{self, KRAFT_VERSION, METADATA_VERSION, MetadataVersion, SupportedFeature};
use ottla_model::{Millis, NodeId, Uuid};
use ottla_protocol::EncodeError;
use ottla_protocol::records::metadata::{FeatureLevelRecord, MetadataRecord, UserScramCredentialRecord};
use ottla_raft::{Endpoint, ReplicaKey, VersionRange, Voter, VoterSet};

use super::{META_PROPERTIES, METADATA_PARTITION, directories};
use crate::config::ServerConfig;
use crate::quorum::KRAFT_VERSIONS;
use crate::quorum::snapshot::{self, SnapshotError, SnapshotHead, SnapshotId};

/// What to format with.
#[derive(Clone, Debug, Default)]
pub struct FormatOptions {
    pub cluster_id: String,
    pub quorum: Quorum,
    /// Sets all features as that release would; the latest release if absent.
    pub release_version: Option<String>,
    /// Levels that differ from the release's, by feature.
    pub features: Vec<(String, i16)>,
    /// Credentials for the first start.
    pub scram: Vec<UserScramCredentialRecord>,
    /// Leave formatted directories as they are instead of refusing.
    pub ignore_formatted: bool,
}

/// Where the first voters come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Quorum {
    /// `controller.quorum.voters`, or nowhere on a node that is only a broker.
    #[default]
    Configured,
    /// `--standalone`: this node alone.
    Standalone,
    /// `--initial-controllers`: these.
    Initial(Vec<InitialController>),
    /// `--no-initial-controllers`: the node joins a quorum later.
    None,
}

/// An entry of `--initial-controllers`: `id@host:port:directory-id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialController {
    pub id: NodeId,
    pub host: String,
    pub port: u16,
    pub directory: Uuid,
}

impl std::str::FromStr for InitialController {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let parse = || {
            let (id, rest) = text.split_once('@')?;
            let (address, directory) = rest.rsplit_once(':')?;
            let (host, port) = address.rsplit_once(':')?;
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            Some(Self {
                id: NodeId(id.parse().ok().filter(|id| *id >= 0)?),
                host: host.to_string(),
                port: port.parse().ok()?,
                directory: directory.parse().ok()?,
            })
        };
        parse().ok_or_else(|| {
            FormatError::Usage(format!("{text} is not a controller (id@host:port:directory-id)"))
        })
    }
}

/// What was done.
#[derive(Debug)]
pub struct Formatted {
    /// Empty if all were formatted already.
    pub directories: Vec<FormattedDirectory>,
    /// Data directories that cannot be read, and why: left alone, a broker starts without them.
    pub ignored: Vec<(PathBuf, OpenDirError)>,
    pub metadata_version: MetadataVersion,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormattedDirectory {
    pub path: PathBuf,
    pub id: Uuid,
    /// What kind of directory it is, in Kafka's words.
    pub kind: &'static str,
}

#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("{0}")]
    Usage(String),
    #[error(
        "Log directory {} is already formatted. Use --ignore-formatted to ignore this directory and format the others.",
        .0.display()
    )]
    AlreadyFormatted(PathBuf),
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Directory(#[from] OpenDirError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("cannot encode a bootstrap record: {0}")]
    Encode(#[from] EncodeError),
}

/// Formats the node's directories. `new_id` draws directory ids. When this returns all of it is on disk.
pub fn format(
    disk: &dyn Disk,
    config: &ServerConfig,
    options: &FormatOptions,
    now: Millis,
    mut new_id: impl FnMut() -> Uuid,
) -> Result<Formatted, FormatError> {
    if options.cluster_id.is_empty() {
        return Err(FormatError::Usage("You must specify the cluster id.".into()));
    }
    check_quorum(config, options)?;
    let levels = feature_levels(config, options)?;
    let mut formatted = Formatted {
        directories: Vec::new(),
        ignored: Vec::new(),
        metadata_version: MetadataVersion(levels.metadata_version),
    };
    let mut todo = Vec::new();
    for path in directories(config) {
        match read_meta_properties(disk, &path) {
            Ok(None) => todo.push(path),
            Ok(Some(found)) => {
                check_owner(&found, config, options, &path)?;
                if !options.ignore_formatted {
                    return Err(FormatError::AlreadyFormatted(path));
                }
            }
            Err(error) if path == config.metadata_log_dir => return Err(error.into()),
            Err(error) => formatted.ignored.push((path, error)),
        }
    }
    // The metadata directory comes last: with it the node is complete.
    for path in todo.into_iter().rev() {
        let holds_metadata = path == config.metadata_log_dir;
        let own = match &options.quorum {
            Quorum::Initial(controllers) => controllers.iter().find(|entry| entry.id == config.node_id),
            _ => None,
        };
        let id = own.filter(|_| holds_metadata).map_or_else(&mut new_id, |entry| entry.directory);
        disk.create_dir(&path).map_err(|source| io_error("create", &path, source))?;
        if holds_metadata && config.roles.controller {
            write_snapshot(disk, config, options, &levels, &path, id, now)?;
        }
        let properties = MetaProperties {
            cluster_id: options.cluster_id.clone(),
            node_id: config.node_id,
            directory_id: Some(id),
        };
        let file = path.join(META_PROPERTIES);
        write_file_atomically(disk, &file, properties.format().as_bytes())
            .map_err(|source| io_error("write", &file, source))?;
        let kind = match &options.quorum {
            _ if !holds_metadata => "data directory",
            Quorum::Standalone | Quorum::Initial(_) => "dynamic metadata voter directory",
            Quorum::None => "dynamic metadata directory",
            Quorum::Configured if config.quorum.voters.is_empty() => "dynamic metadata directory",
            Quorum::Configured => "metadata directory",
        };
        formatted.directories.push(FormattedDirectory { path, id, kind });
    }
    formatted.directories.reverse();
    Ok(formatted)
}

/// A directory that is formatted must be this node's, or it would be taken for one that needs nothing.
fn check_owner(
    found: &MetaProperties,
    config: &ServerConfig,
    options: &FormatOptions,
    path: &Path,
) -> Result<(), FormatError> {
    let (cluster_id, node_id) = (&options.cluster_id, config.node_id);
    match found.cluster_id == *cluster_id && found.node_id == node_id {
        true => Ok(()),
        false => Err(FormatError::Usage(format!(
            "{} is of node {} of cluster {}, not of node {node_id} of cluster {cluster_id}.",
            path.join(META_PROPERTIES).display(),
            found.node_id,
            found.cluster_id,
        ))),
    }
}

fn check_quorum(config: &ServerConfig, options: &FormatOptions) -> Result<(), FormatError> {
    let usage = |text: &str| Err(FormatError::Usage(text.to_string()));
    if !config.quorum.voters.is_empty() && options.quorum != Quorum::Configured {
        return usage(
            "You cannot specify controller.quorum.voters and format the node with --initial-controllers, --standalone, \
             or --no-initial-controllers. If you want to use dynamic quorum, please remove controller.quorum.voters and \
             specify controller.quorum.bootstrap.servers instead.",
        );
    }
    if config.quorum.voters.is_empty() && config.roles.controller && options.quorum == Quorum::Configured {
        return usage(
            "Because controller.quorum.voters is not set on this controller, you must specify one of the following: \
             --standalone, --initial-controllers, or --no-initial-controllers.",
        );
    }
    match &options.quorum {
        Quorum::Standalone if !config.roles.controller => {
            usage("You can only use --standalone on a controller.")
        }
        Quorum::Initial(controllers) => {
            if config.roles.controller && !controllers.iter().any(|entry| entry.id == config.node_id) {
                let message = format!(
                    "The controller ID of this node, {}, is not in --initial-controllers.",
                    config.node_id
                );
                return Err(FormatError::Usage(message));
            }
            let mut ids: Vec<NodeId> = controllers.iter().map(|entry| entry.id).collect();
            ids.sort_unstable();
            match ids.windows(2).any(|pair| pair[0] == pair[1]) {
                true => usage("--initial-controllers names a controller twice."),
                false => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

struct FeatureLevels {
    metadata_version: i16,
    kraft_version: i16,
    /// The others above 0, by name.
    others: Vec<(String, i16)>,
}

fn feature_levels(config: &ServerConfig, options: &FormatOptions) -> Result<FeatureLevels, FormatError> {
    let release = match &options.release_version {
        None => MetadataVersion::LATEST,
        Some(text) => MetadataVersion::from_name(text)
            .ok_or_else(|| FormatError::Usage(format!("Unknown metadata.version '{text}'")))?,
    };
    let given =
        |name: &str| options.features.iter().rev().find(|(known, _)| known == name).map(|(_, level)| *level);
    if options.release_version.is_some() && given(METADATA_VERSION).is_some() {
        return Err(FormatError::Usage(
            "Use --release-version instead of --feature metadata.version=X to avoid ambiguity.".into(),
        ));
    }
    for (name, level) in &options.features {
        let Some(range) = SupportedFeature::named(name) else {
            return Err(FormatError::Usage(format!("Unsupported feature: {name}.")));
        };
        if *level < range.min || *level > range.max {
            let message =
                format!("Unsupported {name} {level}. Supported levels are {} to {}.", range.min, range.max);
            return Err(FormatError::Usage(message));
        }
    }
    let metadata_version = given(METADATA_VERSION).map_or(release, MetadataVersion);
    if !options.scram.is_empty() && !metadata_version.supports_scram() {
        return Err(FormatError::Usage(
            "SCRAM is only supported in metadata.version 3.5-IV2 or later.".into(),
        ));
    }
    let dynamic = config.quorum.voters.is_empty();
    let kraft_version =
        given(KRAFT_VERSION).unwrap_or(if dynamic { KRAFT_VERSIONS.max } else { KRAFT_VERSIONS.min });
    if kraft_version > 0 && !dynamic {
        return Err(FormatError::Usage(format!(
            "Cannot set kraft.version to {kraft_version} unless one of the flags --standalone, --initial-controllers, or \
             --no-initial-controllers is used. For dynamic controllers support, try using one of --standalone, \
             --initial-controllers, or --no-initial-controllers and removing controller.quorum.voters."
        )));
    }
    if kraft_version == 0 && config.roles.controller && dynamic {
        return Err(FormatError::Usage("kraft.version 0 needs controller.quorum.voters.".into()));
    }
    let mut others: Vec<(String, i16)> = features::SUPPORTED
        .iter()
        .map(|feature| (feature.name, given(feature.name).unwrap_or(feature.default_level(metadata_version))))
        .map(|(name, level)| (name.to_string(), level))
        .filter(|(name, level)| *level > 0 && name != METADATA_VERSION && name != KRAFT_VERSION)
        .collect();
    others.sort();
    Ok(FeatureLevels { metadata_version: metadata_version.0, kraft_version, others })
}

fn write_snapshot(
    disk: &dyn Disk,
    config: &ServerConfig,
    options: &FormatOptions,
    levels: &FeatureLevels,
    directory: &Path,
    id: Uuid,
    now: Millis,
) -> Result<(), FormatError> {
    let directory = directory.join(METADATA_PARTITION);
    disk.create_dir(&directory).map_err(|source| io_error("create", &directory, source))?;
    let voters = voters(config, options, id)?;
    let head = SnapshotHead {
        id: SnapshotId::BOOTSTRAP,
        last_contained_log_timestamp: now,
        kraft_version: levels.kraft_version,
        voters: voters.as_ref(),
    };
    let level = |name: &str, feature_level| {
        MetadataRecord::FeatureLevel(FeatureLevelRecord { name: name.into(), feature_level })
    };
    let mut records = vec![level(METADATA_VERSION, levels.metadata_version)];
    records.extend(levels.others.iter().map(|(name, feature_level)| level(name, *feature_level)));
    records.extend(options.scram.iter().cloned().map(MetadataRecord::UserScramCredential));
    let values: Vec<Bytes> = records.iter().map(|record| record.encode(0)).collect::<Result<_, _>>()?;
    snapshot::write(disk, &directory, head, now, values.into_iter())?;
    Ok(())
}

fn voters(config: &ServerConfig, options: &FormatOptions, id: Uuid) -> Result<Option<VoterSet>, FormatError> {
    let kraft_version = VersionRange { min: KRAFT_VERSIONS.min, max: KRAFT_VERSIONS.max };
    match &options.quorum {
        Quorum::Standalone => {
            let endpoints = crate::quorum::controller_endpoints(config, &[]);
            if endpoints.is_empty() {
                return Err(FormatError::Usage("this node opens no controller listener".into()));
            }
            let key = ReplicaKey::new(config.node_id, id);
            Ok(Some(VoterSet::from_iter([Voter { key, endpoints, kraft_version }])))
        }
        Quorum::Initial(controllers) => {
            let listener = config.controller_listener_names.first().cloned().unwrap_or_default();
            let voter = |entry: &InitialController| Voter {
                key: ReplicaKey::new(entry.id, entry.directory),
                endpoints: vec![Endpoint {
                    listener: listener.clone(),
                    host: entry.host.clone(),
                    port: entry.port,
                }],
                kraft_version,
            };
            Ok(Some(controllers.iter().map(voter).collect()))
        }
        Quorum::Configured | Quorum::None => Ok(None),
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> FormatError {
    FormatError::Io { action, path: path.to_path_buf(), source }
}
