//! A node: what its roles share, and what starts and stops in which order.
//!
//! Ports are opened first, so that a port in use is found before anything is touched. Controllers' ports are served
//! as soon as the quorum's thread runs, as other nodes need them to elect; clients' ports last, when the broker can
//! answer. Stopping goes the other way: leaders move away, the quorum gets another leader, no requests, logs closed,
//! the clean marker last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;
use ottla_commit_log::{FileCache, LogContext, TailBudget};
use ottla_metadata::MetadataImage;
use ottla_model::{BrokerEpoch, NodeId};
use ottla_protocol::Listener;
use ottla_transport::{AcceptLimits, ListenError};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::api::{ListenerContext, RequestHook};
use crate::broker::lifecycle::Registration;
use crate::broker::role::{self, BrokerRole};
use crate::broker::syncer::Syncer;
use crate::broker::{Broker, BrokerDir};
use crate::config::{Endpoint, ServerConfig};
use crate::controller::{self, ControllerClient, ControllerHandle, registration};
use crate::environment::Environment;
use crate::metadata::MetadataHandle;
use crate::network::{Network, OpenPort};
use crate::quorum::controller_endpoints;
use crate::rpc::RpcNetwork;
use crate::{random, storage};

/// Log files that are kept open at once, below the usual limit of 1,024 descriptors of a process.
const OPEN_FILES_MAX: usize = 512;
/// Bytes of recently appended batches that are kept in memory.
const TAIL_BYTES_MAX: usize = 8 << 20;
/// How long the quorum may take to find another leader when the node stops.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Open(#[from] storage::OpenError),
    #[error(transparent)]
    Controller(#[from] controller::StartError),
    #[error(transparent)]
    Broker(#[from] role::StartError),
    /// The quorum on this node ended while the broker waited for it.
    #[error("{0}")]
    Fault(String),
}

/// A running node.
pub struct Node {
    broker: Arc<Broker>,
    metadata: MetadataHandle,
    controller: ControllerHandle,
}

/// A started node, with what it takes to stop it.
pub struct RunningNode {
    pub node: Arc<Node>,
    /// Where clients connect: listener name and address.
    pub addresses: Vec<(String, SocketAddr)>,
    network: Arc<Network>,
    fault: watch::Receiver<Option<String>>,
    /// There if the node has the role.
    broker: Option<BrokerRole>,
}

impl Node {
    pub fn id(&self) -> NodeId {
        self.broker.node_id
    }

    pub fn cluster_id(&self) -> &str {
        &self.broker.cluster_id
    }

    pub fn image(&self) -> Guard<Arc<MetadataImage>> {
        self.metadata.peek()
    }

    /// The newest image, now and later.
    pub fn metadata(&self) -> &MetadataHandle {
        &self.metadata
    }

    /// What the broker's handlers work with; without partitions where the node is only a controller.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// The quorum on this node, and the controller while it is the active one.
    pub fn controller(&self) -> &ControllerHandle {
        &self.controller
    }
}

impl RunningNode {
    /// Starts a node on formatted directories. A broker comes back when a controller has taken it in. In a runtime of
    /// one thread everything is a task of it, waits for the disk included.
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        Self::start_in(Environment::default(), config).await
    }

    /// As [`Self::start`], on other disks and networks than the machine's.
    pub async fn start_in(environment: Environment, config: ServerConfig) -> Result<Self, StartError> {
        let Environment { disk, network: machine, quorum_runtime, hook } = environment;
        let quorum_runtime = quorum_runtime.unwrap_or_else(Handle::current);
        let began = Instant::now();
        let config = Arc::new(config);
        let network = Arc::new(Network::new(&config.network, accept_limits(&config)));
        let mut ports = Vec::with_capacity(config.listeners.len());
        for endpoint in &config.listeners {
            ports.push(network.open(&*machine, endpoint, &config.network).await?);
        }
        let context = LogContext {
            files: FileCache::new(disk, OPEN_FILES_MAX),
            tails: TailBudget::new(TAIL_BYTES_MAX),
        };
        let directories = storage::open(&context, &config, random::uuid)?;
        let incarnation = random::uuid();
        let rpc_network = RpcNetwork::over(Arc::clone(&machine));
        let addresses: Vec<(String, SocketAddr)> =
            ports.iter().map(|port| (port.endpoint.listener.clone(), port.address)).collect();
        let opened_ports: Vec<(String, u16)> =
            addresses.iter().map(|(listener, address)| (listener.clone(), address.port())).collect();
        let of_quorum = quorum_runtime.enter();
        let running = controller::start(controller::Options {
            config: &config,
            directories: &directories,
            incarnation,
            seed: [random::u64(), random::u64()],
            opened_ports: opened_ports.clone(),
            network: Arc::clone(&rpc_network),
        })?;
        drop(of_quorum);
        let data = directories.data.iter().filter(|_| config.roles.broker);
        let dirs = data
            .map(|directory| BrokerDir {
                id: directory.id,
                dir: directory.log_dir.clone(),
                syncer: Syncer::new(),
            })
            .collect();
        let client = ControllerClient::new(&config, running.controller.clone(), rpc_network);
        let broker = Broker::new(
            Arc::clone(&config),
            directories.cluster_id.as_str().into(),
            client.clone(),
            RpcNetwork::over(machine),
            running.metadata.shared(),
            dirs,
            directories.offline.clone(),
        );
        let node = Arc::new(Node {
            broker: Arc::clone(&broker),
            metadata: running.metadata.clone(),
            controller: running.controller.clone(),
        });
        let registration = Registration {
            node_id: config.node_id,
            cluster_id: directories.cluster_id.clone(),
            incarnation,
            listeners: advertised(&config, &ports),
            rack: config.rack.clone(),
            directories: directories.data.iter().map(|directory| directory.id).collect(),
            previous_epoch: BrokerEpoch::NONE,
        };
        let (controllers, clients): (Vec<_>, Vec<_>) =
            ports.into_iter().partition(|port| config.is_controller_listener(&port.endpoint.listener));
        let of_quorum = quorum_runtime.enter();
        serve(&node, &network, &config, controllers, hook.as_ref());
        if config.roles.controller {
            let endpoints = controller_endpoints(&config, &opened_ports);
            let request = registration::request(&config, &endpoints, incarnation);
            tokio::spawn(registration::keep(client, running.metadata.clone(), request));
        }
        drop(of_quorum);
        let mut fault = running.fault;
        let mut broker_role = None;
        if config.roles.broker {
            let limits = Arc::clone(&network.accept_limits);
            let (metadata, controller) = (&running.metadata, &running.controller);
            let start = BrokerRole::start(&broker, registration, metadata, controller, limits);
            let started = tokio::select! {
                biased;
                started = start => started,
                reason = ended(&mut fault) => return Err(StartError::Fault(reason)),
            };
            // Whoever waits for the quorum's thread hears of its end before its reason is known.
            if matches!(&started, Err(error) if error.is_stopping()) {
                return Err(StartError::Fault(ended(&mut fault).await));
            }
            broker_role = Some(started?);
            serve(&node, &network, &config, clients, hook.as_ref());
        }
        let roles = match (config.roles.broker, config.roles.controller) {
            (true, true) => "broker and controller",
            (true, false) => "broker",
            _ => "controller",
        };
        info!(
            "Ottla {} started in {} ms: node {} of cluster {}, {roles}",
            env!("CARGO_PKG_VERSION"),
            began.elapsed().as_millis(),
            config.node_id,
            directories.cluster_id,
        );
        for (listener, address) in &addresses {
            info!("listening on {address} ({listener})");
        }
        Ok(Self { node, addresses, network, fault, broker: broker_role })
    }

    /// Waits until the node cannot go on; says why.
    pub async fn failed(&self) -> String {
        let mut fault = self.fault.clone();
        let Some(mut storage) = self.broker.as_ref().map(BrokerRole::fault) else {
            return ended(&mut fault).await;
        };
        tokio::select! {
            biased;
            reason = ended(&mut fault) => reason,
            reason = ended(&mut storage) => reason,
        }
    }

    /// Stops cleanly: leaders move away, what was asked is answered, the logs are closed and marked as whole.
    pub async fn stop(mut self) {
        if let Some(broker) = &self.broker {
            broker.leave().await;
        }
        let handed_over = tokio::time::timeout(HAND_OVER_TIMEOUT, self.node.controller.hand_over()).await;
        if handed_over.is_err() {
            warn!("the quorum found no other leader in time");
        }
        self.network.stop().await;
        if let Some(broker) = &mut self.broker {
            broker.stop_background().await;
        }
        self.node.controller.stop().await;
        if let Some(broker) = self.broker {
            broker.close().await;
        }
    }
}

