//! Black-box tests of the record crate.

mod golden;
mod hostile;
mod legacy;
mod produce;
mod round_trip;
