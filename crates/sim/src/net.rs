//! The network: what is sent arrives late, twice, out of order or never. Must not know what is sent.

use std::collections::BTreeSet;

use crate::random::Random;

/// Nodes are numbered from 1; clients and brokers are at place 0.
pub const OUTSIDE: i32 = 0;

#[derive(Debug, Default)]
pub struct SimNet {
    /// Links that carry nothing, one way each.
    cut: BTreeSet<(i32, i32)>,
    pub delay_ms_max: i64,
    /// Per thousand.
    pub lost: i64,
    pub doubled: i64,
}

impl SimNet {
    /// When the copies of a message arrive, in milliseconds from now.
    pub fn send(&self, random: &mut Random, from: i32, to: i32) -> Vec<i64> {
        if self.cut.contains(&(from, to)) || random.chance(self.lost) {
            return Vec::new();
        }
        let copies = if random.chance(self.doubled) { 2 } else { 1 };
        (0..copies).map(|_| random.below(self.delay_ms_max + 1)).collect()
    }

    pub fn cut(&mut self, from: i32, to: i32) {
        self.cut.insert((from, to));
    }

    pub fn mend(&mut self) {
        self.cut.clear();
    }

    /// No faults any more.
    pub fn calm(&mut self) {
        self.mend();
        (self.delay_ms_max, self.lost, self.doubled) = (2, 0, 0);
    }
}
