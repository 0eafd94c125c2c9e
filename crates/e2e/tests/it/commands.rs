//! The commands of `ottla` against both nodes: one expectation holds for Ottla and Apache Kafka alike.
//!
//! The scenarios are the files of `testdata/commands`: a line `$ …` for the shell, the lines of stdout, `! …` for what
//! stderr has to say and `? N` for an exit code that is not 0; … stands for any text within a line.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ottla_e2e::cluster::{Cluster, Shape, Voters};
use ottla_e2e::node::{Brand, Node, Roles};
use ottla_e2e::{artifacts, process, world};
use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;

use crate::Named;

pub const TESTS: &[Named] = &[
    ("topics", || on_both("topics")),
    ("records", || on_both("records")),
    ("groups", || on_both("groups")),
    ("cluster", || on_both("cluster")),
    ("mistakes", || on_both("mistakes")),
    ("json_fields", json_fields),
    ("nothing_is_lost_silently", nothing_is_lost_silently),
    ("partitions_move", partitions_move),
    ("moves_and_voters", moves_and_voters),
    ("levels_rise", levels_rise),
    ("unclean_leaders", unclean_leaders),
    ("terminal", || on_both("terminal")),
];

/// How long one line may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A line for the shell and what comes of it.
#[derive(Default)]
struct Step {
    line: usize,
    script: String,
    stdout: Vec<String>,
    stderr: Vec<String>,
    status: i32,
}

fn on_both(name: &str) -> Result<()> {
    let (judge, candidate) = (world::judge()?, world::candidate()?);
    let path = artifacts::crate_dir().join(format!("testdata/commands/{name}.txt"));
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let steps = parse(&text)?;
    ensure!(!steps.is_empty(), "{name}.txt has no commands");
    for node in [&*candidate, &*judge] {
        follow(&steps, &node.bootstrap()).with_context(|| format!("{name}.txt on {:?}", node.brand()))?;
    }
    Ok(())
}

fn parse(text: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(script) = line.strip_prefix("$ ") {
            steps.push(Step { line: number, script: script.into(), ..Step::default() });
            continue;
        }
        let Some(step) = steps.last_mut() else {
            ensure!(line.is_empty() || line.starts_with("# "), "line {number}: no command before it");
            continue;
        };
        match line.split_at_checked(2) {
            Some(("? ", status)) => step.status = status.parse().context("read an exit code")?,
            Some(("! ", stderr)) => step.stderr.push(stderr.into()),
            _ => step.stdout.push(line.into()),
        }
    }
    Ok(steps)
}

fn follow(steps: &[Step], bootstrap: &str) -> Result<()> {
    let home = tempfile::tempdir().context("create a directory")?;
    let web = web_server()?;
    for step in steps {
        let (status, stdout, stderr) = shell(home.path(), bootstrap, &web, &step.script)?;
        let told = || format!("line {}: {}\n{stdout}{stderr}", step.line, step.script);
        ensure!(status == step.status, "exit code {status} instead of {}\n{}", step.status, told());
        let lines = step.stdout.iter().map(|line| pattern(line) + "\n").collect::<String>();
        ensure!(Regex::new(&format!("^{lines}$"))?.is_match(&stdout), "another output\n{}", told());
        for expected in &step.stderr {
            ensure!(Regex::new(&pattern(expected))?.is_match(&stderr), "no {expected:?}\n{}", told());
        }
        ensure!(!stderr.contains("panicked"), "a panic\n{}", told());
    }
    Ok(())
}

fn pattern(line: &str) -> String {
    regex::escape(line).replace('…', ".*")
}

/// Runs a line in a shell that knows `ottla`, with an empty stdin.
fn shell(home: &Path, bootstrap: &str, web: &str, script: &str) -> Result<(i32, String, String)> {
    let bin = home.join("bin");
    if !bin.exists() {
        fs::create_dir(&bin).context("create a directory for programs")?;
        std::os::unix::fs::symlink(artifacts::ottla_binary()?, bin.join("ottla")).context("link ottla")?;
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = process::bound("sh");
    command.arg("-c").arg(script).current_dir(home).env("PATH", format!("{}:{path}", bin.display()));
    command.env("OTTLA_BOOTSTRAP", bootstrap).env("WEB", web);
    let output = process::output(command, LIMIT)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
}

/// A port where HTTP is spoken: whatever comes is a bad request.
fn web_server() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
    let address = listener.local_addr().context("name the port")?.to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    Ok(address)
}

