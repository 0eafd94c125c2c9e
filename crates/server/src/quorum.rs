//! The quorum as this node runs it: the step machine of `ottla-raft` with its log, its files and its clock.
//!
//! Owns `__cluster_metadata-0`: log, `quorum-state`, snapshots. Everything happens on the one thread that owns the
//! [`Driver`]; what is committed goes to the metadata loader, what waits for it to the controller's event loop. Must
//! not know what the records mean.

pub mod batches;
mod driver;
pub mod peers;
pub mod snapshot;
pub mod snapshots;
mod state_file;
pub mod wire;

pub use driver::{Committed, Delivery, Driver, DriverOptions, Installed, NotLeader, QuorumError, Recovered};

use ottla_raft::{Endpoint, VersionRange};

use crate::config::ServerConfig;

/// The levels of `kraft.version` that this node supports.
pub const KRAFT_VERSIONS: VersionRange = VersionRange { min: 0, max: 1 };

/// Where other nodes reach this controller, the default listener first. `opened` has the ports of listeners that were
/// opened on any free one, by name.
pub fn controller_endpoints(config: &ServerConfig, opened: &[(String, u16)]) -> Vec<Endpoint> {
    let advertised =
        config.advertised_listeners.iter().filter(|e| config.is_controller_listener(&e.listener));
    let mut endpoints: Vec<Endpoint> = advertised
        .map(|endpoint| Endpoint {
            listener: endpoint.listener.clone(),
            host: if endpoint.is_wildcard() { host_name() } else { endpoint.host.clone() },
            port: match endpoint.port {
                0 => opened.iter().find(|(name, _)| *name == endpoint.listener).map_or(0, |(_, port)| *port),
                port => port,
            },
        })
        .collect();
    let place = |name: &str| config.controller_listener_names.iter().position(|known| known == name);
    endpoints.sort_by_key(|endpoint| place(&endpoint.listener));
    endpoints
}

/// This machine's name, told to others where an address answers on every interface.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_string() } else { name.to_string() }
}
