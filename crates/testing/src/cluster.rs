//! Several brokers that are one cluster, each of them broker and controller.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ottla_server::storage::{self, InitialController, Quorum};
use socket2::{Domain, Socket, Type};

use crate::broker::{TestBroker, TestBrokerBuilder};

/// A cluster of brokers in memory. Dropping it ends them at once.
#[derive(Debug)]
pub struct TestCluster {
    pub brokers: Vec<TestBroker>,
}

impl TestCluster {
    /// Three brokers.
    pub async fn start() -> Self {
        Self::of(3, |broker| broker).await
    }

    /// So many brokers, each with what `configure` adds. All are there when this returns.
    ///
    /// # Panics
    /// If one of them does not start.
    pub async fn of(size: usize, configure: impl Fn(TestBrokerBuilder) -> TestBrokerBuilder) -> Self {
        let cluster_id = storage::random_id().to_string();
        let held: Vec<_> = (0..size).map(|_| HeldPort::new()).collect();
        let controllers: Vec<_> = (1..)
            .zip(&held)
            .map(|(id, held)| InitialController {
                id: ottla_model::NodeId(id),
                host: "127.0.0.1".to_owned(),
                port: held.port,
                directory: storage::random_id(),
            })
            .collect();
        let bootstrap: Vec<_> = held.iter().map(|held| format!("127.0.0.1:{}", held.port)).collect();
        let factor = size.min(3);
        let starting: Vec<_> = (1..)
            .zip(&held)
            .map(|(id, held)| {
                let builder = TestBroker::builder()
                    .property(
                        "listeners",
                        format!("PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:{}", held.port),
                    )
                    .property("controller.quorum.bootstrap.servers", bootstrap.join(","))
                    // One stands before the others do: no votes are split.
                    .property("controller.quorum.election.timeout.ms", id * 10)
                    .property("controller.quorum.election.backoff.max.ms", 10)
                    .property("offsets.topic.replication.factor", factor)
                    .property("default.replication.factor", factor)
                    .member(id, &cluster_id, Quorum::Initial(controllers.clone()));
                configure(builder).begin().unwrap_or_else(|error| panic!("start broker {id}: {error}"))
            })
            .collect();
        let mut brokers = Vec::with_capacity(size);
        for (broker, started) in starting {
            brokers
                .push(started.finish(broker).await.unwrap_or_else(|error| panic!("start a broker: {error}")));
        }
        Self { brokers }
    }

    /// What clients take for `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> String {
        let addresses: Vec<_> = self.brokers.iter().map(TestBroker::bootstrap_servers).collect();
        addresses.join(",")
    }

    /// The broker with this id.
    ///
    /// # Panics
    /// If there is none.
    pub fn broker(&mut self, node_id: i32) -> &mut TestBroker {
        let found = self.brokers.iter_mut().find(|broker| broker.node_id() == node_id);
        found.unwrap_or_else(|| panic!("no broker {node_id}"))
    }

    /// Moves the time of all brokers forward, one after the other.
    pub async fn advance(&self, time: Duration) {
        for broker in &self.brokers {
            broker.advance(time).await;
        }
    }
}

/// A port that is taken but not listened on: the broker can, nobody else is given it.
struct HeldPort {
    _socket: Socket,
    port: u16,
}

impl HeldPort {
    fn new() -> Self {
        let hold = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
            let address = socket.local_addr()?.as_socket_ipv4();
            Ok::<_, std::io::Error>(Self {
                _socket: socket,
                port: address.map_or(0, |address| address.port()),
            })
        };
        hold().expect("hold a port")
    }
}