/// The fields that docs/operations/tools.md promises are those that are printed, in their order.
fn json_fields() -> Result<()> {
    let page = artifacts::crate_dir().join("../../docs/operations/tools.md");
    let page = fs::read_to_string(&page).with_context(|| format!("read {}", page.display()))?;
    let promised: BTreeMap<&str, Vec<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once(" | "))
        .map(|(command, fields)| {
            (command, fields.split_whitespace().map(|name| name.trim_matches('`')).collect())
        })
        .collect();
    for node in [world::candidate()?, world::judge()?] {
        let home = tempfile::tempdir().context("create a directory")?;
        let run = |script: &str| -> Result<String> {
            let (status, stdout, stderr) = shell(home.path(), &node.bootstrap(), "", script)?;
            ensure!(status == 0, "{script} on {:?}: {stderr}", node.brand());
            Ok(stdout)
        };
        run("ottla topics create cmd-j -p 1 && echo k:v | ottla produce cmd-j -K :")?;
        run("ottla consume cmd-j -g cmd-j -n 1")?;
        let member = "(ottla consume cmd-j -g cmd-j > /dev/null 2>&1 & echo $! > member); \
             until ottla groups list cmd-j --state stable | grep -q cmd-j; do sleep 0.2; done";
        run(member)?;
        let mut seen = Vec::new();
        for (command, script) in [
            ("topics list`", "topics list cmd-j"),
            ("topics describe`", "topics describe cmd-j"),
            ("topics set`", "topics set cmd-j retention.ms=1000000"),
            ("groups list`", "groups list cmd-j"),
            ("groups describe`", "groups describe cmd-j"),
            ("consume`", "consume cmd-j -n 1"),
            ("offsets`", "offsets cmd-j"),
            ("offsets --at`", "offsets cmd-j --at end"),
            ("configs describe`", "configs describe topic cmd-j --all"),
            ("log-dirs describe`", "log-dirs describe"),
            ("log-dirs describe --replicas`", "log-dirs describe --replicas -t cmd-j"),
            ("cluster id`", "cluster id"),
            ("cluster brokers`", "cluster brokers"),
            ("quorum describe`", "quorum describe"),
            ("quorum describe replication`", "quorum describe replication"),
            ("features describe`", "features describe"),
            ("perf produce`", "perf produce cmd-j -n 10"),
            ("records delete`", "records delete cmd-j --before end --yes"),
            ("groups reset`", "groups reset cmd-j2 cmd-j --to-earliest --dry-run"),
        ] {
            let printed: Value = serde_json::from_str(&run(&format!("ottla {script} --output json"))?)
                .with_context(|| format!("read the JSON of {script}"))?;
            let object = printed.get(0).unwrap_or(&printed);
            check_fields(&promised, command, object)?;
            seen.push(command.to_owned());
            for inner in ["partitions", "members"] {
                let name = format!("{command}, `{inner}`");
                if let Some(object) = object.get(inner).and_then(|list| list.get(0)) {
                    check_fields(&promised, &name, object)?;
                    seen.push(name);
                }
            }
        }
        // Nothing moves on one broker: an empty list has no fields to see.
        ensure!(run("ottla reassign list --output json")?.trim() == "[]", "something moves");
        seen.push("reassign list`".into());
        if let Some(unseen) = promised.keys().find(|command| !seen.iter().any(|seen| seen == *command)) {
            bail!("nobody looks at the fields of {unseen}");
        }
        run(
            "kill $(cat member); until ottla groups list cmd-j --state empty | grep -q cmd-j; do sleep 0.2; done",
        )?;
        run("ottla groups delete cmd-j --yes && ottla topics delete cmd-j --yes")?;
    }
    Ok(())
}

fn check_fields(promised: &BTreeMap<&str, Vec<&str>>, command: &str, object: &Value) -> Result<()> {
    let promised = promised.get(command).with_context(|| format!("the page has no fields of {command}"))?;
    let mut promised: Vec<_> = promised.iter().map(ToString::to_string).collect();
    promised.sort();
    let printed = object.as_object().with_context(|| format!("{command} prints no object: {object}"))?;
    let mut printed: Vec<_> = printed.keys().cloned().collect();
    printed.sort();
    ensure!(printed == promised, "{command}: {printed:?} instead of {promised:?}");
    Ok(())
}

