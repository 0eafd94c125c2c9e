//! One connection to another node: requests out, answers in, in the order of the requests.
//!
//! Owned by one task. Answers are slices of the receive buffer, so what they carry is not copied. Knows no API: which
//! answer belongs to which request, how long to wait and when to connect again is the caller's.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::budget::Budget;
use crate::buffer::BufferPool;
use crate::connection::{Connection, ConnectionLimits, Received};
use crate::network::Network;

/// A connection that this node opened.
#[derive(Debug)]
pub struct RpcChannel {
    connection: Connection,
}

impl RpcChannel {
    /// Resolves `host` and connects through `network`, within `connect_timeout` for both. Answers longer than `limits`
    /// break the connection; large ones are charged to `budget` while they are held.
    pub async fn connect(
        network: &dyn Network,
        host: &str,
        port: u16,
        connect_timeout: Duration,
        limits: ConnectionLimits,
        pool: Arc<BufferPool>,
        budget: Arc<Budget>,
    ) -> io::Result<Self> {
        let stream = timeout(connect_timeout, network.connect(host, port)).await??;
        Ok(Self { connection: Connection::new(stream, limits, pool, budget) })
    }

    /// Queues a piece of a request; it leaves with the next [`Self::flush`] or [`Self::answer`].
    pub fn push(&mut self, bytes: Bytes) {
        self.connection.outgoing().push_bytes(bytes);
    }

    /// Sends what is queued.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.connection.flush().await
    }

    /// The next answer, without its length; what is queued is sent meanwhile. May be dropped and called again
    /// without losing an answer. Fails with `UnexpectedEof` when the peer closed.
    pub async fn answer(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(frame) = self.connection.next_frame()? {
                return Ok(frame);
            }
            if self.connection.receive().await? == Received::Closed {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the connection"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn connect(port: u16) -> io::Result<RpcChannel> {
        let limits = ConnectionLimits { frame_bytes_max: 1 << 20, large_first_bytes: 1 << 20 };
        let (pool, budget) = (BufferPool::new(1 << 20), Budget::new(1 << 20));
        RpcChannel::connect(&crate::Tcp, "localhost", port, Duration::from_secs(5), limits, pool, budget)
            .await
    }

    #[tokio::test]
    async fn several_requests_may_wait_for_their_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut requests = [0; 6];
            stream.read_exact(&mut requests).await.unwrap();
            assert_eq!(&requests, b"abcdef");
            stream.write_all(&[0, 0, 0, 2, b'o', b'k', 0, 0, 0]).await.unwrap();
            stream.write_all(&[1, b'x']).await.unwrap();
        };
        let client = async {
            let mut channel = connect(port).await.unwrap();
            channel.push(Bytes::from_static(b"abc"));
            channel.push(Bytes::from_static(b"def"));
            assert_eq!(channel.answer().await.unwrap(), "ok");
            assert_eq!(channel.answer().await.unwrap(), "x");
            assert_eq!(channel.answer().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        };
        tokio::join!(peer, client);
    }

    #[tokio::test]
    async fn nobody_there_and_answers_too_long_are_errors() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (accepted, channel) = tokio::join!(listener.accept(), connect(port));
        let (mut stream, _) = accepted.unwrap();
        stream.write_all(&i32::MAX.to_be_bytes()).await.unwrap();
        assert_eq!(channel.unwrap().answer().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(listener);
        assert_eq!(connect(port).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
