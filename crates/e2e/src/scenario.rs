//! Scenarios of tool calls as text, run against the judge and the candidate; the masked outputs must be equal.
//!
//! ```text
//! # what this shows
//! file offsets.json
//! | {"partitions": []}
//! @ sort numbers
//! kafka-topics --create --topic a --config 'retention.ms=1000'
//! | a line of standard input
//! ```
//!
//! `--bootstrap-server` is added unless a step names `{bootstrap}` or `{controller}`, or is `local`.
//! Modifiers of one step: `sort` (the order of lines is free), `numbers` (all figures masked), `local` (no
//! node is called), `stdout` (stderr is not compared), `status` (nothing but the exit code is), `offered` (lines of
//! what the candidate calls UNSUPPORTED are not), `until=TEXT` (the step is repeated until its output contains
//! TEXT, for what becomes so eventually), `gone=TEXT` (until it does not). `{data}` and `{home}` are the node's
//! directories (of a cluster, the first node's; `{home2}` the second's); `copy NAME` copies a directory of `{data}` to
//! `{home}/meta`. On a cluster `stop 3`, `start 3` and `kill 3` are about a node, and `sync` waits until all replicas
//! are.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cluster::Cluster;
use crate::node::Node;
use crate::tools::{self, Jars, Outcome};
use crate::{artifacts, mask, scripts};

/// How long one tool may run.
const STEP_LIMIT: Duration = Duration::from_secs(40);
/// How long a step with `until` or `gone` is repeated.
const UNTIL_LIMIT: Duration = Duration::from_secs(20);

/// Whose tools a scenario is run with.
#[derive(Clone, Copy)]
enum Tools {
    Apache(Jars),
    /// Apache's where Ottla has no script of the name.
    Ottla,
}

/// What a scenario runs against.
pub struct Side<'a> {
    bootstrap: String,
    /// Words of a step and what they stand for.
    words: Vec<(String, String)>,
    data: PathBuf,
    home: PathBuf,
    /// Words of an output and what hides them.
    masks: Vec<(String, String)>,
    cluster: Option<&'a mut Cluster>,
}

impl<'a> From<&'a Node> for Side<'a> {
    fn from(node: &'a Node) -> Side<'a> {
        let words = words(&[
            ("{bootstrap}", node.bootstrap()),
            ("{controller}", node.controller().to_string()),
            ("{data}", node.data().display().to_string()),
            ("{home}", node.home().display().to_string()),
        ]);
        let (data, home) = (node.data(), node.home().to_owned());
        Side { bootstrap: node.bootstrap(), words, data, home, masks: node.masks(), cluster: None }
    }
}

impl<'a> From<&'a mut Cluster> for Side<'a> {
    fn from(cluster: &'a mut Cluster) -> Side<'a> {
        let (data, home) = (cluster.node(1).data(), cluster.node(1).home().to_owned());
        let mut words = words(&[
            ("{bootstrap}", cluster.bootstrap()),
            ("{controller}", cluster.bootstrap_controllers()),
            ("{data}", data.display().to_string()),
            ("{home}", home.display().to_string()),
        ]);
        let mut masks = Vec::new();
        // Backwards: an address may be the beginning of a higher one.
        for id in cluster.others(0).into_iter().rev() {
            let home = cluster.node(id).home().display().to_string();
            words.push((format!("{{home{id}}}"), home.clone()));
            masks.push((home, format!("{{home{id}}}")));
            masks.push((cluster.node(id).address().ip().to_string(), format!("{{host{id}}}")));
        }
        Side { bootstrap: cluster.bootstrap(), words, data, home, masks, cluster: Some(cluster) }
    }
}

impl Side<'_> {
    fn fill(&self, word: &str) -> String {
        self.words.iter().fold(word.to_owned(), |word, (name, text)| word.replace(name, text))
    }
}

fn words(words: &[(&str, String)]) -> Vec<(String, String)> {
    words.iter().map(|(word, text)| (word.to_string(), text.clone())).collect()
}

