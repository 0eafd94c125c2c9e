//! Listening sockets and who may connect.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, lookup_host};

use crate::network::{Acceptor, ListenOptions, Pending, Stream};

/// A listener could not be opened.
#[derive(Debug, Error)]
pub enum ListenError {
    #[error("cannot resolve the address {host}:{port} to listen on: {source}")]
    Resolve { host: String, port: u16, source: io::Error },
    #[error("cannot listen on {address}: the port is in use by another process")]
    InUse { address: SocketAddr },
    #[error("cannot listen on {address}: {source}")]
    Bind { address: SocketAddr, source: io::Error },
}

/// How many connections are let in.
#[derive(Clone, Debug)]
pub struct AcceptLimits {
    /// `max.connections`
    pub connections_max: usize,
    /// `max.connections.per.ip`
    pub per_ip_max: usize,
    /// `max.connections.per.ip.overrides`
    pub per_ip_overrides: HashMap<IpAddr, usize>,
}

impl Default for AcceptLimits {
    fn default() -> Self {
        Self { connections_max: usize::MAX, per_ip_max: usize::MAX, per_ip_overrides: HashMap::new() }
    }
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct TcpAcceptor {
    socket: TcpListener,
    send_buffer_bytes: Option<usize>,
    receive_buffer_bytes: Option<usize>,
}

impl TcpAcceptor {
    pub async fn bind(options: ListenOptions<'_>) -> Result<Self, ListenError> {
        let ListenOptions { host, port, backlog, send_buffer_bytes, receive_buffer_bytes } = options;
        let bind_host = if host.is_empty() { "0.0.0.0" } else { host };
        let resolve_error = |source| ListenError::Resolve { host: host.to_owned(), port, source };
        let address = lookup_host((bind_host, port))
            .await
            .map_err(resolve_error)?
            .next()
            .ok_or_else(|| resolve_error(io::Error::from(io::ErrorKind::NotFound)))?;
        let open = || -> io::Result<TcpListener> {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            if let Some(bytes) = receive_buffer_bytes {
                socket.set_recv_buffer_size(bytes)?;
            }
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(backlog)?;
            TcpListener::from_std(socket.into())
        };
        let socket = open().map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address },
            _ => ListenError::Bind { address, source },
        })?;
        Ok(Self { socket, send_buffer_bytes, receive_buffer_bytes })
    }
}

impl Acceptor for TcpAcceptor {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn accept(&self) -> Pending<'_, io::Result<(Stream, SocketAddr)>> {
        Box::pin(async move {
            let (stream, peer) = self.socket.accept().await?;
            stream.set_nodelay(true)?;
            let socket = socket2::SockRef::from(&stream);
            socket.set_keepalive(true)?;
            if let Some(bytes) = self.send_buffer_bytes {
                socket.set_send_buffer_size(bytes)?;
            }
            if let Some(bytes) = self.receive_buffer_bytes {
                socket.set_recv_buffer_size(bytes)?;
            }
            Ok((Stream::Tcp(stream), peer))
        })
    }
}

/// Counts open connections against [`AcceptLimits`].
#[derive(Debug, Default)]
pub struct Admission {
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl Admission {
    /// Lets a connection in, or refuses it because a limit is reached.
    pub fn admit(self: &Arc<Self>, peer: IpAddr, limits: &AcceptLimits) -> Option<Admitted> {
        let mut open = self.open.lock();
        let total: usize = open.values().sum();
        let per_ip_max = limits.per_ip_overrides.get(&peer).copied().unwrap_or(limits.per_ip_max);
        let of_peer = open.get(&peer).copied().unwrap_or(0);
        if total >= limits.connections_max || of_peer >= per_ip_max {
            return None;
        }
        open.insert(peer, of_peer + 1);
        Some(Admitted { admission: Arc::clone(self), peer })
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.lock().values().sum()
    }
}

/// A connection's place among those let in, given up when dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    peer: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.admission.open.lock();
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_open_connections_per_address() {
        let admission = Arc::new(Admission::default());
        let (one, two) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let limits =
            AcceptLimits { connections_max: 3, per_ip_max: 1, per_ip_overrides: HashMap::from([(two, 5)]) };
        let first = admission.admit(one, &limits).unwrap();
        assert!(admission.admit(one, &limits).is_none());
        let _second = admission.admit(two, &limits).unwrap();
        let _third = admission.admit(two, &limits).unwrap();
        assert!(admission.admit(two, &limits).is_none(), "the total is reached");
        drop(first);
        assert!(admission.admit(one, &limits).is_some());
    }
}
