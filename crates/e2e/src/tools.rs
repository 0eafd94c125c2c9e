//! Apache's tools and the Java client in one long-lived JVM: a start costs seconds, a call in a warm JVM little.
//!
//! `clients/java/Runner.java` is the other side: it calls `main` of a class from one of two class paths
//! (`tools` 4.3.1, `broker` 4.4.0), each call on a thread of its own with its own stdin, stdout and stderr,
//! and turns an exit into a status.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::{artifacts, process};

/// How a call ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The exit status, 0 if `main` returned.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Whether the call printed this text, as its result or as an error.
    pub fn says(&self, text: &str) -> bool {
        self.stdout.contains(text) || self.stderr.contains(text)
    }
}

/// The class path a class comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Jars {
    /// Apache's tools, 4.3.1. Their static fields allow one call at a time.
    Tools = 0,
    /// The same, loaded again, for a call at the same time.
    ToolsAgain = 1,
    /// The judge, 4.4.0, and the classes of `clients/java`.
    Broker = 2,
}

/// The JVM; ended when it is dropped or the test binary ends.
pub struct Runner {
    input: Mutex<(ChildStdin, u32)>,
    waiting: Arc<Mutex<HashMap<u32, Sender<Outcome>>>>,
    child: Child,
}

/// The class behind the name of one of Apache's scripts.
pub fn class_of(script: &str) -> Option<&'static str> {
    Some(match script {
        "kafka-topics" => "org.apache.kafka.tools.TopicCommand",
        "kafka-configs" => "kafka.admin.ConfigCommand",
        "kafka-console-producer" => "org.apache.kafka.tools.ConsoleProducer",
        "kafka-console-consumer" => "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "kafka-consumer-groups" => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "kafka-groups" => "org.apache.kafka.tools.GroupsCommand",
        "kafka-get-offsets" => "org.apache.kafka.tools.GetOffsetShell",
        "kafka-delete-records" => "org.apache.kafka.tools.DeleteRecordsCommand",
        "kafka-log-dirs" => "org.apache.kafka.tools.LogDirsCommand",
        "kafka-features" => "org.apache.kafka.tools.FeatureCommand",
        "kafka-metadata-quorum" => "org.apache.kafka.tools.MetadataQuorumCommand",
        "kafka-leader-election" => "org.apache.kafka.tools.LeaderElectionCommand",
        "kafka-reassign-partitions" => "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
        "kafka-transactions" => "org.apache.kafka.tools.TransactionsCommand",
        "kafka-producer-perf-test" => "org.apache.kafka.tools.ProducerPerformance",
        "kafka-consumer-perf-test" => "org.apache.kafka.tools.ConsumerPerformance",
        "kafka-verifiable-producer" => "org.apache.kafka.tools.VerifiableProducer",
        "kafka-verifiable-consumer" => "org.apache.kafka.tools.VerifiableConsumer",
        "kafka-broker-api-versions" => "org.apache.kafka.tools.BrokerApiVersionsCommand",
        "kafka-cluster" => "org.apache.kafka.tools.ClusterTool",
        "kafka-dump-log" => "org.apache.kafka.tools.DumpLogSegments",
        "kafka-metadata-shell" => "org.apache.kafka.shell.MetadataShell",
        _ => return None,
    })
}

/// The JVM of this test run, started on first use.
pub fn runner() -> Result<&'static Runner> {
    static RUNNER: OnceLock<Result<Runner, String>> = OnceLock::new();
    RUNNER.get_or_init(|| Runner::start().map_err(|e| format!("{e:#}"))).as_ref().map_err(|e| anyhow!("{e}"))
}

/// Logging of every JVM here: warnings of nodes and errors of tools to stderr, without times.
pub fn log4j_file() -> Result<PathBuf> {
    Ok(artifacts::crate_dir().join("clients/java/log4j2.properties"))
}

