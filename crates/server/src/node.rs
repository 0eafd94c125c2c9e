//! A node: what its roles share, and what starts and stops in which order.
//!
//! Ports are opened first, so that a port in use is found before anything is touched, and served last, when the
//! broker can answer. Stopping goes the other way: no requests, no leadership, logs closed, the clean marker last.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use ottla_commit_log::{FileCache, LogContext, RealDisk, StorageError, TailBudget};
use ottla_metadata::{ConfigResourceType, MetadataChanges, MetadataImage};
use ottla_model::NodeId;
use ottla_protocol::Listener;
use ottla_transport::{AcceptLimits, ListenError};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::api::ListenerContext;
use crate::broker::background::Background;
use crate::broker::cleaner::Cleaner;
use crate::broker::lifecycle::{BrokerLifecycle, LifecycleError, Registration};
use crate::broker::reconcile::Reconciler;
use crate::broker::syncer::Syncer;
use crate::broker::{Broker, BrokerDir};
use crate::config::{Endpoint, ServerConfig};
use crate::controller::{self, ControllerError, ControllerHandle};
use crate::metadata::{MetadataHandle, Publisher};
use crate::network::{Network, OpenPort};
use crate::{random, storage};

/// Log files that are kept open at once, below the usual limit of 1,024 descriptors of a process.
const OPEN_FILES_MAX: usize = 512;
/// Bytes of recently appended batches that are kept in memory.
const TAIL_BYTES_MAX: usize = 8 << 20;
/// How long leaders may take to move away when the node stops.
const CONTROLLED_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

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
    Storage(#[from] StorageError),
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    #[error(transparent)]
    Handle(#[from] ControllerError),
    #[error("{0}")]
    Unsupported(String),
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
    lifecycle: BrokerLifecycle,
    fault: watch::Receiver<Option<String>>,
    reconciler: Arc<Mutex<Reconciler>>,
    background: Option<(mpsc::Sender<()>, std::thread::JoinHandle<()>)>,
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

    /// The broker role.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// The controller role.
    pub fn controller(&self) -> &ControllerHandle {
        &self.controller
    }
}

/// Tells the broker of new images.
struct BrokerPublisher {
    reconciler: Arc<Mutex<Reconciler>>,
    broker: Arc<Broker>,
    accept_limits: Arc<ArcSwap<AcceptLimits>>,
}

impl Publisher for BrokerPublisher {
    fn publish(&mut self, changes: &MetadataChanges, _: &MetadataImage, image: &Arc<MetadataImage>) {
        self.reconciler.lock().apply(image, changes);
        if changes.configs.iter().any(|resource| resource.kind == ConfigResourceType::Broker) {
            let layers = image.configs.layers(self.broker.node_id, self.broker.config.static_broker.clone());
            self.accept_limits.store(Arc::new(crate::network::accept_limits(&layers)));
        }
    }
}

impl RunningNode {
    /// Starts a node on formatted directories. Must be called inside a multi-threaded runtime.
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        let began = Instant::now();
        if !config.roles.broker || !config.roles.controller {
            return Err(StartError::Unsupported(
                "process.roles must be broker,controller: this version runs one node with both roles"
                    .to_owned(),
            ));
        }
        let config = Arc::new(config);
        let network = Arc::new(Network::new(&config.network, accept_limits(&config)));
        let mut ports = Vec::with_capacity(config.listeners.len());
        for endpoint in &config.listeners {
            ports.push(network.open(endpoint, &config.network).await?);
        }
        let context = LogContext {
            files: FileCache::new(Arc::new(RealDisk), OPEN_FILES_MAX),
            tails: TailBudget::new(TAIL_BYTES_MAX),
        };
        let directories = storage::open(&context, &config, random::uuid)?;
        let incarnation = random::uuid();
        let running = controller::start(controller::Options {
            config: &config,
            directories: &directories,
            incarnation,
            seed: [random::u64(), random::u64()],
            opened_ports: ports
                .iter()
                .map(|port| (port.endpoint.listener.clone(), port.address.port()))
                .collect(),
        })?;
        let dirs = directories
            .data
            .iter()
            .map(|directory| BrokerDir {
                id: directory.id,
                dir: directory.log_dir.clone(),
                syncer: Syncer::new(),
            })
            .collect();
        let cluster_id: Arc<str> = directories.cluster_id.as_str().into();
        let broker = Broker::new(
            Arc::clone(&config),
            Arc::clone(&cluster_id),
            running.controller.clone(),
            running.metadata.shared(),
            dirs,
        );
        let (reconciler, loaded) =
            tokio::task::block_in_place(|| Reconciler::load(&broker, &broker.image()))?;
        let reconciler = Arc::new(Mutex::new(reconciler));
        let lifecycle = BrokerLifecycle::new(&config, running.controller.clone(), running.metadata.clone());
        lifecycle
            .register(Registration {
                node_id: config.node_id,
                cluster_id: directories.cluster_id.clone(),
                incarnation,
                listeners: advertised(&config, &ports),
                rack: config.rack.clone(),
                directories: directories.data.iter().map(|directory| directory.id).collect(),
                previous_epoch: loaded.previous_broker_epoch,
            })
            .await?;
        let publisher = BrokerPublisher {
            reconciler: Arc::clone(&reconciler),
            broker: Arc::clone(&broker),
            accept_limits: Arc::clone(&network.accept_limits),
        };
        running.controller.add_publisher(Box::new(publisher)).await?;
        lifecycle.unfence().await?;

        let node = Arc::new(Node {
            broker: Arc::clone(&broker),
            metadata: running.metadata,
            controller: running.controller,
        });
        let addresses = serve(&node, &network, &config, ports);
        let alive = lifecycle.clone();
        tokio::spawn(async move { alive.keep_alive().await });
        let background = start_background(&broker);
        info!(
            "Ottla {} started in {} ms: node {} of cluster {cluster_id}, broker and controller",
            env!("CARGO_PKG_VERSION"),
            began.elapsed().as_millis(),
            config.node_id,
        );
        for (listener, address) in &addresses {
            info!("listening on {address} ({listener})");
        }
        for dir in &broker.dirs {
            info!("data in {}", absolute(dir.dir.path().to_owned()).display());
        }
        info!(
            "{} partitions loaded{}",
            loaded.logs,
            if loaded.clean || loaded.logs == 0 {
                String::new()
            } else {
                format!(" after a crash, {} MiB looked through", loaded.bytes_scanned >> 20)
            }
        );
        Ok(Self {
            node,
            addresses,
            network,
            lifecycle,
            fault: running.fault,
            reconciler,
            background: Some(background),
        })
    }

    /// Waits until the node cannot go on; says why.
    pub async fn failed(&self) -> String {
        let mut fault = self.fault.clone();
        match fault.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the controller's thread ended".to_owned(),
        }
    }

    /// Stops cleanly: answers what was asked, closes the logs, and says on disk that they are whole.
    pub async fn stop(mut self) {
        // Members wait for each other in requests that may take minutes.
        self.node.broker.groups.stop();
        self.network.stop().await;
        let moved =
            tokio::time::timeout(CONTROLLED_SHUTDOWN_TIMEOUT, self.lifecycle.controlled_shutdown()).await;
        if !matches!(moved, Ok(Ok(()))) {
            warn!("the controller did not let the broker go in time");
        }
        if let Some((stop, thread)) = self.background.take() {
            drop(stop);
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        self.node.controller.stop().await;
        let epoch = self.lifecycle.epoch();
        let reconciler = Arc::clone(&self.reconciler);
        let closed = tokio::task::spawn_blocking(move || reconciler.lock().close(epoch)).await;
        if let Ok(Err(error)) = closed {
            error!(%error, "a log could not be closed cleanly; the next start will recover it");
        }
    }
}

