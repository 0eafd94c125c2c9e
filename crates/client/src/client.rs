//! The network handle that producer, consumer and admin client share: brokers by id, by role or any, their metadata,
//! and the thread on which all of it runs.
//!
//! Knows connections, retries of metadata and who coordinates; not what requests mean.

mod io_thread;
mod node;
mod refresh;
mod request;
mod sockets;
mod timers;

use std::hash::{BuildHasher, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use ottla_model::{ErrorCode, NodeId};
use ottla_protocol::api::find_coordinator::FindCoordinatorRequest;
use ottla_protocol::{ApiKey, Request, Str};
use ottla_transport::{Budget, BufferPool, ConnectionLimits};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use self::io_thread::IoThread;
pub(crate) use self::node::probe;
use self::node::{Node, Shared, common_version};
use self::refresh::Refresh;
use self::request::Call;
pub(crate) use self::request::{Outgoing, decode};
use self::sockets::Sockets;
use self::timers::Timers;
use crate::config::{ClientConfig, ConfigError};
use crate::error::{Error, Result};
use crate::state::backoff::Backoff;
use crate::state::metadata::{Broker, LeaderHint, Metadata};

/// Unused receive buffers that are kept: for the answer that the application reads and the one that comes meanwhile.
const POOL_BYTES_MAX: usize = 24 << 20;
/// Large answers that may be held at once.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// What an answer announces up to here is received without a copy: several partitions' worth at the defaults, and
/// what the pool of receive buffers uses again.
const ANSWER_FIRST_BYTES: usize = 16 << 20;
/// The longest answer taken; what a TLS or HTTP server says reads as longer ones.
const FRAME_BYTES_MAX: usize = 256 << 20;

/// Who is to answer a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The broker of this id, as metadata knows it.
    Node(NodeId),
    /// A broker that can be reached; a bootstrap server as long as none is known.
    Any,
    /// The broker that metadata names as the controller, which passes on what the quorum has to decide.
    Controller,
    /// The broker that coordinates this group or transaction, which is asked for if it is not known.
    Coordinator(CoordinatorKey),
}

/// What a broker may coordinate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CoordinatorKey {
    /// A group, by its `group.id`.
    Group(Str),
    /// Transactions, by their `transactional.id`.
    Transaction(Str),
}

/// Connections of one client to one broker: a broker answers each in order, so what waits long has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Lane {
    /// Whatever is answered soon.
    #[default]
    Main,
    /// JoinGroup and SyncGroup, whose answers wait for the other members.
    Coordinator,
    /// Fetch, which waits at the end of the log.
    Fetch,
}

/// How a request is sent, where the defaults do not do.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallOptions {
    /// On which of the connections to the broker.
    pub lane: Lane,
    /// `request.timeout.ms` if `None`.
    pub timeout: Option<Duration>,
    /// No newer version than this.
    pub version_max: Option<i16>,
}

/// A client of a cluster: connections, metadata and the thread that serves them. Clones are handles of the same.
///
/// The thread ends with the last handle, or at [`Self::close`].
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    thread: Arc<IoThread>,
}

/// Which nodes are known and asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Those of `bootstrap.servers`, and the brokers that they name.
    Brokers,
    /// Those of `bootstrap.controllers`, and the controllers that they name (KIP-919): no topics, no groups.
    Controllers,
}

/// Host and port.
type Server = (Arc<str>, u16);

/// Whose connection: host, port, and which of several.
type Place = (Arc<str>, u16, Lane);

pub(crate) struct Inner {
    shared: Arc<Shared>,
    runtime: Handle,
    timers: Arc<Timers>,
    bootstrap: Vec<Server>,
    peers: Peers,
    nodes: Mutex<HashMap<Place, Node>>,
    /// Spreads requests to any node.
    turn: AtomicUsize,
    metadata: ArcSwap<Metadata>,
    metadata_version: watch::Sender<u64>,
    refresh: Refresh,
    coordinators: Mutex<HashMap<CoordinatorKey, NodeId>>,
    retry: Backoff,
    api_timeout: Duration,
    rebootstraps: bool,
    closed: AtomicBool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("bootstrap", &self.inner.bootstrap).finish_non_exhaustive()
    }
}

