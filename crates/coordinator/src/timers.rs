//! Deadlines, ordered. Moving one into the future, which every heartbeat does, touches only the [`Timer`].

use std::collections::BTreeSet;

use ottla_model::Millis;
use ottla_protocol::Str;

/// What a deadline belongs to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum TimerKey {
    /// A member's session, or the time it has to take up a handed-out member id.
    Session { group: Str, member: Str },
    /// The join phase of a rebalance.
    Join { group: Str },
    /// The time members have to ask for their assignment.
    Sync { group: Str },
    /// The periodic search for expired offsets.
    Expiry,
}

/// One deadline, kept by its owner. `armed` is where it stands in [`Timers`]: never later than `due`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    due: Millis,
    armed: Millis,
}

impl Default for Timer {
    fn default() -> Self {
        Self { due: Millis::MAX, armed: Millis::MAX }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    armed: BTreeSet<(Millis, TimerKey)>,
}

impl Timers {
    pub fn set(&mut self, timer: &mut Timer, due: Millis, key: impl FnOnce() -> TimerKey) {
        timer.due = due;
        if due < timer.armed {
            let key = key();
            if timer.armed != Millis::MAX {
                self.armed.remove(&(timer.armed, key.clone()));
            }
            timer.armed = due;
            self.armed.insert((due, key));
        }
    }

    pub fn clear(&mut self, timer: &mut Timer, key: impl FnOnce() -> TimerKey) {
        if timer.armed != Millis::MAX {
            self.armed.remove(&(timer.armed, key()));
        }
        *timer = Timer::default();
    }

    /// The earliest time at which [`pop`](Self::pop) may give something.
    pub fn next(&self) -> Option<Millis> {
        self.armed.first().map(|(at, _)| *at)
    }

    /// Takes the next entry that has been reached. Its owner then asks [`fired`](Self::fired).
    pub fn pop(&mut self, now: Millis) -> Option<TimerKey> {
        if self.next()? > now { None } else { self.armed.pop_first().map(|(_, key)| key) }
    }

    /// For an entry just popped: whether the timer is due, or else was moved and stands armed again.
    pub fn fired(&mut self, timer: &mut Timer, now: Millis, key: TimerKey) -> bool {
        timer.armed = Millis::MAX;
        if timer.due <= now {
            timer.due = Millis::MAX;
            return true;
        }
        if timer.due != Millis::MAX {
            self.set(timer, timer.due, || key);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> TimerKey {
        TimerKey::Expiry
    }

    #[test]
    fn a_moved_timer_fires_once_at_its_last_deadline() {
        let (mut timers, mut timer) = (Timers::default(), Timer::default());
        timers.set(&mut timer, Millis(10), key);
        timers.set(&mut timer, Millis(30), key);
        assert_eq!(timers.next(), Some(Millis(10)));
        let popped = timers.pop(Millis(10)).unwrap();
        assert!(!timers.fired(&mut timer, Millis(10), popped));
        assert_eq!(timers.next(), Some(Millis(30)));
        timers.set(&mut timer, Millis(20), key);
        let popped = timers.pop(Millis(25)).unwrap();
        assert!(timers.fired(&mut timer, Millis(25), popped));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_cleared_timer_leaves_nothing() {
        let (mut timers, mut timer) = (Timers::default(), Timer::default());
        timers.set(&mut timer, Millis(10), key);
        timers.clear(&mut timer, key);
        assert_eq!(timers.next(), None);
    }
}
