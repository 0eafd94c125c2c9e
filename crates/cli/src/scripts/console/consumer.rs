//! `kafka-console-consumer`: prints what comes in topics.

use std::collections::BTreeSet;
use std::io::{Write, stdout};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ottla_client::blocking::block_on;
use ottla_client::consumer::OffsetSpec;
use ottla_client::model::{Offset, TopicPartition};
use ottla_client::{Consumer, Error, RecordRef};

use super::super::options::{Exit, Options, Outcome};
use super::super::pattern::TopicPattern;
use super::super::{java, session};
use super::formatter::Formatter;
use super::{Properties, or, properties};

pub const OPTIONS: &str = "
    --topic <name>                     The topic to read
    --include <pattern>                The topics to read
    --partition <number>               Read only this partition, from its end without --offset
    --offset <offset>                  Where to begin in --partition: a number, earliest or latest
    --from-beginning                   Begin at the beginning where the group has committed nothing
    --max-messages <number>            End after so many records
    --timeout-ms <ms>                  End when no record comes for so long
    --group <id>                       The group; one of its own without it
    --isolation-level <level>          read_uncommitted (the default) or read_committed
    --formatter <class>                DefaultMessageFormatter or NoOpMessageFormatter
    --formatter-property <name=value>  print.key, print.offset, key.separator, …; may be repeated
    --property <name=value>            The older name of --formatter-property
    --formatter-config <file>          Properties of the formatter
    --key-deserializer <class>         What keys are: StringDeserializer, LongDeserializer, …
    --value-deserializer <class>       What values are
    --command-property <name=value>    A setting of the consumer; may be repeated
    --consumer-property <name=value>   The older name of --command-property
    --consumer.config <file>           The older name of --command-config
    --skip-message-on-error            Accepted: no record is an error to the formatters that are here
    --enable-systest-events            Without effect
";

const DEFAULT: &str = "org.apache.kafka.tools.consumer.DefaultMessageFormatter";

/// What an older name of an option is told with.
const TOLD: &str = "Option";

pub fn run(options: &Options) -> Outcome {
    check(options)?;
    let settings = settings(options)?;
    let mut formatting = properties(
        options,
        TOLD,
        ["formatter-config", "formatter-config"],
        ["formatter-property", "property"],
    )?;
    for (option, name) in
        [("key-deserializer", "key.deserializer"), ("value-deserializer", "value.deserializer")]
    {
        if let Some(class) = options.value(option)? {
            formatting.entry(name.to_owned()).or_insert_with(|| class.to_owned());
        }
    }
    let formatter = Formatter::new(or(options, "formatter", DEFAULT)?, &formatting).map_err(Exit::Failed)?;
    let limit = options.number::<i64>("max-messages")?.filter(|limit| *limit >= 0);
    let timeout = options.number::<i64>("timeout-ms")?;
    let timeout = timeout.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    let start = start(options)?;
    let bootstrap = options.value("bootstrap-server")?;
    let config = session::config(bootstrap, settings.into_iter().collect())?;
    let failed = |error: Error| Exit::Failed(java::message(&error));
    let mut consumer = Consumer::new(&config).map_err(failed)?;
    place(&mut consumer, options, start)?;
    let mut printed = 0;
    let ended = print(&mut consumer, &formatter, limit, timeout, &mut printed);
    let closed = block_on(consumer.close());
    if let Err(error) = ended.and(closed) {
        eprintln!("ERROR {}", java::exception(&error));
    }
    eprintln!("Processed a total of {printed} messages");
    Ok(())
}

fn check(options: &Options) -> Outcome {
    let usage = |message: &str| Err(Exit::Usage(message.to_owned()));
    if options.has("topic") == options.has("include") {
        return usage("Exactly one of the following arguments is required: [topic], [include]");
    }
    if options.has("partition") {
        if !options.has("topic") {
            return usage("The topic is required when partition is specified.");
        }
        if options.has("from-beginning") && options.has("offset") {
            return usage("Options from-beginning and offset cannot be specified together.");
        }
    } else if options.has("offset") {
        return usage("The partition is required when offset is specified.");
    }
    options.require(&["bootstrap-server"])
}

