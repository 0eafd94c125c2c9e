//! `kafka-get-offsets`: where partitions begin and end, or where a time lies in them.

use std::collections::{BTreeMap, BTreeSet};

use ottla_client::admin::OffsetSpec;
use ottla_client::blocking::block_on;
use ottla_client::model::Millis;

use super::java;
use super::options::{Exit, Options, Outcome};
use super::pattern::TopicPattern;
use super::session::Session;

pub const OPTIONS: &str = "
    --topic <name>                 A pattern of topics; all without it
    --partitions <ids>             Partitions, separated by commas; all without it
    --topic-partitions <patterns>  Topics with partitions: one, two:1, three:0-3, four:5-, :-2
    --time <time>                  earliest, latest (the default), max-timestamp, earliest-local, latest-tiered, or milliseconds
    --exclude-internal-topics      Pass over internal topics
";

pub fn run(options: &Options) -> Outcome {
    options.require(&["bootstrap-server"])?;
    print(options).map_err(|message| Exit::Failed(format!("Error occurred: {message}")))
}

fn print(options: &Options) -> Result<(), String> {
    if options.has("topic-partitions") && (options.has("topic") || options.has("partitions")) {
        return Err("--topic-partitions cannot be used with --topic or --partitions".into());
    }
    let spec = spec(options.value("time")?.unwrap_or("latest"))?;
    let filters = match options.value("topic-partitions")? {
        Some(patterns) => patterns.split(',').map(Filter::parse).collect::<Result<Vec<_>, _>>()?,
        None => vec![Filter::of(options.value("topic")?, options.value("partitions")?)?],
    };
    let session = Session::open(options).map_err(Exit::message)?;
    let message = |error| java::message(&error);
    let excluded = options.has("exclude-internal-topics");
    let topics = session.topics().map_err(message)?;
    let topics = topics.into_iter().filter(|(_, topic)| !(excluded && topic.internal));
    let partitions = topics.flat_map(|(name, topic)| {
        topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
    });
    let partitions: Vec<_> = partitions
        .filter(|(name, number)| filters.iter().any(|filter| filter.matches(name, *number)))
        .collect();
    if partitions.is_empty() {
        return Err("Could not match any topic-partitions with the specified filters".into());
    }
    let mut lines = BTreeMap::new();
    // One by one only where one of them fails: the others have offsets nevertheless.
    let all = block_on(session.admin.list_offsets(&partitions, spec));
    let found: Vec<_> = match all {
        Ok(found) => found.into_iter().map(|(partition, found)| (partition, Ok(found.offset))).collect(),
        Err(_) => partitions
            .into_iter()
            .map(|partition| {
                let found = block_on(session.admin.list_offsets(std::slice::from_ref(&partition), spec));
                let offset = found.map(|found| found.get(&partition).and_then(|found| found.offset));
                (partition, offset)
            })
            .collect(),
    };
    for ((name, number), offset) in found {
        match offset {
            Ok(Some(offset)) => {
                drop(lines.insert(format!("{name}-{number}"), format!("{name}:{number}:{}", offset.0)))
            }
            Ok(None) => {}
            Err(error) => eprintln!(
                "Skip getting offsets for topic-partition {name}-{number} due to error: {}",
                java::exception(&error)
            ),
        }
    }
    for line in lines.values() {
        println!("{line}");
    }
    Ok(())
}

fn spec(text: &str) -> Result<OffsetSpec, String> {
    Ok(match text {
        "latest" | "-1" => OffsetSpec::Latest,
        "earliest" | "-2" => OffsetSpec::Earliest,
        "max-timestamp" | "-3" => OffsetSpec::MaxTimestamp,
        "earliest-local" | "-4" => OffsetSpec::EarliestLocal,
        "latest-tiered" | "-5" => OffsetSpec::LatestTiered,
        "earliest-pending-upload" | "-6" => OffsetSpec::EarliestPendingUpload,
        _ => match text.parse() {
            Ok(time) => OffsetSpec::At(Millis(time)),
            Err(_) => {
                return Err(format!(
                    "Malformed time argument {text}. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / \
                     -4 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload, or a specified long \
                     format timestamp"
                ));
            }
        },
    })
}

/// Which partitions of which topics.
#[derive(Debug)]
struct Filter {
    topics: TopicPattern,
    partitions: Partitions,
}

#[derive(Debug)]
enum Partitions {
    /// All, if there is none.
    These(BTreeSet<i32>),
    /// From, and up to but not with.
    Range(i32, i32),
}

impl Filter {
    fn of(topic: Option<&str>, partitions: Option<&str>) -> Result<Self, String> {
        let text = partitions.unwrap_or_default();
        let ids = text.split(',').filter(|_| !text.is_empty()).map(str::parse).collect::<Result<_, _>>();
        let ids = ids.map_err(|_| {
            format!(
                "--partitions expects a comma separated list of numeric partition ids, but received: {text}"
            )
        })?;
        Ok(Self { topics: TopicPattern::new(topic.unwrap_or(".*"))?, partitions: Partitions::These(ids) })
    }

    /// Reads `topic:partition`, either of them may be missing; a partition is a number, `1-3`, `1-` or `-3`.
    fn parse(rule: &str) -> Result<Self, String> {
        // Apache's tool lets the name of its exception slip in here.
        let invalid = || format!("org.apache.kafka.tools.TerseException: Invalid rule specification: {rule}");
        let (topic, partitions) = rule.split_once(':').unwrap_or((rule, ""));
        let number = |text: &str, empty: i32| match text {
            "" => Ok(empty),
            text => text.parse::<u32>().ok().and_then(|number| number.try_into().ok()).ok_or_else(invalid),
        };
        let partitions = match partitions.split_once('-') {
            Some((from, to)) => Partitions::Range(number(from, 0)?, number(to, i32::MAX)?),
            None if partitions.is_empty() => Partitions::These(BTreeSet::new()),
            None => Partitions::These(BTreeSet::from([number(partitions, 0)?])),
        };
        Ok(Self { topics: TopicPattern::new(if topic.is_empty() { ".*" } else { topic })?, partitions })
    }

    fn matches(&self, topic: &str, partition: i32) -> bool {
        let number = match &self.partitions {
            Partitions::These(ids) => ids.is_empty() || ids.contains(&partition),
            Partitions::Range(from, to) => (*from..*to).contains(&partition),
        };
        number && self.topics.matches(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_choose_partitions() {
        let matching = |rule: &str| {
            let filter = Filter::parse(rule).unwrap();
            (0..5).filter(|partition| filter.matches("one", *partition)).collect::<Vec<_>>()
        };
        assert_eq!(matching("one"), [0, 1, 2, 3, 4]);
        assert_eq!(matching(":2"), [2]);
        assert_eq!(matching("o.*:1-3"), [1, 2]);
        assert_eq!(matching("one:3-"), [3, 4]);
        assert_eq!(matching(":-2"), [0, 1]);
        assert!(matching("two").is_empty());
        assert!(
            Filter::parse("one:x").is_err_and(|error| error.ends_with("Invalid rule specification: one:x"))
        );
    }
}
