//! Random numbers of the node, for ids and hash seeds. Not for secrets.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use ottla_model::Uuid;

thread_local! {
    static OF_THREAD: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Numbers that another process or another call will not give: a hash with keys of the operating system, or what comes
/// after this thread's seed.
pub fn u64() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    match OF_THREAD.get() {
        None => RandomState::new().hash_one(COUNTER.fetch_add(1, Ordering::Relaxed)),
        Some(state) => {
            // SplitMix64
            let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            OF_THREAD.set(Some(state));
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }
    }
}

/// Has this thread draw what follows from a seed, so that a simulation can be played again; `None` for chance.
pub fn set_for_thread(seed: Option<u64>) {
    OF_THREAD.set(seed);
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
