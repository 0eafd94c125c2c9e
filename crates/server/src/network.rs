//! Listeners and connections of a node: opens the ports, lets clients in, ends them when the node stops.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ottla_transport::{
    AcceptLimits, Acceptor, Admission, Budget, BufferPool, Connection, ConnectionLimits, ListenError,
    ListenOptions,
};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use ottla_metadata::configs::{ConfigValue, Layers};

use crate::api::{self, ListenerContext};
use crate::config::{Endpoint, NetworkConfig};

/// Unused receive buffers that are kept.
const POOL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Large requests under way, when `queued.max.request.bytes` does not say.
const REQUEST_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A client that announces a large frame gets so much memory at first, and more as the frame arrives.
const LARGE_FIRST_BYTES: usize = 1024 * 1024;
/// How long connections may take to end when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a failed accept (out of descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections of a node share.
pub struct Network {
    pool: Arc<BufferPool>,
    budget: Arc<Budget>,
    frame_bytes_max: usize,
    admission: Arc<Admission>,
    /// Follows the dynamic broker configs.
    pub accept_limits: Arc<ArcSwap<AcceptLimits>>,
    stopping: watch::Sender<bool>,
}

/// A port that is open and not served yet: connections queue up in the system.
pub struct OpenPort {
    pub endpoint: Endpoint,
    pub address: SocketAddr,
    listener: Box<dyn Acceptor>,
}

impl Network {
    pub fn new(config: &NetworkConfig, accept_limits: AcceptLimits) -> Self {
        let budget_bytes =
            config.queued_request_bytes_max.map_or(REQUEST_BYTES_MAX, |bytes| bytes.max(1) as u64);
        Self {
            pool: BufferPool::new(POOL_BYTES_MAX),
            budget: Budget::new(budget_bytes),
            frame_bytes_max: config.request_bytes_max.max(0) as usize,
            admission: Arc::default(),
            accept_limits: Arc::new(ArcSwap::from_pointee(accept_limits)),
            stopping: watch::Sender::new(false),
        }
    }

    /// Opens a port.
    pub async fn open(
        &self,
        machine: &dyn ottla_transport::Network,
        endpoint: &Endpoint,
        config: &NetworkConfig,
    ) -> Result<OpenPort, ListenError> {
        // Kafka's default sizes are too small for a fast network; -1 leaves them to the system, as we do unless told.
        let size = |bytes: i32| usize::try_from(bytes).ok().filter(|bytes| *bytes > DEFAULT_SOCKET_BYTES);
        let options = ListenOptions {
            host: &endpoint.host,
            port: endpoint.port,
            backlog: config.listen_backlog,
            send_buffer_bytes: size(config.send_buffer_bytes),
            receive_buffer_bytes: size(config.receive_buffer_bytes),
        };
        let listener = machine.listen(options).await?;
        let address = listener
            .local_addr()
            .map_err(|source| ListenError::Bind { address: ([0, 0, 0, 0], endpoint.port).into(), source })?;
        Ok(OpenPort { endpoint: endpoint.clone(), address, listener })
    }

    /// Serves a port until the node stops.
    pub fn serve(self: &Arc<Self>, port: OpenPort, context: Arc<ListenerContext>) {
        tokio::spawn(Arc::clone(self).accept_loop(port.listener, context));
    }

    async fn accept_loop(self: Arc<Self>, listener: Box<dyn Acceptor>, context: Arc<ListenerContext>) {
        let mut stopping = self.stopping.subscribe();
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let limits = self.accept_limits.load();
                    let Some(admitted) = self.admission.admit(unmapped(peer.ip()), &limits) else {
                        debug!(%peer, "connection refused: the limit of connections is reached");
                        continue;
                    };
                    let connection = Connection::new(
                        stream,
                        ConnectionLimits {
                            frame_bytes_max: self.frame_bytes_max,
                            large_first_bytes: LARGE_FIRST_BYTES,
                        },
                        Arc::clone(&self.pool),
                        Arc::clone(&self.budget),
                    );
                    let (context, stopping) = (Arc::clone(&context), self.stopping.subscribe());
                    tokio::spawn(async move {
                        api::serve(connection, peer, context, stopping).await;
                        drop(admitted);
                    });
                }
                Err(error) if is_of_peer(&error) => debug!(%error, "a client went away before it was let in"),
                Err(error) => {
                    warn!(%error, listener = %context.name, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.admission.open()
    }

    /// Takes no more requests, and waits until those under way are answered, or long enough.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.admission.open() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Kafka's default of `socket.send.buffer.bytes` and `socket.receive.buffer.bytes`.
const DEFAULT_SOCKET_BYTES: usize = 102_400;

/// An IPv4 address that came over an IPv6 socket is counted as what it is.
fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn is_of_peer(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// The limits on connections that the broker's settings ask for.
pub fn accept_limits(layers: &Layers) -> AcceptLimits {
    let number = |name: &str| {
        layers.broker(name).and_then(|value| value.as_i64()).map_or(usize::MAX, |value| value.max(0) as usize)
    };
    let overrides = match layers.broker("max.connections.per.ip.overrides") {
        Some(ConfigValue::String(text)) => text,
        _ => String::new(),
    };
    AcceptLimits {
        connections_max: number("max.connections"),
        per_ip_max: number("max.connections.per.ip"),
        // `address:count`, separated by commas; host names are not resolved.
        per_ip_overrides: overrides
            .split(',')
            .filter_map(|entry| {
                let (address, count) = entry.trim().rsplit_once(':')?;
                Some((address.parse().ok()?, count.parse().ok()?))
            })
            .collect(),
    }
}
