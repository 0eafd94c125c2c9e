//! Settings of a subscription to client metrics (resource CLIENT_METRICS) as of Apache Kafka 4.4; rows as in
//! `topic`.

use super::def::{ConfigDef, config_table};

config_table! {
    /// Kafka's settings, by name.
    pub static CLIENT_METRICS: scoped;

    Int "interval.ms" = "300000", Any, [], Medium, "Time between a client's pushes of metrics.";
    List "match" = "", List, [], Medium, "Selectors of clients, as attribute=pattern; empty is every client.";
    List "metrics" = "", List, [], Medium, "Prefixes of the metrics to push; empty is none, `*` is all.";
}