/// Waits until the quorum's thread has ended; says why.
async fn ended(fault: &mut watch::Receiver<Option<String>>) -> String {
    match fault.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or_default(),
        Err(_) => "the controller's thread ended".to_owned(),
    }
}

/// Serves open ports.
fn serve(
    node: &Arc<Node>,
    network: &Arc<Network>,
    config: &ServerConfig,
    ports: Vec<OpenPort>,
    hook: Option<&Arc<dyn RequestHook>>,
) {
    let idle_max = match config.network.connections_idle_ms_max {
        ..0 => Duration::MAX / 4,
        idle_ms => Duration::from_millis(idle_ms as u64),
    };
    for port in ports {
        let name = &port.endpoint.listener;
        let is_controller = config.is_controller_listener(name);
        let context = ListenerContext {
            node: Arc::clone(node),
            name: name.as_str().into(),
            kind: if is_controller { Listener::Controller } else { Listener::Broker },
            idle_max,
            hook: hook.cloned(),
        };
        network.serve(port, Arc::new(context));
    }
}

/// What clients are told, with the ports that were opened on any free one.
fn advertised(config: &ServerConfig, ports: &[OpenPort]) -> Vec<Endpoint> {
    let opened = |listener: &str| {
        ports.iter().find(|port| port.endpoint.listener == listener).map(|port| port.address.port())
    };
    config
        .advertised_listeners
        .iter()
        .filter(|endpoint| !config.is_controller_listener(&endpoint.listener))
        .map(|endpoint| Endpoint {
            port: if endpoint.port == 0 { opened(&endpoint.listener).unwrap_or(0) } else { endpoint.port },
            ..endpoint.clone()
        })
        .collect()
}

fn accept_limits(config: &ServerConfig) -> AcceptLimits {
    let layers =
        ottla_metadata::configs::Layers { static_broker: config.static_broker.clone(), ..Default::default() };
    crate::network::accept_limits(&layers)
}