/// Serves the open ports; returns their addresses by listener.
fn serve(
    node: &Arc<Node>,
    network: &Arc<Network>,
    config: &ServerConfig,
    ports: Vec<OpenPort>,
) -> Vec<(String, SocketAddr)> {
    let idle_max = match config.network.connections_idle_ms_max {
        ..0 => Duration::MAX / 4,
        idle_ms => Duration::from_millis(idle_ms as u64),
    };
    let mut addresses = Vec::with_capacity(ports.len());
    for port in ports {
        let name = &port.endpoint.listener;
        addresses.push((name.clone(), port.address));
        let is_controller = config.is_controller_listener(name);
        let context = ListenerContext {
            node: Arc::clone(node),
            name: name.as_str().into(),
            kind: if is_controller { Listener::Controller } else { Listener::Broker },
            idle_max,
        };
        network.serve(port, Arc::new(context));
    }
    addresses
}

fn start_background(broker: &Arc<Broker>) -> (mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let (stop, stopped) = mpsc::channel();
    let (stop_cleaner, cleaner_stopped) = mpsc::channel();
    let background = Background::new(broker);
    let thread = std::thread::Builder::new()
        .name("ottla-background".to_owned())
        .spawn(move || {
            background.run(&stopped);
            drop(stop_cleaner);
        })
        .expect("start the background thread");
    let cleaner = Cleaner::new(broker);
    // Nobody waits for it: a cleaning that has not ended when its log is closed leaves nothing behind.
    std::thread::Builder::new()
        .name("ottla-cleaner".to_owned())
        .spawn(move || cleaner.run(&cleaner_stopped))
        .expect("start the cleaner's thread");
    (stop, thread)
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

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
