//! Integration tests of the metadata crate.

mod config_values;
