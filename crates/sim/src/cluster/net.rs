//! The network: listeners and byte pipes between hosts. Bytes arrive in order on one connection, after a delay of its
//! own for each write, and not while their direction is cut; a connection that is opened over a cut waits until it is
//! healed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use ottla_transport::{Acceptor, ListenError, ListenOptions, Network, Pending, Pipe, Stream};
use tokio::io::ReadBuf;

use crate::random::Random;

/// Bytes of a direction that were not read yet, above which no more are taken.
const WINDOW_BYTES: usize = 1 << 20;

/// All connections. Cheap to clone.
#[derive(Clone)]
pub struct Net(Arc<Mutex<State>>);

struct State {
    now_ms: u64,
    random: Random,
    delay_ms_max: i64,
    cuts: BTreeSet<(i32, i32)>,
    listeners: BTreeMap<(i32, u16), Port>,
    connections: BTreeMap<u64, Connection>,
    next_id: u64,
    /// Of everything that was ever sent.
    trace: DefaultHasher,
}

#[derive(Default)]
struct Port {
    waiting: VecDeque<(u64, i32)>,
    waker: Option<Waker>,
}

struct Connection {
    hosts: [i32; 2],
    port: u16,
    established: bool,
    is_broken: bool,
    /// The opener's, which waits for the connection.
    waker: Option<Waker>,
    opens_at: u64,
    closed: [bool; 2],
    ways: [Way; 2],
}

/// One direction, from the end of the same number to the other.
#[derive(Default)]
struct Way {
    sent: VecDeque<(u64, Option<Vec<u8>>)>,
    last_due: u64,
    arrived: VecDeque<u8>,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Way {
    fn held(&self) -> usize {
        let sent: usize = self.sent.iter().filter_map(|(_, bytes)| bytes.as_ref()).map(Vec::len).sum();
        sent + self.arrived.len()
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

impl State {
    fn due(&mut self, connection: u64, end: usize) -> u64 {
        let delay = 1 + self.random.below(self.delay_ms_max) as u64;
        let at = self.now_ms + delay;
        let way = self.connections.get_mut(&connection).map(|connection| &mut connection.ways[end]);
        way.map_or(at, |way| {
            way.last_due = way.last_due.max(at);
            way.last_due
        })
    }

    fn break_off(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.is_broken = true;
            connection.ways.iter_mut().for_each(Way::wake);
            connection.waker.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl Net {
    pub fn new(seed: u64, delay_ms_max: i64) -> Self {
        let random = Random::new(seed);
        Self(Arc::new(Mutex::new(State {
            now_ms: 0,
            random,
            delay_ms_max,
            cuts: BTreeSet::new(),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_id: 0,
            trace: DefaultHasher::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The network as a host sees it.
    pub fn of(&self, host: i32) -> Arc<dyn Network> {
        Arc::new(HostNet { net: self.clone(), host })
    }

    pub fn cut(&self, from: i32, to: i32) {
        self.state().cuts.insert((from, to));
    }

    pub fn heal(&self) {
        self.state().cuts.clear();
    }

    pub fn set_delay(&self, delay_ms_max: i64) {
        self.state().delay_ms_max = delay_ms_max;
    }

    pub fn trace(&self) -> u64 {
        self.state().trace.finish()
    }

    /// Lets arrive what is due.
    pub fn deliver(&self, now_ms: u64) {
        let mut state = self.state();
        state.now_ms = now_ms;
        let State { connections, listeners, cuts, trace, .. } = &mut *state;
        for (id, connection) in connections.iter_mut().filter(|(_, connection)| !connection.is_broken) {
            let [from, to] = connection.hosts;
            if !connection.established {
                let is_cut = cuts.contains(&(from, to)) || cuts.contains(&(to, from));
                if connection.opens_at > now_ms || is_cut {
                    continue;
                }
                match listeners.get_mut(&(to, connection.port)) {
                    Some(port) => {
                        connection.established = true;
                        port.waiting.push_back((*id, from));
                        port.waker.take().into_iter().for_each(Waker::wake);
                    }
                    None => connection.is_broken = true,
                }
                connection.waker.take().into_iter().for_each(Waker::wake);
                continue;
            }
            for (end, way) in connection.ways.iter_mut().enumerate() {
                let hosts = connection.hosts;
                if cuts.contains(&(hosts[end], hosts[1 - end])) {
                    continue;
                }
                while way.sent.front().is_some_and(|(due, _)| *due <= now_ms) {
                    let Some((_, bytes)) = way.sent.pop_front() else { break };
                    (now_ms, *id, end, &bytes).hash(trace);
                    match bytes {
                        Some(bytes) => way.arrived.extend(bytes),
                        None => way.ended = true,
                    }
                    way.wake();
                }
            }
        }
    }

    /// The host's process is gone: nobody listens, peers find their connections reset, or at an end after what was on
    /// its way if `sent_arrives`.
    pub fn crash(&self, host: i32, sent_arrives: bool) {
        let mut state = self.state();
        let State { listeners, connections, .. } = &mut *state;
        let gone = listeners.extract_if(.., |(of, _), _| *of == host);
        let not_accepted: BTreeSet<u64> = gone.flat_map(|(_, port)| port.waiting).map(|(id, _)| id).collect();
        let ids: Vec<u64> = connections
            .iter()
            .filter(|(id, connection)| {
                // The ends of others are dropped with the host, as when they are closed.
                let ends_by_itself = sent_arrives && connection.established && !not_accepted.contains(id);
                connection.hosts.contains(&host) && !ends_by_itself
            })
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            state.break_off(id);
        }
    }
}

#[derive(Clone)]
struct HostNet {
    net: Net,
    host: i32,
}

impl fmt::Debug for HostNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network of host {}", self.host)
    }
}

fn address(host: i32, port: u16) -> SocketAddr {
    ([10, 0, 0, host as u8], port).into()
}

impl Network for HostNet {
    fn listen<'a>(
        &'a self,
        options: ListenOptions<'a>,
    ) -> Pending<'a, Result<Box<dyn Acceptor>, ListenError>> {
        let port = options.port;
        self.net.state().listeners.insert((self.host, port), Port::default());
        let acceptor: Box<dyn Acceptor> = Box::new(SimAcceptor { net: self.clone(), port });
        Box::pin(async { Ok(acceptor) })
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, io::Result<Stream>> {
        let to: i32 = host.trim_start_matches("node").parse().expect("hosts are named after their node");
        let id = {
            let mut state = self.net.state();
            let id = state.next_id;
            state.next_id += 1;
            let opens_at = state.due(id, 0);
            let connection = Connection {
                hosts: [self.host, to],
                port,
                established: false,
                is_broken: false,
                waker: None,
                opens_at,
                closed: [false; 2],
                ways: Default::default(),
            };
            state.connections.insert(id, connection);
            id
        };
        let end = SimPipe { net: self.net.clone(), id, end: 0 };
        Box::pin(async move {
            poll_fn(|cx| {
                let mut state = end.net.state();
                match state.connections.get_mut(&end.id) {
                    Some(connection) if connection.is_broken => {
                        Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionRefused)))
                    }
                    Some(connection) if connection.established => Poll::Ready(Ok(())),
                    Some(connection) => {
                        connection.waker = Some(cx.waker().clone());
                        Poll::Pending
                    }
                    None => Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionReset))),
                }
            })
            .await?;
            Ok(Stream::Pipe(Box::new(end)))
        })
    }
}

