//! A node: Apache Kafka 4.4.0, 4.3.1 or Ottla, with the same server.properties, on loopback or in a network namespace.
//!
//! Owns the data directory, its disk, the addresses and the process. A stopped or killed node can be started again, by
//! another brand too: the directory is what is handed over.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::disk::{Disk, Mount};
use crate::wire::{Connection, api_versions_request};
use crate::{artifacts, process, tools};

/// Whose program serves the directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Brand {
    /// Apache Kafka 4.4.0, the judge.
    Apache,
    /// Apache Kafka 4.3.1, the release before.
    Apache43,
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

    /// By the name that environment variables use.
    pub fn named(name: &str) -> Option<Brand> {
        match name {
            "apache" => Some(Brand::Apache),
            "apache43" => Some(Brand::Apache43),
            "ottla" => Some(Brand::Ottla),
            _ => None,
        }
    }
}

/// The cluster id of every directory the suites format.
pub const CLUSTER_ID: &str = "e2eClusterIdAAAAAAAAAA";

/// How long a node may take to answer after its start.
pub const READY_LIMIT: Duration = Duration::from_secs(60);

/// What a node does in its cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Roles {
    Combined,
    Broker,
    Controller,
}

impl Roles {
    pub fn broker(self) -> bool {
        self != Roles::Controller
    }

    pub fn controller(self) -> bool {
        self != Roles::Broker
    }
}

/// Where and as what a node runs.
#[derive(Clone, Debug)]
pub struct Place {
    pub id: i32,
    pub roles: Roles,
    pub broker: SocketAddr,
    pub controller: SocketAddr,
    /// The network namespace, if it is not the tests' own.
    pub namespace: Option<String>,
    pub disk: Disk,
}

