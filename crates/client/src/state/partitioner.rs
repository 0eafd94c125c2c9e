//! Who gets which record: hashes that agree with other clients, and what spreads records without a key.
//!
//! Random numbers are told; counters are the only state.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What a partitioner says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This one, counted from 0.
    Partition(usize),
    /// Wherever the batch under way goes: partitions change when a batch is full (KIP-480, KIP-794).
    Sticky,
}

/// Chooses the partition of records that name none.
pub trait Partitioner: Send + Sync {
    /// `partitions` is at least 1; a choice beyond it is an error of the call that sends.
    fn choose(&self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>, partitions: usize) -> Choice;
}

/// The partitioners that `partitioner` names.
#[derive(Debug)]
pub enum NamedPartitioner {
    /// Keys by murmur2 as in Java, without a key sticky. With `partitioner.ignore.keys` all are.
    Default {
        ignore_keys: bool,
    },
    RoundRobin(AtomicUsize),
    UniformSticky,
    /// As [`Self::Default`], but records without a key go anywhere, each on its own.
    Murmur2Random(AtomicUsize),
    /// Keys by CRC-32 as in librdkafka; without a key, or with an empty one, sticky.
    ConsistentCrc32,
}

impl NamedPartitioner {
    /// The partitioner of a name; `seed` is where counters begin.
    pub fn from_name(name: &str, ignore_keys: bool, seed: usize) -> Option<Self> {
        Some(match name {
            "default" => Self::Default { ignore_keys },
            "round-robin" => Self::RoundRobin(seed.into()),
            "uniform-sticky" => Self::UniformSticky,
            "murmur2-random" => Self::Murmur2Random(seed.into()),
            "consistent-crc32" => Self::ConsistentCrc32,
            _ => return None,
        })
    }
}

impl Partitioner for NamedPartitioner {
    fn choose(&self, _: &str, key: Option<&[u8]>, _: Option<&[u8]>, partitions: usize) -> Choice {
        let by_murmur2 = |key| Choice::Partition((murmur2(key) & 0x7fff_ffff) as usize % partitions);
        match (self, key) {
            (Self::Default { ignore_keys: false } | Self::Murmur2Random(_), Some(key)) => by_murmur2(key),
            (Self::RoundRobin(turn), _) => {
                Choice::Partition(turn.fetch_add(1, Ordering::Relaxed) % partitions)
            }
            (Self::Murmur2Random(turn), None) => {
                let turn = turn.fetch_add(1, Ordering::Relaxed) as u64;
                Choice::Partition((mix(turn) % partitions as u64) as usize)
            }
            (Self::ConsistentCrc32, Some(key)) if !key.is_empty() => {
                Choice::Partition(crc32fast::hash(key) as usize % partitions)
            }
            _ => Choice::Sticky,
        }
    }
}

/// A number that looks random, made of one that counts (splitmix64).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// MurmurHash2 with the seed of Kafka's Java client.
pub fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut k = word.iter().rev().fold(0, |k, byte| k << 8 | u32::from(*byte)).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0, |k, byte| k << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

/// Picks a partition with a probability that falls with its queue (KIP-794): `queued` are batches that wait.
pub fn by_queue(queued: &[usize], random: u64) -> usize {
    let longest = queued.iter().copied().max().unwrap_or(0);
    let total: usize = queued.iter().map(|queued| longest + 1 - queued).sum();
    let mut rest = (random % total.max(1) as u64) as usize;
    for (index, queued) in queued.iter().enumerate() {
        let weight = longest + 1 - queued;
        if rest < weight {
            return index;
        }
        rest -= weight;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_javas() {
        // What Utils.murmur2 of Apache Kafka gives.
        for (text, hash) in
            [("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)]
        {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn keys_decide_where_they_should() {
        let named = |name| NamedPartitioner::from_name(name, false, 0).unwrap();
        let choose = |name, key: Option<&[u8]>| named(name).choose("t", key, None, 10);
        assert_eq!(choose("default", Some(b"21")), choose("murmur2-random", Some(b"21")));
        assert_eq!(choose("default", None), Choice::Sticky);
        assert_eq!(choose("uniform-sticky", Some(b"21")), Choice::Sticky);
        // CRC-32 of 123456789 is 0xcbf43926.
        let expected = 0xcbf4_3926_u32 as usize % 10;
        assert_eq!(choose("consistent-crc32", Some(b"123456789")), Choice::Partition(expected));
        assert_eq!(choose("consistent-crc32", Some(b"")), Choice::Sticky);
        let turns = named("round-robin");
        let turns: Vec<Choice> = (0..3).map(|_| turns.choose("t", None, None, 2)).collect();
        assert_eq!(turns, [Choice::Partition(0), Choice::Partition(1), Choice::Partition(0)]);
        assert!(NamedPartitioner::from_name("fair", false, 0).is_none());
    }

    #[test]
    fn longer_queues_are_chosen_less() {
        let mut counts = [0usize; 3];
        for random in 0..700 {
            counts[by_queue(&[0, 0, 3], random)] += 1;
        }
        // Weights 4, 4 and 1 of 9.
        assert!(counts[0].abs_diff(counts[1]) <= 4, "{counts:?}");
        assert!((70..90).contains(&counts[2]), "{counts:?}");
    }
}
