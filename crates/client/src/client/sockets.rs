//! Connections with the buffers that the settings ask for.

use std::io;

use ottla_transport::{Acceptor, ListenError, ListenOptions, Network, Pending, Stream, Tcp};
use socket2::SockRef;

use crate::config::ClientConfig;

/// The machine's network. Buffers are the system's, which grows them as a connection needs it, unless they were set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sockets {
    send_buffer_bytes: Option<usize>,
    receive_buffer_bytes: Option<usize>,
}

impl Sockets {
    pub fn new(config: &ClientConfig) -> Self {
        let bytes = |name| usize::try_from(config.int(name)).ok();
        Self {
            send_buffer_bytes: bytes("send.buffer.bytes"),
            receive_buffer_bytes: bytes("receive.buffer.bytes"),
        }
    }
}

impl Network for Sockets {
    fn listen<'a>(
        &'a self,
        options: ListenOptions<'a>,
    ) -> Pending<'a, Result<Box<dyn Acceptor>, ListenError>> {
        Tcp.listen(options)
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, io::Result<Stream>> {
        Box::pin(async move {
            let stream = Tcp.connect(host, port).await?;
            if let Stream::Tcp(socket) = &stream {
                let socket = SockRef::from(socket);
                self.send_buffer_bytes.map_or(Ok(()), |bytes| socket.set_send_buffer_size(bytes))?;
                self.receive_buffer_bytes.map_or(Ok(()), |bytes| socket.set_recv_buffer_size(bytes))?;
            }
            Ok(stream)
        })
    }
}
