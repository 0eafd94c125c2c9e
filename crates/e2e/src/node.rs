//! A node on loopback: Apache Kafka 4.4.0 or Ottla, with the same server.properties.
//!
//! Owns the data directory, the ports and the process. A stopped or killed node can be started again, by the
//! other brand too: the directory is what is handed over.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::wire::{Connection, api_versions_request};
use crate::{artifacts, process, tools};

/// Whose program serves the directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Brand {
    /// Apache Kafka 4.4.0, the judge.
    Apache,
    /// The binary under test.
    Ottla,
}

impl Brand {
    /// Who is tested: Ottla, or with `E2E_CANDIDATE=apache` the judge itself, which shows that a suite is right.
    pub fn candidate() -> Brand {
        match std::env::var("E2E_CANDIDATE").as_deref() {
            Ok("apache") => Brand::Apache,
            _ => Brand::Ottla,
        }
    }
}

/// The cluster id of every directory the suites format.
pub const CLUSTER_ID: &str = "e2eClusterIdAAAAAAAAAA";

/// How long a node may take to answer after its start.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// One node with its directory; killed and removed on drop.
pub struct Node {
    brand: Brand,
    home: TempDir,
    broker: SocketAddr,
    controller: SocketAddr,
    child: Option<Child>,
}

impl Node {
    /// Formats a fresh directory and starts a node with extra lines of server.properties, in which `{home}` is its
    /// directory; the last line of a setting counts.
    pub fn start(brand: Brand, extra: &str) -> Result<Node> {
        let mut node = Node::formatted(brand, extra, &[])?;
        node.launch()?;
        Ok(node)
    }

    /// Starts a node whose directory is formatted with the features of an older release.
    pub fn start_as_of(release: &str, brand: Brand) -> Result<Node> {
        let mut node = Node::formatted(brand, "", &["--release-version", release])?;
        node.launch()?;
        Ok(node)
    }