/// One node with its directory; killed and removed on drop.
pub struct Node {
    brand: Brand,
    place: Place,
    // Before `home`, which holds it.
    mount: Option<Mount>,
    home: TempDir,
    child: Option<Child>,
    /// Where the log of the last start begins.
    log_start: u64,
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
        let [broker, controller] = free_ports()?;
        let place =
            Place { id: 1, roles: Roles::Combined, broker, controller, namespace: None, disk: Disk::Plain };
        let extra = format!(
            "controller.quorum.bootstrap.servers={controller}\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             {extra}"
        );
        let node = Node::create(brand, place, &extra)?;
        node.format(&[&["--standalone"], format].concat())?;
        Ok(node)
    }

    /// Makes a directory with a server.properties, unformatted.
    pub fn create(brand: Brand, place: Place, extra: &str) -> Result<Node> {
        let home = tempfile::Builder::new()
            .prefix(&format!("ottla-e2e-{}-", std::process::id()))
            .tempdir()
            .context("create a directory for a node")?;
        let data = home.path().join("data");
        fs::create_dir_all(&data).context("create the data directory")?;
        let broken = match place.disk {
            Disk::Second(_) => home.path().join("more"),
            Disk::Plain | Disk::Loop(_) => data,
        };
        fs::create_dir_all(&broken).context("create the directory of a disk")?;
        let mount = Mount::make(place.disk, &broken)?;
        let node = Node { brand, place, mount, home, child: None, log_start: 0 };
        node.configure(extra)?;
        Ok(node)
    }

    /// Writes server.properties anew, with extra lines as in [`Node::start`].
    pub fn configure(&self, extra: &str) -> Result<()> {
        let Place { id, roles, broker, controller, .. } = &self.place;
        let (roles, listeners) = match roles {
            Roles::Combined => {
                ("broker,controller", format!("PLAINTEXT://{broker},CONTROLLER://{controller}"))
            }
            Roles::Broker => ("broker", format!("PLAINTEXT://{broker}")),
            Roles::Controller => ("controller", format!("CONTROLLER://{controller}")),
        };
        let properties = format!(
            "process.roles={roles}\n\
             node.id={id}\n\
             listeners={listeners}\n\
             advertised.listeners={listeners}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={dirs}\n\
             group.initial.rebalance.delay.ms=0\n\
             {extra}\n",
            extra =
                extra.replace("{home}", &self.home().display().to_string()).replace("{id}", &id.to_string()),
            dirs = match self.place.disk {
                Disk::Second(_) => format!("{},{}", self.data().display(), self.second().display()),
                Disk::Plain | Disk::Loop(_) => self.data().display().to_string(),
            },
        );
        fs::write(self.properties(), properties).context("write server.properties")
    }

    /// Formats the directory as a member of the suites' cluster.
    pub fn format(&self, further: &[&str]) -> Result<()> {
        let file = self.properties().display().to_string();
        let arguments = [&["format", "-t", CLUSTER_ID, "-c", &file], further].concat();
        match self.brand {
            Brand::Apache | Brand::Apache43 => {
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
        let begun = Instant::now();
        self.spawn_as(brand)?;
        self.await_ready()?;
        Ok(begun.elapsed())
    }

    /// Starts the process and does not wait: the nodes of a cluster need each other to be ready.
    pub fn spawn_as(&mut self, brand: Brand) -> Result<()> {
        ensure!(self.child.is_none(), "the node runs already");
        self.brand = brand;
        let log =
            File::options().create(true).append(true).open(self.log_file()).context("open the node's log")?;
        self.log_start = log.metadata().context("size the node's log")?.len();
        let mut words: Vec<String> = Vec::new();
        if let Some(namespace) = &self.place.namespace {
            // Not `ip netns exec`: it would copy the mounts, and an unmounted disk would stay busy.
            words.extend(["nsenter".into(), format!("--net=/run/netns/{namespace}"), "--".into()]);
        }
        match brand {
            Brand::Apache | Brand::Apache43 => {
                let jars = artifacts::jars(if brand == Brand::Apache { "broker" } else { "tools" })?;
                let jvm = [
                    "java",
                    "-Xms64m",
                    "-Xmx512m",
                    "-XX:TieredStopAtLevel=1",
                    "-XX:+UseSerialGC",
                    "-Xshare:auto",
                ];
                words.extend(jvm.map(String::from));
                words.push(format!("-Dlog4j2.configurationFile={}", tools::log4j_file()?.display()));
                words.extend([
                    "-cp".into(),
                    format!("{jars}:{}", artifacts::jars("logging")?),
                    "kafka.Kafka".into(),
                ]);
            }
            Brand::Ottla => words.extend([artifacts::ottla_binary()?.display().to_string(), "server".into()]),
        }
        let mut command = process::bound(&words[0]);
        command.args(&words[1..]).arg(self.properties());
        command.current_dir(self.home.path()).stdin(std::process::Stdio::null());
        command.stdout(log.try_clone().context("share the node's log")?).stderr(log);
        self.child = Some(process::spawn(command)?);
        Ok(())
    }

    fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        while !self.ready(deadline)? {
            // Another process: nothing tells us (tidy: thread::sleep).
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Whether the node answers by now; an error if it has ended or the time is up.
    pub fn ready(&mut self, deadline: Instant) -> Result<bool> {
        if let Some(status) = self.child.as_mut().context("the node has no process")?.try_wait()? {
            self.child = None;
            bail!("{:?} ended at start with {status}; its log:\n{}", self.brand, self.log_tail());
        }
        if self.answers() {
            return Ok(true);
        }
        ensure!(
            Instant::now() < deadline,
            "{:?} does not answer after {} s; its log:\n{}",
            self.brand,
            READY_LIMIT.as_secs(),
            self.log_tail()
        );
        Ok(false)
    }

    /// Whether the node answers ApiVersions and a broker lists itself in Metadata (it does once it is unfenced).
    pub fn answers(&self) -> bool {
        let address = if self.place.roles.broker() { self.place.broker } else { self.place.controller };
        let Ok(mut connection) = Connection::open(address, Duration::from_secs(5)) else { return false };
        matches!(connection.call(&api_versions_request()), Ok(Some(_)))
            && (!self.place.roles.broker()
                || connection.metadata().is_ok_and(|metadata| metadata.brokers.contains_key(&self.place.id)))
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

    /// Stops the process where it is (SIGSTOP), as a long pause of the machine would.
    pub fn pause(&self) -> Result<()> {
        process::signal(self.child.as_ref().context("the node does not run")?.id(), Signal::STOP)
    }

    /// Lets a paused process go on.
    pub fn resume(&self) -> Result<()> {
        process::signal(self.child.as_ref().context("the node does not run")?.id(), Signal::CONT)
    }

    /// Whether there is a process; one that has ended by itself counts as stopped from then on.
    pub fn runs(&mut self) -> bool {
        if self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None))) {
            self.child = None;
        }
        self.child.is_some()
    }

    /// The disk to be broken.
    pub fn disk(&self) -> Result<&Mount> {
        self.mount.as_ref().context("the node's disk is a plain one")
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

    pub fn id(&self) -> i32 {
        self.place.id
    }

    pub fn roles(&self) -> Roles {
        self.place.roles
    }

    /// The broker listener's address.
    pub fn address(&self) -> SocketAddr {
        self.place.broker
    }

    /// The broker listener as `host:port`.
    pub fn bootstrap(&self) -> String {
        self.place.broker.to_string()
    }

    /// The controller listener's address.
    pub fn controller(&self) -> SocketAddr {
        self.place.controller
    }

    /// The directory of `log.dirs`, the first if there are two.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The second directory of a node that has one.
    pub fn second(&self) -> PathBuf {
        self.home.path().join("more")
    }

    /// Where the partition's log lies, or would.
    pub fn log_of(&self, partition: &str) -> PathBuf {
        let second = self.second().join(partition);
        if second.is_dir() { second } else { self.data().join(partition) }
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

    /// What only this node's outputs have, and the words that hide it.
    pub fn masks(&self) -> Vec<(String, String)> {
        let masks = [
            (self.data().display().to_string(), "{data}"),
            (self.home().display().to_string(), "{home}"),
            (self.bootstrap(), "{bootstrap}"),
            (self.controller().to_string(), "{controller}"),
            (self.address().port().to_string(), "{port}"),
            (self.controller().port().to_string(), "{controllerport}"),
        ];
        masks.map(|(text, mask)| (text, mask.to_owned())).into()
    }

    /// What the node has logged since its last start.
    pub fn logged(&self) -> String {
        let text = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(text.get(self.log_start as usize..).unwrap_or_default()).into_owned()
    }

    /// The last lines the node logged, for messages.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(|line| line.get(..400).unwrap_or(line)).collect();
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
        drop(self.mount.take());
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
