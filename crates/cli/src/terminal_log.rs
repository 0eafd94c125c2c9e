//! The log on the terminal: one short line per event, coloured only where somebody looks at it.

use std::fmt;
use std::io::{self, IsTerminal};

use anyhow::{Result, bail};
use ottla_server::config::log_levels;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::utc;

/// Sends events to stderr. `filter` is a level, or directives such as `info,ottla_raft=debug`; clients can change
/// it while the process runs.
pub fn start(filter: &str) -> Result<()> {
    let Ok(parsed) = EnvFilter::try_new(filter) else {
        bail!(
            "log level {filter:?}: expected error, warn, info, debug, trace, or a filter such as info,ottla_raft=debug"
        );
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_timer(Clock)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .with_filter_reloading();
    let handle = log.reload_handle();
    log.init();
    log_levels::install(filter, move |filter| {
        if let Ok(filter) = EnvFilter::try_new(filter) {
            // Fails only when the log is gone.
            let _ = handle.reload(filter);
        }
    });
    Ok(())
}

/// The time of day as `2026-11-22T18:16:52.123Z`.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        write!(writer, "{}", utc::Timestamp(now.as_millis() as i64))
    }
}
