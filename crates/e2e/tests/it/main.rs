//! All black-box suites in one binary; `cargo test -p ottla-e2e -- tools::` selects a part.
//!
//! They need an ottla binary (`cargo build --release`, or `OTTLA_BIN`), java 17, mvn, python3, go, node, kcat,
//! g++, make and script (of util-linux); those with clusters also root, iproute2, nftables, iptables and e2fsprogs.
//! Tests run one after the other, as they share two nodes and few cores.

mod clients;
mod clients_suite;
mod commands;
mod crashes;
mod failures;
mod faults;
mod groups;
mod hostile;
mod intruders;
mod mixed;
mod operations;
mod readme;
mod scripts;
mod takeover;
mod tools;
mod wrappers;

use std::time::Instant;

use libtest_mimic::{Arguments, Trial};
use ottla_e2e::{artifacts, world};

/// A test and the name it is selected by.
type Named = (&'static str, fn() -> anyhow::Result<()>);

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let suites: [(&str, &[Named]); 16] = [
        ("tools", tools::TESTS),
        ("scripts", scripts::TESTS),
        ("commands", commands::TESTS),
        ("groups", groups::TESTS),
        ("clients", clients::TESTS),
        ("clients_suite", clients_suite::TESTS),
        ("readme", readme::TESTS),
        ("wrappers", wrappers::TESTS),
        ("takeover", takeover::TESTS),
        ("crashes", crashes::TESTS),
        ("faults", faults::TESTS),
        ("failures", failures::TESTS),
        ("mixed", mixed::TESTS),
        ("intruders", intruders::TESTS),
        ("operations", operations::TESTS),
        ("hostile", hostile::TESTS),
    ];
    let trials = suites
        .into_iter()
        .flat_map(|(suite, tests)| {
            tests.iter().map(move |(name, test)| trial(format!("{suite}::{name}"), *test))
        })
        .collect();
    if arguments.filter.is_none() && !arguments.list {
        std::thread::spawn(artifacts::prepare);
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    world::close();
    conclusion.exit();
}

fn trial(name: String, test: fn() -> anyhow::Result<()>) -> Trial {
    let label = name.clone();
    Trial::test(name, move || {
        let begun = Instant::now();
        let outcome = test().map_err(|error| format!("{error:#}"));
        eprintln!("e2e: {label} took {:.1} s", begun.elapsed().as_secs_f64());
        if let Err(why) = &outcome {
            // At once: who reads a long run from its middle sees it where it happened.
            eprintln!("e2e: {label} failed: {why}");
        }
        outcome.map_err(Into::into)
    })
}
