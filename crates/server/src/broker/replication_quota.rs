//! How fast throttled replicas may be copied (KIP-73): a rate for what this broker sends as leader, and one for what it
//! fetches as follower.
//!
//! Only replicas that are not in sync are held back: one that has caught up costs no more than what is produced.

use std::collections::VecDeque;

use ottla_model::Millis;
use parking_lot::Mutex;

use super::Broker;

/// Which side of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Leader,
    Follower,
}

/// The bytes of throttled replicas, both ways.
#[derive(Default)]
pub struct ReplicationQuotas {
    sent: Meter,
    fetched: Meter,
}

impl ReplicationQuotas {
    fn meter(&self, side: Side) -> &Meter {
        match side {
            Side::Leader => &self.sent,
            Side::Follower => &self.fetched,
        }
    }

    pub fn record(&self, side: Side, bytes: u64, now: Millis) {
        self.meter(side).record(bytes, now);
    }

    /// Whether throttled replicas that are not in sync have to wait now.
    pub fn is_exceeded(&self, broker: &Broker, side: Side, now: Millis) -> bool {
        let name = match side {
            Side::Leader => "leader.replication.throttled.rate",
            Side::Follower => "follower.replication.throttled.rate",
        };
        let layers = broker.layers();
        let setting = |name: &str| layers.broker(name).and_then(|value| value.as_i64());
        let rate = setting(name).unwrap_or(i64::MAX);
        let samples = setting("replication.quota.window.num").unwrap_or(11);
        let sample_ms = setting("replication.quota.window.size.seconds").unwrap_or(1).saturating_mul(1000);
        self.meter(side).rate(samples, sample_ms, now) > rate as f64
    }
}

/// Bytes over the last few samples of time.
#[derive(Default)]
struct Meter {
    /// When a sample began, and its bytes.
    samples: Mutex<VecDeque<(Millis, u64)>>,
}

/// Finer than any sample that is configured.
const GRAIN_MS: i64 = 100;

impl Meter {
    fn record(&self, bytes: u64, now: Millis) {
        let mut samples = self.samples.lock();
        match samples.back_mut() {
            Some((began, sum)) if now - *began < GRAIN_MS => *sum += bytes,
            _ => samples.push_back((now, bytes)),
        }
    }

    /// Bytes per second over the window, or over the time since its first byte, at least one sample long.
    fn rate(&self, count: i64, sample_ms: i64, now: Millis) -> f64 {
        let window_ms = count.saturating_mul(sample_ms);
        let mut samples = self.samples.lock();
        while samples.pop_front_if(|(began, _)| now - *began >= window_ms).is_some() {}
        let Some((first, _)) = samples.front() else { return 0.0 };
        let elapsed_ms = (now - *first).max(sample_ms);
        let bytes: u64 = samples.iter().map(|(_, bytes)| bytes).sum();
        bytes as f64 * 1000.0 / elapsed_ms as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_window_and_falls_when_nothing_comes() {
        let meter = Meter::default();
        assert_eq!(meter.rate(11, 1000, Millis(0)), 0.0);
        meter.record(500, Millis(0));
        meter.record(500, Millis(50));
        assert_eq!(meter.rate(11, 1000, Millis(50)), 1000.0, "over one sample at least");
        meter.record(3000, Millis(2000));
        assert_eq!(meter.rate(11, 1000, Millis(2000)), 2000.0);
        assert_eq!(meter.rate(11, 1000, Millis(10_000)), 400.0);
        assert_eq!(meter.rate(11, 1000, Millis(12_000)), 300.0, "the first second is forgotten");
        assert_eq!(meter.rate(11, 1000, Millis(20_000)), 0.0);
    }
}
