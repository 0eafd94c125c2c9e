//! Where a consumer begins that has no position: `auto.offset.reset`.

use ottla_model::Millis;

/// What to do without a committed offset, or when the offset is out of range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ResetPolicy {
    /// At the first record that is there.
    Earliest,
    /// Behind the last record: only what comes later is read.
    #[default]
    Latest,
    /// It is an error.
    None,
    /// At the first record that is not older than this.
    ByDuration {
        /// How old it may be, in milliseconds.
        ms: i64,
    },
}

/// The offset a ListOffsets request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetSpec {
    /// Where the first record is.
    Earliest,
    /// Where the next record will be: the high watermark, or the last stable offset with `read_committed`.
    Latest,
    /// The first record with this timestamp or a later one.
    At(Millis),
    /// The record with the highest timestamp.
    MaxTimestamp,
    /// Where the part begins that is on the leader's disk.
    EarliestLocal,
    /// Where the part ends that is in tiered storage.
    LatestTiered,
    /// Where the part begins that is to be moved to tiered storage.
    EarliestPendingUpload,
}

impl OffsetSpec {
    /// The timestamp on the wire.
    pub const fn timestamp(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::At(Millis(ms)) => ms,
            Self::MaxTimestamp => -3,
            Self::EarliestLocal => -4,
            Self::LatestTiered => -5,
            Self::EarliestPendingUpload => -6,
        }
    }
}

impl ResetPolicy {
    /// Reads `earliest`, `latest`, `none` or `by_duration:` with a duration of ISO 8601 such as `PT1H` or `P2DT3.5S`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "earliest" => Some(Self::Earliest),
            "latest" => Some(Self::Latest),
            "none" => Some(Self::None),
            _ => Some(Self::ByDuration { ms: parse_duration(text.strip_prefix("by_duration:")?)? }),
        }
    }

    /// The offset to ask for; `None` when the policy is `none`. `wall_clock`: now, as records are stamped.
    pub fn spec(self, wall_clock: Millis) -> Option<OffsetSpec> {
        match self {
            Self::Earliest => Some(OffsetSpec::Earliest),
            Self::Latest => Some(OffsetSpec::Latest),
            Self::None => None,
            Self::ByDuration { ms } => Some(OffsetSpec::At(Millis((wall_clock.0 - ms).max(0)))),
        }
    }
}

/// Milliseconds of `PnDTnHnMn.nS`; at least one part, none negative.
fn parse_duration(text: &str) -> Option<i64> {
    let (days, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (text.strip_prefix('P')?, ""),
    };
    let mut total: i64 = 0;
    let mut parts = 0;
    for (mut rest, units) in
        [(days, &[('D', 86_400_000)][..]), (time, &[('H', 3_600_000), ('M', 60_000), ('S', 1_000)])]
    {
        for &(unit, ms) in units {
            let Some((number, behind)) = rest.split_once(unit) else { continue };
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if whole.is_empty() || !(whole.bytes().chain(fraction.bytes())).all(|byte| byte.is_ascii_digit())
            {
                return None;
            }
            if number.contains('.') && (unit != 'S' || fraction.is_empty() || fraction.len() > 9) {
                return None;
            }
            total = total.checked_add(whole.parse::<i64>().ok()?.checked_mul(ms)?)?;
            let thousandths = format!("{fraction:0<3}");
            total = total.checked_add(thousandths.get(..3)?.parse::<i64>().ok()?)?;
            rest = behind;
            parts += 1;
        }
        if !rest.is_empty() {
            return None;
        }
    }
    (parts > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read() {
        for (text, ms) in [
            ("PT1H", 3_600_000),
            ("P2D", 172_800_000),
            ("P1DT1M0.5S", 86_460_500),
            ("PT0.0019S", 1),
            ("PT90M", 5_400_000),
        ] {
            assert_eq!(
                ResetPolicy::parse(&format!("by_duration:{text}")),
                Some(ResetPolicy::ByDuration { ms }),
                "{text}"
            );
        }
        for text in
            ["", "P", "PT", "1H", "P1H", "PT1D", "PT-1H", "PT1.5H", "PT1.S", "PT1S2H", "PT99999999999999999D"]
        {
            assert_eq!(ResetPolicy::parse(&format!("by_duration:{text}")), None, "{text}");
        }
        assert_eq!(ResetPolicy::parse("earliest"), Some(ResetPolicy::Earliest));
        assert_eq!(ResetPolicy::parse("smallest"), None);
    }
}
