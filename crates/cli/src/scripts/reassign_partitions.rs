//! `kafka-reassign-partitions`: partitions are moved to other brokers and directories, as files of JSON say.

mod directories;
mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use ottla_client::admin::{OngoingReassignment, Partition, PartitionResults, ReplicationFactorChange};
use ottla_client::blocking::block_on;
use ottla_client::metadata::Metadata;
use ottla_client::model::{ErrorCode, NodeId};
use ottla_client::{Admin, Error};

use self::directories::Directories;
use self::file::Moves;
use super::java;
use super::options::{Exit, Options, Outcome};
use super::session::Session;
use crate::reassign::plan::{Plan, Rebalance};
use crate::reassign::throttle::{self, Move};

pub const OPTIONS: &str = "
    --bootstrap-controller <host:port>         Controllers to ask instead of brokers, with --cancel and --list
    --verify                                   Say how far the moves of a file have come; lift limits when they are done
    --generate                                 Print a file that spreads topics over brokers
    --execute                                  Begin the moves of a file
    --cancel                                   Take back the moves of a file
    --list                                     Print the moves under way
    --reassignment-json-file <file>            Which replicas partitions are to have, in which directories
    --topics-to-move-json-file <file>          The topics for --generate
    --broker-list <ids>                        The brokers for --generate: 1,2,3
    --disable-rack-aware                       Pass over racks
    --throttle <bytes>                         Bytes a second between brokers
    --replica-alter-log-dirs-throttle <bytes>  Bytes a second between directories
    --timeout <ms>                             How long moves between directories may take to begin; 10000 without it
    --additional                               Beside other moves under way; changes their limit too
    --preserve-throttles                       Lift no limits
    --disallow-replication-factor-change       Refuse moves to more or fewer replicas
";

/// What each action needs, and what it takes beside it.
const ACTIONS: &[(&str, &[&str], &[&str])] = &[
    ("generate", &["topics-to-move-json-file", "broker-list"], &["disable-rack-aware"]),
    (
        "execute",
        &["reassignment-json-file"],
        &[
            "additional",
            "throttle",
            "replica-alter-log-dirs-throttle",
            "timeout",
            "disallow-replication-factor-change",
        ],
    ),
    ("verify", &["reassignment-json-file"], &["preserve-throttles"]),
    ("cancel", &["reassignment-json-file"], &["bootstrap-controller", "preserve-throttles", "timeout"]),
    ("list", &[], &["bootstrap-controller"]),
];

const BUSY: &str = "Cannot execute because there is an existing partition assignment.  Use --additional to override \
                    this and create a new partition assignment in addition to the existing one. The --additional flag \
                    can also be used to change the throttle by resubmitting the current reassignment.";

/// What went wrong while the script ran; printed on stdout.
pub enum Failure {
    Said(String),
    /// Said, and told again as Java tells an exception: its name, what it says, and what caused it.
    Thrown(&'static str, String, Option<String>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let cause = java::exception(&error);
        Self::Thrown("java.util.concurrent.ExecutionException", cause.clone(), Some(cause))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => error.into(),
            Err(error) => Self::Said(format!("Error: {error:#}")),
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Said(message)
    }
}

pub type Done<T = ()> = Result<T, Failure>;

/// What Apache's tool throws when it refuses something.
const REFUSED: &str = "org.apache.kafka.tools.AdminCommandFailedException";

/// A refusal of the tool itself.
fn refused<T>(message: impl Into<String>) -> Done<T> {
    Err(Failure::Thrown(REFUSED, message.into(), None))
}

pub fn run(options: &Options) -> Outcome {
    check(options)?;
    let session = Session::open(options)?;
    let admin = &session.admin;
    let outcome = if options.has("verify") {
        verify(admin, options)
    } else if options.has("generate") {
        generate(admin, options)
    } else if options.has("execute") {
        execute(admin, options)
    } else if options.has("cancel") {
        cancel(admin, options)
    } else {
        list(admin)
    };
    outcome.map_err(|failure| {
        match failure {
            Failure::Said(message) => println!("{message}"),
            Failure::Thrown(class, message, cause) => {
                let cause = cause.map(|cause| format!("Caused by: {cause}\n")).unwrap_or_default();
                println!("Error: {message}\n{class}: {message}\n{cause}");
            }
        }
        Exit::Status(1)
    })
}

