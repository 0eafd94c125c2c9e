//! Integration tests of the metadata crate.

mod config_values;
mod describe;
mod golden;
mod properties;
