//! Milliseconds since the epoch as people read and write them.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

/// Shows itself as `2026-11-22T18:16:52.123Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(since.as_millis() as i64)
    }
}

/// Reads milliseconds since the epoch, a day or time of ISO 8601 (UTC unless it names an offset), or how long ago it
/// was: `-90s`, `-30m`, `-12h`, `-7d`.
impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no time; expected milliseconds since 1970, 2026-11-22T18:16:52Z, 2026-11-22 or -30m"
            )
        };
        if let Ok(ms) = text.parse::<u64>() {
            return i64::try_from(ms).map(Self).map_err(|_| wrong());
        }
        let ms = match text.strip_prefix('-') {
            Some(ago) => parse_ago(ago).map(|ago| Self::now().0 - ago),
            None => parse_time(text),
        };
        ms.map(Self).ok_or_else(wrong)
    }
}

fn parse_ago(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    i64::from(number.parse::<u32>().ok()?).checked_mul(unit)
}

fn parse_time(text: &str) -> Option<i64> {
    let (day, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let digits = |text: &str, least, most| -> Option<i64> {
        let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i64>().ok())??;
        (least..=most).contains(&number).then_some(number)
    };
    let mut parts = day.split('-');
    let (year, month) = (digits(parts.next()?, 1, 9999)?, digits(parts.next()?, 1, 12)?);
    let day = digits(parts.next()?, 1, 31)?;
    let days = days(year, month, day);
    if parts.next().is_some() || civil(days) != (year, month, day) {
        return None;
    }
    let (time, offset) = match time.find(['Z', '+', '-']) {
        Some(at) => time.split_at(at),
        None => (time, "Z"),
    };
    let offset = match offset.split_at(1) {
        ("Z", "") => 0,
        (sign, zone) => {
            let (hours, minutes) = zone.split_once(':').or_else(|| zone.split_at_checked(2))?;
            let minutes = digits(hours, 0, 23)? * 60 + digits(minutes, 0, 59)?;
            if sign == "-" { -minutes } else { minutes }
        }
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.split(':');
    let (hour, minute) = (digits(parts.next()?, 0, 23)?, digits(parts.next()?, 0, 59)?);
    let second = digits(parts.next().unwrap_or("0"), 0, 59)?;
    if parts.next().is_some() || fraction.is_empty() {
        return None;
    }
    let ms = digits(&format!("{fraction:0<3}")[..3], 0, 999)?;
    digits(fraction, 0, i64::MAX)?;
    Some(days * 86_400_000 + ((hour * 60 + minute - offset) * 60 + second) * 1000 + ms)
}

/// The day counted from 1970-01-01.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: i64 = 86_400_000;
        let (year, month, day) = civil(self.0.div_euclid(DAY));
        let ms = self.0.rem_euclid(DAY);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
    }
}

/// Year, month and day of a day counted from 1970-01-01 (the proleptic Gregorian calendar).
fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March, so that the leap day is the last; an era is 400 years.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn known_days() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp(ms).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp(ms)));
        }
        let _ = (Timestamp(i64::MAX).to_string(), Timestamp(i64::MIN).to_string());
    }

    #[test]
    fn times_as_people_write_them() {
        for (text, ms) in [
            ("1700000000123", 1_700_000_000_123),
            ("2023-11-14", 1_699_920_000_000),
            ("2023-11-14T22:13", 1_700_000_000_000 - 20_000),
            ("2023-11-14 22:13:20", 1_700_000_000_000),
            ("2023-11-14T23:13:20.5+01:00", 1_700_000_000_500),
            ("2023-11-14T21:43:20.123456-0030", 1_700_000_000_123),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp(ms)), "{text}");
        }
        let ago = "-30m".parse::<Timestamp>().unwrap().0 - Timestamp::now().0 + 1_800_000;
        assert!((-5000..=0).contains(&ago), "{ago}");
        for wrong in ["", "-", "-1", "-m", "-1y", "2023-02-29", "2023-13-01", "2023-11-14T24:00", "T", "now"]
        {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
        for wrong in
            ["2023-11-14T1:2:3:4", "2023-11-14T10:00:00.", "2023-11-14T10:00:00Zx", "2023-11-14T10:00+1"]
        {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
    }
}
