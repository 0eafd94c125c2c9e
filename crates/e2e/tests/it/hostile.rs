//! What no client would say, on live sockets: the node answers or closes as Apache Kafka does, and others notice
//! nothing.

mod batches;
mod crowd;
mod frames;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use ottla_e2e::node::Node;
use ottla_e2e::wire::{Connection, Reply};

use crate::Named;

pub const TESTS: &[Named] = &[
    ("framing", frames::framing),
    ("bodies", frames::bodies),
    ("every_api", frames::every_api),
    ("mutations", frames::mutations),
    ("batches", batches::batches),
    ("bombs", batches::bombs),
    ("crowd", crowd::crowd),
];

/// Bytes for a fresh connection, by what they show.
struct Case {
    name: String,
    bytes: Vec<u8>,
    /// What of a frame is compared.
    compare: Compare,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Compare {
    /// The whole frame.
    Bytes,
    /// That there is one.
    Kind,
}

/// How long silence must last to count as such. Short: the judge answers within milliseconds.
const PATIENCE: Duration = Duration::from_millis(1500);

fn outcome(node: &Node, case: &Case) -> Result<String> {
    let mut connection = Connection::open(node.address(), PATIENCE)?;
    connection.send(&case.bytes);
    Ok(match connection.read() {
        Reply::Frame(_) if case.compare == Compare::Kind => "an answer".into(),
        Reply::Frame(mut frame) => {
            let port = i32::from(node.address().port()).to_be_bytes();
            for at in 0..frame.len().saturating_sub(3) {
                if frame[at..at + 4] == port {
                    frame[at..at + 4].fill(0);
                }
            }
            format!("an answer: {frame:02x?}")
        }
        Reply::Closed => "closed".into(),
        Reply::Silence => "silence".into(),
    })
}

/// Sends every case to both nodes, several at a time, and fails with all differences.
fn compare(cases: &[Case], judge: &Node, candidate: &Node) -> Result<()> {
    let ask = |node: &Node| -> Result<Vec<String>> {
        let mut outcomes = Vec::new();
        for chunk in cases.chunks(8) {
            let answers: Vec<Result<String>> = std::thread::scope(|scope| {
                let asked: Vec<_> = chunk.iter().map(|case| scope.spawn(|| outcome(node, case))).collect();
                asked.into_iter().map(|asked| asked.join().expect("a case does not panic")).collect()
            });
            for answer in answers {
                outcomes.push(answer?);
            }
        }
        Ok(outcomes)
    };
    let (theirs, ours) = (ask(judge)?, ask(candidate)?);
    report(
        cases
            .iter()
            .map(|case| case.name.as_str())
            .zip(theirs.iter().map(String::as_str))
            .zip(ours.iter().map(String::as_str)),
    )?;
    ensure!(candidate.answers(), "the node no longer answers; its log:\n{}", candidate.log_tail());
    Ok(())
}

fn report<'a>(rows: impl Iterator<Item = ((&'a str, &'a str), &'a str)>) -> Result<()> {
    let (mut report, mut differ, mut count) = (String::new(), 0, 0);
    for ((name, theirs), ours) in rows {
        count += 1;
        if theirs != ours {
            differ += 1;
            let _ = write!(report, "\n{name}:\n- {theirs}\n+ {ours}");
        }
    }
    ensure!(
        differ == 0,
        "{differ} of {count} cases differ from Apache Kafka (- judge, + candidate):{report}"
    );
    eprintln!("e2e: {count} cases answered as Apache Kafka does");
    Ok(())
}
