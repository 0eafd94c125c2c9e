//! Load over nodes that die and return, and the audit of what it left: the independent record is
//! `clients/python/load.py`'s ledger.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use std::{fmt, fs};

use anyhow::{Context, Result, bail, ensure};

use crate::node::Node;
use crate::wire::{Body, Connection, Cursor, Header, request};
use crate::{artifacts, process};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running producer and consumer with their ledger.
pub struct Load {
    child: Child,
    bootstrap: String,
    topic: String,
    group: String,
    ledger: PathBuf,
    errors: PathBuf,
}

/// What the audit found to be in order.
#[derive(Debug)]
pub struct Audit {
    /// Records acknowledged, found exactly once, at the offset that was told.
    pub acknowledged: usize,
    /// Those among them that a leader only knew to be there already.
    pub repeated: usize,
    /// Copies besides, of records that librdkafka sent again under another producer id: it takes one when a record has
    /// overtaken another that a replaced leader had refused or left unanswered. No broker can tell such a copy.
    pub resent: usize,
    /// Commits acknowledged.
    pub commits: usize,
    /// Fetches that met an unknown server error, which Apache Kafka's leaders give in some moments of a failing disk.
    pub strange: usize,
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, repeated, resent, commits, strange: _ } = self;
        write!(
            f,
            "{acknowledged} records ({repeated} as duplicates) and {commits} commits acknowledged, all there once"
        )?;
        match resent {
            0 => Ok(()),
            _ => write!(f, " but for {resent} copies under another producer id"),
        }
    }
}

impl Load {
    /// Creates the topic (3 partitions) on one node and starts the load.
    pub fn start(node: &Node, topic: &str) -> Result<Load> {
        Connection::open(node.address(), Duration::from_secs(20))?.create_topic(topic, 3, &[])?;
        Load::over(&node.bootstrap(), node.home(), topic)
    }

    /// Starts the load over a topic of 3 partitions that is there; the ledger lies in `home`.
    pub fn over(bootstrap: &str, home: &Path, topic: &str) -> Result<Load> {
        let group = format!("{topic}-group");
        let ledger = home.join(format!("{topic}.ledger"));
        let errors = home.join(format!("{topic}.errors"));
        let mut command = process::bound(&artifacts::python()?.display().to_string());
        command.arg(artifacts::crate_dir().join("clients/python/load.py"));
        command.args([bootstrap, topic, &group]).arg(&ledger);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        command.stderr(fs::File::create(&errors).context("create the load's error file")?);
        let child = process::spawn(command)?;
        Ok(Load { child, bootstrap: bootstrap.into(), topic: topic.into(), group, ledger, errors })
    }

    /// Waits until this many more records than now are acknowledged.
    pub fn await_progress(&mut self, records: usize) -> Result<()> {
        let goal = self.acknowledged()? + records;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.acknowledged()? < goal {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the load ended with {status}: {}",
                    fs::read_to_string(&self.errors).unwrap_or_default()
                );
            }
            ensure!(
                Instant::now() < deadline,
                "the load makes no progress: {} of {goal}",
                self.acknowledged()?
            );
            // Another process: nothing tells us (tidy: thread::sleep).
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn acknowledged(&self) -> Result<usize> {
        Ok(self.facts()?.iter().filter(|line| line.starts_with("sent ")).count())
    }

