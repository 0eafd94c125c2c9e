//! The rules of replication: scenarios as text, and properties over random histories.

mod properties;
mod scenario;