/// A broker that dies under a producer: what did not arrive is counted, and the exit code says it.
fn nothing_is_lost_silently() -> Result<()> {
    for brand in [Brand::candidate(), Brand::Apache] {
        let mut node = Node::start(brand, "")?;
        let home = tempfile::tempdir().context("create a directory")?;
        let (status, _, stderr) = shell(
            home.path(),
            &node.bootstrap(),
            "",
            "ottla topics create cmd-k -p 1 && echo 0 | ottla produce cmd-k",
        )?;
        ensure!(status == 0, "create a topic: {stderr}");
        let mut command = process::bound(&artifacts::ottla_binary()?.display().to_string());
        command.args(["produce", "cmd-k", "-b", &node.bootstrap()]);
        for setting in
            ["delivery.timeout.ms=6000", "request.timeout.ms=3000", "linger.ms=0", "max.block.ms=3000"]
        {
            command.args(["-X", setting]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = process::spawn(command)?;
        let mut input = child.stdin.take().context("take stdin")?;
        input.write_all(b"1\n2\n3\n4\n5\n").and_then(|()| input.flush()).context("write lines")?;
        let until = "until ottla offsets cmd-k | grep -q '6        6$'; do sleep 0.1; done";
        ensure!(shell(home.path(), &node.bootstrap(), "", until)?.0 == 0, "the first records do not arrive");
        node.kill()?;
        input.write_all(b"6\n7\n8\n").context("write lines")?;
        drop(input);
        let begun = Instant::now();
        let output = child.wait_with_output().context("wait for ottla produce")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(3), "{:?} instead of 3 with {brand:?}: {stderr}", output.status);
        ensure!(stderr.contains("error: 5 records arrived, 3 failed"), "{stderr}");
        ensure!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    }
    Ok(())
}

/// Plans over three brokers: partitions move, under a limit that is gone afterwards; a broker ends up without any.
fn partitions_move() -> Result<()> {
    for brand in [Brand::candidate(), Brand::Apache] {
        let cluster = Cluster::start(&Shape::of(&[brand; 3]))?;
        let [first, second, third] = cluster.brokers()[..] else { bail!("not three brokers") };
        let lines = Lines::against(&cluster)?;
        let run = |script: &str| lines.run(script).with_context(|| format!("on {brand:?}"));
        run(&format!("ottla topics create cmd-m --assignment {first}:{second},{second}:{first}"))?;
        run("seq 1000 | ottla produce cmd-m")?;
        run(&format!(
            "ottla reassign generate cmd-m --brokers {second},{third} > plan && \
             ottla reassign execute plan --throttle 10000000 --rollback back --wait"
        ))?;
        // Whichever broker is asked hears of changes a moment later.
        lines.until("ottla topics describe cmd-m --output json", r#""configs": {}"#)?;
        let described: Value = serde_json::from_str(&run("ottla topics describe cmd-m --output json")?)?;
        let topic = described[0].clone();
        for partition in topic["partitions"].as_array().context("read partitions")? {
            let replicas: Vec<i64> =
                partition["replicas"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
            ensure!(replicas.len() == 2 && !replicas.contains(&i64::from(first)), "{partition}");
        }
        ensure!(run("ottla consume cmd-m -e | wc -l")?.trim() == "1000", "records are missing");
        run("ottla elect preferred --all > /dev/null; ottla reassign execute back --wait")?;
        let places = "ottla topics describe cmd-m | awk 'NR > 2 {print $4}' | paste -sd ' '";
        lines.until(places, &format!("^{first},{second} {second},{first}$"))?;
    }
    Ok(())
}

/// Runs lines against a cluster in a directory of their own; each has to succeed.
struct Lines {
    home: TempDir,
    bootstrap: String,
}

impl Lines {
    fn against(cluster: &Cluster) -> Result<Self> {
        let home = tempfile::tempdir().context("create a directory")?;
        Ok(Self { home, bootstrap: cluster.bootstrap() })
    }

    fn run(&self, script: &str) -> Result<String> {
        let (status, stdout, stderr) = shell(self.home.path(), &self.bootstrap, "", script)?;
        ensure!(status == 0, "{script}: {stdout}{stderr}");
        Ok(stdout)
    }

    /// Runs a line until its output contains what is expected.
    fn until(&self, script: &str, expected: &str) -> Result<()> {
        self.run(&format!("until {script} | grep -q '{expected}'; do sleep 0.2; done")).map(drop)
    }

    fn prints(&self, script: &str, expected: &str) -> Result<()> {
        let printed = self.run(script)?;
        ensure!(printed == expected, "{script}: {printed:?} instead of {expected:?}");
        Ok(())
    }
}

/// A move that is held by its limit is taken back; a controller leaves the voters and is added again.
fn moves_and_voters() -> Result<()> {
    for brand in [Brand::candidate(), Brand::Apache] {
        let mut cluster = Cluster::start(&Shape::slow_trio(brand, Voters::Dynamic))?;
        let lines = Lines::against(&cluster)?;
        lines.run("ottla topics create cmd-c --assignment 1:2,2:1 && seq 100000 | ottla produce cmd-c")?;
        lines.run(
            "echo '{\"version\":1,\"partitions\":[{\"topic\":\"cmd-c\",\"partition\":0,\"replicas\":[1,3]}]}' > plan",
        )?;
        lines.prints("ottla reassign execute plan --throttle 1000", "moving cmd-c-0\n")?;
        lines.prints("ottla reassign list | tail -n 1 | tr -s ' '", "cmd-c 0 1,3,2 3 2\n")?;
        lines.prints("ottla reassign cancel --yes", "cancelled cmd-c-0\n")?;
        lines.run("ottla reassign throttle none")?;
        lines.until("ottla topics describe cmd-c --output json", r#""configs": {}"#)?;
        lines.prints("ottla reassign list | wc -l", "1\n")?;
        cluster.await_in_sync()?;

        let address = cluster.node(3).address().ip();
        let directory = "e2eDirectory3AAAAAAAAA";
        lines.prints(&format!("ottla quorum remove-voter 3 {directory} --yes"), "removed 3\n")?;
        lines.until("ottla quorum describe replication", "^ *3 .*observer")?;
        let endpoint = format!("--endpoint CONTROLLER://{address}:9093");
        lines.prints(&format!("ottla quorum add-voter 3 {directory} {endpoint}"), "added 3\n")?;
        lines.until("ottla quorum describe replication", r"^ *3 .*\(follower\|leader\)")?;
    }
    Ok(())
}

/// A cluster of 4.3 gets the level of 4.4.
fn levels_rise() -> Result<()> {
    for brand in [Brand::candidate(), Brand::Apache] {
        let cluster = Cluster::start(&Shape { release: Some("4.3"), ..Shape::of(&[brand; 3]) })?;
        let lines = Lines::against(&cluster)?;
        let level = "ottla features describe | grep ^metadata.version | tr -s ' ' | cut -d ' ' -f 4";
        let before = lines.run(level)?;
        lines.prints(
            "ottla features upgrade metadata.version=33 --dry-run",
            "possible metadata.version=33\n",
        )?;
        lines.prints(level, &before)?;
        lines.prints("ottla features upgrade metadata.version=33", "upgraded metadata.version=33\n")?;
        lines.until(level, "^33$")?;
    }
    Ok(())
}

/// A partition whose last replica in sync is dead is led by another when somebody says so, and not before.
fn unclean_leaders() -> Result<()> {
    for brand in [Brand::candidate(), Brand::Apache] {
        let mut shape = Shape::of(&[brand; 3]);
        // The controller and a broker; two brokers that go.
        shape.members[1].1 = Roles::Broker;
        shape.members[2].1 = Roles::Broker;
        let mut cluster = Cluster::start(&shape)?;
        let lines = Lines::against(&cluster)?;
        lines.run("ottla topics create cmd-u --assignment 2:3 --config min.insync.replicas=1")?;
        cluster.await_in_sync()?;
        cluster.node_mut(3).stop()?;
        lines.run("echo lost | ottla produce cmd-u")?;
        cluster.kill(&[2])?;
        cluster.launch(&[3])?;
        lines.until("ottla topics describe cmd-u", "^ *0 *- ")?;
        lines.prints("ottla elect unclean cmd-u --yes", "elected cmd-u-0\n")?;
        lines.until("ottla topics describe cmd-u", "^ *0 *3 ")?;
        lines.prints("ottla elect unclean cmd-u --yes", "unchanged cmd-u-0\n")?;
        lines.prints("ottla consume cmd-u -e", "")?;
    }
    Ok(())
}
