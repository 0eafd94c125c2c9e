//! The levels of the process's log, by logger: what Kafka calls BROKER_LOGGER.
//!
//! A logger is `root` or a path of modules such as `ottla_raft`. The process has one log, so this is one global
//! table; whoever set the log up installs the function that applies it.

use std::collections::BTreeMap;

use parking_lot::Mutex;

pub const ROOT: &str = "root";

/// The levels that clients may set; the log knows no FATAL and takes it as ERROR.
pub const LEVELS: [&str; 6] = ["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];

/// The crates that write to the log.
const CRATES: [&str; 8] = [
    "ottla",
    "ottla_commit_log",
    "ottla_controller",
    "ottla_coordinator",
    "ottla_raft",
    "ottla_record",
    "ottla_server",
    "ottla_transport",
];

type Apply = Box<dyn Fn(&str) + Send + Sync>;

struct Table {
    root: String,
    levels: BTreeMap<String, String>,
    apply: Option<Apply>,
}

static TABLE: Mutex<Table> = Mutex::new(Table { root: String::new(), levels: BTreeMap::new(), apply: None });

/// Tells how the log is filtered at first (`info`, or `info,ottla_raft=debug`) and how a new filter is applied.
pub fn install(filter: &str, apply: impl Fn(&str) + Send + Sync + 'static) {
    let mut table = TABLE.lock();
    table.levels.clear();
    for directive in filter.split(',').map(str::trim) {
        match directive.split_once('=') {
            Some((logger, level)) => drop(table.levels.insert(logger.to_owned(), level.to_ascii_uppercase())),
            None => table.root = directive.to_ascii_uppercase(),
        }
    }
    table.apply = Some(Box::new(apply));
}

/// Every logger and its level, by name.
pub fn all() -> Vec<(String, String)> {
    let table = TABLE.lock();
    let root = if table.root.is_empty() { "INFO" } else { &table.root };
    let mut all: BTreeMap<String, String> =
        CRATES.iter().map(|name| (name.to_string(), root.to_owned())).collect();
    all.insert(ROOT.to_owned(), root.to_owned());
    all.extend(table.levels.clone());
    all.into_iter().collect()
}

/// Whether there is such a logger.
pub fn exists(logger: &str) -> bool {
    let first = logger.split("::").next().unwrap_or_default();
    logger == ROOT || CRATES.contains(&first)
}

/// Sets a logger's level, or with `None` lets it follow the root again. The logger must exist.
pub fn set(logger: &str, level: Option<&str>) {
    let mut table = TABLE.lock();
    match (logger, level) {
        (ROOT, Some(level)) => table.root = level.to_owned(),
        (ROOT, None) => return,
        (logger, Some(level)) => drop(table.levels.insert(logger.to_owned(), level.to_owned())),
        (logger, None) => drop(table.levels.remove(logger)),
    }
    let filter = |level: &str| if level == "FATAL" { "error".to_owned() } else { level.to_ascii_lowercase() };
    let mut directives = vec![filter(if table.root.is_empty() { "INFO" } else { &table.root })];
    directives.extend(table.levels.iter().map(|(logger, level)| format!("{logger}={}", filter(level))));
    if let Some(apply) = &table.apply {
        apply(&directives.join(","));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_level_is_applied_and_taken_back() {
        let applied = Arc::new(Mutex::new(String::new()));
        let filter = Arc::clone(&applied);
        install("info,ottla_raft=debug", move |directives| *filter.lock() = directives.to_owned());
        let level = |logger: &str| all().into_iter().find(|(name, _)| name == logger).map(|(_, level)| level);
        assert_eq!(level("ottla_raft").as_deref(), Some("DEBUG"));
        assert_eq!(level("ottla_server").as_deref(), Some("INFO"));
        set(ROOT, Some("FATAL"));
        set("ottla_server::api", Some("TRACE"));
        assert_eq!(*applied.lock(), "error,ottla_raft=debug,ottla_server::api=trace");
        set("ottla_raft", None);
        assert_eq!(level("ottla_raft").as_deref(), Some("FATAL"));
        assert_eq!(*applied.lock(), "error,ottla_server::api=trace");
        assert!(exists("ottla_server::api") && exists(ROOT) && !exists("kafka.server") && !exists(""));
    }
}