fn check(options: &Options) -> Outcome {
    let given: Vec<_> = ACTIONS.iter().filter(|(action, ..)| options.has(action)).collect();
    let [(action, required, permitted)] = given[..] else {
        let actions: Vec<_> = ACTIONS.iter().map(|(action, ..)| format!("--{action}")).collect();
        let actions = actions.join(", ");
        return Err(Exit::Usage(format!("Command must include exactly one action: {actions}")));
    };
    match (options.has("bootstrap-server"), options.has("bootstrap-controller")) {
        (true, true) => {
            return Err(Exit::Usage(
                "Please don't specify both --bootstrap-server and --bootstrap-controller".into(),
            ));
        }
        (false, false) => {
            return Err(Exit::Usage(
                "Please specify either --bootstrap-server or --bootstrap-controller".into(),
            ));
        }
        _ => {}
    }
    options.require(required)?;
    let known = [action, "bootstrap-server", "command-config"];
    let mut others = options.all().map(|(name, _)| name);
    match others.find(|name| !known.contains(name) && !required.contains(name) && !permitted.contains(name)) {
        Some(name) => {
            Err(Exit::Usage(format!("Option \"[{name}]\" can't be used with action \"[{action}]\"")))
        }
        None => Ok(()),
    }
}

/// The text of the file that an option names.
fn text(options: &Options, name: &str) -> Done<String> {
    let path = options.value(name)?.unwrap_or_default();
    fs::read_to_string(path).map_err(|_| {
        let cause = format!("java.nio.file.NoSuchFileException: {path}");
        Failure::Thrown("java.io.IOException", format!("Unable to read file {path}"), Some(cause))
    })
}

/// A number that is not below zero; none without the option.
fn number(options: &Options, name: &str) -> Done<Option<u64>> {
    let number = options.number::<i64>(name).map_err(|message| {
        let value = options.values(name).next().unwrap_or_default();
        let cause = format!("java.lang.NumberFormatException: For input string: \"{value}\"");
        let causes = format!("joptsimple.internal.ReflectionException: {cause}\nCaused by: {cause}");
        Failure::Thrown("joptsimple.OptionArgumentConversionException", message, Some(causes))
    })?;
    Ok(number.and_then(|number| number.try_into().ok()))
}

/// How long moves between directories may take to begin.
fn timeout_ms(options: &Options) -> Done<u64> {
    Ok(number(options, "timeout")?.unwrap_or(10_000))
}

fn shown((topic, partition): &Partition) -> String {
    format!("{topic}-{partition}")
}

