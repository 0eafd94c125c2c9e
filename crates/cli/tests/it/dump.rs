//! `ottla dump` against files that Apache Kafka wrote, and what an independent reader found in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{golden, ottla, stderr, stdout};

/// All lines of `ottla dump --json …`, by file.
fn dump(arguments: &[&str], path: &Path) -> (bool, BTreeMap<String, Vec<Value>>) {
    let mut all = vec!["dump", "--json"];
    all.extend(arguments);
    let path = path.to_str().unwrap();
    all.push(path);
    let output = ottla(&all);
    let mut files = BTreeMap::<String, Vec<Value>>::new();
    for line in stdout(&output).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let file = line["file"].as_str().unwrap();
        let file = file.strip_prefix(path).unwrap().trim_start_matches('/').to_owned();
        files.entry(file).or_default().push(line);
    }
    (output.status.success(), files)
}

/// The things of one kind in a file, without what every line says.
fn items(lines: &[Value], kind: &str) -> Vec<Value> {
    let of_kind = lines.iter().filter(|line| line["kind"] == kind);
    of_kind
        .map(|line| {
            let mut line = line.clone();
            line.as_object_mut().unwrap().retain(|name, _| name != "file" && name != "kind");
            line
        })
        .collect()
}

#[test]
fn every_record_is_as_the_independent_reader_saw_it() {
    let (clean, files) = dump(&["--records"], &golden());
    assert!(clean);
    let mut compared = 0;
    for entry in fs::read_dir(golden().join("expected")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // `/` was replaced by `__`, and internal topics begin with that.
        let path = name
            .strip_suffix(".jsonl")
            .unwrap()
            .replace("____", "/\0\0")
            .replace("__", "/")
            .replace('\0', "_");
        let batches = items(&files[&path], "batch");
        let text = fs::read_to_string(entry.path()).unwrap();
        let expected: Vec<Value> = text
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(expected.len(), batches.len(), "{path}");
        for (expected, batch) in expected.iter().zip(&batches) {
            compare(expected, batch, &format!("{path} at {}", batch["pos"]));
            assert_eq!(batch["crcVerdict"], "ok");
            compared += 1;
        }
    }
    assert!(compared > 1000, "{compared}");
}

/// Everything expected is there. What is there beyond it can only be a field of no interest: a default.
fn compare(expected: &Value, actual: &Value, at: &str) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (name, value) in expected {
                let at = format!("{at}.{name}");
                match (name.as_str(), value) {
                    // Markers were kept as version and coordinator epoch.
                    ("value", Value::Array(marker)) => {
                        assert_eq!(actual["value"]["CoordinatorEpoch"], marker[1], "{at}");
                    }
                    _ => compare(value, actual.get(name).unwrap_or_else(|| panic!("{at} is missing")), &at),
                }
            }
            let added: BTreeSet<_> = actual.keys().filter(|name| !expected.contains_key(*name)).collect();
            for name in added {
                let no_news = match &actual[name] {
                    Value::Null | Value::Bool(false) => true,
                    Value::Number(number) => number.as_i64().is_some_and(|n| n <= 0),
                    Value::String(text) => text.is_empty() || text.trim_matches('A').is_empty(),
                    Value::Array(items) => items.is_empty(),
                    _ => false,
                };
                assert!(
                    no_news || ["crcVerdict", "is"].contains(&name.as_str()),
                    "{at}.{name}: {}",
                    actual[name]
                );
            }
        }
        (Value::Array(expected), Value::Array(actual)) => {
            assert_eq!(expected.len(), actual.len(), "{at}");
            for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                compare(expected, actual, &format!("{at}[{index}]"));
            }
        }
        _ => assert_eq!(expected, actual, "{at}"),
    }
}