    /// Formats a fresh directory without starting anything.
    pub fn formatted(brand: Brand, extra: &str, format: &[&str]) -> Result<Node> {
        let home = tempfile::Builder::new()
            .prefix("ottla-e2e-")
            .tempdir()
            .context("create a directory for a node")?;
        let [broker, controller] = free_ports()?;
        let node = Node { brand, home, broker, controller, child: None };
        let properties = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.bootstrap.servers={controller}\n\
             listeners=PLAINTEXT://{broker},CONTROLLER://{controller}\n\
             advertised.listeners=PLAINTEXT://{broker},CONTROLLER://{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={data}\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n\
             {extra}\n",
            extra = extra.replace("{home}", &node.home().display().to_string()),
            data = node.data().display(),
        );
        fs::write(node.properties(), properties).context("write server.properties")?;
        fs::create_dir_all(node.data()).context("create the data directory")?;
        node.format(format)?;
        Ok(node)
    }

    fn format(&self, further: &[&str]) -> Result<()> {
        let file = self.properties().display().to_string();
        let arguments = [&["format", "-t", CLUSTER_ID, "-c", &file, "--standalone"], further].concat();
        match self.brand {
            Brand::Apache => {
                let outcome = tools::runner()?.storage_tool(&arguments)?;
                ensure!(outcome.status == 0, "kafka-storage failed: {outcome:?}");
            }
            Brand::Ottla => {
                let binary = artifacts::ottla_binary()?;
                let mut command = process::bound(&binary.display().to_string());
                command.args(arguments);
                let output = process::output(command, Duration::from_secs(20))?;
                ensure!(
                    output.status.success(),
                    "ottla format failed: {}{}",
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr)
                );
            }
        }
        Ok(())
    }

    /// Starts the process on the existing directory and waits until it answers.
    pub fn launch(&mut self) -> Result<Duration> {
        self.launch_as(self.brand)
    }

    /// Starts the directory with a program of the given brand: a takeover, or the way back.
    pub fn launch_as(&mut self, brand: Brand) -> Result<Duration> {
        ensure!(self.child.is_none(), "the node runs already");
        self.brand = brand;
        let begun = Instant::now();
        let log =
            File::options().create(true).append(true).open(self.log_file()).context("open the node's log")?;
        let mut command = match brand {
            Brand::Apache => {
                let mut java = process::bound("java");
                java.args([
                    "-Xms256m",
                    "-Xmx512m",
                    "-XX:TieredStopAtLevel=1",
                    "-XX:+UseSerialGC",
                    "-Xshare:auto",
                ]);
                java.arg(format!("-Dlog4j2.configurationFile={}", tools::log4j_file()?.display()));
                java.args(["-cp", &artifacts::jars("broker")?, "kafka.Kafka"]).arg(self.properties());
                java
            }
            Brand::Ottla => {
                let mut ottla = process::bound(&artifacts::ottla_binary()?.display().to_string());
                ottla.arg("server").arg(self.properties());
                ottla
            }
        };
        command.current_dir(self.home.path()).stdin(std::process::Stdio::null());
        command.stdout(log.try_clone().context("share the node's log")?).stderr(log);
        self.child = Some(process::spawn(command)?);
        self.await_ready()?;
        Ok(begun.elapsed())
    }

    fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            if let Some(status) = self.child.as_mut().context("the node has no process")?.try_wait()? {
                self.child = None;
                bail!("{:?} ended at start with {status}; its log:\n{}", self.brand, self.log_tail());
            }
            if self.answers() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{:?} does not answer after {} s; its log:\n{}",
                    self.brand,
                    READY_LIMIT.as_secs(),
                    self.log_tail()
                );
            }
            // Another process: nothing tells us (tidy: thread::sleep).
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the broker answers ApiVersions and lists itself in Metadata (it does once it is unfenced).
    pub fn answers(&self) -> bool {
        let Ok(mut connection) = Connection::open(self.broker, Duration::from_secs(5)) else { return false };
        matches!(connection.call(&api_versions_request()), Ok(Some(_)))
            && matches!(connection.metadata_brokers(), Ok(count) if count == 1)
    }

    /// Asks the process to end with SIGTERM and waits; returns how long it took.
    pub fn stop(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        let mut child = self.child.take().context("the node does not run")?;
        process::signal(child.id(), Signal::TERM)?;
        match process::wait(&mut child, Duration::from_secs(30))? {
            // The JVM reports the signal that ended it.
            Some(status) if status.success() || status.code() == Some(143) => Ok(begun.elapsed()),
            Some(status) => bail!("{:?} stopped with {status}; its log:\n{}", self.brand, self.log_tail()),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("{:?} did not stop within 30 s of SIGTERM; its log:\n{}", self.brand, self.log_tail())
            }
        }
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the node does not run")?;
        child.kill().context("kill the node")?;
        child.wait().context("wait for the killed node")?;
        Ok(())
    }

    /// Resident memory of the process in KiB.
    pub fn rss_kib(&self) -> Result<u64> {
        let child = self.child.as_ref().context("the node does not run")?;
        let status =
            fs::read_to_string(format!("/proc/{}/status", child.id())).context("read the node's status")?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("find VmRSS")?;
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).context("read VmRSS")
    }

    pub fn brand(&self) -> Brand {
        self.brand
    }

    /// The broker listener's address.
    pub fn address(&self) -> SocketAddr {
        self.broker
    }

    /// The broker listener as `host:port`.
    pub fn bootstrap(&self) -> String {
        self.broker.to_string()
    }

    /// The controller listener's address.
    pub fn controller(&self) -> SocketAddr {
        self.controller
    }

    /// The directory of `log.dirs`.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The directory above the data, with server.properties and the log.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn properties(&self) -> PathBuf {
        self.home.path().join("server.properties")
    }

    pub fn log_file(&self) -> PathBuf {
        self.home.path().join("node.log")
    }

    /// The last lines the node logged, for messages.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Kept for a look when a test fails: E2E_KEEP=1.
        if std::env::var_os("E2E_KEEP").is_some() {
            eprintln!("e2e: kept {}", self.home.path().display());
            self.home.disable_cleanup(true);
        }
    }
}

/// Ports that were free a moment ago; bound together so that they differ.
fn free_ports<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut held = Vec::new();
    for _ in 0..N {
        held.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?);
    }
    let mut ports = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr().context("name a free port")?;
    }
    Ok(ports)
}
