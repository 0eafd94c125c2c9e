//! How far long work has come, on stderr, when a person looks at it: count, rate and the time that is left.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line changes.
const EVERY: Duration = Duration::from_millis(200);

/// A line that is rewritten in place, and gone in the end.
pub struct Progress {
    unit: &'static str,
    total: Option<u64>,
    begun: Instant,
    shown: Option<Instant>,
    visible: bool,
}

impl Progress {
    /// Nothing is shown where stderr is no terminal.
    pub fn new(unit: &'static str, total: Option<u64>) -> Self {
        let visible = io::stderr().is_terminal();
        Self { unit, total, begun: Instant::now(), shown: None, visible }
    }

    /// Shows what is done by now.
    pub fn at(&mut self, done: u64) {
        let now = Instant::now();
        if !self.visible || self.shown.is_some_and(|shown| now - shown < EVERY) {
            return;
        }
        self.shown = Some(now);
        let line = line(self.unit, done, self.total, self.begun.elapsed());
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(unit: &str, done: u64, total: Option<u64>, after: Duration) -> String {
    let rate = done as f64 / after.as_secs_f64().max(1e-3);
    let Some(total) = total.filter(|total| *total > 0) else {
        return format!("{done} {unit}, {rate:.0}/s");
    };
    let percent = done as f64 * 100.0 / total as f64;
    let left = match rate > 0.0 {
        true => format!(", {} left", time(total.saturating_sub(done) as f64 / rate)),
        false => String::new(),
    };
    format!("{done} of {total} {unit} ({percent:.0} %), {rate:.0}/s{left}")
}

fn time(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3599 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left() {
        let after = Duration::from_secs(2);
        assert_eq!(line("records", 10, None, after), "10 records, 5/s");
        assert_eq!(line("records", 10, Some(1000), after), "10 of 1000 records (1 %), 5/s, 3:18 min left");
        assert_eq!(line("records", 0, Some(10), after), "0 of 10 records (0 %), 0/s");
        assert_eq!(line("records", 0, Some(0), after), "0 records, 0/s");
        assert_eq!(time(7260.0), "2:01 h");
    }
}
