//! A controller of several brokers, decision by decision.

mod brokers;
mod cluster;
mod requests;
mod scenario;
mod world;