struct SimAcceptor {
    net: HostNet,
    port: u16,
}

impl fmt::Debug for SimAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} of host {}", self.port, self.net.host)
    }
}

impl Acceptor for SimAcceptor {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(address(self.net.host, self.port))
    }

    fn accept(&self) -> Pending<'_, io::Result<(Stream, SocketAddr)>> {
        Box::pin(poll_fn(|cx| {
            let mut state = self.net.net.state();
            let Some(port) = state.listeners.get_mut(&(self.net.host, self.port)) else {
                return Poll::Pending;
            };
            let Some((id, from)) = port.waiting.pop_front() else {
                port.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let pipe = SimPipe { net: self.net.net.clone(), id, end: 1 };
            Poll::Ready(Ok((Stream::Pipe(Box::new(pipe)), address(from, 50_000))))
        }))
    }
}

/// One end of a connection.
struct SimPipe {
    net: Net,
    id: u64,
    end: usize,
}

impl fmt::Debug for SimPipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "end {} of connection {}", self.end, self.id)
    }
}

impl Pipe for SimPipe {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.net.state();
        let Some(connection) = state.connections.get_mut(&self.id).filter(|connection| !connection.is_broken)
        else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let way = &mut connection.ways[1 - self.end];
        if way.arrived.is_empty() && !way.ended {
            way.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.poll_read_ready(cx) {
            Poll::Ready(Ok(())) => {}
            other => return other,
        }
        let mut state = self.net.state();
        if let Some(connection) = state.connections.get_mut(&self.id) {
            let way = &mut connection.ways[1 - self.end];
            let count = room.remaining().min(way.arrived.len());
            let bytes: Vec<u8> = way.arrived.drain(..count).collect();
            room.put_slice(&bytes);
            way.writer.take().into_iter().for_each(Waker::wake);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.net.state();
        let due = state.due(self.id, self.end);
        let Some(connection) = state.connections.get_mut(&self.id).filter(|connection| !connection.is_broken)
        else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let way = &mut connection.ways[self.end];
        let room = WINDOW_BYTES.saturating_sub(way.held());
        if room == 0 {
            way.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = bytes.len().min(room);
        way.sent.push_back((due, Some(bytes[..count].to_vec())));
        Poll::Ready(Ok(count))
    }
}

impl Drop for SimPipe {
    fn drop(&mut self) {
        let mut state = self.net.state();
        let due = state.due(self.id, self.end);
        let Some(connection) = state.connections.get_mut(&self.id) else { return };
        connection.closed[self.end] = true;
        connection.ways[self.end].sent.push_back((due, None));
        if connection.is_broken || !connection.established || connection.closed == [true; 2] {
            state.connections.remove(&self.id);
        }
    }
}
