//! Randomness as a value: the shell gives the seed, the same seed gives the same choices.

use ottla_model::Uuid;

/// A splitmix64 sequence. Good enough to spread replicas and to name topics; not for secrets.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
    stream: u64,
}

impl Random {
    pub fn from_seed(seed: [u64; 2]) -> Self {
        Self { state: seed[0], stream: seed[1] }
    }

    fn next(&mut self) -> u64 {
        fn mix(mut z: u64) -> u64 {
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state ^ mix(self.stream))
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// A new random id of a kind Kafka would draw.
    pub fn uuid(&mut self) -> Uuid {
        loop {
            let bits = u128::from(self.next()) << 64 | u128::from(self.next());
            if let Some(id) = Uuid::from_random(bits.to_be_bytes()) {
                return id;
            }
        }
    }
}
