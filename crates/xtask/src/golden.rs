//! `cargo xtask golden`: has Apache Kafka write golden files again, and compares them with those in `testdata/golden`.
//!
//! Owns how they were captured, for the directories whose making is short: what the format tool leaves, and the topics
//! that a producer fills. The others came about in the same way with longer stories, which the README there tells.
//!
//! Segments, indexes and producer snapshots of the topics must be the same to the byte. What holds random ids and the
//! time of day is compared as `ottla dump` prints it, without them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

#[derive(clap::Args)]
pub struct Args {
    /// Where the new files go; it is emptied first
    #[arg(long, default_value = "target/golden/capture")]
    into: PathBuf,
}

/// The cluster of the golden format directories.
const CLUSTER_ID: &str = "DFF4aVFKT9OXlxhwrJUsDg";
/// Golden directory → the format tool's arguments.
const FORMATS: [(&str, &[&str]); 2] =
    [("format-4.4-static", &[]), ("format-4.4-no-initial-controllers", &["--no-initial-controllers"])];
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Of these each byte is given by the records.
const SAME_BYTES: [&str; 4] = [
    "00000000000000000000.log",
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    "00000000000000000015.snapshot",
];

pub fn run(args: Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().context("find the root")?;
    let golden = root.join("testdata/golden");
    let into = root.join(args.into);
    if into.exists() {
        fs::remove_dir_all(&into).with_context(|| format!("empty {}", into.display()))?;
    }
    fs::create_dir_all(&into).with_context(|| format!("create {}", into.display()))?;
    let jars = jars(&root)?;
    for (name, arguments) in FORMATS {
        let dir = into.join("dirs").join(name);
        let properties = into.join(format!("{name}.properties"));
        let voters = arguments.is_empty();
        write_properties(&properties, &dir, [19092, 19093], voters)?;
        format(&jars, &properties, arguments)?;
        let (old, new) = (masked_dump(&root, &golden.join("dirs").join(name))?, masked_dump(&root, &dir)?);
        ensure!(old == new, "{name} differs\nwas {}\nnow {}", old.join("\n    "), new.join("\n    "));
        println!("{name}: the same but for ids and times");
    }
    let topics = into.join("topics");
    capture_topics(&jars, &into, &topics)?;
    for codec in CODECS {
        let name = format!("codec-{codec}-0");
        for file in SAME_BYTES {
            let read = |dir: &Path| {
                fs::read(dir.join(&name).join(file)).with_context(|| format!("read {name}/{file}"))
            };
            ensure!(read(&golden.join("topics"))? == read(&topics)?, "{name}/{file} differs");
        }
        println!("{name}: the same to the byte");
    }
    Ok(())
}

/// Apache Kafka's jars as a class path.
fn jars(root: &Path) -> Result<String> {
    let dir = root.join("target/golden/jars");
    if !dir.join("complete").exists() {
        let mut maven = Command::new("mvn");
        maven.args(["--quiet", "--batch-mode", "--file"]).arg(root.join("crates/e2e/apache/pom.xml"));
        maven.args(["--activate-profiles", "broker", "dependency:copy-dependencies"]);
        maven.arg(format!("-DoutputDirectory={}", dir.display()));
        succeed(&mut maven)?;
        fs::write(dir.join("complete"), "").context("mark the jars as complete")?;
    }
    Ok(format!("{}/*", dir.display()))
}

fn write_properties(file: &Path, log_dir: &Path, [broker, controller]: [u16; 2], voters: bool) -> Result<()> {
    let quorum = match voters {
        true => format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
        false => format!("controller.quorum.bootstrap.servers=127.0.0.1:{controller}"),
    };
    let text = format!(
        "node.id=1\nprocess.roles=broker,controller\n{quorum}\nlog.dirs={}\n\
         listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\nlog.retention.ms=-1\n",
        log_dir.display()
    );
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

fn format(jars: &str, properties: &Path, arguments: &[&str]) -> Result<()> {
    let mut tool = Command::new("java");
    tool.args(["-cp", jars, "kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"]);
    succeed(tool.arg(properties).args(arguments))
}

/// One broker writes the topics and stops cleanly.
fn capture_topics(jars: &str, into: &Path, topics: &Path) -> Result<()> {
    // Both at once, so that they differ; free again when the broker starts.
    let sockets = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    let ports = [sockets[0].local_addr()?.port(), sockets[1].local_addr()?.port()];
    drop(sockets);
    let properties = into.join("topics.properties");
    write_properties(&properties, topics, ports, true)?;
    format(jars, &properties, &[])?;
    let mut broker = Broker(
        Command::new("java")
            .args(["-cp", jars, "kafka.Kafka"])
            .arg(&properties)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start Kafka")?,
    );
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/Capture.java");
    succeed(Command::new("java").args(["-cp", jars]).arg(program).arg(format!("127.0.0.1:{}", ports[0])))?;
    succeed(Command::new("kill").arg(broker.0.id().to_string()))?;
    broker.0.wait().context("wait for Kafka to stop")?;
    Ok(())
}

/// Does not outlive this program, whatever goes wrong.
struct Broker(Child);

impl Drop for Broker {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// What `ottla dump` prints of a directory, without what is never the same twice.
fn masked_dump(root: &Path, dir: &Path) -> Result<Vec<String>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root).args([
        "run",
        "--quiet",
        "--package",
        "ottla-cli",
        "--",
        "dump",
        "--json",
        "--records",
    ]);
    let output = cargo.arg(dir).output().context("start ottla dump")?;
    ensure!(output.status.success(), "ottla dump failed: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).context("read what ottla dump prints")?;
    let shown = dir.display().to_string();
    lines
        .lines()
        .map(|line| {
            let mut value: Value = serde_json::from_str(&line.replace(&shown, ""))?;
            mask(&mut value);
            Ok(value.to_string())
        })
        .collect()
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match name.as_str() {
                    "crc" | "directory.id" => *field = Value::Null,
                    _ if name.ends_with("imestamp") => *field = Value::Null,
                    _ => mask(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

/// Runs a command whose words matter only if it fails.
fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed with {}\n{words}", output.status);
    Ok(())
}
