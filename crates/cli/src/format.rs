//! `ottla format`, `info` and `random-uuid`: what Kafka's `kafka-storage` does, with its flags.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use ottla_commit_log::RealDisk;
use ottla_model::Millis;
use ottla_server::config::{self, ServerConfig};
use ottla_server::storage::{self, FormatOptions, Quorum, scram};

#[derive(clap::Args)]
pub struct FormatArgs {
    /// The server.properties of the node; without one, that of a node started without any
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The id of the cluster, the same on all nodes (see random-uuid)
    #[arg(short = 't', long, value_name = "ID")]
    cluster_id: String,
    /// This node is the only controller; more may join
    #[arg(short, long, conflicts_with_all = ["initial_controllers", "no_initial_controllers"])]
    standalone: bool,
    /// The first controllers, the same on all of them: id@host:port:directory-id, separated by commas
    #[arg(short = 'I', long, value_name = "CONTROLLERS", conflicts_with = "no_initial_controllers")]
    initial_controllers: Option<String>,
    /// This controller joins later
    #[arg(short = 'N', long)]
    no_initial_controllers: bool,
    /// Set all features as this release would
    #[arg(short, long, value_name = "RELEASE")]
    release_version: Option<String>,
    /// Set the level of a feature; may be repeated
    #[arg(short, long = "feature", value_name = "NAME=LEVEL")]
    features: Vec<String>,
    /// Create a user: SCRAM-SHA-256=[name=alice,password=secret]; may be repeated
    #[arg(short = 'S', long = "add-scram", value_name = "CREDENTIAL")]
    scram: Vec<String>,
    /// Leave directories that are formatted as they are
    #[arg(short = 'g', long)]
    ignore_formatted: bool,
}

#[derive(clap::Args)]
pub struct InfoArgs {
    /// The server.properties of the node; without one, that of a node started without any
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn format(args: FormatArgs) -> Result<()> {
    let config = load(args.config.as_deref())?;
    let quorum = match (args.standalone, args.no_initial_controllers, &args.initial_controllers) {
        (true, ..) => Quorum::Standalone,
        (_, true, _) => Quorum::None,
        (_, _, Some(list)) => {
            Quorum::Initial(list.split(',').map(|entry| entry.trim().parse()).collect::<Result<_, _>>()?)
        }
        _ => Quorum::Configured,
    };
    let features = args.features.iter().map(|feature| {
        let parsed =
            feature.split_once('=').and_then(|(name, level)| Some((name.to_string(), level.parse().ok()?)));
        parsed.with_context(|| format!("--feature {feature}: expected name=level"))
    });
    let credentials =
        args.scram.iter().map(|text| scram::parse(text, || storage::random_id().to_string().into_bytes()));
    let options = FormatOptions {
        cluster_id: args.cluster_id,
        quorum,
        release_version: args.release_version,
        features: features.collect::<Result<_>>()?,
        scram: credentials.collect::<Result<_, _>>()?,
        ignore_formatted: args.ignore_formatted,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let formatted = storage::format(&RealDisk, &config, &options, Millis(now), storage::random_id)?;
    for (path, error) in &formatted.ignored {
        println!("I/O error trying to read log directory {}. Ignoring...", path.display());
        eprintln!("warning: {error}");
    }
    if formatted.directories.is_empty() {
        println!("All of the log directories are already formatted.");
    }
    for directory in &formatted.directories {
        println!(
            "Formatting {} {} with metadata.version {}.",
            directory.kind,
            directory.path.display(),
            formatted.metadata_version
        );
    }
    Ok(())
}

pub fn info(args: &InfoArgs) -> Result<()> {
    let config = load(args.config.as_deref())?;
    let (text, fine) = storage::info(&RealDisk, &config);
    print!("{text}");
    match fine {
        true => Ok(()),
        false => bail!("not all directories are usable"),
    }
}

pub fn random_uuid() {
    println!("{}", storage::random_id());
}

fn load(file: Option<&std::path::Path>) -> Result<ServerConfig> {
    let (config, warnings) = config::load(file, &[])?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    Ok(config)
}
