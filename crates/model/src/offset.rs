//! Positions in a log and points in time.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A record's position in its partition's log; the first record ever written has offset 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub i64);

impl Offset {
    pub const ZERO: Self = Self(0);
    /// The wire's "no offset", -1.
    pub const NONE: Self = Self(-1);
    pub const MAX: Self = Self(i64::MAX);
}

impl Add<i64> for Offset {
    type Output = Self;
    fn add(self, delta: i64) -> Self {
        Self(self.0 + delta)
    }
}

impl AddAssign<i64> for Offset {
    fn add_assign(&mut self, delta: i64) {
        self.0 += delta;
    }
}

impl Sub for Offset {
    type Output = i64;
    fn sub(self, other: Self) -> i64 {
        self.0 - other.0
    }
}

impl From<i64> for Offset {
    fn from(value: i64) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offset({})", self.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since the Unix epoch; also what step machines are told as "now". -1 means "no timestamp".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub i64);

impl Millis {
    pub const NONE: Self = Self(-1);
    pub const MAX: Self = Self(i64::MAX);
}

impl Add<i64> for Millis {
    type Output = Self;
    /// Saturates: configured durations go up to `i64::MAX`.
    fn add(self, delta_ms: i64) -> Self {
        Self(self.0.saturating_add(delta_ms))
    }
}

impl Sub for Millis {
    type Output = i64;
    fn sub(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

impl fmt::Debug for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}
