//! The table beside the one of Apache Kafka's clients 4.4.0, as they print it themselves.

use super::*;

const CAPTURED: &str = include_str!("../../testdata/apache-client-configs-4.4.0.tsv");

/// Where Apache Kafka's default or choice is another one on purpose: client, setting.
const DIFFERENT: &[(&str, &str, &str)] = &[
    (
        "admin",
        "connections.max.idle.ms",
        "one table for all clients; Admin takes Kafka's 300000 unless it is set",
    ),
    ("*", "receive.buffer.bytes", "the system's buffers grow with need, Kafka's 32 and 64 KiB do not"),
    ("*", "send.buffer.bytes", "the same"),
    ("*", "enable.metrics.push", "no metrics are pushed, and so none are promised"),
    ("*", "client.dns.lookup", "one of Kafka's two ways"),
    ("*", "security.protocol", "one of Kafka's four ways"),
    ("*", "group.protocol", "one of Kafka's two ways"),
    ("*", "metadata.max.idle.ms", "the default only"),
    ("*", "partitioner.availability.timeout.ms", "off only"),
    ("*", "partition.assignment.strategy", "names instead of Java's classes"),
    ("*", "bootstrap.servers", "may be set later than the other settings"),
    ("*", "auto.offset.reset", "parsed by the consumer, with the same words"),
];

/// What is no setting of Apache Kafka's clients.
const OWN: &[&str] = &["partitioner"];

struct Captured<'a> {
    client: &'a str,
    name: &'a str,
    kind: &'a str,
    default: &'a str,
    allowed: &'a str,
}

fn captured() -> Vec<Captured<'static>> {
    let rows = CAPTURED.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [client, name, kind, default, allowed] = columns[..] else { panic!("{line}") };
        Captured { client, name, kind, default, allowed }
    })
    .collect()
}

fn is_different(row: &Captured<'_>) -> bool {
    DIFFERENT.iter().any(|(client, name, _)| *name == row.name && (*client == "*" || *client == row.client))
}

#[test]
fn every_setting_of_apaches_clients_is_there_or_refused_with_a_reason() {
    let rows = captured();
    assert!(rows.len() > 200, "the capture is cut off: {} rows", rows.len());
    for row in &rows {
        assert!(setting(row.name).is_some() != refusal(row.name).is_some(), "{} {}", row.client, row.name);
    }
    for (name, _) in REFUSED {
        let known =
            |row: &Captured<'_>| row.name == *name || name.ends_with('.') && row.name.starts_with(name);
        assert!(rows.iter().any(known), "{name} is refused, and nobody would set it");
    }
    for ours in SETTINGS {
        let known = rows.iter().any(|row| row.name == ours.name);
        assert!(known != OWN.contains(&ours.name), "{}", ours.name);
    }
    for (_, name, _) in DIFFERENT {
        assert!(setting(name).is_some(), "{name} is no setting any more");
    }
}

#[test]
fn defaults_and_bounds_are_apaches() {
    for row in captured() {
        let Some(ours) = setting(row.name).filter(|_| !is_different(&row)) else { continue };
        let default = row.default.strip_prefix('=').unwrap_or_default();
        assert_eq!(ours.default, default, "{} {}", row.client, row.name);
        let (type_min, type_max) = match row.kind {
            "INT" => (i64::from(i32::MIN), i64::from(i32::MAX)),
            _ => (i64::MIN, i64::MAX),
        };
        let words = row.allowed.trim_start_matches("(case insensitive) ").trim_matches(['[', ']']);
        let mut words: Vec<String> = words.split(", ").map(str::to_lowercase).collect();
        words.sort();
        let place = format!("{} {}: {} ({:?})", row.client, row.name, row.allowed, ours.kind);
        match (ours.kind, row.kind) {
            (Kind::Bool, "BOOLEAN") | (Kind::List, "LIST") => {}
            (Kind::Text, "STRING") => assert_eq!(row.allowed, "null", "{place}"),
            (Kind::Name, "STRING") => assert_eq!(row.allowed, "non-empty string", "{place}"),
            // Java looks at these numbers later, or not at all; ours are those that make sense.
            (Kind::Int(min, max), "INT" | "LONG") if row.allowed == "null" => {
                assert!(min >= type_min && max <= type_max, "{place}");
            }
            (Kind::Int(min, max), "INT" | "LONG") => {
                let bounds: Vec<i64> = row
                    .allowed
                    .trim_matches(['[', ']'])
                    .split(',')
                    .filter(|part| *part != "...")
                    .map(|bound| bound.parse().unwrap())
                    .collect();
                assert_eq!(min, bounds[0], "{place}");
                assert_eq!(max, bounds.get(1).copied().unwrap_or(type_max), "{place}");
            }
            (Kind::IntOr(other, min, max), "INT") => {
                assert_eq!(row.allowed, format!("[{min},...,{max}] or {other}"), "{place}");
            }
            (Kind::OneOf(ours) | Kind::AnyCase(ours), "STRING") => {
                assert_eq!(
                    matches!(setting(row.name).unwrap().kind, Kind::AnyCase(_)),
                    row.allowed.starts_with("(case")
                );
                let mut ours: Vec<String> = ours.iter().map(|word| word.to_lowercase()).collect();
                ours.sort();
                assert_eq!(ours, words, "{place}");
            }
            _ => panic!("{place} is {}", row.kind),
        }
    }
}