#[test]
fn indexes_fit_their_logs() {
    let (clean, files) = dump(&["--verify"], &golden());
    assert!(clean);
    let entries = |suffix: &str| {
        files
            .iter()
            .filter(|(name, _)| name.ends_with(suffix))
            .flat_map(|(_, lines)| items(lines, "entry"))
            .count()
    };
    assert!(
        entries(".index") > 20 && entries(".timeindex") > 20,
        "{} {}",
        entries(".index"),
        entries(".timeindex")
    );
    let aborted = items(&files["topics/txn-0/00000000000000000007.txnindex"], "entry");
    let field = |name| aborted.iter().map(|entry| entry[name].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!(field("producerId"), [2, 1, 1]);
    assert_eq!(field("firstOffset"), [3, 8, 13]);
    assert_eq!(field("lastOffset"), [9, 10, 14]);
    assert_eq!(field("lastStableOffset"), [8, 11, 15]);
}

#[test]
fn side_files_are_read() {
    let (_, files) = dump(&[], &golden());
    let one = |name: &str, kind: &str| {
        let found = items(&files[name], kind);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        found[0].to_string()
    };
    let producer = one("topics/idem-0/00000000000000000007.snapshot", "producer");
    assert!(
        producer.starts_with(
            r#"{"producerId":0,"producerEpoch":0,"lastSequence":6,"lastOffset":6,"offsetDelta":0,"lastTimestamp":"#
        ),
        "{producer}"
    );
    assert!(items(&files["topics/codec-none-0/00000000000000000015.snapshot"], "producer").is_empty());
    assert_eq!(one("topics/seg-0/leader-epoch-checkpoint", "epoch"), r#"{"epoch":0,"startOffset":31}"#);
    assert_eq!(
        one("dirs/clean-stop/log-start-offset-checkpoint", "offset"),
        r#"{"topic":"seg","partition":0,"offset":31}"#
    );
    assert_eq!(
        one("metadata/quorum/__cluster_metadata-0/partition.metadata", "topic"),
        r#"{"id":"AAAAAAAAAAAAAAAAAAAAAQ"}"#
    );
    let state = one("metadata/static-upgraded/__cluster_metadata-0/quorum-state", "state");
    assert!(state.ends_with(r#""currentVoters":[{"voterId":1}],"data_version":0}"#), "{state}");
    let state = one("metadata/quorum/__cluster_metadata-0/quorum-state", "state");
    assert!(state.ends_with(r#""data_version":1}"#), "{state}");
    let meta = one("dirs/clean-stop/meta.properties", "directory");
    assert!(meta.contains(r#""node.id":1,"directory.id":"E6m2QIEaSViH7i7ZGvEnuw""#), "{meta}");
}

#[test]
fn damage_is_named_and_fails() {
    let dir = tempfile::tempdir().unwrap();
    let partition = dir.path().join("idem-0");
    fs::create_dir(&partition).unwrap();
    let source = golden().join("topics/seg-0");
    for suffix in ["log", "index", "timeindex"] {
        let name = format!("00000000000000000020.{suffix}");
        fs::copy(source.join(&name), partition.join(&name)).unwrap();
    }
    let segment = partition.join("00000000000000000020.log");
    let good = fs::read(&segment).unwrap();
    let faults = |arguments: &[&str]| {
        let (clean, files) = dump(arguments, dir.path());
        (clean, files.values().map(|lines| items(lines, "FAULT").len()).sum::<usize>(), files)
    };
    assert!(faults(&["--verify", "--records"]).0);

    // One bit in a record: only the checksum knows.
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&segment, &bad).unwrap();
    let (clean, _, files) = faults(&[]);
    assert!(!clean);
    let last = items(&files["idem-0/00000000000000000020.log"], "batch").pop().unwrap();
    assert!(last["crcVerdict"].as_str().unwrap() != "ok", "{last}");

    // A torn tail.
    fs::write(&segment, &good[..good.len() - 1]).unwrap();
    let (clean, count, _) = faults(&[]);
    assert_eq!((clean, count), (false, 1));

    // A batch twice: offsets do not ascend, and the entries behind it point elsewhere.
    let size = 12 + i32::from_be_bytes(good[8..12].try_into().unwrap()) as usize;
    fs::write(&segment, [&good[..size], &good[..]].concat()).unwrap();
    let (clean, count, files) = faults(&["--verify"]);
    assert_eq!((clean, count), (false, 1));
    let entries = items(&files["idem-0/00000000000000000020.index"], "entry");
    assert!(!entries.is_empty() && entries.iter().all(|entry| entry["verdict"] != "ok"), "{entries:?}");

    let output = ottla(["dump".as_ref(), dir.path().as_os_str()]);
    assert_eq!(stderr(&output), "error: 1 fault found\n");
}

#[test]
fn lines_for_people_show_records_below_their_batch() {
    let output = ottla(["dump".as_ref(), "--records".as_ref(), golden().join("topics/idem-0").as_os_str()]);
    let text = stdout(&output);
    assert!(text.contains("\n  batch pos=0 size=83 baseOffset=0 lastOffset=1 "), "{text}");
    assert!(
        text.contains(
            "\n    record offset=1 timestamp=2023-11-14T22:13:20.001Z key=\"k1\" value=\"v1\" headers=[]\n"
        ),
        "{text}"
    );
}

#[test]
fn other_files_are_refused_in_one_line() {
    let output = ottla(["dump".as_ref(), golden().join("README.md").as_os_str()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: ") && stderr(&output).lines().count() == 1);
    let output = ottla(["dump", "/nowhere/00000000000000000000.log"]);
    assert_eq!(
        stderr(&output),
        "error: read /nowhere/00000000000000000000.log: No such file or directory (os error 2)\n"
    );
}
