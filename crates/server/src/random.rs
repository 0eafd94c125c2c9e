//! Random numbers of the node, for ids and hash seeds. Not for secrets.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use ottla_model::Uuid;

/// Numbers that another process or another call will not give: a hash with keys of the operating system.
pub fn u64() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one(COUNTER.fetch_add(1, Ordering::Relaxed))
}

pub fn bytes16() -> [u8; 16] {
    (u128::from(u64()) << 64 | u128::from(u64())).to_be_bytes()
}

/// A new id, as Kafka draws them.
pub fn uuid() -> Uuid {
    loop {
        if let Some(id) = Uuid::from_random(bytes16()) {
            return id;
        }
    }
}
