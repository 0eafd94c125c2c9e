//! Black-box suites for a Kafka node: Ottla is driven over loopback and real files, and Apache Kafka 4.4.0 runs
//! beside it as the judge.
//!
//! Owns: fetching the judge and the foreign clients ([`artifacts`]), starting, stopping and killing nodes ([`node`]),
//! clusters of them ([`cluster`]) on networks and disks that can be broken ([`network`], [`disk`]), load with a ledger
//! of its own ([`load`]), Apache's tools in one long-lived JVM ([`tools`]), raw frames ([`wire`]), and the shared state
//! of a test run ([`world`]). Knows nothing of Ottla's crates: what is tested is what a client sees.
//!
//! Invariants: no process outlives the test binary; every file lives below the target directory or a
//! temporary one; a suite that cannot run fails and says what is missing.

pub mod artifacts;
pub mod batch;
pub mod cluster;
pub mod disk;
pub mod load;
pub mod mask;
pub mod network;
pub mod node;
pub mod process;
pub mod scenario;
pub mod scripts;
pub mod tools;
pub mod wire;
pub mod world;