impl Runner {
    fn start() -> Result<Runner> {
        let (tools, broker) = (artifacts::jars("tools")?, artifacts::jars("broker")?);
        let classes = artifacts::java_classes()?.display().to_string();
        let mut java = process::bound("java");
        java.args(["-Xms64m", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]);
        java.arg(format!("-Dlog4j2.configurationFile={}", log4j_file()?.display()));
        // The answers go to stdout: whatever the JVM itself has to say must not.
        java.args(["-XX:+DisplayVMOutputToStderr", "-Dlog4j2.disable.jmx=true"]);
        java.args(["-cp", &classes, "Runner", &tools, &broker, &classes]);
        java.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = process::spawn(java)?;
        let input = child.stdin.take().context("take the runner's stdin")?;
        let mut answers = child.stdout.take().context("take the runner's stdout")?;
        let waiting: Arc<Mutex<HashMap<u32, Sender<Outcome>>>> = Arc::default();
        let waiters = Arc::clone(&waiting);
        std::thread::spawn(move || {
            while let Ok((id, outcome)) = read_answer(&mut answers) {
                if let Some(waiter) = waiters.lock().expect("runner lock").remove(&id) {
                    let _ = waiter.send(outcome);
                }
            }
            // Whoever still waits learns of the end by its closed channel.
            waiters.lock().expect("runner lock").clear();
        });
        Ok(Runner { input: Mutex::new((input, 0)), waiting, child })
    }

    /// Runs one of Apache's tools by its script's name.
    pub fn tool(
        &self,
        jars: Jars,
        script: &str,
        arguments: &[String],
        stdin: &[u8],
        limit: Duration,
    ) -> Result<Outcome> {
        let class = class_of(script).with_context(|| format!("{script} is no known tool"))?;
        self.call(jars, class, arguments, stdin, limit)
    }

    /// Runs kafka-storage of the judge's own version.
    pub fn storage_tool(&self, arguments: &[&str]) -> Result<Outcome> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        self.call(Jars::Broker, "kafka.tools.StorageTool", &arguments, b"", Duration::from_secs(30))
    }

    /// Runs `main` of a class; the call's thread is interrupted after `limit`.
    pub fn call(
        &self,
        jars: Jars,
        class: &str,
        arguments: &[String],
        stdin: &[u8],
        limit: Duration,
    ) -> Result<Outcome> {
        let (answer, outcome) = channel();
        {
            let mut input = self.input.lock().expect("runner lock");
            input.1 += 1;
            let id = input.1;
            self.waiting.lock().expect("runner lock").insert(id, answer);
            let mut frame = Vec::new();
            frame.extend(id.to_be_bytes());
            frame.push(jars as u8);
            frame.extend((limit.as_millis() as u32).to_be_bytes());
            frame.extend((arguments.len() as u32 + 2).to_be_bytes());
            for part in
                std::iter::once(class.as_bytes()).chain(arguments.iter().map(String::as_bytes)).chain([stdin])
            {
                frame.extend((part.len() as u32).to_be_bytes());
                frame.extend(part);
            }
            input.0.write_all(&frame).and_then(|()| input.0.flush()).context("write to the tool runner")?;
        }
        let outcome = outcome.recv_timeout(limit + Duration::from_secs(15)).with_context(|| {
            let mut jstack = process::bound("jstack");
            jstack.arg(self.child.id().to_string());
            let threads = process::output(jstack, Duration::from_secs(10));
            let threads = threads
                .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
                .unwrap_or_default();
            format!("wait for {class} {arguments:?}; the runner's threads:\n{threads}")
        })?;
        ensure!(
            outcome.status != -1000,
            "{class} {arguments:?} did not end within {} s\n{}{}",
            limit.as_secs(),
            outcome.stdout,
            outcome.stderr
        );
        Ok(outcome)
    }
}

fn read_answer(answers: &mut impl Read) -> Result<(u32, Outcome)> {
    let mut number = [0; 4];
    let mut next = |answers: &mut dyn Read| -> Result<u32> {
        answers.read_exact(&mut number)?;
        Ok(u32::from_be_bytes(number))
    };
    let id = next(answers)?;
    let status = next(answers)? as i32;
    let mut texts = [String::new(), String::new()];
    for text in &mut texts {
        let mut bytes = vec![0; next(answers)? as usize];
        answers.read_exact(&mut bytes)?;
        *text = String::from_utf8_lossy(&bytes).into_owned();
    }
    let [stdout, stderr] = texts;
    Ok((id, Outcome { status, stdout, stderr }))
}
