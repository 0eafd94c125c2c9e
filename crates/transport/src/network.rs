//! Where connections come from: the machine's TCP, or pipes in memory where a whole cluster lives in one process.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::listener::{ListenError, TcpAcceptor};

/// A future of an object-safe trait; once per connection, so its allocation is nobody's cost.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a listener is opened with.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions<'a> {
    /// Empty for every address of the machine.
    pub host: &'a str,
    /// 0 for any that is free.
    pub port: u16,
    pub backlog: i32,
    /// `None` leaves the choice to the system.
    pub send_buffer_bytes: Option<usize>,
    /// `None` leaves the choice to the system.
    pub receive_buffer_bytes: Option<usize>,
}

/// A network that a node listens on and connects through.
pub trait Network: Debug + Send + Sync {
    fn listen<'a>(
        &'a self,
        options: ListenOptions<'a>,
    ) -> Pending<'a, Result<Box<dyn Acceptor>, ListenError>>;

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, io::Result<Stream>>;
}

/// An open port.
pub trait Acceptor: Debug + Send + Sync {
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Waits for the next connection. Errors are those of `accept(2)`, such as too many open files.
    fn accept(&self) -> Pending<'_, io::Result<(Stream, SocketAddr)>>;
}

/// The machine's own network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Network for Tcp {
    fn listen<'a>(
        &'a self,
        options: ListenOptions<'a>,
    ) -> Pending<'a, Result<Box<dyn Acceptor>, ListenError>> {
        Box::pin(async move {
            let acceptor: Box<dyn Acceptor> = Box::new(TcpAcceptor::bind(options).await?);
            Ok(acceptor)
        })
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, io::Result<Stream>> {
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            socket2::SockRef::from(&stream).set_keepalive(true)?;
            Ok(Stream::Tcp(stream))
        })
    }
}

/// A byte pipe in both directions that is no socket. Dropping it closes it.
pub trait Pipe: Debug + Send + Sync {
    /// Whether a read would bring something, the end or an error.
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Fills `room` with what has arrived; leaves it as it is when the peer will send nothing more.
    fn poll_read(&self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>>;

    /// How many of the bytes were taken.
    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;
}

/// A connection's two ways.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Pipe(Box<dyn Pipe>),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl Stream {
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Pipe(pipe) => pipe.poll_read_ready(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, room),
            Self::Pipe(pipe) => pipe.poll_read(cx, room),
        }
    }
}