impl Client {
    /// Checks the settings and starts the thread. Connections are made when they are needed.
    pub fn new(config: &ClientConfig) -> Result<Self> {
        let (peers, bootstrap) = bootstrap(config)?;
        let idle = config.int("connections.max.idle.ms");
        let shared = Shared {
            client_id: config.text("client.id").into(),
            pool: BufferPool::new(POOL_BYTES_MAX),
            budget: Budget::new(ANSWER_BYTES_MAX),
            limits: ConnectionLimits {
                frame_bytes_max: FRAME_BYTES_MAX,
                large_first_bytes: ANSWER_FIRST_BYTES,
            },
            sockets: Sockets::new(config),
            setup: Backoff::new(
                config.millis("socket.connection.setup.timeout.ms"),
                config.millis("socket.connection.setup.timeout.max.ms"),
            ),
            request_timeout: config.millis("request.timeout.ms"),
            reconnect: Backoff::new(
                config.millis("reconnect.backoff.ms"),
                config.millis("reconnect.backoff.max.ms"),
            ),
            idle_max: u64::try_from(idle).ok().map(Duration::from_millis),
            random,
        };
        let thread = Arc::new(IoThread::start()?);
        let inner = Arc::new(Inner {
            shared: Arc::new(shared),
            runtime: thread.handle().clone(),
            timers: Arc::default(),
            bootstrap,
            peers,
            nodes: Mutex::default(),
            turn: AtomicUsize::new((random() * 1e6) as usize),
            metadata: ArcSwap::default(),
            metadata_version: watch::Sender::new(0),
            refresh: Refresh::new(config),
            coordinators: Mutex::default(),
            retry: Backoff::new(config.millis("retry.backoff.ms"), config.millis("retry.backoff.max.ms")),
            api_timeout: config.millis("default.api.timeout.ms"),
            rebootstraps: config.text("metadata.recovery.strategy") == "rebootstrap",
            closed: AtomicBool::new(false),
        });
        thread.handle().spawn(Arc::clone(&inner.timers).run());
        thread.handle().spawn(refresh::run(Arc::clone(&inner)));
        Ok(Self { inner, thread })
    }

    /// Sends a request in the highest common version and waits for its answer: one attempt, within
    /// `request.timeout.ms`. Error codes in the answer are the caller's.
    pub async fn call<R: Request>(&self, target: Target, request: R) -> Result<R::Response> {
        let lane = match target {
            Target::Coordinator(_) => Lane::Coordinator,
            _ => Lane::Main,
        };
        self.call_with(target, request, CallOptions { lane, ..Default::default() }).await
    }

    /// As [`Self::call`], with options.
    pub async fn call_with<R: Request>(
        &self,
        target: Target,
        request: R,
        options: CallOptions,
    ) -> Result<R::Response> {
        let node = match target {
            Target::Coordinator(key) => {
                let id = self.coordinator(&key).await?;
                self.inner.node(id, options.lane)?
            }
            Target::Node(id) => self.inner.node(id, options.lane)?,
            Target::Any => self.inner.any_node(options.lane),
            Target::Controller => {
                if self.metadata().controller.is_none() {
                    self.updated_metadata().await?;
                }
                match self.metadata().controller {
                    Some(id) => self.inner.node(id, options.lane)?,
                    None => self.inner.any_node(options.lane),
                }
            }
        };
        self.inner.call(&node, request, options).await
    }

