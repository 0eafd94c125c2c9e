//! The files of `kafka-reassign-partitions`: which replicas partitions are to have, and in which directories.

use std::collections::{BTreeMap, BTreeSet};

use ottla_client::admin::Partition;
use serde_json::{Value, json};

use super::directories::Replica;
use super::{Done, Failure, refused, shown};

/// The directory that a broker chooses.
const ANY: &str = "any";

/// What a file asks for.
pub struct Moves {
    /// The replicas of partitions, sorted by partition; one may be there twice before it is checked.
    pub partitions: Vec<(Partition, Vec<i32>)>,
    /// The directories of replicas, where they are named.
    pub directories: BTreeMap<Replica, String>,
}

/// A file in another form than expected.
pub fn wrong(message: impl Into<String>) -> Failure {
    Failure::Thrown("org.apache.kafka.tools.AdminOperationException", message.into(), None)
}

/// What is there more than once.
pub fn twice<T: Ord + Clone>(items: &[T]) -> Vec<T> {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<_> = items.iter().filter(|item| !seen.insert(*item)).cloned().collect();
    twice.into_iter().collect()
}

fn parsed(text: &str) -> Done<Value> {
    let value: Value = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    match value.get("version").map_or(Some(1), Value::as_i64) {
        Some(1) => Ok(value),
        _ => Err(wrong(format!("Not supported version field value {}", value["version"]))),
    }
}

fn entries<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn field<T>(entry: &Value, name: &str, read: impl Fn(&Value) -> Option<T>) -> Done<T> {
    let class = "com.fasterxml.jackson.databind.JsonMappingException";
    let Some(value) = entry.get(name) else {
        return Err(Failure::Thrown(class, format!("No such field exists: `{name}`"), None));
    };
    read(value).ok_or_else(|| Failure::Thrown(class, format!("`{name}` is not as expected: {value}"), None))
}

fn number(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|number| number.try_into().ok())
}

fn word(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// The topics of a file for `--generate`.
pub fn topics(text: &str) -> Done<Vec<String>> {
    let value = parsed(text)?;
    let topics =
        entries(&value, "topics").map(|entry| field(entry, "topic", word)).collect::<Done<Vec<_>>>()?;
    let twice = twice(&topics);
    match twice.is_empty() {
        true => Ok(topics),
        false => {
            let twice = twice.join(", ");
            refused(format!("List of topics to reassign contains duplicate entries: [{twice}]"))
        }
    }
}

impl Moves {
    pub fn parse(text: &str) -> Done<Self> {
        let value = parsed(text)?;
        let mut moves = Self { partitions: Vec::new(), directories: BTreeMap::new() };
        for entry in entries(&value, "partitions") {
            let place = (field(entry, "topic", word)?, field(entry, "partition", number)?);
            let replicas = field(entry, "replicas", |value| value.as_array()?.iter().map(number).collect())?;
            let replicas: Vec<i32> = replicas;
            let mut directories = vec![ANY.to_owned(); replicas.len()];
            if entry.get("log_dirs").is_some() {
                directories = field(entry, "log_dirs", |value| value.as_array()?.iter().map(word).collect())?;
            }
            if directories.len() != replicas.len() {
                return refused(format!(
                    "Size of replicas list {replicas:?} is different from size of log dirs list [{}] for partition {}",
                    directories.join(", "),
                    shown(&place)
                ));
            }
            let named = replicas.iter().zip(directories).filter(|(_, directory)| directory != ANY);
            moves.directories.extend(named.map(|(id, directory)| ((*id, place.clone()), directory)));
            moves.partitions.push((place, replicas));
        }
        moves.partitions.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(moves)
    }

    /// Refuses what cannot be executed.
    pub fn check(&self) -> Done {
        if self.partitions.is_empty() {
            return refused("Partition reassignment list cannot be empty");
        }
        if self.partitions.iter().any(|(_, replicas)| replicas.is_empty()) {
            return refused("Partition replica list cannot be empty");
        }
        let places: Vec<_> = self.partitions.iter().map(|(place, _)| place.clone()).collect();
        let again: Vec<_> = twice(&places).iter().map(shown).collect();
        if !again.is_empty() {
            let again = again.join(",");
            return refused(format!("Partition reassignment contains duplicate topic partitions: {again}"));
        }
        let again = self.partitions.iter().filter_map(|(place, replicas)| {
            let ids = super::joined(&twice(replicas));
            (!ids.is_empty()).then(|| format!("{} contains multiple entries for {ids}", shown(place)))
        });
        let again: Vec<_> = again.collect();
        match again.is_empty() {
            true => Ok(()),
            false => refused(format!(
                "Partition replica lists may not contain duplicate entries: {}",
                again.join(". ")
            )),
        }
    }
}

/// A file of these replicas and their directories, on one line.
pub fn json<'a>(
    partitions: &BTreeMap<Partition, Vec<i32>>,
    directory: impl Fn(&Replica) -> Option<&'a str>,
) -> String {
    let entry = |(place, replicas): (&Partition, &Vec<i32>)| {
        let of = |id: &i32| directory(&(*id, place.clone())).unwrap_or(ANY);
        let directories: Vec<_> = replicas.iter().map(of).collect();
        json!({"topic": place.0, "partition": place.1, "replicas": replicas, "log_dirs": directories})
    };
    json!({"version": 1, "partitions": partitions.iter().map(entry).collect::<Vec<_>>()}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T>(outcome: Done<T>) -> String {
        match outcome {
            Err(Failure::Thrown(_, message, _) | Failure::Said(message)) => message,
            _ => panic!("not refused"),
        }
    }

    #[test]
    fn a_file_is_read_and_written() {
        let text = r#"{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1,2],"log_dirs":["any","/d"]}]}"#;
        let moves = Moves::parse(text).ok().unwrap();
        assert_eq!(moves.partitions, [(("a".to_owned(), 0), vec![1, 2])]);
        assert_eq!(moves.directories[&(2, ("a".to_owned(), 0))], "/d");
        let partitions = moves.partitions.into_iter().collect();
        assert_eq!(json(&partitions, |(id, _)| (*id == 2).then_some("/d")), text);
    }

    #[test]
    fn wrong_files_are_refused() {
        assert_eq!(message(Moves::parse(r#"{"version":2}"#)), "Not supported version field value 2");
        let sizes = r#"{"partitions":[{"topic":"a","partition":0,"replicas":[1],"log_dirs":[]}]}"#;
        assert_eq!(
            message(Moves::parse(sizes)),
            "Size of replicas list [1] is different from size of log dirs list [] for partition a-0"
        );
        let again = r#"{"partitions":[{"topic":"a","partition":0,"replicas":[1,1]}]}"#;
        assert_eq!(
            message(Moves::parse(again).and_then(|moves| moves.check())),
            "Partition replica lists may not contain duplicate entries: a-0 contains multiple entries for 1"
        );
        assert_eq!(
            message(topics(r#"{"topics":[{"topic":"a"},{"topic":"a"}]}"#)),
            "List of topics to reassign contains duplicate entries: [a]"
        );
    }
}
