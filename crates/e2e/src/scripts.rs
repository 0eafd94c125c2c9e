//! Ottla under the names of Apache's scripts: runs `ottla kafka-topics …` where a scenario calls a tool, and says what
//! of stderr scripts may rely on.

use std::io::Write;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use regex::Regex;
use rustix::process::Signal;

use crate::tools::Outcome;
use crate::{artifacts, process};

/// The scripts that `ottla` knows.
const SCRIPTS: &[&str] = &[
    "kafka-topics",
    "kafka-consumer-groups",
    "kafka-console-producer",
    "kafka-console-consumer",
    "kafka-get-offsets",
    "kafka-configs",
    "kafka-metadata-quorum",
    "kafka-reassign-partitions",
];

/// What `ottla` lacks: formatters.
const FOREIGN: &[&str] = &["OffsetsMessageFormatter", "GroupMetadataMessageFormatter"];

/// Whether `ottla` knows a call; a scenario's others are Apache's on both sides.
pub fn knows(script: &str, arguments: &[String]) -> bool {
    let foreign = |word: &String| FOREIGN.iter().any(|class| word.ends_with(class));
    SCRIPTS.contains(&script) && !arguments.iter().any(foreign)
}

/// Runs a call that `ottla` knows.
pub fn run(script: &str, arguments: &[String], stdin: &[u8], limit: Duration) -> Result<Outcome> {
    let mut command = process::bound(&artifacts::ottla_binary()?.display().to_string());
    command.arg(script).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process::spawn(command)?;
    let mut input = child.stdin.take().context("take the script's stdin")?;
    let stdin = stdin.to_vec();
    // A script that does not read its input is no error.
    std::thread::spawn(move || drop(input.write_all(&stdin)));
    let pid = child.id();
    let (done, finished) = channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let Ok(output) = finished.recv_timeout(limit) else {
        process::signal(pid, Signal::KILL)?;
        let output = finished.recv()??;
        bail!(
            "ottla {script} {arguments:?} did not end within {} s\n{}{}",
            limit.as_secs(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let output = output.with_context(|| format!("wait for ottla {script}"))?;
    Ok(Outcome {
        status: output.status.code().context("the script was ended by a signal")?,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// What scripts may rely on in stderr: messages, each once, without the names and traces of Java's exceptions, what
/// stdout says too, what is only logged and not by the runner's JVM, Apache's advertisement of a setting, and the
/// table of options below the message about wrong use.
pub fn messages(stderr: &str, stdout: &str) -> String {
    static EXCEPTION: OnceLock<Regex> = OnceLock::new();
    let exception = EXCEPTION.get_or_init(|| {
        let pattern = r#"^(Exception in thread "main" )?(([a-z]+\.)+[\w$]+(Exception|Error)(: |$))*"#;
        Regex::new(pattern).expect("a valid pattern")
    });
    let mut kept: Vec<String> = Vec::new();
    for line in stderr.lines() {
        if line.starts_with("Option ") && line.trim_end().ends_with("Description") {
            break;
        }
        let line = exception.replace(line, "").trim().to_owned();
        let noise = ["Caused by: ", "WARN New offset ", "ERROR Error when sending "];
        let said = stdout.contains(&line) || kept.iter().any(|kept| kept.contains(&line));
        if !said && !line.contains("KIP-848") && !noise.iter().any(|noise| line.starts_with(noise)) {
            kept.push(in_order(line));
        }
    }
    kept.join("\n")
}

/// Names of options come in no order where they are a set: Java's differ from run to run.
fn in_order(line: String) -> String {
    static SET: OnceLock<Regex> = OnceLock::new();
    let set = SET.get_or_init(|| Regex::new(r"\[+[a-z-]+\](, \[[a-z-]+\]+)+").expect("a valid pattern"));
    let sorted = |found: &regex::Captures<'_>| {
        let mut names: Vec<_> = found[0].split(", ").map(|name| name.trim_matches(['[', ']'])).collect();
        names.sort_unstable();
        format!("[{}]", names.join(", "))
    };
    set.replace_all(&line, sorted).into_owned()
}