    /// The version of an API that both sides speak, after connecting if need be; `None` if there is none.
    pub async fn version_of(&self, node: NodeId, key: ApiKey) -> Result<Option<i16>> {
        let node = self.inner.node(node, Lane::Main)?;
        if node.peer().is_none() {
            self.inner.call(&node, probe(), CallOptions::default()).await?;
        }
        Ok(node.peer().and_then(|peer| common_version(&peer, key)))
    }

    /// Hands over a request whose completion is its own.
    pub(crate) fn send(&self, node: NodeId, request: Box<dyn Outgoing>) {
        match self.inner.node(node, Lane::Main) {
            Ok(node) => node.send(request),
            Err(error) => request.complete(Err(error), 0, ""),
        }
    }

    /// The coordinator's id, asked for if it is not known.
    ///
    /// Errors: one attempt; COORDINATOR_NOT_AVAILABLE and the like are retriable.
    pub async fn coordinator(&self, key: &CoordinatorKey) -> Result<NodeId> {
        if let Some(id) = self.inner.coordinators.lock().get(key) {
            return Ok(*id);
        }
        let (key_type, name) = match key {
            CoordinatorKey::Group(name) => (0, name.clone()),
            CoordinatorKey::Transaction(name) => (1, name.clone()),
        };
        let request = FindCoordinatorRequest { key_type, coordinator_keys: vec![name], ..Default::default() };
        let any = self.inner.any_node(Lane::Main);
        let answer = self.inner.call(&any, request, CallOptions::default()).await?;
        let Some(found) = answer.coordinators.first() else {
            return Err(ErrorCode::CoordinatorNotAvailable.into());
        };
        Error::check(found.error_code, found.error_message.as_deref())?;
        let id = NodeId(found.node_id);
        let broker = Broker { id, host: found.host.as_str().into(), port: found.port as u16, rack: None };
        self.inner.learn_broker(broker);
        self.inner.coordinators.lock().insert(key.clone(), id);
        Ok(id)
    }

    /// Forgets a coordinator that is none any more, unless another is known already.
    pub fn forget_coordinator(&self, key: &CoordinatorKey, node: NodeId) {
        let mut coordinators = self.inner.coordinators.lock();
        if coordinators.get(key) == Some(&node) {
            coordinators.remove(key);
        }
    }

    /// Calls until the result is no retriable error, with pauses between (`retry.backoff.ms`), for at most `timeout`.
    /// `attempt` gets the number of attempts made before.
    pub async fn retry<T, F>(
        &self,
        timeout: Duration,
        what: &str,
        mut attempt: impl FnMut(u32) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut last = None;
        let attempts = async {
            let mut attempts = 0;
            loop {
                match attempt(attempts).await {
                    Err(error) if error.is_retriable() => last = Some(error),
                    result => return result,
                }
                self.sleep(self.inner.retry.delay(attempts, random())).await;
                attempts += 1;
            }
        };
        match self.timeout(timeout, attempts).await {
            Some(result) => result,
            None => Err(self.inner.timed_out(what, timeout, last.as_ref())),
        }
    }

    /// Waits, whatever executor this is called on; at most until the client is closed.
    pub async fn sleep(&self, duration: Duration) {
        self.inner.timers.sleep(duration).await;
    }

    /// The future's output, or `None` when it takes longer.
    pub async fn timeout<T>(&self, duration: Duration, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        tokio::select! {
            biased;
            output = &mut future => Some(output),
            () = self.sleep(duration) => None,
        }
    }

