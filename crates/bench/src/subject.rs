//! What is measured: a process with a data directory, and what /proc says about it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ottla_e2e::{artifacts, process};
use rustix::process::Signal;

use crate::connection::Connection;
use crate::limit;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Brand {
    Kafka,
    Ottla,
    Limit,
}

impl Brand {
    pub const ALL: [Self; 3] = [Self::Kafka, Self::Ottla, Self::Limit];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Ottla => "ottla",
            Self::Limit => "limit",
        }
    }
}

/// JVM options as Apache's start scripts ship them.
const JVM: [&str; 9] = [
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
    "-Djava.awt.headless=true",
];

/// A node of one brand. Killed when dropped.
pub struct Subject {
    pub brand: Brand,
    pub address: SocketAddr,
    home: PathBuf,
    binary: PathBuf,
    child: Option<Child>,
}

impl Subject {
    /// Formats a directory; nothing runs yet.
    pub fn formatted(brand: Brand, home: PathBuf, ottla: &Path) -> Result<Self> {
        let [address, controller] = free_ports()?;
        let properties = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.bootstrap.servers={controller}\n\
             listeners=PLAINTEXT://{address},CONTROLLER://{controller}\n\
             advertised.listeners=PLAINTEXT://{address},CONTROLLER://{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={}\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n",
            home.join("data").display()
        );
        Self::with_properties(brand, home, ottla, address, &properties, &["--standalone"])
    }

    /// Formats a directory for a node with these settings, which listens on `address`.
    pub fn with_properties(
        brand: Brand,
        home: PathBuf,
        ottla: &Path,
        address: SocketAddr,
        properties: &str,
        format: &[&str],
    ) -> Result<Self> {
        fs::create_dir_all(home.join("data")).with_context(|| format!("create {}", home.display()))?;
        fs::write(home.join("server.properties"), properties).context("write server.properties")?;
        let subject = Self { brand, address, home, binary: ottla.to_owned(), child: None };
        let file = subject.home.join("server.properties").display().to_string();
        let arguments = [&["format", "-t", "AAAAAAAAQACAAAAAAAAAAA", "-c", &file], format].concat();
        let mut command = match brand {
            Brand::Limit => return Ok(subject),
            Brand::Kafka => {
                let mut java = process::bound("java");
                java.args(["-cp", &artifacts::jars("broker")?, "kafka.tools.StorageTool"]);
                java
            }
            Brand::Ottla => process::bound(&subject.binary.display().to_string()),
        };
        command.args(arguments);
        let output = process::output(command, Duration::from_secs(60))?;
        ensure!(
            output.status.success(),
            "format for {}: {}{}",
            brand.name(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(subject)
    }

    /// Executes the program; returns at once.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.brand.name());
        let log_file = self.home.join("node.log");
        let log = File::options().create(true).append(true).open(log_file).context("open the node's log")?;
        let properties = self.home.join("server.properties");
        let mut command = match self.brand {
            Brand::Kafka => {
                let mut java = process::bound("java");
                java.args(JVM);
                java.arg(format!("-Dlog4j2.configurationFile={}", ottla_e2e::tools::log4j_file()?.display()));
                java.args(["-cp", &artifacts::jars("broker")?, "kafka.Kafka"]).arg(properties);
                java
            }
            Brand::Ottla => {
                let mut ottla = process::bound(&self.binary.display().to_string());
                ottla.arg("server").arg(properties);
                ottla
            }
            Brand::Limit => {
                let mut limit = process::bound(&std::env::current_exe()?.display().to_string());
                limit.arg(limit::COMMAND).arg(self.address.to_string()).arg(self.home.join("data/log"));
                limit
            }
        };
        command.current_dir(&self.home).stdin(std::process::Stdio::null());
        command.stdout(log.try_clone().context("share the node's log")?).stderr(log);
        self.child = Some(process::spawn(command)?);
        Ok(())
    }

    /// A connection, as soon as there is one to be had.
    pub fn connect(&mut self) -> Result<Connection> {
        let begun = Instant::now();
        loop {
            if let Ok(connection) = Connection::open(self.address) {
                return Ok(connection);
            }
            self.check_alive()?;
            ensure!(begun.elapsed() < Duration::from_secs(120), "{} does not listen", self.brand.name());
            // tidy: thread::sleep, as another process tells nothing when it is up.
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.as_mut().context("the node does not run")?.try_wait()? {
            let log = fs::read_to_string(self.home.join("node.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(20)..].join("\n");
            bail!("{} ended with {status}; its log:\n{tail}", self.brand.name());
        }
        Ok(())
    }

    /// Starts and waits until the node takes requests.
    pub fn start_ready(&mut self) -> Result<()> {
        self.start()?;
        if self.brand == Brand::Limit {
            self.connect()?;
            return Ok(());
        }
        let begun = Instant::now();
        loop {
            let mut connection = self.connect()?;
            let request = ottla_protocol::api::metadata::MetadataRequest::default();
            if connection.call(&request, 12).is_ok_and(|response| response.brokers.len() == 1) {
                return Ok(());
            }
            self.check_alive()?;
            ensure!(begun.elapsed() < Duration::from_secs(120), "{} is not ready", self.brand.name());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn stop(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the node does not run")?;
        process::signal(child.id(), Signal::TERM)?;
        if process::wait(&mut child, Duration::from_secs(60))?.is_none() {
            child.kill()?;
            child.wait()?;
            bail!("{} did not stop within 60 s", self.brand.name());
        }
        Ok(())
    }

    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the node does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// User and system CPU time of the process so far.
    pub fn cpu(&self) -> Result<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid()?)).context("read stat")?;
        // The name in parentheses may hold anything; fields 14 and 15 of the whole are 12 and 13 behind it.
        let fields: Vec<&str> = text.rsplit_once(')').context("parse stat")?.1.split_whitespace().collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// A field of /proc/…/status in MiB, such as `VmRSS` or `VmHWM`.
    pub fn memory_mib(&self, field: &str) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()?)).context("read status")?;
        let line = text.lines().find(|line| line.starts_with(field)).context("find the field")?;
        let kib: f64 = line.split_whitespace().nth(1).context("read the field")?.parse()?;
        Ok(kib / 1024.0)
    }

    fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the node does not run")?.id())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.home);
    }
}

pub fn free_ports() -> Result<[SocketAddr; 2]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port");
    let (one, other) = (bind()?, bind()?);
    Ok([one.local_addr()?, other.local_addr()?])
}
