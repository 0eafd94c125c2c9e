//! The codec against real bytes, against itself, against other implementations, and against hostile bytes.

mod differential;
mod frames;
mod golden;
mod hostile;
mod internal;
mod random;
mod round_trip;
