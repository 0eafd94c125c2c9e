//! How long to wait before trying again (KIP-144, KIP-580).

use std::time::Duration;

/// Pauses that double up to a bound, with a fifth of jitter, so that clients which failed together do not come back
/// together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
}

impl Backoff {
    const JITTER: f64 = 0.2;

    pub const fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max }
    }

    /// The longest pause, with its jitter.
    pub fn max(&self) -> Duration {
        self.max.max(self.initial).mul_f64(1.0 + Self::JITTER)
    }

    /// The pause after so many failures in a row (0: after the first); `random` is in 0..1.
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        let doubled = self.initial.as_secs_f64() * f64::from(failures.min(62)).exp2();
        let max = self.max.max(self.initial).as_secs_f64();
        let jitter = 1.0 + Self::JITTER * (2.0 * random - 1.0);
        Duration::from_secs_f64(doubled.min(max) * jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_stay_within_a_fifth_of_the_bound() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let middle: Vec<u128> = (0..6).map(|n| backoff.delay(n, 0.5).as_millis()).collect();
        assert_eq!(middle, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.delay(0, 0.0).as_millis(), 80);
        assert_eq!(backoff.delay(u32::MAX, 1.0).as_millis(), 1200);
    }
}
