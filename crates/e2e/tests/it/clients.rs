//! Foreign clients tell the story of `clients/README.md`: produce, consume, rebalance with two members, commit,
//! resume.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ottla_e2e::node::Node;
use ottla_e2e::tools::Jars;
use ottla_e2e::wire::Connection;
use ottla_e2e::{artifacts, process, tools, world};
use serde_json::{Value, json};

use crate::Named;

pub const TESTS: &[Named] = &[
    ("java", java),
    ("librdkafka_python", || python("confluent")),
    ("kafka_python", || python("kafka_python")),
    ("franz_go", franz_go),
    ("kafkajs", || node("client")),
    ("node_rdkafka", || node("rdkafka")),
    ("librdkafka_rust", librdkafka_rust),
    ("kcat", kcat),
];

/// How long one story may take.
const LIMIT: Duration = Duration::from_secs(90);

fn java() -> Result<()> {
    story("java", |arguments| {
        let outcome = tools::runner()?.call(Jars::Broker, "JavaClient", &arguments, b"", LIMIT)?;
        ensure!(
            outcome.status == 0,
            "JavaClient ended with {}:\n{}{}",
            outcome.status,
            outcome.stdout,
            outcome.stderr
        );
        Ok(outcome.stdout)
    })
}

fn python(program: &str) -> Result<()> {
    let script = artifacts::crate_dir().join(format!("clients/python/{program}.py"));
    let python = artifacts::python()?.display().to_string();
    story(program, |arguments| run(&python, [vec![script.display().to_string()], arguments].concat()))
}

fn franz_go() -> Result<()> {
    let client = artifacts::go_client()?.display().to_string();
    story("franz-go", |arguments| run(&client, arguments))
}

fn node(program: &str) -> Result<()> {
    let script = artifacts::node_client()?.join(format!("{program}.js"));
    story(program, |arguments| run("node", [vec![script.display().to_string()], arguments].concat()))
}

fn librdkafka_rust() -> Result<()> {
    let client = artifacts::rust_client()?.display().to_string();
    story("rust", |arguments| run(&client, arguments))
}

/// kcat has no story of its own: it lists, produces with a key, consumes and asks for an offset.
fn kcat() -> Result<()> {
    let node = world::candidate()?;
    let topic = fresh_topic(&node, "kcat", 1)?;
    let file = node.home().join("kcat.txt");
    std::fs::write(&file, "k1:one\nk2:two\n").context("write kcat's input")?;
    let at = |rest: &[&str]| -> Result<String> {
        let arguments = ["-b", &node.bootstrap()].iter().chain(rest).map(ToString::to_string).collect();
        run("kcat", arguments)
    };
    at(&["-P", "-t", &topic, "-K:", "-l", &file.display().to_string()])?;
    let read = at(&["-C", "-t", &topic, "-o", "beginning", "-e", "-q", "-f", "%k=%s@%o "])?;
    ensure!(read == "k1=one@0 k2=two@1 ", "kcat read {read:?}");
    let listed: Value =
        serde_json::from_str(&at(&["-L", "-J", "-t", &topic])?).context("parse kcat's listing")?;
    ensure!(listed["topics"][0]["partitions"][0]["leader"] == 1, "kcat lists {listed}");
    let asked = at(&["-Q", "-t", &format!("{topic}:0:-1")])?;
    ensure!(asked.contains("offset 2"), "kcat was told {asked:?}");
    Ok(())
}

fn story(name: &str, tell: impl Fn(Vec<String>) -> Result<String>) -> Result<()> {
    let node = world::candidate()?;
    let topic = fresh_topic(&node, name, 4)?;
    let begun = Instant::now();
    let told = tell(vec![node.bootstrap(), topic.clone(), format!("{topic}-group")])?;
    let last = told.lines().last().context("the client printed nothing")?;
    let result: Value = serde_json::from_str(last).with_context(|| format!("parse {last:?}"))?;
    eprintln!("e2e: {} in {:.1} s", result["client"], begun.elapsed().as_secs_f64());
    let expected =
        json!({"produced": 120, "alone": 4, "shared": [2, 2], "first": 100, "resumed": 20, "headers": true});
    for (key, value) in expected.as_object().context("an object is expected")? {
        ensure!(&result[key] == value, "{key} is {} and should be {value}", result[key]);
    }
    Ok(())
}

fn fresh_topic(node: &Node, name: &str, partitions: i32) -> Result<String> {
    let topic = format!("client-{name}");
    Connection::open(node.address(), Duration::from_secs(20))?.create_topic(&topic, partitions, &[])?;
    Ok(topic)
}

fn run(program: &str, arguments: Vec<String>) -> Result<String> {
    let mut command = process::bound(program);
    command.args(arguments);
    let output = process::output(command, LIMIT)?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{program} ended with {}:\n{out}{err}", output.status);
    Ok(out.into_owned())
}
