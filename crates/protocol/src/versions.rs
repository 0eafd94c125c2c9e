//! Ranges of message versions.

use std::fmt;

/// An inclusive range of versions of a message or of a field. Empty when `min > max`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub const ALL: Self = Self::new(0, i16::MAX);
    pub const NONE: Self = Self::new(0, -1);

    pub const fn new(min: i16, max: i16) -> Self {
        Self { min, max }
    }

    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    pub const fn is_empty(self) -> bool {
        self.min > self.max
    }

    /// Those in both; every empty result is [`Versions::NONE`].
    pub fn intersect(self, other: Self) -> Self {
        let both = Self::new(self.min.max(other.min), self.max.min(other.max));
        if both.is_empty() { Self::NONE } else { both }
    }

    pub fn iter(self) -> impl Iterator<Item = i16> {
        self.min..=self.max
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            _ if self.is_empty() => f.write_str("none"),
            (min, i16::MAX) => write!(f, "{min}+"),
            (min, max) if min == max => write!(f, "{min}"),
            (min, max) => write!(f, "{min}-{max}"),
        }
    }
}
