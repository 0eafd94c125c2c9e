//! What the console producer and the console consumer share: settings of clients and `name=value` options.

mod formatter;
mod reader;

pub mod consumer;
pub mod producer;

use std::collections::BTreeMap;

use super::options::{Exit, Options, Outcome};
use super::session;

type Properties = BTreeMap<String, String>;

/// The value of an option, or `default`.
fn or<'a>(options: &'a Options, name: &str, default: &'a str) -> Outcome<&'a str> {
    Ok(options.value(name)?.unwrap_or(default))
}

/// Properties of a file and of `name=value` options, which win. Both options have an older name, told to be deprecated
/// after the word `told`.
fn properties(options: &Options, told: &str, file: [&str; 2], pairs: [&str; 2]) -> Outcome<Properties> {
    let (file, pairs) = (newest(options, told, file)?, newest(options, told, pairs)?);
    let mut properties = Properties::new();
    if let Some(path) = options.value(file)? {
        properties.extend(session::properties_of(path)?);
    }
    for pair in options.values(pairs) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        properties.insert(name.to_owned(), value.to_owned());
    }
    Ok(properties)
}

/// Which of the two names of an option is used.
fn newest<'a>(options: &Options, told: &str, [new, old]: [&'a str; 2]) -> Outcome<&'a str> {
    if new == old || !options.has(old) {
        return Ok(new);
    }
    if options.has(new) {
        let older_first = old.starts_with("consumer") || new == "formatter-property";
        let (one, other) = if older_first { (old, new) } else { (new, old) };
        return Err(Exit::Usage(format!("Options --{one} and --{other} cannot be specified together.")));
    }
    println!("{told} --{old} is deprecated and will be removed in a future version. Use --{new} instead.");
    Ok(old)
}

fn is_true(properties: &Properties, name: &str, default: bool) -> bool {
    properties.get(name).map_or(default, |value| value.trim().eq_ignore_ascii_case("true"))
}

fn bytes(properties: &Properties, name: &str, default: &str) -> Vec<u8> {
    properties.get(name).map_or(default, String::as_str).as_bytes().to_vec()
}