/// One call of a tool, or a file for later calls.
#[derive(Clone, Debug)]
struct Step {
    line: usize,
    words: Vec<String>,
    input: String,
    sort: bool,
    numbers: bool,
    local: bool,
    stdout_only: bool,
    status_only: bool,
    offered: bool,
    until: Option<String>,
    gone: Option<String>,
}

/// How long a step took: told in the transcript, never compared.
#[derive(Clone, Debug, Default)]
struct Seconds(f64);

impl PartialEq for Seconds {
    fn eq(&self, _: &Seconds) -> bool {
        true
    }
}

impl Eq for Seconds {}

/// What one step did on one node, masked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Done {
    status: i32,
    seconds: Seconds,
    stdout: String,
    stderr: String,
}

/// Runs `testdata/tools/NAME.txt` against both nodes and fails with every difference.
pub fn compare<'a>(name: &str, judge: impl Into<Side<'a>>, candidate: impl Into<Side<'a>>) -> Result<()> {
    let (mut judge, mut candidate) = (judge.into(), candidate.into());
    let steps = read(name)?;
    let (ours, theirs) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| run(&steps, &mut judge, Tools::Apache(Jars::Tools)));
        let ours = run(&steps, &mut candidate, Tools::Apache(Jars::ToolsAgain));
        (ours, theirs.join().expect("the judge's side does not panic"))
    });
    let (ours, theirs) = (ours.context("on the candidate")?, theirs.context("on the judge")?);
    keep(name, "judge", &steps, &theirs)?;
    keep(name, "candidate", &steps, &ours)?;
    judged(name, &steps, ours, theirs)
}

/// Runs `testdata/tools/NAME.txt` with Apache's tools against the judge, then with Ottla's scripts against each of the
/// candidates, and fails with every difference.
pub fn compare_scripts<'a, const N: usize>(
    name: &str,
    judge: impl Into<Side<'a>>,
    candidates: [impl Into<Side<'a>>; N],
) -> Result<()> {
    let steps = read(name)?;
    let mut theirs =
        run(&steps, &mut judge.into(), Tools::Apache(Jars::Tools)).context("with Apache's tools")?;
    keep(name, "judge", &steps, &theirs)?;
    for done in &mut theirs {
        done.stderr = scripts::messages(&done.stderr, &done.stdout);
    }
    let mut outcome = Ok(());
    for (number, candidate) in candidates.into_iter().enumerate() {
        let mut ours = run(&steps, &mut candidate.into(), Tools::Ottla).context("with Ottla's scripts")?;
        keep(name, &format!("scripts-{number}"), &steps, &ours)?;
        for done in &mut ours {
            done.stderr = scripts::messages(&done.stderr, &done.stdout);
        }
        let judged = judged(name, &steps, ours, theirs.clone());
        outcome = outcome.and(judged.with_context(|| format!("scripts against candidate {number}")));
    }
    outcome
}

fn read(name: &str) -> Result<Vec<Step>> {
    let path = artifacts::crate_dir().join(format!("testdata/tools/{name}.txt"));
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    parse(&text)
}

fn judged(name: &str, steps: &[Step], ours: Vec<Done>, theirs: Vec<Done>) -> Result<()> {
    let mut report = String::new();
    let mut differ = 0;
    for ((step, ours), theirs) in steps.iter().zip(ours).zip(theirs) {
        let (theirs, ours) = if step.offered { offered(theirs, ours) } else { (theirs, ours) };
        if ours != theirs {
            differ += 1;
            let _ = write!(
                report,
                "\n--- {name}.txt:{}: {}\n{}",
                step.line,
                step.words.join(" "),
                difference(&theirs, &ours)
            );
        }
    }
    ensure!(
        differ == 0,
        "{differ} of {} steps differ from Apache Kafka (- judge, + candidate):{report}",
        steps.len()
    );
    Ok(())
}