fn joined(ids: &[i32]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The letter that makes a word mean several.
fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn ids(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

fn list(admin: &Admin) -> Done {
    let moving = block_on(admin.list_partition_reassignments(None))?;
    match moving.is_empty() {
        true => println!("No partition reassignments found."),
        false => println!("Current partition reassignments:"),
    }
    for (place, OngoingReassignment { replicas, adding, removing }) in &moving {
        let part = |name: &str, nodes: &[NodeId]| match nodes.is_empty() {
            true => String::new(),
            false => format!(" {name}: {}.", joined(&ids(nodes))),
        };
        let (replicas, adding, removing) =
            (joined(&ids(replicas)), part("adding", adding), part("removing", removing));
        println!("{}: replicas: {replicas}.{adding}{removing}", shown(place));
    }
    Ok(())
}

fn verify(admin: &Admin, options: &Options) -> Done {
    let moves = Moves::parse(&text(options, "reassignment-json-file")?)?;
    let moving = block_on(admin.list_partition_reassignments(None))?;
    let metadata = block_on(admin.metadata())?;
    println!("Status of partition reassignment:");
    for (place, target) in &moves.partitions {
        let name = shown(place);
        let now = metadata.partition(&place.0, place.1).map_or(Vec::new(), |known| ids(&known.replicas));
        if moving.contains_key(place) {
            println!("Reassignment of partition {name} is still in progress.");
        } else if now == *target {
            println!("Reassignment of partition {name} is completed.");
        } else {
            let (now, target) = (joined(&now), joined(target));
            println!(
                "There is no active reassignment of partition {name}, but replica set is {now} rather than {target}."
            );
        }
    }
    let directories = Directories::of(admin, &metadata, moves.directories.keys())?;
    let states: Vec<_> =
        moves.directories.iter().map(|(replica, target)| directories.state(replica, target)).collect();
    println!("{}", states.join("\n"));
    let done = moves.directories.keys().all(|replica| directories.future(replica).is_none());
    match moving.is_empty() && done && !options.has("preserve-throttles") {
        true => lift(admin, &metadata, &moves),
        false => Ok(()),
    }
}

/// Lifts the limits of all brokers and of the topics of a file.
fn lift(admin: &Admin, metadata: &Metadata, moves: &Moves) -> Done {
    let mut brokers: BTreeSet<i32> = metadata.brokers.keys().map(|id| id.0).collect();
    brokers.extend(moves.partitions.iter().flat_map(|(_, replicas)| replicas));
    let names: Vec<_> = brokers.iter().copied().collect();
    println!("Clearing broker-level throttles on broker{} {}", plural(names.len()), joined(&names));
    block_on(throttle::lift_brokers(admin, &brokers))?;
    let topics: BTreeSet<_> = moves.partitions.iter().map(|((topic, _), _)| topic.clone()).collect();
    let names = java::hash_order(topics.iter().collect(), |topic| topic);
    let names: Vec<_> = names.into_iter().map(String::as_str).collect();
    println!("Clearing topic-level throttles on topic{} {}", plural(names.len()), names.join(","));
    Ok(block_on(throttle::lift_topics(admin, &topics))?)
}

/// Where these partitions are, all of them there.
fn current(
    metadata: &Metadata,
    partitions: impl Iterator<Item = Partition>,
) -> Done<BTreeMap<Partition, Vec<i32>>> {
    let unknown = |message| Error::broker(ErrorCode::UnknownTopicOrPartition, Some(message));
    let (mut found, mut missing) = (BTreeMap::new(), Vec::new());
    for place in partitions {
        if metadata.topic(&place.0).is_none() {
            return Err(unknown(format!("Topic {} not found.", place.0)).into());
        }
        match metadata.partition(&place.0, place.1) {
            Some(known) => drop(found.insert(place, ids(&known.replicas))),
            None => missing.push(shown(&place)),
        }
    }
    match missing.is_empty() {
        true => Ok(found),
        false => Err(unknown(format!("Unable to find partition: {}", missing.join(", "))).into()),
    }
}

fn execute(admin: &Admin, options: &Options) -> Done {
    let text = text(options, "reassignment-json-file")?;
    let (throttle, between) =
        (number(options, "throttle")?, number(options, "replica-alter-log-dirs-throttle")?);
    let timeout_ms = timeout_ms(options)?;
    let moves = Moves::parse(&text)?;
    moves.check()?;
    let moving = block_on(admin.list_partition_reassignments(None))?;
    if !options.has("additional") && !moving.is_empty() {
        return Err(BUSY.to_owned().into());
    }
    let metadata = block_on(admin.metadata())?;
    let wanted: BTreeSet<i32> = moves.partitions.iter().flat_map(|(_, replicas)| replicas).copied().collect();
    if let Some(unknown) = wanted.into_iter().find(|id| metadata.broker(NodeId(*id)).is_none()) {
        return refused(format!("Unknown broker id {unknown}"));
    }
    let now = current(&metadata, moves.partitions.iter().map(|(place, _)| place.clone()))?;
    let directories = Directories::of_partitions(admin, &metadata, &now)?;
    let rollback = file::json(&now, |replica| directories.current(replica));
    println!("Current partition replica assignment\n\n{rollback}\n");
    println!("Save this to use as the --reassignment-json-file option during rollback");
    if throttle.is_some() || between.is_some() {
        println!(
            "Warning: You must run --verify periodically, until the reassignment completes, to ensure the throttle is \
             removed."
        );
    }
    if let Some(rate) = throttle {
        block_on(throttle::set(admin, &limited(&moving, &moves, &now), rate))?;
        println!("The inter-broker throttle limit was set to {rate} B/s");
    }
    if let Some(rate) = between {
        let brokers = moves.directories.keys().map(|(broker, _)| *broker).collect();
        block_on(throttle::set_between_directories(admin, &brokers, rate))?;
        println!("The replica-alter-dir throttle limit was set to {rate} B/s");
    }
    let change = match options.has("disallow-replication-factor-change") {
        true => ReplicationFactorChange::Refused,
        false => ReplicationFactorChange::Allowed,
    };
    let nodes = |replicas: &Vec<i32>| Some(replicas.iter().map(|id| NodeId(*id)).collect());
    let changes = moves.partitions.iter().map(|(place, replicas)| (place.clone(), nodes(replicas))).collect();
    let results = block_on(admin.alter_partition_reassignments(&changes, change))?;
    fail(&results, |_| "Error reassigning partition(s):".into())?;
    let names: Vec<_> = changes.keys().map(shown).collect();
    println!("Successfully started partition reassignment{} for {}", plural(names.len()), names.join(","));
    directories::begin(admin, moves.directories, timeout_ms)
}

/// An error if a partition was refused, with what is said of how many.
fn fail(results: &PartitionResults, said: impl FnOnce(usize) -> String) -> Done {
    let failed = results.iter().filter_map(|(place, result)| {
        result.as_ref().err().map(|error| format!("{}: {}", shown(place), java::message(error)))
    });
    let failed: Vec<_> = failed.collect();
    match failed.len() {
        0 => Ok(()),
        count => Err(format!("{}\n{}", said(count), failed.join("\n")).into()),
    }
}

/// What is limited: the moves under way, and those of the file.
fn limited(
    moving: &BTreeMap<Partition, OngoingReassignment>,
    moves: &Moves,
    now: &BTreeMap<Partition, Vec<i32>>,
) -> throttle::Moves {
    let mut limited = throttle::under_way(moving);
    for (place, to) in &moves.partitions {
        let under_way = limited.remove(place).map(|moved| moved.from);
        let from = under_way.or_else(|| now.get(place).cloned()).unwrap_or_default();
        let to = to.iter().filter(|id| !from.contains(id)).copied().collect();
        limited.insert(place.clone(), Move { from, to });
    }
    limited
}

fn cancel(admin: &Admin, options: &Options) -> Done {
    let text = text(options, "reassignment-json-file")?;
    let timeout_ms = timeout_ms(options)?;
    let moves = Moves::parse(&text)?;
    let named: Vec<_> = moves.partitions.iter().map(|(place, _)| place.clone()).collect();
    let moving = block_on(admin.list_partition_reassignments(Some(&named)))?;
    if moving.is_empty() {
        println!("None of the specified partition reassignments are active.");
    } else {
        let changes = moving.into_keys().map(|place| (place, None)).collect();
        let results =
            block_on(admin.alter_partition_reassignments(&changes, ReplicationFactorChange::Allowed))?;
        fail(&results, |count| format!("Error cancelling partition reassignment{} for:", plural(count)))?;
        let names: Vec<_> = changes.keys().map(shown).collect();
        println!(
            "Successfully cancelled partition reassignment{} for: {}",
            plural(names.len()),
            names.join(",")
        );
    }
    let metadata = block_on(admin.metadata())?;
    let directories = Directories::of(admin, &metadata, moves.directories.keys())?;
    let back = moves.directories.keys().filter(|replica| directories.future(replica).is_some());
    let back: BTreeMap<_, _> = back
        .filter_map(|replica| Some((replica.clone(), directories.current(replica)?.to_owned())))
        .collect();
    match back.is_empty() {
        true => print!("None of the specified partition moves are active."),
        false => directories::begin(admin, back, timeout_ms)?,
    }
    match options.has("preserve-throttles") {
        true => Ok(()),
        false => lift(admin, &metadata, &moves),
    }
}

fn generate(admin: &Admin, options: &Options) -> Done {
    let list = options.value("broker-list")?.unwrap_or_default();
    let parsed = list.split(',').map(|id| {
        let message = format!("For input string: \"{id}\"");
        id.parse().map_err(|_| Failure::Thrown("java.lang.NumberFormatException", message, None))
    });
    let brokers = parsed.collect::<Done<Vec<i32>>>()?;
    let twice = file::twice(&brokers);
    if !twice.is_empty() {
        return refused(format!("Broker list contains duplicate entries: {twice:?}"));
    }
    let topics = file::topics(&text(options, "topics-to-move-json-file")?)?;
    let metadata = block_on(admin.metadata())?;
    let places = topics.iter().flat_map(|topic| {
        let count = metadata.topic(topic).map_or(1, |known| known.partitions.len());
        (0..count as i32).map(|partition| (topic.clone(), partition))
    });
    let now = current(&metadata, places)?;
    let directories = Directories::of_partitions(admin, &metadata, &now)?;
    let racks: BTreeMap<_, _> = metadata
        .brokers
        .values()
        .filter(|broker| brokers.contains(&broker.id.0))
        .map(|broker| (broker.id.0, broker.rack.as_deref().map(str::to_owned)))
        .map(|(id, rack)| (id, rack.filter(|_| !options.has("disable-rack-aware"))))
        .collect();
    if racks.values().any(Option::is_some) && racks.values().any(Option::is_none) {
        let message = "Not all brokers have rack information. Add --disable-rack-aware in command line to make replica \
                       assignment without rack information.";
        return Err(file::wrong(message));
    }
    if let Some(factor) = now.values().map(Vec::len).max().filter(|factor| *factor > racks.len()) {
        let message = match racks.len() {
            0 => "All brokers are currently fenced, or have all their log directories cordoned.".to_owned(),
            brokers => format!(
                "The target replication factor of {factor} cannot be reached because only {brokers} broker(s) are \
                 registered."
            ),
        };
        let class = "org.apache.kafka.common.errors.InvalidReplicationFactorException";
        return Err(Failure::Thrown(class, message, None));
    }
    let rebalance = Rebalance { brokers: racks.keys().copied().collect(), racks, replication: None };
    let proposed = rebalance.plan(&Plan::of(&metadata, now.keys().cloned())?)?;
    let proposed = proposed.moves().map(|(place, replicas)| (place.clone(), replicas.clone())).collect();
    let current = file::json(&now, |replica| directories.current(replica));
    println!("Current partition replica assignment\n{current}\n");
    println!("Proposed partition reassignment configuration\n{}", file::json(&proposed, |_| None));
    Ok(())
}
