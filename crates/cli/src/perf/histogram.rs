//! Durations counted in buckets whose width grows with them: every percentile is right to within 2 %.

use std::time::Duration;

/// Buckets of each power of two.
const PER_DOUBLING: u64 = 64;

/// Counts of microseconds.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: u64,
    max: u64,
}

impl Histogram {
    pub fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(u64::MAX / 2);
        let at = bucket(us);
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
        self.total += 1;
        self.sum = self.sum.saturating_add(us);
        self.max = self.max.max(us);
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.total.max(1) as f64
    }

    /// The microseconds within which so many of a hundred are.
    pub fn percentile(&self, percent: f64) -> f64 {
        let rank = (self.total as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return highest(at).min(self.max) as f64;
            }
        }
        self.max as f64
    }

    /// Powers of two from the shortest to the longest, each with the count of what is below it and not below the one
    /// before.
    pub fn buckets(&self) -> Vec<(u64, u64)> {
        let mut found: Vec<(u64, u64)> = Vec::new();
        for (at, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let below = (highest(at) + 1).next_power_of_two();
            while let Some((last, _)) = found.last().copied().filter(|(last, _)| *last < below) {
                found.push((last * 2, 0));
            }
            match found.last_mut() {
                Some((_, sum)) => *sum += count,
                None => found.push((below, *count)),
            }
        }
        found
    }
}

/// Below `PER_DOUBLING` each number has its own bucket; above, `PER_DOUBLING` share each doubling.
fn bucket(us: u64) -> usize {
    if us < PER_DOUBLING {
        return us as usize;
    }
    let doublings = u64::from(us.ilog2() - PER_DOUBLING.ilog2());
    (doublings * PER_DOUBLING + (us >> doublings)) as usize
}

/// The largest number of a bucket.
fn highest(at: usize) -> u64 {
    let at = at as u64;
    let doublings = (at / PER_DOUBLING).saturating_sub(1);
    ((at - doublings * PER_DOUBLING + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_bucket_near_it() {
        let mut last = 0;
        for us in (0..100_000).chain((17..40).map(|bits| (1u64 << bits) + 12_345)) {
            let at = bucket(us);
            assert!(at >= last, "{us}");
            last = at;
            let high = highest(at);
            assert!(high >= us && (high - us) * 50 <= us, "{us} in {at} up to {high}");
        }
    }

    #[test]
    fn percentiles_and_buckets() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.percentile(99.0), histogram.mean()), (0.0, 0.0));
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        assert_eq!(histogram.mean(), 500.5);
        for (percent, us) in [(50.0, 500.0), (99.0, 990.0), (100.0, 1000.0)] {
            let found = histogram.percentile(percent);
            assert!((found - us).abs() <= us / 50.0, "{percent}: {found}");
        }
        let mut histogram = Histogram::default();
        for us in [3, 2, 100, 1000] {
            histogram.record(Duration::from_micros(us));
        }
        let expected = [(4, 2), (8, 0), (16, 0), (32, 0), (64, 0), (128, 1), (256, 0), (512, 0), (1024, 1)];
        let found: Vec<_> = histogram.buckets().into_iter().filter(|(below, _)| *below != 2).collect();
        assert_eq!(found, expected);
    }
}
