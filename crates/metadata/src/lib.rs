//! What the cluster knows about itself: metadata records become a delta, a delta and an image the next image.
//!
//! Also the table of feature levels and the table of configs, as both are facts that records are checked
//! against. Pure: no I/O, clock or randomness. Must not know who decides (controller) or who acts (server).

pub mod configs;