fn settings(options: &Options) -> Outcome<Properties> {
    let mut settings = properties(
        options,
        TOLD,
        ["command-config", "consumer.config"],
        ["command-property", "consumer-property"],
    )?;
    let group = options.value("group")?;
    let groups: BTreeSet<_> = group.into_iter().chain(settings.get("group.id").map(String::as_str)).collect();
    if groups.len() > 1 {
        let groups = java::hash_order(groups.into_iter().collect(), |group| group);
        let groups: Vec<_> = groups.iter().map(|group| format!("'{group}'")).collect();
        return Err(Exit::Usage(format!(
            "The group ids provided in different places (directly using '--group', via '--consumer-property', or via \
             '--consumer.config') do not match. Detected group ids: {}",
            groups.join(", ")
        )));
    }
    if options.has("partition") && !groups.is_empty() {
        return Err(Exit::Usage("Options group and partition cannot be specified together.".into()));
    }
    let group = groups.first().map(|group| (*group).to_owned());
    if group.is_none() {
        settings.entry("enable.auto.commit".into()).or_insert_with(|| "false".into());
    }
    let own = || {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
        format!("console-consumer-{}", (nanos ^ std::process::id()) % 100_000)
    };
    settings.insert("group.id".into(), group.unwrap_or_else(own));
    let beginning = options.has("from-beginning");
    match settings.get("auto.offset.reset") {
        Some(reset) if beginning && reset != "earliest" => {
            return Err(Exit::Failed(format!(
                "Can't simultaneously specify --from-beginning and 'auto.offset.reset={reset}', please remove one option"
            )));
        }
        Some(_) => {}
        None => {
            let reset = if beginning { "earliest" } else { "latest" };
            settings.insert("auto.offset.reset".into(), reset.into());
        }
    }
    if options.has("isolation-level") || !settings.contains_key("isolation.level") {
        settings.insert("isolation.level".into(), or(options, "isolation-level", "read_uncommitted")?.into());
    }
    settings.entry("client.id".into()).or_insert_with(|| "console-consumer".into());
    Ok(settings)
}

/// Where `--partition` begins.
#[derive(Clone, Copy)]
enum Start {
    At(Offset),
    Spec(OffsetSpec),
}

fn start(options: &Options) -> Outcome<Start> {
    let Some(text) = options.value("offset")? else {
        let beginning = options.has("from-beginning");
        return Ok(Start::Spec(if beginning { OffsetSpec::Earliest } else { OffsetSpec::Latest }));
    };
    match text.to_lowercase().as_str() {
        "earliest" => Ok(Start::Spec(OffsetSpec::Earliest)),
        "latest" => Ok(Start::Spec(OffsetSpec::Latest)),
        _ => match text.parse() {
            Ok(offset @ 0..) => Ok(Start::At(Offset(offset))),
            _ => Err(Exit::Usage(format!(
                "The provided offset value '{text}' is incorrect. Valid values are 'earliest', 'latest', or a \
                 non-negative long."
            ))),
        },
    }
}

/// Tells the consumer what to read.
fn place(consumer: &mut Consumer, options: &Options, start: Start) -> Outcome {
    let partition = options.number::<i32>("partition")?;
    let placed = match (options.value("topic")?, partition) {
        (Some(topic), Some(partition)) => {
            let partition = TopicPartition { topic: topic.into(), partition };
            consumer.assign([partition.clone()]).and_then(|()| match start {
                Start::At(offset) => consumer.seek(&partition, offset),
                Start::Spec(spec) => consumer.seek_to(&partition, spec),
            })
        }
        (Some(topic), None) => consumer.subscribe([topic]),
        (None, _) => {
            let text = or(options, "include", "")?;
            let pattern = TopicPattern::new(text).map_err(Exit::Failed)?;
            consumer.subscribe_matching(move |topic| pattern.matches(topic))
        }
    };
    placed.map_err(|error| Exit::Failed(java::message(&error)))
}

/// Prints until there is enough, nothing comes any more, or nobody reads it.
fn print(
    consumer: &mut Consumer,
    formatter: &Formatter,
    limit: Option<i64>,
    timeout: Option<Duration>,
    printed: &mut i64,
) -> Result<(), Error> {
    let mut last = Instant::now();
    while limit.is_none_or(|limit| *printed < limit) {
        let left =
            timeout.map_or(Duration::from_secs(3600), |timeout| timeout.saturating_sub(last.elapsed()));
        let records = block_on(consumer.poll(left))?;
        if records.is_empty() && timeout.is_some_and(|timeout| last.elapsed() >= timeout) {
            return Ok(());
        }
        let mut out = stdout().lock();
        let mut unprinted: Vec<RecordRef<'_>> = Vec::new();
        let mut broken = false;
        for record in &records {
            if broken || limit.is_some_and(|limit| *printed >= limit) {
                unprinted.push(record);
                continue;
            }
            *printed += 1;
            broken = formatter.write(&record, &mut out).is_err();
        }
        broken |= out.flush().is_err();
        // What was fetched and not printed is not to be committed.
        let mut seen = BTreeSet::new();
        for record in unprinted {
            if seen.insert(record.topic_partition().clone()) {
                consumer.seek(record.topic_partition(), record.offset())?;
            }
        }
        if broken {
            eprintln!("Unable to write to standard out, closing consumer.");
            return Ok(());
        }
        if !records.is_empty() {
            last = Instant::now();
        }
    }
    Ok(())
}
