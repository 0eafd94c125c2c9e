//! `kafka-console-producer`: lines of standard input become records of a topic.

use std::collections::VecDeque;
use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::time::Duration;

use ottla_client::blocking::block_on;
use ottla_client::{Error, Header, Producer, Receipt, Record};

use super::super::options::{Exit, Options, Outcome};
use super::super::{java, session};
use super::reader::{Line, LineReader};
use super::{or, properties};

pub const OPTIONS: &str = "
    --topic <name>                        The topic; required
    --sync                                Wait for each record before the next is read
    --compression-codec [codec]           none, gzip, snappy, lz4 or zstd; gzip without a name
    --batch-size <bytes>                  batch.size
    --message-send-max-retries <number>   retries
    --retry-backoff-ms <ms>               retry.backoff.ms
    --timeout <ms>                        linger.ms
    --request-required-acks <acks>        acks
    --request-timeout-ms <ms>             request.timeout.ms
    --metadata-expiry-ms <ms>             metadata.max.age.ms
    --max-block-ms <ms>                   max.block.ms
    --max-memory-bytes <bytes>            buffer.memory
    --max-partition-memory-bytes <bytes>  batch.size; wins over --batch-size
    --socket-buffer-size <bytes>          send.buffer.bytes
    --line-reader <class>                 Only Apache's default, which reads lines
    --reader-property <name=value>        parse.key, key.separator, parse.headers, headers.delimiter, …
    --property <name=value>               The older name of --reader-property
    --reader-config <file>                Properties of the reader
    --command-property <name=value>       A setting of the producer; may be repeated
    --producer-property <name=value>      The older name of --command-property
    --producer.config <file>              The older name of --command-config
";

/// Options that are settings: option, setting, default.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("timeout", "linger.ms", "1000"),
    ("request-required-acks", "acks", "-1"),
    ("request-timeout-ms", "request.timeout.ms", "1500"),
    ("message-send-max-retries", "retries", "3"),
    ("retry-backoff-ms", "retry.backoff.ms", "100"),
    ("socket-buffer-size", "send.buffer.bytes", "102400"),
    ("max-memory-bytes", "buffer.memory", "33554432"),
    ("batch-size", "batch.size", "16384"),
    ("max-partition-memory-bytes", "batch.size", "16384"),
    ("metadata-expiry-ms", "metadata.max.age.ms", "300000"),
    ("max-block-ms", "max.block.ms", "60000"),
];

const LINE_READER: &str = "org.apache.kafka.tools.LineMessageReader";
/// What an older name of an option is told with.
const TOLD: &str = "Warning:";
/// Records under way whose outcome is still to be looked at.
const UNSEEN_MAX: usize = 10_000;

pub fn run(options: &Options) -> Outcome {
    options.require(&["topic"])?;
    if !options.has("bootstrap-server") {
        return Err(Exit::Usage("Error while validating the bootstrap address".into()));
    }
    let bootstrap = options.value("bootstrap-server")?;
    let mut settings = properties(
        options,
        TOLD,
        ["command-config", "producer.config"],
        ["command-property", "producer-property"],
    )?;
    let reading =
        properties(options, TOLD, ["reader-config", "reader-config"], ["reader-property", "property"])?;
    if options.has("compression-codec") {
        let codec = options.value("compression-codec")?.filter(|codec| !codec.is_empty());
        settings.insert("compression.type".into(), codec.unwrap_or("gzip").into());
    }
    for (option, setting, default) in SETTINGS {
        if options.has(option) || !settings.contains_key(*setting) {
            settings.insert((*setting).into(), or(options, option, default)?.into());
        }
    }
    settings.entry("client.id".into()).or_insert_with(|| "console-producer".into());
    let class = or(options, "line-reader", LINE_READER)?;
    if class != LINE_READER {
        return Err(Exit::Failed(format!(
            "--line-reader {class}: only {LINE_READER} is here, not classes of Java"
        )));
    }
    let failed = |error: Error| Exit::Failed(java::message(&error));
    let reader = LineReader::new(&reading).map_err(Exit::Failed)?;
    let config = session::config(bootstrap, settings.into_iter().collect())?;
    let topic = options.value("topic")?.unwrap_or_default();
    let producer = Producer::new(&config).map_err(failed)?;
    let sent = send_all(&producer, &reader, topic, options.has("sync"));
    let closed = block_on(producer.close(Duration::from_secs(3600)));
    if let (Ok(()), Err(error)) = (&sent, &closed) {
        tracing::debug!(%error, "closing the producer");
    }
    sent
}

fn send_all(producer: &Producer, reader: &LineReader, topic: &str, sync: bool) -> Outcome {
    let mut unseen = VecDeque::new();
    let outcome = read_lines(|text, number| {
        let line = reader.read(text, number).map_err(Exit::Failed)?;
        let receipt = send(producer, topic, &line);
        if sync {
            receipt.and_then(Receipt::wait).map_err(|error| Exit::Failed(java::exception(&error)))?;
            return Ok(());
        }
        let sizes = (line.key.map(str::len), line.value.map(str::len));
        match receipt {
            Ok(receipt) => unseen.push_back((receipt, sizes)),
            Err(error) => report(topic, sizes, &error),
        }
        if unseen.len() > UNSEEN_MAX
            && let Some((receipt, sizes)) = unseen.pop_front()
            && let Err(error) = receipt.wait()
        {
            report(topic, sizes, &error);
        }
        Ok(())
    });
    // What was read goes out, whatever came after it.
    let _ = block_on(producer.flush());
    for (receipt, sizes) in unseen {
        if let Err(error) = receipt.wait() {
            report(topic, sizes, &error);
        }
    }
    outcome
}

fn send(producer: &Producer, topic: &str, line: &Line<'_>) -> Result<Receipt, Error> {
    let headers: Vec<_> =
        line.headers.iter().map(|(key, value)| Header { key, value: value.map(str::as_bytes) }).collect();
    let mut record = Record::to(topic).headers(&headers);
    record.key = line.key.map(str::as_bytes);
    record.value = line.value.map(str::as_bytes);
    block_on(producer.send(record))
}

/// A record that did not arrive is told of and does not end the script.
fn report(topic: &str, (key, value): (Option<usize>, Option<usize>), error: &Error) {
    let size = |size: Option<usize>| size.map_or("null".to_owned(), |size| format!("{size} bytes"));
    eprintln!(
        "ERROR Error when sending message to topic {topic} with key: {}, value: {} with error: {}",
        size(key),
        size(value),
        java::exception(error)
    );
}

/// Gives lines with their numbers, without what ends them, until one is refused. A terminal is shown a prompt.
fn read_lines(mut take: impl FnMut(&str, u64) -> Outcome) -> Outcome {
    let prompts = stdin().is_terminal() && stdout().is_terminal();
    let (mut input, mut bytes) = (stdin().lock(), Vec::new());
    for number in 1.. {
        if prompts {
            print!(">");
            let _ = stdout().flush();
        }
        bytes.clear();
        let read = input.read_until(b'\n', &mut bytes);
        match read.map_err(|error| Exit::Failed(format!("cannot read standard input: {error}")))? {
            0 => break,
            _ => {
                let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                take(&String::from_utf8_lossy(line), number)?;
            }
        }
    }
    Ok(())
}
