//! The log engine from outside: golden directories, life of a log, crashes.

mod compaction;
mod crash;
mod golden;
mod life;
mod model;
mod support;