fn run(steps: &[Step], side: &mut Side<'_>, tools: Tools) -> Result<Vec<Done>> {
    steps
        .iter()
        .map(|step| run_step(step, side, tools).with_context(|| format!("line {}", step.line)))
        .collect()
}

fn run_step(step: &Step, side: &mut Side<'_>, tools: Tools) -> Result<Done> {
    let filled: Vec<String> = step.words.iter().map(|word| side.fill(word)).collect();
    let (command, arguments) = filled.split_first().context("a step has a command")?;
    if command == "file" {
        let name = arguments.first().context("a file has a name")?;
        fs::write(side.home.join(name), side.fill(&step.input)).with_context(|| format!("write {name}"))?;
        return Ok(Done::default());
    }
    if command == "copy" {
        let name = arguments.first().context("a directory to copy has a name")?;
        let (from, to) = (side.data.join(name), side.home.join("meta").join(name));
        fs::create_dir_all(&to).with_context(|| format!("create {}", to.display()))?;
        for entry in fs::read_dir(&from).with_context(|| format!("list {}", from.display()))? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))
                .with_context(|| format!("copy {:?}", entry.path()))?;
        }
        return Ok(Done::default());
    }
    if let Some(cluster) = side.cluster.as_mut() {
        let id = arguments.first().and_then(|id| id.parse().ok()).unwrap_or_default();
        match command.as_str() {
            "stop" => drop(cluster.node_mut(id).stop()?),
            "kill" => cluster.kill(&[id])?,
            "start" => cluster.launch(&[id])?,
            "sync" => cluster.await_in_sync()?,
            _ => {}
        }
        if !command.starts_with("kafka-") {
            return Ok(Done::default());
        }
    }
    let mut arguments = arguments.to_vec();
    let names_node = step.words.iter().any(|w| w.contains("{bootstrap}") || w.contains("{controller}"));
    if !step.local && !names_node {
        arguments.extend(["--bootstrap-server".into(), side.bootstrap.clone()]);
    }
    let begun = Instant::now();
    loop {
        let input = step.input.as_bytes();
        let outcome = match tools {
            Tools::Ottla if scripts::knows(command, &arguments) => {
                scripts::run(command, &arguments, input, STEP_LIMIT)?
            }
            Tools::Ottla => {
                tools::runner()?.tool(Jars::ToolsAgain, command, &arguments, input, STEP_LIMIT)?
            }
            Tools::Apache(jars) => tools::runner()?.tool(jars, command, &arguments, input, STEP_LIMIT)?,
        };
        let is_there = step.until.as_ref().is_none_or(|text| outcome.says(text));
        let is_gone = step.gone.as_ref().is_none_or(|text| !outcome.says(text));
        if is_there && is_gone || begun.elapsed() >= UNTIL_LIMIT {
            return Ok(masked(step, outcome, side, begun.elapsed()));
        }
    }
}

fn masked(step: &Step, outcome: Outcome, side: &Side<'_>, took: Duration) -> Done {
    let mut texts = [outcome.stdout, outcome.stderr].map(|text| {
        let text = mask::normalised(&text, &side.masks);
        let text = if step.numbers { mask::without_numbers(&text) } else { text };
        let mut lines: Vec<&str> = text.lines().filter(|line| !noise(line)).collect();
        if step.sort {
            lines.sort_unstable();
        }
        lines.join("\n")
    });
    if step.stdout_only || step.status_only {
        texts[1].clear();
    }
    if step.status_only {
        texts[0].clear();
    }
    let [stdout, stderr] = texts;
    Done { status: outcome.status, seconds: Seconds(took.as_secs_f64()), stdout, stderr }
}

