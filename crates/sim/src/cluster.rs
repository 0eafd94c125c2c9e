//! Whole nodes in one thread: `ottla_server::node::RunningNode`, controller, broker and all, as it ships.
//!
//! Every node has a runtime of one thread with a clock that stands still until the [`world`] moves it: dropping
//! the runtime is the crash, not moving it the pause. Its disk is a [`ottla_commit_log::SimDisk`], its network
//! [`net`]: pipes with delays that can be cut in each direction. Around it: [`host`] (a node and what it stands
//! on), [`client`] (what clients do, over the wire), [`ledger`] (what they were told, and whether it holds),
//! [`invariants`] (what replicas promise each other, looked at all the time), [`trouble`] (what goes wrong),
//! [`tamper`] (deliberate faults of a broker, that must be found).
//!
//! One seed decides everything; the same seed gives the same trace.

pub mod client;
pub mod host;
pub mod invariants;
pub mod ledger;
pub mod net;
pub mod tamper;
pub mod trouble;
pub mod world;

pub use world::{Report, play};
