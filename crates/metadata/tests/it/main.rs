//! Integration tests of the metadata crate.

mod config_values;
mod golden;
mod properties;
