//! One broker: a thread with a runtime of its own in which a whole node runs, and the handle that tests hold.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ottla_commit_log::{Disk, RealDisk, SimDisk};
use ottla_server::config::{self, ServerConfig, ServerConfigError};
use ottla_server::environment::Environment;
use ottla_server::node::{self, RunningNode};
use ottla_server::storage::{self, FormatError, FormatOptions, Quorum};
use ottla_server::{clock, node::Node};
use tempfile::TempDir;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::clock::TestClock;
use crate::faults::{Armed, Fault, Faults};

/// Why a broker did not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{0}")]
    Config(#[from] ServerConfigError),
    #[error("{0}")]
    Format(#[from] FormatError),
    #[error("{0}")]
    Node(#[from] node::StartError),
    #[error("cannot {0}: {1}")]
    System(&'static str, std::io::Error),
    #[error("the broker's thread ended before it had started")]
    Ended,
}

/// Where a broker keeps its files.
#[derive(Debug)]
enum Home {
    Memory(SimDisk),
    /// Removed with the broker.
    Temporary(TempDir),
}

/// What a broker is started with.
#[derive(Debug)]
pub struct TestBrokerBuilder {
    node_id: i32,
    port: u16,
    home: Home,
    overrides: Vec<String>,
    cluster_id: Option<String>,
    quorum: Quorum,
}

/// A running broker. Dropping it ends it at once, as a kill would.
#[derive(Debug)]
pub struct TestBroker {
    node_id: i32,
    address: SocketAddr,
    home: Home,
    config: ServerConfig,
    overrides: Vec<String>,
    clock: TestClock,
    faults: Arc<Faults>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    commands: mpsc::UnboundedSender<Command>,
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
pub(crate) enum Command {
    Advance(Duration, oneshot::Sender<()>),
    Stop,
    Kill,
}

impl Default for TestBrokerBuilder {
    fn default() -> Self {
        Self {
            node_id: 1,
            port: 0,
            home: Home::Memory(SimDisk::new()),
            overrides: Vec::new(),
            cluster_id: None,
            quorum: Quorum::Standalone,
        }
    }
}

impl TestBrokerBuilder {
    /// Listens on this port of the loopback address instead of any that is free.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets a property of the broker, such as `num.partitions`.
    pub fn property(mut self, name: &str, value: impl ToString) -> Self {
        self.overrides.push(format!("{name}={}", value.to_string()));
        self
    }

    /// Keeps its files in a temporary directory instead of in memory.
    pub fn on_disk(mut self) -> Self {
        self.home = Home::Temporary(tempfile::tempdir().expect("create a temporary directory"));
        self
    }

    pub(crate) fn member(mut self, node_id: i32, cluster_id: &str, quorum: Quorum) -> Self {
        (self.node_id, self.cluster_id, self.quorum) = (node_id, Some(cluster_id.to_owned()), quorum);
        self
    }

    /// Starts the broker; it can be used when this returns.
    ///
    /// # Panics
    /// If it does not start; see [`Self::try_start`].
    pub async fn start(self) -> TestBroker {
        self.try_start().await.unwrap_or_else(|error| panic!("start a test broker: {error}"))
    }

    /// As [`Self::start`], with an error for what is wrong.
    pub async fn try_start(self) -> Result<TestBroker, StartError> {
        let (broker, started) = self.begin()?;
        started.finish(broker).await
    }

    /// Starts the thread; the broker is there when the second value says so.
    pub(crate) fn begin(self) -> Result<(TestBroker, Starting), StartError> {
        let mut overrides = vec![
            format!("node.id={}", self.node_id),
            format!("listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:0", self.port),
            format!("log.dirs={}", self.home.log_dir().display()),
            "offsets.topic.num.partitions=1".to_owned(),
        ];
        overrides.extend(self.overrides);
        let (config, _) = config::load(None, &overrides)?;
        let clock = TestClock::default();
        let cluster_id = self.cluster_id.unwrap_or_else(|| storage::random_id().to_string());
        let options =
            FormatOptions { cluster_id, quorum: self.quorum, ignore_formatted: true, ..Default::default() };
        storage::format(&*self.home.disk(), &config, &options, clock.now(), storage::random_id)?;
        let mut broker = TestBroker {
            node_id: self.node_id,
            address: SocketAddr::from(([127, 0, 0, 1], self.port)),
            home: self.home,
            config,
            overrides,
            clock,
            faults: Arc::default(),
            running: None,
        };
        let starting = broker.spawn()?;
        Ok((broker, starting))
    }
}

impl Home {
    fn log_dir(&self) -> PathBuf {
        match self {
            Self::Memory(_) => "/memory".into(),
            Self::Temporary(dir) => dir.path().join("data"),
        }
    }

    fn disk(&self) -> Arc<dyn Disk> {
        match self {
            Self::Memory(disk) => Arc::new(disk.clone()),
            Self::Temporary(_) => Arc::new(RealDisk),
        }
    }
}

impl TestBroker {
    /// A broker of its own cluster, in memory, on a free port.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    pub fn builder() -> TestBrokerBuilder {
        TestBrokerBuilder::default()
    }

    pub fn node_id(&self) -> i32 {
        self.node_id
    }

    /// Where it listens; the same after a restart.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients take for `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> String {
        self.address.to_string()
    }

    /// The broker's wall clock.
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// Moves the broker's time forward: its wall clock, by which records expire, and all that waits for a time, such as
    /// sessions of group members and connections that nobody uses (`connections.max.idle.ms`).
    pub async fn advance(&self, time: Duration) {
        let Some(running) = &self.running else { return self.clock.advance(time) };
        let (done, advanced) = oneshot::channel();
        let _ = running.commands.send(Command::Advance(time, done));
        let _ = advanced.await;
    }

    /// Lets something go wrong from now on, until it has happened as often as it should.
    pub fn inject(&self, fault: Fault) -> Armed {
        self.faults.arm(fault)
    }

    /// Disarms all faults.
    pub fn heal(&self) {
        self.faults.clear();
    }

    /// Whether it runs: not if it was stopped or killed, by a fault too.
    pub fn is_running(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.thread.is_finished())
    }

    /// Ends it cleanly.
    pub async fn stop(&mut self) {
        self.end(Command::Stop).await;
    }

    /// Ends it as a killed process would end: connections break, nobody is told, and files stay as they are.
    pub async fn kill(&mut self) {
        self.end(Command::Kill).await;
    }

    /// Starts it again on the same port and files, after [`Self::stop`] or [`Self::kill`].
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart(&mut self) {
        self.kill().await;
        // A later setting of the same name wins.
        let controller = self.config.controller_listeners().next().map_or(0, |endpoint| endpoint.port);
        let port = self.address.port();
        self.overrides
            .push(format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"));
        let restarted = async {
            (self.config, _) = config::load(None, &self.overrides)?;
            let starting = self.spawn()?;
            starting.wait().await
        };
        let started = restarted.await.unwrap_or_else(|error| panic!("restart a test broker: {error}"));
        self.faults.set_node(&started.node);
    }

    async fn end(&mut self, command: Command) {
        if let Some(running) = self.running.take() {
            let _ = running.commands.send(command);
            let _ = running.ended.await;
            let _ = running.thread.join();
        }
    }

    fn spawn(&mut self) -> Result<Starting, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| StartError::System("make a runtime", error))?;
        let (commands, inbox) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let (tell, started) = oneshot::channel();
        let faults = Arc::clone(&self.faults);
        faults.set_broker(commands.downgrade());
        let environment =
            Environment { disk: self.home.disk(), hook: Some(faults), ..Environment::default() };
        let (config, wall) = (self.config.clone(), self.clock.clone());
        let thread = std::thread::Builder::new()
            .name(format!("broker-{}", self.node_id))
            .spawn(move || {
                clock::set_for_thread(Some(Arc::new(wall.clone())));
                runtime.block_on(run(environment, config, wall, tell, inbox));
                drop(runtime);
                drop(end);
            })
            .map_err(|error| StartError::System("start a thread", error))?;
        self.running = Some(Running { commands, ended, thread });
        Ok(Starting(started))
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.commands.send(Command::Kill);
            let _ = running.thread.join();
        }
    }
}