/// Leaves out the lines of what the candidate does not offer yet and says so.
fn offered(mut theirs: Done, mut ours: Done) -> (Done, Done) {
    let name = |line: &str| line.split(':').next().unwrap_or_default().trim().to_owned();
    let missing: Vec<String> =
        ours.stdout.lines().filter(|line| line.contains("UNSUPPORTED")).map(name).collect();
    for done in [&mut theirs, &mut ours] {
        let kept =
            done.stdout.lines().filter(|line| !missing.contains(&name(line)) && !line.contains("UNKNOWN("));
        done.stdout = kept.map(|line| line.trim_end_matches(',')).collect::<Vec<_>>().join("\n");
    }
    (theirs, ours)
}

/// Lines which depend on the JVM and not on the node, and the one setting which only Ottla has.
fn noise(line: &str) -> bool {
    line.trim_start().starts_with("acks.durability=")
        || line.starts_with("\tat ")
        || line.starts_with("\t... ")
        || line.starts_with("SLF4J")
}

fn parse(text: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut modifiers: Vec<String> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if let Some(input) = line.strip_prefix('|') {
            let step = steps.last_mut().with_context(|| format!("line {number}: input before a step"))?;
            step.input.push_str(&input.strip_prefix(' ').unwrap_or(input).replace("\\t", "\t"));
            step.input.push('\n');
        } else if let Some(words) = line.strip_prefix('@') {
            modifiers = split(words)?;
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            let has = |name: &str| modifiers.iter().any(|m| m == name);
            steps.push(Step {
                line: number,
                words: split(line)?,
                input: String::new(),
                sort: has("sort"),
                numbers: has("numbers"),
                local: has("local"),
                stdout_only: has("stdout"),
                status_only: has("status"),
                offered: has("offered"),
                until: modifiers.iter().find_map(|m| m.strip_prefix("until=")).map(Into::into),
                gone: modifiers.iter().find_map(|m| m.strip_prefix("gone=")).map(Into::into),
            });
            modifiers.clear();
        }
    }
    Ok(steps)
}

/// Splits a line at blanks; single quotes keep them.
fn split(line: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quoted, mut begun) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '\'' => (quoted, begun) = (!quoted, true),
            ' ' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            c => {
                word.push(c);
                begun = true;
            }
        }
    }
    if quoted {
        bail!("a quote is left open: {line}");
    }
    if begun {
        words.push(word);
    }
    Ok(words)
}

fn difference(theirs: &Done, ours: &Done) -> String {
    let mut report = String::new();
    if theirs.status != ours.status {
        let _ = writeln!(report, "- exit {}\n+ exit {}", theirs.status, ours.status);
    }
    for (name, theirs, ours) in
        [("stdout", &theirs.stdout, &ours.stdout), ("stderr", &theirs.stderr, &ours.stderr)]
    {
        if theirs == ours {
            continue;
        }
        let _ = writeln!(report, "  {name}:");
        let (a, b): (Vec<&str>, Vec<&str>) = (theirs.lines().collect(), ours.lines().collect());
        let head = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(a, b)| a == b).count();
        for line in &a[head..a.len() - tail] {
            let _ = writeln!(report, "- {line}");
        }
        for line in &b[head..b.len() - tail] {
            let _ = writeln!(report, "+ {line}");
        }
    }
    report
}

/// Leaves the transcript in target/e2e/transcripts, to be read beside a report.
fn keep(name: &str, side: &str, steps: &[Step], done: &[Done]) -> Result<()> {
    let dir = artifacts::target_dir().join("e2e/transcripts");
    fs::create_dir_all(&dir).context("create the transcripts' directory")?;
    let mut text = String::new();
    for (step, done) in steps.iter().zip(done) {
        let _ = writeln!(text, "$ {}", step.words.join(" "));
        for (mark, lines) in [("", &done.stdout), ("! ", &done.stderr)] {
            for line in lines.lines() {
                let _ = writeln!(text, "{mark}{line}");
            }
        }
        let _ = writeln!(text, "[exit {}, {:.1} s]\n", done.status, done.seconds.0);
    }
    write(&dir.join(format!("{name}.{side}.txt")), &text)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
