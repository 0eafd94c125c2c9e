//! A script's way to the cluster: `--bootstrap-server`, `--command-config`, and requests until they are answered.

use std::collections::{BTreeMap, BTreeSet};

use ottla_client::blocking::block_on;
use ottla_client::config::setting;
use ottla_client::model::Uuid;
use ottla_client::model::properties;
use ottla_client::protocol::Request;
use ottla_client::protocol::api::metadata::{MetadataRequest, MetadataResponse};
use ottla_client::{Admin, Client, ClientConfig, Result, Target};

use super::options::{Exit, Options, Outcome};

/// A connection to the cluster.
pub struct Session {
    pub admin: Admin,
}

impl Session {
    /// Connects when something is asked: to brokers, or to controllers if these are named.
    pub fn open(options: &Options) -> Outcome<Self> {
        match options.value("bootstrap-controller")? {
            Some(controllers) => Self::at_controllers(controllers, file(options)?),
            None => Self::at(options.value("bootstrap-server")?, file(options)?),
        }
    }

    /// The same with the servers to begin with and the settings of the client.
    pub fn at(bootstrap: Option<&str>, settings: Vec<(String, String)>) -> Outcome<Self> {
        let config = config(bootstrap, settings)?;
        let admin = Admin::new(&config).map_err(|error| Exit::Failed(error.to_string()))?;
        Ok(Self { admin })
    }

    /// The same at controllers instead of brokers.
    pub fn at_controllers(controllers: &str, settings: Vec<(String, String)>) -> Outcome<Self> {
        let failed = |error: &dyn std::fmt::Display| Exit::Failed(error.to_string());
        let settings = settings.into_iter().filter(|(name, _)| name != "bootstrap.servers").collect();
        let mut config = config(None, settings)?;
        config.set("bootstrap.controllers", controllers).map_err(|error| failed(&error))?;
        let admin = Admin::new(&config).map_err(|error| failed(&error))?;
        Ok(Self { admin })
    }

    pub fn client(&self) -> &Client {
        self.admin.client()
    }

    /// Asks, again where the network says that this may help. Error codes in the answer are the caller's.
    pub fn ask<R: Request>(&self, target: Target, request: R) -> Result<R::Response> {
        let client = self.client();
        let attempt = async |_| client.call(target.clone(), request.clone()).await;
        block_on(client.retry(client.api_timeout(), &format!("{:?}", R::KEY), attempt))
    }

    /// The ids of brokers that are there.
    pub fn brokers(&self) -> Result<BTreeSet<i32>> {
        let metadata = block_on(self.admin.metadata())?;
        Ok(metadata.brokers.keys().map(|id| id.0).collect())
    }

    /// The topics there are by name, with id and partition count, and whether they are internal.
    pub fn topics(&self) -> Result<BTreeMap<String, Listing>> {
        let request =
            MetadataRequest { topics: None, allow_auto_topic_creation: false, ..Default::default() };
        let answer: MetadataResponse = self.ask(Target::Any, request)?;
        let topics = answer.topics.into_iter().filter_map(|topic| {
            let name = topic.name?.as_str().to_owned();
            let partitions = topic.partitions.iter().map(|partition| partition.partition_index).collect();
            Some((name, Listing { id: topic.topic_id, internal: topic.is_internal, partitions }))
        });
        Ok(topics.collect())
    }
}

/// A topic in a list.
#[derive(Clone, Debug)]
pub struct Listing {
    pub id: Uuid,
    pub internal: bool,
    pub partitions: Vec<i32>,
}

/// The pairs of the file of `--command-config`.
pub fn file(options: &Options) -> Outcome<Vec<(String, String)>> {
    let Some(path) = options.value("command-config")? else { return Ok(Vec::new()) };
    properties_of(path)
}

/// The pairs of a properties file.
pub fn properties_of(path: &str) -> Outcome<Vec<(String, String)>> {
    match std::fs::read_to_string(path) {
        Ok(text) => match properties::parse(&text) {
            Ok(pairs) => Ok(pairs.into_iter().map(|pair| (pair.name, pair.value)).collect()),
            Err(error) => Err(Exit::Failed(format!("{path}: {error}"))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Exit::Failed(path.to_owned())),
        Err(error) => Err(Exit::Failed(format!("cannot read {path}: {error}"))),
    }
}

/// Settings of a client. Those that only Java's clients know are passed over, as they pass over what they do not know;
/// a security protocol that this client lacks is refused.
pub fn config(bootstrap: Option<&str>, pairs: Vec<(String, String)>) -> Outcome<ClientConfig> {
    let mut config = ClientConfig::default();
    let known = pairs.iter().filter(|(name, _)| setting(name).is_some());
    let bootstrap = bootstrap.map(|servers| ("bootstrap.servers".to_owned(), servers.to_owned()));
    for (name, value) in known.chain(bootstrap.as_ref()) {
        config.set(name, value).map_err(|error| Exit::Failed(error.to_string()))?;
    }
    Ok(config)
}
