//! The binary `ottla` as its users see it: arguments in, lines and an exit code out.

mod dev;
mod dump;
mod format;
mod node;
mod server;

use std::path::PathBuf;
use std::process::{Command, Output};

/// Runs `ottla` to its end.
fn ottla<I: IntoIterator<Item: AsRef<std::ffi::OsStr>>>(arguments: I) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ottla")).args(arguments).output().expect("start ottla")
}

/// Files that Apache Kafka 4.4.0 wrote; what they contain stands in the README there.
fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("stdout is UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("stderr is UTF-8")
}

#[test]
fn version_and_help_name_the_commands() {
    let version = ottla(["--version"]);
    assert_eq!(stdout(&version), format!("ottla {}\n", env!("CARGO_PKG_VERSION")));
    let help = ottla(["--help"]);
    assert!(help.status.success());
    for command in ["server", "dev", "format", "info", "random-uuid", "dump"] {
        assert!(stdout(&help).contains(&format!("\n  {command} ")), "{}", stdout(&help));
    }
}

#[test]
fn wrong_usage_exits_with_two() {
    let output = ottla(["no-such-command"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("error: "), "{}", stderr(&output));
}
