//! Sockets, framing, byte budgets and zero-copy sends. Knows nothing of what a frame means.
//!
//! A [`Connection`] turns a socket into whole frames and a queue of answers into as few system calls as
//! possible: one receive may bring many frames, one send carries all answers that are ready, and file ranges
//! go from the page cache to the socket without passing through user space.
//!
//! Invariants: memory held for a connection that sends nothing is a few hundred bytes; memory held for a
//! frame under way is bounded by what was received of it (times two) and charged to the [`Budget`].

mod budget;
mod buffer;
mod connection;
mod listener;
mod network;
mod outgoing;
mod rpc_channel;
mod stalls;

pub use budget::{Budget, Charge};
pub use buffer::BufferPool;
pub use connection::{Connection, ConnectionLimits, FrameError, Received};
pub use listener::{AcceptLimits, Admission, Admitted, ListenError};
pub use network::{Acceptor, ListenOptions, Network, Pending, Pipe, Stream, Tcp};
pub use outgoing::{FileRange, FileSource, Outgoing, Segment};
pub use rpc_channel::RpcChannel;
pub use stalls::Stalls;
