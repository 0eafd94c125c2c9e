//! `kafka-topics`: topics are created, described, listed, grown, deleted.

mod describe;

use ottla_client::model::{ErrorCode, Uuid};
use ottla_client::protocol::api::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use ottla_client::protocol::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use ottla_client::{Error, Target, admin::NewTopic, blocking::block_on};

use super::java;
use super::options::{Exit, Options, Outcome};
use super::pattern::{self, TopicPattern};
use super::session::{Listing, Session};

pub const OPTIONS: &str = "
    --list                                        Print the names of topics
    --create                                      Create a topic
    --delete                                      Delete topics
    --alter                                       Give topics more partitions
    --describe                                    Print what topics are made of
    --topic <name>                                The topic; except for --create a pattern of names
    --topic-id <id>                               The topic to describe
    --config <name=value>                         A config of the topic to be created; may be repeated
    --delete-config <name>                        Without effect
    --partitions <number>                         How many partitions the topic is to have
    --replication-factor <number>                 How many replicas each partition is to have
    --replica-assignment <ids>                    Replicas of each partition: 1:2,2:3 for two partitions
    --under-replicated-partitions                 Describe partitions whose replicas are not all in sync
    --unavailable-partitions                      Describe partitions without a living leader
    --under-min-isr-partitions                    Describe partitions with fewer replicas in sync than min.insync.replicas
    --at-min-isr-partitions                       Describe partitions with just min.insync.replicas in sync
    --topics-with-overrides                       Describe topics that have configs of their own
    --if-exists                                   Do nothing where no topic matches
    --if-not-exists                               Do nothing where the topic exists
    --exclude-internal                            Pass over internal topics
    --partition-size-limit-per-response <number>  Partitions described in one answer
";

const ACTIONS: &[&str] = &["alter", "create", "describe", "list", "delete"];
const REPORTS: &[&str] = &[
    "under-replicated-partitions",
    "under-min-isr-partitions",
    "at-min-isr-partitions",
    "unavailable-partitions",
];

/// What went wrong while the script ran; printed on stdout.
#[derive(Debug)]
struct Failure(String);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(java::message(&error))
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self(message)
    }
}

pub fn run(options: &Options) -> Outcome {
    check(options)?;
    let session = Session::open(options)?;
    let outcome = match ACTIONS.iter().find(|action| options.has(action)) {
        Some(&"create") => create(&session, options),
        Some(&"alter") => alter(&session, options),
        Some(&"list") => list(&session, options),
        Some(&"delete") => delete(&session, options),
        _ => describe::describe(&session, options),
    };
    outcome.map_err(|Failure(message)| {
        println!("Error while executing topic command : {message}");
        Exit::Status(1)
    })
}

fn check(options: &Options) -> Outcome {
    if ACTIONS.iter().filter(|action| options.has(action)).count() != 1 {
        let actions = "--list, --describe, --create, --alter or --delete";
        return Err(Exit::Usage(format!("Command must include exactly one action: {actions}")));
    }
    if options.has("delete-config") {
        eprintln!("--delete-config has no effect; configs of a topic are deleted with kafka-configs");
    }
    if !options.has("bootstrap-server") {
        return Err(Exit::Failed("--bootstrap-server must be specified".into()));
    }
    if options.has("describe") && options.has("if-exists") {
        if !options.has("topic") && !options.has("topic-id") {
            return Err(Exit::Usage("--topic or --topic-id is required to describe a topic".into()));
        }
        if options.has("topic") && options.has("topic-id") {
            println!(
                "Only topic id will be used when both --topic and --topic-id are specified and topicId is not \
                 Uuid.ZERO_UUID"
            );
        }
    }
    if !options.has("list") && !options.has("describe") {
        options.require(&["topic"])?;
    }
    if options.has("alter") {
        if options.has("config") {
            return Err(Exit::Usage(
                "Option combination \"[[config], [bootstrap-server]]\" can't be used with option \"[alter]\" (To alter \
                 topic configurations, the kafka-configs tool can be used.)"
                    .into(),
            ));
        }
        options.require(&["partitions"])?;
    }
    let only_with = |name, actions: &[&str], others: &[&str]| {
        let wrong: Vec<_> =
            ACTIONS.iter().filter(|action| !actions.contains(action)).chain(others).copied().collect();
        options.exclude(name, &wrong)
    };
    only_with("config", &["alter", "create"], &[])?;
    only_with("partitions", &["alter", "create"], &[])?;
    only_with("replication-factor", &["create"], &[])?;
    only_with("replica-assignment", &["alter", "create"], &[])?;
    if options.has("create") {
        options.exclude("replica-assignment", &["partitions", "replication-factor"])?;
    }
    for report in REPORTS {
        only_with(report, &["describe"], &["topics-with-overrides"])?;
    }
    only_with("topics-with-overrides", &["describe"], REPORTS)?;
    only_with("if-exists", &["alter", "delete", "describe"], &[])?;
    only_with("if-not-exists", &["create"], &[])?;
    only_with("exclude-internal", &["list", "describe"], &[])
}