    /// Starts a task on the client's thread. It must not block; it is dropped when the client is closed.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.runtime.spawn(task);
    }

    /// `default.api.timeout.ms`
    pub fn api_timeout(&self) -> Duration {
        self.inner.api_timeout
    }

    /// The pause between attempts.
    pub(crate) fn retry_backoff(&self) -> Backoff {
        self.inner.retry
    }

    /// Whether brokers are asked, or controllers.
    pub fn peers(&self) -> Peers {
        self.inner.peers
    }

    /// Refuses a client that asks controllers, for what only brokers serve.
    pub(crate) fn check_brokers(&self) -> Result<()> {
        match self.inner.peers {
            Peers::Brokers => Ok(()),
            Peers::Controllers => Err(Error::invalid("records are at brokers: bootstrap.servers is needed")),
        }
    }

    /// What is known of the cluster now.
    pub fn metadata(&self) -> Arc<Metadata> {
        self.inner.metadata.load_full()
    }

    /// A number that grows with every change of metadata.
    pub fn subscribe_metadata(&self) -> watch::Receiver<u64> {
        self.inner.metadata_version.subscribe()
    }

    /// Adds topics to those that are described from now on. An update is asked for if one is new.
    pub fn want_topics(&self, topics: impl IntoIterator<Item = Arc<str>>) {
        self.inner.refresh.want(topics);
    }

    /// Describes these topics no longer.
    pub fn forget_topics<'a>(&self, topics: impl IntoIterator<Item = &'a str>) {
        self.inner.refresh.forget(topics);
    }

    /// Whether all topics of the cluster are described.
    pub fn want_all_topics(&self, all: bool) {
        self.inner.refresh.want_all(all);
    }

    /// Whether asking for a topic may create it, where the broker does that (`auto.create.topics.enable`).
    pub fn set_auto_create(&self, allowed: bool) {
        self.inner.refresh.set_auto_create(allowed);
    }

    /// Asks for an update soon and does not wait for it.
    pub fn refresh_metadata(&self) {
        self.inner.refresh.request();
    }

    /// Metadata that was asked for after this call, within `default.api.timeout.ms`.
    pub async fn updated_metadata(&self) -> Result<Arc<Metadata>> {
        self.updated_metadata_within(self.inner.api_timeout).await
    }

    /// As [`Self::updated_metadata`], within a time of the caller's choice.
    pub async fn updated_metadata_within(&self, timeout: Duration) -> Result<Arc<Metadata>> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        match self.timeout(timeout, self.inner.refresh.updated()).await {
            Some(()) if self.is_closed() => Err(Error::Closed),
            Some(()) => Ok(self.metadata()),
            None => {
                Err(self.inner.timed_out("fetching metadata", timeout, self.inner.refresh.failure().as_ref()))
            }
        }
    }

    /// Why metadata could not be fetched at the last attempt, if it could not.
    pub fn metadata_failure(&self) -> Option<Error> {
        self.inner.refresh.failure()
    }

    /// Takes in what an answer said of a leader. An older epoch than the known one is no news.
    pub(crate) fn leader_hint(&self, hint: &LeaderHint<'_>) {
        self.inner.change_metadata(|known| known.with_leader(hint));
    }

    /// Whether [`Self::close`] was called, on whichever handle: every call ends with [`Error::Closed`] now.
    pub fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::Acquire)
    }

    /// Ends all connections and tasks; calls under way end with [`Error::Closed`].
    pub fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
        self.thread.stop();
    }
}

impl Inner {
    /// The connection to a broker by its id.
    fn node(&self, id: NodeId, lane: Lane) -> Result<Node> {
        let metadata = self.metadata.load();
        let broker = metadata.broker(id).ok_or_else(|| Error::Disconnected {
            node: format!("broker {id}").into(),
            reason: "metadata does not tell where it listens".into(),
        })?;
        Ok(self.connection(&broker.host, broker.port, lane))
    }

    fn connection(&self, host: &Arc<str>, port: u16, lane: Lane) -> Node {
        let mut nodes = self.nodes.lock();
        let node = nodes.entry((Arc::clone(host), port, lane));
        node.or_insert_with(|| Node::start(Arc::clone(&self.shared), Arc::clone(host), port, &self.runtime))
            .clone()
    }