    fn facts(&self) -> Result<Vec<String>> {
        let text = match fs::read_to_string(&self.ledger) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context("read the ledger"),
        };
        // The last line may be half written.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        Ok(text[..whole].lines().map(Into::into).collect())
    }

    /// The highest commit acknowledged so far, by partition.
    pub fn committed(&self) -> Result<BTreeMap<i32, i64>> {
        let mut highest = BTreeMap::new();
        for line in self.facts()? {
            if let Some(rest) = line.strip_prefix("committed ") {
                let [partition, offset] = numbers(rest)?;
                let entry = highest.entry(partition as i32).or_insert(offset);
                *entry = offset.max(*entry);
            }
        }
        Ok(highest)
    }

    /// Checks that no committed offset is behind what had been acknowledged before.
    pub fn check_group(&self, before: &BTreeMap<i32, i64>) -> Result<()> {
        let now = group_offsets(&self.bootstrap, &self.group, &self.topic, 3)?;
        for (partition, offset) in before {
            let found = now.get(partition).copied().unwrap_or(-1);
            ensure!(
                found >= *offset,
                "the group is at {found} of partition {partition} and was told {offset}; members that began anew: {}",
                self.resets()
            );
        }
        Ok(())
    }

    /// What librdkafka said of positions that a broker's answer made it give up: `auto.offset.reset` took their place.
    /// No line: a member was told that nothing is committed, or a commit is lost.
    fn resets(&self) -> String {
        let text = fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("offset reset (at ")).collect();
        lines.join("; ")
    }

    /// Ends the load, lets it drain, and compares what is in the topic with what was acknowledged.
    pub fn finish(mut self) -> Result<Audit> {
        drop(self.child.stdin.take());
        match process::wait(&mut self.child, Duration::from_secs(150))? {
            Some(status) if status.success() => {}
            other => {
                let _ = self.child.kill();
                bail!(
                    "the load ended with {other:?}: {}",
                    fs::read_to_string(&self.errors).unwrap_or_default()
                );
            }
        }
        let mut sent: HashMap<(i64, i64), i64> = HashMap::new();
        // Acknowledged as duplicates: their offsets are not told.
        let mut repeated: HashMap<i64, i64> = HashMap::new();
        let mut read: HashMap<(i64, i64), i64> = HashMap::new();
        let (mut commits, mut strange, mut count) = (0, 0, 0);
        for line in self.facts()? {
            let (kind, rest) = line.split_once(' ').context("a fact has a kind")?;
            match kind {
                "sent" | "read" => {
                    let [partition, offset, number] = numbers(rest).with_context(|| line.clone())?;
                    if offset < 0 {
                        repeated.insert(number, partition);
                        continue;
                    }
                    let facts = if kind == "sent" { &mut sent } else { &mut read };
                    if let Some(other) = facts.insert((partition, offset), number) {
                        ensure!(other == number, "{kind} at {partition}@{offset}: {other}, then {number}");
                        ensure!(kind == "read", "{partition}@{offset} was acknowledged twice");
                    }
                }
                "committed" => commits += 1,
                "strange" => strange += 1,
                "done" => [count] = numbers(rest)?,
                _ => bail!("an unknown fact: {line}"),
            }
        }
        let acknowledged = sent.len() + repeated.len();
        ensure!(acknowledged as i64 == count, "{count} records were sent and {acknowledged} acknowledged");
        let mut python = process::bound(&artifacts::python()?.display().to_string());
        python
            .arg(artifacts::crate_dir().join("clients/python/audit.py"))
            .args([&self.bootstrap, &self.topic]);
        let output = process::output(python, Duration::from_secs(90))?;
        ensure!(output.status.success(), "audit failed: {}", String::from_utf8_lossy(&output.stderr));
        let acknowledged_at: HashMap<_, _> =
            sent.iter().map(|((partition, offset), number)| ((*number, *partition), *offset)).collect();
        let (mut found, mut last, mut resent) = (HashMap::new(), HashMap::new(), BTreeSet::new());
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let (_, partition, offset, _, value): (String, i64, i64, String, String) =
                serde_json::from_str(line).with_context(|| format!("parse {line}"))?;
            let number: i64 = value.parse().context("a value is a number")?;
            if sent.get(&(partition, offset)) != Some(&number) && repeated.get(&number) != Some(&partition) {
                let stray = format!("{number} at {partition}@{offset} was never acknowledged there");
                let later = *acknowledged_at.get(&(number, partition)).with_context(|| stray.clone())?;
                let producer = self.producer_of(partition, offset)?;
                let another = self.producer_of(partition, later)?;
                ensure!(
                    offset < later && producer != another,
                    "{stray}, but at {later}; by producers {producer:?} and {another:?}"
                );
                resent.insert((partition, offset));
                continue;
            }
            if let Some(twice) = found.insert(number, (partition, offset)) {
                bail!("{number} is at {twice:?} and again at {partition}@{offset}");
            }
            if let Some(previous) = last.insert(partition, number) {
                ensure!(previous < number, "partition {partition} has {number} after {previous}");
            }
        }
        ensure!(
            found.len() == acknowledged,
            "{acknowledged} records were acknowledged and {} are there",
            found.len()
        );
        for ((partition, offset), number) in read {
            ensure!(
                resent.contains(&(partition, offset)) || found.get(&number) == Some(&(partition, offset)),
                "{number} was read at {partition}@{offset}, where it is not"
            );
        }
        Ok(Audit { acknowledged, repeated: repeated.len(), resent: resent.len(), commits, strange })
    }

    /// Producer id and epoch of the batch that has this offset.
    fn producer_of(&self, partition: i64, offset: i64) -> Result<(i64, i16)> {
        for node in self.bootstrap.split(',') {
            let mut connection = Connection::open(node.parse().context("parse an address")?, PATIENCE)?;
            let (error, batches) = connection.fetch(&self.topic, partition as i32, offset)?;
            if error == 0 {
                let mut header = Cursor(&batches);
                header.take(43)?;
                return Ok((header.i64()?, header.i16()?));
            }
        }
        bail!("no node leads {}-{partition}", self.topic)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Committed offsets of a group, by OffsetFetch version 1 from its coordinator, whichever node that is by now.
fn group_offsets(bootstrap: &str, group: &str, topic: &str, partitions: i32) -> Result<BTreeMap<i32, i64>> {
    let deadline = Instant::now() + Duration::from_secs(40);
    let nodes: Vec<&str> = bootstrap.split(',').collect();
    let mut last = anyhow::anyhow!("no node to ask");
    for node in nodes.iter().cycle() {
        match ask_coordinator(node, group, topic, partitions) {
            Ok(Some(offsets)) => return Ok(offsets),
            Ok(None) => {}
            Err(error) => last = error,
        }
        if Instant::now() > deadline {
            return Err(last.context("the group's coordinator does not come back"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(last)
}

/// `None` while the coordinator is not there, still loads or has moved.
fn ask_coordinator(
    node: &str,
    group: &str,
    topic: &str,
    partitions: i32,
) -> Result<Option<BTreeMap<i32, i64>>> {
    let mut connection = Connection::open(node.parse().context("parse an address")?, PATIENCE)?;
    // FindCoordinator makes the node load (or create) the offsets topic.
    let answer = connection.ask(&request(10, 0, 7, Header::Plain, Body::new().string(group)))?;
    let mut cursor = Cursor(&answer);
    let (error, _id, host, port) = (cursor.i16()?, cursor.i32()?, cursor.string()?, cursor.i32()?);
    if error != 0 {
        return Ok(None);
    }
    let coordinator = format!("{host}:{port}").parse().context("parse the coordinator's address")?;
    let mut body = Body::new().string(group).i32(1).string(topic).i32(partitions);
    for partition in 0..partitions {
        body = body.i32(partition);
    }
    let answer = Connection::open(coordinator, PATIENCE)?.ask(&request(9, 1, 8, Header::Plain, body))?;
    let mut cursor = Cursor(&answer);
    ensure!(cursor.i32()? == 1 && cursor.string()? == topic, "OffsetFetch answers another topic");
    let mut offsets = BTreeMap::new();
    for _ in 0..cursor.i32()? {
        let (partition, offset) = (cursor.i32()?, cursor.i64()?);
        cursor.string()?;
        match cursor.i16()? {
            0 => drop(offsets.insert(partition, offset)),
            14..=16 => return Ok(None),
            error => bail!("OffsetFetch of partition {partition}: error {error}"),
        }
    }
    Ok(Some(offsets))
}

fn numbers<const N: usize>(text: &str) -> Result<[i64; N]> {
    let parsed: Vec<i64> =
        text.split(' ').map(str::parse).collect::<Result<_, _>>().context("parse a fact")?;
    parsed.try_into().map_err(|_| anyhow::anyhow!("a fact has {N} numbers: {text}"))
}