fn create(session: &Session, options: &Options) -> Result<(), Failure> {
    let name = options.value("topic")?.unwrap_or_default().to_owned();
    let partitions = options.number::<i32>("partitions")?;
    let replication_factor = options.number::<i32>("replication-factor")?;
    let assignments = assignments(options)?;
    let configs = options.values("config").map(|pair| {
        let parts: Vec<_> = pair.split('=').map(str::trim).collect();
        match parts[..] {
            [name, value] if !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(Failure(
                "requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\"."
                    .into(),
            )),
        }
    });
    let configs = configs.collect::<Result<Vec<_>, _>>()?;
    if name.contains(['.', '_']) {
        println!(
            "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could \
             collide. To avoid issues it is best to use either, but not both."
        );
    }
    if replication_factor.is_some_and(|factor| !(1..=i16::MAX.into()).contains(&factor)) {
        return Err(Failure(format!("The replication factor must be between 1 and {} inclusive", i16::MAX)));
    }
    if partitions.is_some_and(|count| count < 1) {
        return Err(Failure("The partitions must be greater than 0".into()));
    }
    let replication_factor = replication_factor.and_then(|factor| factor.try_into().ok());
    let topic = NewTopic { name, partitions, replication_factor, assignments, configs };
    match block_on(session.admin.create_topic(&topic)) {
        Ok(()) => println!("Created topic {}.", topic.name),
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) && options.has("if-not-exists") => {
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The replicas of `--replica-assignment`, partition by partition.
fn assignments(options: &Options) -> Result<Vec<Vec<i32>>, Failure> {
    let mut partitions = Vec::<Vec<i32>>::new();
    let text = options.value("replica-assignment")?.unwrap_or_default();
    for (index, partition) in text.split(',').filter(|_| !text.is_empty()).enumerate() {
        let id =
            |id: &str| id.trim().parse().map_err(|_| Failure(format!("For input string: \"{}\"", id.trim())));
        let replicas = partition.split(':').map(id).collect::<Result<Vec<i32>, _>>()?;
        let twice = (1..replicas.len()).find(|at| replicas[..*at].contains(&replicas[*at]));
        if let Some(twice) = twice {
            let twice = replicas[twice];
            return Err(Failure(format!(
                "Partition replica lists may not contain duplicate entries: {twice}"
            )));
        }
        if partitions.first().is_some_and(|first| first.len() != replicas.len()) {
            let message = format!("Partition {index} has different replication factor: {replicas:?}");
            return Err(Failure(message));
        }
        partitions.push(replicas);
    }
    Ok(partitions)
}

fn list(session: &Session, options: &Options) -> Result<(), Failure> {
    let names: Vec<_> = matching(session, options)?.into_iter().map(|(name, _)| name).collect();
    println!("{}", names.join("\n"));
    Ok(())
}

fn alter(session: &Session, options: &Options) -> Result<(), Failure> {
    let count = options.number::<i32>("partitions")?.unwrap_or_default();
    let assignments = assignments(options)?;
    let topics = existing(session, options)?;
    if topics.is_empty() {
        return Ok(());
    }
    let altered = topics.into_iter().map(|(name, topic)| CreatePartitionsTopic {
        name: name.as_str().into(),
        count,
        assignments: (!assignments.is_empty()).then(|| {
            let new = assignments.iter().skip(topic.partitions.len());
            new.map(|ids| CreatePartitionsAssignment { broker_ids: ids.clone() }).collect()
        }),
    });
    let request =
        CreatePartitionsRequest { topics: altered.collect(), timeout_ms: 60_000, validate_only: false };
    let answer = session.ask(Target::Controller, request)?;
    for result in answer.results {
        Error::check(result.error_code, result.error_message.as_deref())?;
    }
    Ok(())
}

fn delete(session: &Session, options: &Options) -> Result<(), Failure> {
    let topics = existing(session, options)?;
    if topics.is_empty() {
        return Ok(());
    }
    let state = |(name, _): (String, Listing)| DeleteTopicState {
        name: Some(name.as_str().into()),
        ..Default::default()
    };
    let topics = topics.into_iter().map(state).collect();
    let request = DeleteTopicsRequest { topics, timeout_ms: 60_000, ..Default::default() };
    let answer = session.ask(Target::Controller, request)?;
    for result in answer.responses {
        Error::check(result.error_code, result.error_message.as_deref())?;
    }
    Ok(())
}

/// The topics that `--topic` means, or all; an error if it means none that exists, without `--if-exists`.
fn existing(session: &Session, options: &Options) -> Result<Vec<(String, Listing)>, Failure> {
    let topics = matching(session, options)?;
    match options.value("topic")? {
        Some(name) if topics.is_empty() && !name.is_empty() && !options.has("if-exists") => {
            Err(Failure(format!("Topic '{name}' does not exist as expected")))
        }
        _ => Ok(topics),
    }
}

fn matching(session: &Session, options: &Options) -> Result<Vec<(String, Listing)>, Failure> {
    let pattern = options.value("topic")?.map(TopicPattern::new).transpose()?;
    let exclude_internal = options.has("exclude-internal");
    let matches = |(name, topic): &(String, Listing)| {
        let internal = topic.internal || pattern::is_internal(name);
        pattern.as_ref().is_none_or(|pattern| pattern.matches(name)) && !(exclude_internal && internal)
    };
    Ok(session.topics()?.into_iter().filter(matches).collect())
}

/// The topic of `--topic-id`, if it is given and is no zero.
fn topic_id(options: &Options) -> Result<Option<Uuid>, Failure> {
    let Some(text) = options.value("topic-id")? else { return Ok(None) };
    let id: Uuid = text.parse().map_err(|error| Failure(format!("--topic-id {text}: {error}")))?;
    Ok((!id.is_zero()).then_some(id))
}