    /// A connection that is likely to work: a known broker that does not fail at present, else a bootstrap server
    /// (KIP-899), else whoever is next.
    fn any_node(&self, lane: Lane) -> Node {
        let metadata = self.metadata.load();
        let known = metadata.brokers.values().map(|broker| (&broker.host, broker.port));
        let bootstrap = self.bootstrap.iter().map(|(host, port)| (host, *port));
        let bootstrap_counts = self.rebootstraps || metadata.brokers.is_empty();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut fallback = None;
        for group in [known.collect::<Vec<_>>(), bootstrap.filter(|_| bootstrap_counts).collect()] {
            for i in 0..group.len() {
                let (host, port) = group[(turn + i) % group.len()];
                let node = self.connection(host, port, lane);
                if node.failure().is_none() {
                    return node;
                }
                fallback = Some(node);
            }
        }
        fallback.unwrap_or_else(|| {
            let (host, port) = &self.bootstrap[turn % self.bootstrap.len()];
            self.connection(host, *port, lane)
        })
    }

    async fn call<R: Request>(&self, node: &Node, request: R, options: CallOptions) -> Result<R::Response> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        let (reply, answer) = oneshot::channel();
        let timeout = options.timeout.unwrap_or(self.shared.request_timeout);
        node.send(Box::new(Call { request, version_max: options.version_max, timeout, reply }));
        // Dropped without a word only when the thread ends.
        answer.await.unwrap_or(Err(Error::Closed))
    }

    fn learn_broker(&self, broker: Broker) {
        self.change_metadata(|known| {
            let same = known
                .broker(broker.id)
                .is_some_and(|known| known.host == broker.host && known.port == broker.port);
            (!same).then(|| {
                let mut next = known.clone();
                next.brokers.insert(broker.id, broker.clone());
                next
            })
        });
    }

    /// Replaces the snapshot where `change` gives a new one, and tells the subscribers.
    fn change_metadata(&self, change: impl Fn(&Metadata) -> Option<Metadata>) {
        let mut changed = false;
        self.metadata.rcu(|known| {
            let next = change(known);
            changed = next.is_some();
            next.map_or_else(|| Arc::clone(known), Arc::new)
        });
        if changed {
            self.metadata_version.send_modify(|version| *version += 1);
        }
    }

    fn timed_out(&self, what: &str, after: Duration, last: Option<&Error>) -> Error {
        if self.closed.load(Ordering::Acquire) {
            return Error::Closed;
        }
        Error::TimedOut { what: what.into(), after, last: last.map(|last| last.to_string().into()) }
    }
}

/// A random number in 0..1; the keys of the standard hash maps are random enough to spread retries.
pub(crate) fn random() -> f64 {
    let bits = std::hash::RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The `host:port` pairs of `bootstrap.servers`; an IPv6 address stands in brackets.
/// The nodes to begin with, and what they are.
fn bootstrap(config: &ClientConfig) -> Result<(Peers, Vec<Server>)> {
    let (peers, name) = match config.list("bootstrap.controllers").is_empty() {
        true => (Peers::Brokers, "bootstrap.servers"),
        false => (Peers::Controllers, "bootstrap.controllers"),
    };
    let invalid = |value: &str| {
        let allowed = "host:port, several of them separated by commas".into();
        ConfigError::Invalid { name: name.into(), value: value.into(), allowed }
    };
    let servers = config.list(name);
    if peers == Peers::Controllers && !config.list("bootstrap.servers").is_empty() {
        return Err(Error::invalid("You cannot set both bootstrap.servers and bootstrap.controllers"));
    }
    if servers.is_empty() {
        return Err(invalid("").into());
    }
    let parse = |server: &str| {
        let (host, port) = server.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some((Arc::from(host), port.parse().ok()?))
            .filter(|(host, port): &Server| !host.is_empty() && *port != 0)
    };
    let servers = servers.into_iter().map(|server| parse(server).ok_or_else(|| invalid(server).into()));
    Ok((peers, servers.collect::<Result<_>>()?))
}
