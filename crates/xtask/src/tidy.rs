//! `cargo xtask tidy`: rules of the house that a tool can hold, each with its reason.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Which crates each crate may depend on. Dependencies point down only: the pure cores know no engine, the
/// engines know no policy, and nothing below the shells knows them.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("protocol-derive", &[]),
    ("protocol", &["model", "protocol-derive"]),
    ("record", &["model"]),
    ("raft", &["model"]),
    ("metadata", &["model", "protocol"]),
    ("controller", &["model", "protocol", "metadata"]),
    ("coordinator", &["model", "protocol"]),
    ("replication", &["model"]),
    ("commit-log", &["model", "record"]),
    ("transport", &[]),
    (
        "server",
        &[
            "model",
            "protocol",
            "record",
            "raft",
            "metadata",
            "controller",
            "coordinator",
            "replication",
            "commit-log",
            "transport",
        ],
    ),
    ("client", &["model", "protocol", "record", "transport"]),
    ("cli", &["model", "protocol", "record", "metadata", "commit-log", "server", "client"]),
    (
        "sim",
        &[
            "model",
            "protocol",
            "record",
            "raft",
            "metadata",
            "coordinator",
            "commit-log",
            "transport",
            "server",
        ],
    ),
    ("scenario", &[]),
    ("bench", &["model", "protocol", "record", "client", "e2e"]),
    ("e2e", &["model", "protocol", "record", "client"]),
    ("testing", &["model", "protocol", "commit-log", "server"]),
    ("xtask", &["model", "protocol", "bench"]),
];

/// Crates without I/O, clock, threads or randomness, and what would give them some.
const PURE: &[&str] =
    &["model", "protocol", "record", "raft", "metadata", "controller", "coordinator", "replication"];
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::thread::spawn",
    "SystemTime::now",
    "Instant::now",
    "tokio::",
    "rand::",
    "File::open",
];

/// Names that say nothing about the concept inside.
const EMPTY_NAMES: &[&str] = &["utils.rs", "util.rs", "common.rs", "helpers.rs", "types.rs", "misc.rs"];

/// A file above this size says in its head why it is one concept (`//! Long because …`).
const LINES_MAX: usize = 800;
/// Comments longer than this, in characters, do not fit beside a second window. Code is cut by rustfmt; a table of
/// values may be as wide as it is.
const COMMENT_WIDTH_MAX: usize = 120;

pub fn run() -> Result<()> {
    let root = root();
    let mut faults = Vec::new();
    check_dependencies(&root, &mut faults)?;
    for path in tracked(&root)? {
        let Ok(text) = fs::read_to_string(root.join(&path)) else { continue };
        check_text(&root, &path, &text, &mut faults);
        if path.extension().is_some_and(|extension| extension == "rs") {
            check_source(&path, &text, &mut faults);
        }
    }
    if !faults.is_empty() {
        bail!("{} faults:\n{}", faults.len(), faults.join("\n"));
    }
    println!("tidy: nothing to mend");
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/xtask is two levels deep").into()
}

fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let output =
        Command::new("git").args(["ls-files", "-z"]).current_dir(root).output().context("list files")?;
    let names = String::from_utf8(output.stdout).context("decode file names")?;
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}

fn check_dependencies(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(root.join("crates")).context("list crates")? {
        let folder = entry?.file_name().into_string().unwrap_or_default();
        let Ok(manifest) = fs::read_to_string(root.join("crates").join(&folder).join("Cargo.toml")) else {
            continue;
        };
        let Some((_, allowed)) = DEPENDENCIES.iter().find(|(name, _)| *name == folder) else {
            faults.push(format!("crates/{folder} is not in the table of dependencies in xtask tidy"));
            continue;
        };
        // Tests may use more: only what ships is held.
        let shipped = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for line in shipped.lines() {
            if let Some(name) =
                line.strip_prefix("ottla-").and_then(|rest| rest.split(['.', ' ', '=']).next())
                && !allowed.contains(&name)
            {
                faults.push(format!("crates/{folder} must not depend on {name}"));
            }
        }
    }
    Ok(())
}

/// What no file of the project may contain: marks of unfinished work, and pointers at what a reader does not have.
fn check_text(root: &Path, path: &Path, text: &str, faults: &mut Vec<String>) {
    if path.ends_with("tidy.rs") || path.starts_with("testdata") {
        return;
    }
    let shown = path.display();
    for word in ["FIXME", "XXX:"] {
        if text.contains(word) {
            faults.push(format!("{shown}: contains {word:?}"));
        }
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if !["rs", "md", "toml"].contains(&extension) {
        return;
    }
    for (number, line) in (1..).zip(text.lines()) {
        for pointer in pointers(line) {
            // Relative to the file, its crate, or the root.
            if !path.ancestors().skip(1).any(|dir| root.join(dir).join(pointer).exists()) {
                faults.push(format!("{shown}:{number}: there is no {pointer}"));
            }
        }
        if line.trim_start().starts_with("//") && line.chars().count() > COMMENT_WIDTH_MAX {
            faults.push(format!("{shown}:{number}: longer than {COMMENT_WIDTH_MAX} characters"));
        }
    }
}

/// Names of Markdown files in a line, as in `docs/formats/segment.md`; what stands behind `://` is elsewhere.
fn pointers(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || "/._-:".contains(c)));
    words.filter(|word| {
        word.len() > 3 && word.ends_with(".md") && !word.contains("://") && !word.contains('*')
    })
}

fn check_source(path: &Path, text: &str, faults: &mut Vec<String>) {
    let shown = path.display();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if EMPTY_NAMES.contains(&name) {
        faults.push(format!("{shown}: name the concept instead"));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX && !text.lines().take(30).any(|line| line.starts_with("//! Long because")) {
        faults.push(format!("{shown}: {lines} lines; split it, or say `//! Long because …` in its head"));
    }
    if !text.starts_with("//!")
        && !path.ends_with("build.rs")
        && path.components().any(|c| c.as_os_str() == "src")
    {
        faults.push(format!("{shown}: the head does not say what the module owns"));
    }
    for word in ["todo!(", "unimplemented!(", "#[ignore", "thread::sleep"] {
        // A test that sleeps is slow or flaky; a program that sleeps hides an event that it should wait for.
        // Where there is no event, `// tidy: <word>` and the reason.
        if !path.ends_with("tidy.rs") && text.contains(word) && !text.contains(&format!("tidy: {word}")) {
            faults.push(format!("{shown}: contains {word}"));
        }
    }
    let is_pure = PURE.iter().any(|folder| path.starts_with(Path::new("crates").join(folder).join("src")));
    let is_test = path.components().any(|component| component.as_os_str() == "tests");
    if is_pure && !is_test {
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in IMPURE.iter().filter(|word| shipped.contains(**word)) {
            faults.push(format!("{shown}: a pure crate uses {word}"));
        }
    }
}
