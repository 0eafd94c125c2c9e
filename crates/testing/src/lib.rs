//! Kafka brokers inside a test. A [`TestBroker`] is the server itself, in memory, on a free port, and started in
//! milliseconds; a [`TestCluster`] is several of them that replicate to each other. Tests move their clocks and break
//! what clients have to survive.
//!
//! ```
//! # async fn example() {
//! use ottla_protocol::ApiKey;
//! use ottla_testing::{ErrorCode, Fault, TestBroker};
//!
//! let broker = TestBroker::start().await;
//! println!("bootstrap.servers={}", broker.bootstrap_servers());
//! broker.inject(Fault::on(ApiKey::Produce).partition("orders", 0).times(2).error(ErrorCode::NotLeaderOrFollower));
//! broker.advance(std::time::Duration::from_secs(3600)).await;
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example());
//! ```
//!
//! Each broker has a thread with a runtime of its own, so it works under any executor, and the end of a broker
//! (stopped, killed or dropped) is the end of everything that it started.

mod broker;
mod clock;
mod cluster;
mod faults;

pub use broker::{StartError, TestBroker, TestBrokerBuilder};
pub use clock::TestClock;
pub use cluster::TestCluster;
pub use faults::{Armed, Fault, FaultBuilder};
pub use ottla_model::ErrorCode;