/// What a node tells when it has started.
pub(crate) struct Started {
    address: SocketAddr,
    node: Arc<Node>,
}

/// A broker that is about to have started.
pub(crate) struct Starting(oneshot::Receiver<Result<Started, StartError>>);

impl Starting {
    async fn wait(self) -> Result<Started, StartError> {
        self.0.await.unwrap_or(Err(StartError::Ended))
    }

    pub(crate) async fn finish(self, mut broker: TestBroker) -> Result<TestBroker, StartError> {
        let started = self.wait().await?;
        broker.address = started.address;
        broker.faults.set_node(&started.node);
        Ok(broker)
    }
}

/// The life of a node. What it leaves undone ends with its runtime.
async fn run(
    environment: Environment,
    config: ServerConfig,
    clock: TestClock,
    tell: oneshot::Sender<Result<Started, StartError>>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let starting = RunningNode::start_in(environment, config);
    let node = tokio::select! {
        started = starting => match started {
            Ok(node) => node,
            Err(error) => {
                let _ = tell.send(Err(error.into()));
                return;
            }
        },
        // Dropped, or stopped before it had started.
        _ = commands.recv() => return,
    };
    let address = node.addresses.iter().find(|(listener, _)| listener == "PLAINTEXT");
    let (_, address) = address.expect("the default listener is opened").clone();
    let _ = tell.send(Ok(Started { address, node: Arc::clone(&node.node) }));
    while let Some(command) = commands.recv().await {
        match command {
            Command::Advance(time, done) => {
                clock.advance(time);
                tokio::time::pause();
                tokio::time::advance(time).await;
                tokio::time::resume();
                let _ = done.send(());
            }
            Command::Stop => return node.stop().await,
            Command::Kill => return,
        }
    }
}
