//! The simulator: quorums, and clusters of whole nodes, in one thread, with a network, disks and clocks that a seed
//! breaks. Two worlds: [`cluster`] runs whole nodes and their clients; the one described here runs controllers alone,
//! many times faster, with what a network of messages can do that connections cannot (doubling, reordering).
//!
//! What runs is what ships: `ottla_server::controller::Stepped` is the loop of the controller's thread with the
//! quorum's driver, the step machine, the controller and the metadata loader, over the log engine on a
//! [`ottla_commit_log::SimDisk`]. Around it: [`net`] (delay, loss, doubling, reordering, cut links), [`node`]
//! (processes that crash, stop and lose power), [`world`] (time and order), [`workload`] (what clients ask),
//! [`nemesis`] (what goes wrong), [`auditor`] (what was promised to clients, and whether it holds), [`invariants`]
//! (what the quorum promises, after every step), [`sabotage`] (deliberate faults that must be found).
//!
//! One seed decides everything; the same seed gives the same trace. Must not know threads, sockets or the real clock.

pub mod auditor;
pub mod cluster;
pub mod invariants;
pub mod nemesis;
pub mod net;
pub mod node;
pub mod random;
pub mod sabotage;
pub mod workload;
pub mod world;

pub use sabotage::Sabotage;
pub use world::{Failure, Report, World};

/// Plays one seed for so many simulated seconds, then heals everything and audits.
pub fn play(seed: u64, seconds: i64, sabotage: Option<Sabotage>) -> Result<Report, Failure> {
    World::new(seed, sabotage).play(seconds)
}
