//! `kafka-configs`: configs of topics, brokers, groups and the like, quotas of clients; described and altered.

mod quotas;
mod resources;

use std::collections::BTreeSet;
use std::path::Path;

use ottla_client::Error;

use super::java;
use super::options::{Exit, Options, Outcome};
use super::session::{Session, properties_of};

pub const OPTIONS: &str = "
    --bootstrap-controller <host:port>  Controllers to ask instead of brokers
    --alter                             Change configs
    --describe                          Print configs
    --all                               Print those with defaults too
    --entity-type <type>                topics, clients, users, brokers, broker-loggers, ips, client-metrics or groups
    --entity-name <name>                The topic, the client's id, the user, the broker's id, the address, the group
    --entity-default                    What holds for all clients, users, brokers or addresses
    --add-config <configs>              What to set: a=1,b=[2,3]
    --add-config-file <file>            Properties to set
    --delete-config <names>             What to give up: a,b
    --topic <name>                      The same as --entity-type topics --entity-name
    --client <id>                       The same of a client
    --client-defaults                   The same of all clients
    --user <name>                       The same of a user
    --user-defaults                     The same of all users
    --broker <id>                       The same of a broker
    --broker-defaults                   The same of all brokers
    --broker-logger <id>                The same of a broker's loggers
    --ip <address>                      The same of an address
    --ip-defaults                       The same of all addresses
    --group <id>                        The same of a group
    --client-metrics <name>             The same of a subscription to clients' metrics
";

/// Options that name an entity, and its type.
const NAMED: &[(&str, &str)] = &[
    ("topic", "topics"),
    ("client", "clients"),
    ("user", "users"),
    ("broker", "brokers"),
    ("broker-logger", "broker-loggers"),
    ("ip", "ips"),
    ("client-metrics", "client-metrics"),
    ("group", "groups"),
];

/// Options that name a default, and its type.
const DEFAULTS: &[(&str, &str)] = &[
    ("client-defaults", "clients"),
    ("user-defaults", "users"),
    ("broker-defaults", "brokers"),
    ("ip-defaults", "ips"),
];

/// All types, in the order in which Apache's tool tells them.
const TYPES: &str = "topics, clients, users, brokers, ips, client-metrics, groups, broker-loggers";

/// Types that have defaults.
const WITH_DEFAULTS: &[&str] = &["users", "clients", "brokers", "ips"];

/// What Apache's tool says of what only brokers tell.
const UNSERVED: &str =
    "This Admin API is not yet supported when communicating directly with the controller quorum.";

/// What went wrong while the script ran.
pub enum Failure {
    /// Said as it is.
    Said(String),
    /// Told with the command line.
    Refused(Error),
    /// The same, of a file that is not there.
    NoFile(String),
    /// Not to be had from whom it was asked of.
    Unserved(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Unsupported { .. } => Self::Unserved(java::message(&error)),
            error => Self::Refused(error),
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Said(message)
    }
}

pub type Done<T = ()> = Result<T, Failure>;

fn said<T>(message: impl Into<String>) -> Done<T> {
    Err(Failure::Said(message.into()))
}

/// Whose configs: types and names in the order of the command line. The empty name is the default of a type; there are
/// fewer names than types where all of a type are meant.
pub struct Entities {
    types: Vec<String>,
    names: Vec<String>,
}

impl Entities {
    fn of(options: &Options) -> Done<Self> {
        let (mut types, mut names) = (Vec::new(), Vec::new());
        types.extend(options.values("entity-type").map(str::to_owned));
        for (option, value) in options.all() {
            match option {
                "entity-name" => names.push(value.unwrap_or_default().to_owned()),
                "entity-default" => names.push(String::new()),
                _ => {}
            }
        }
        for (option, kind) in NAMED.iter().chain(DEFAULTS).filter(|(option, _)| options.has(option)) {
            types.push((*kind).to_owned());
            names.push(options.value(option)?.unwrap_or_default().to_owned());
        }
        Ok(Self { types, names })
    }

    fn has(&self, kind: &str) -> bool {
        self.types.iter().any(|found| found == kind)
    }

    /// The type and, if it is named, the name of the first.
    fn first(&self) -> (&str, Option<&str>) {
        (self.types.first().map_or("", String::as_str), self.names.first().map(String::as_str))
    }
}

/// What is to be changed.
pub struct Changes {
    set: Vec<(String, String)>,
    delete: Vec<String>,
}

impl Changes {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.set.iter().map(|(name, _)| name).chain(&self.delete).map(String::as_str)
    }
}

pub fn run(options: &Options) -> Outcome {
    let actions = ["alter", "describe"].into_iter().filter(|action| options.has(action));
    if actions.count() != 1 {
        let message = "Command must include exactly one action: --describe, --alter";
        return Err(Exit::Usage(message.into()));
    }
    options.exclude("describe", &["add-config", "delete-config"])?;
    act(options).map_err(|failure| {
        let told = |what: String| {
            let line = options.line();
            Exit::Failed(format!("Error while executing config command with args '{line}'\n{what}"))
        };
        match failure {
            Failure::Said(message) => Exit::Failed(message),
            Failure::Refused(error) => told(java::exception(&error)),
            Failure::NoFile(path) => told(format!("java.nio.file.NoSuchFileException: {path}")),
            Failure::Unserved(_) if options.has("bootstrap-controller") => told(UNSERVED.into()),
            Failure::Unserved(message) => Exit::Failed(message),
        }
    })
}

fn act(options: &Options) -> Done {
    let entities = Entities::of(options)?;
    check(options, &entities)?;
    let file = options.value("command-config")?;
    if let Some(missing) = file.filter(|path| !Path::new(path).exists()) {
        return Err(Failure::NoFile(missing.to_owned()));
    }
    let session = Session::open(options).map_err(Exit::message)?;
    if options.has("describe") {
        return match entities.first().0 {
            "users" | "clients" | "ips" => quotas::describe(&session, &entities),
            _ => resources::describe(&session, &entities, options.has("all")),
        };
    }
    let (kind, name) = entities.first();
    let Some(name) = name.filter(|_| entities.types.len() == entities.names.len()) else {
        return said("An entity name must be specified for every entity type");
    };
    let changes = changes(options)?;
    match kind {
        "users" | "clients" | "ips" => quotas::alter(&session, &entities, &changes)?,
        _ => resources::alter(&session, kind, name, &changes)?,
    }
    match name {
        "" => println!("Completed updating default config for {kind} in the cluster."),
        _ => println!("Completed updating config for {} {name}.", singular(kind)),
    }
    Ok(())
}

/// A type without its last letter, which makes `client-metric` too.
fn singular(kind: &str) -> &str {
    kind.strip_suffix('s').unwrap_or(kind)
}

fn check(options: &Options, entities: &Entities) -> Done {
    let mut seen = BTreeSet::new();
    let twice: Vec<_> =
        entities.types.iter().filter(|kind| !seen.insert(*kind)).map(String::as_str).collect();
    if !twice.is_empty() {
        return said(format!("Duplicate entity type(s) specified: {}", twice.join(",")));
    }
    let controller = options.has("bootstrap-controller");
    if !options.has("bootstrap-server") && !controller {
        return said("Either --bootstrap-server or --bootstrap-controller must be specified.");
    }
    if let Some(wrong) = entities.types.iter().find(|kind| !TYPES.split(", ").any(|known| known == *kind)) {
        return said(format!(
            "Invalid entity type {wrong}, the entity type must be one of {TYPES} with a --bootstrap-server or \
             --bootstrap-controller argument"
        ));
    }
    if entities.types.is_empty() {
        return said("At least one entity type must be specified");
    }
    if entities.types.len() > 1
        && !(entities.types.len() == 2 && entities.has("users") && entities.has("clients"))
    {
        return said("Only 'users' and 'clients' entity types may be specified together");
    }
    let general = ["entity-name", "entity-type", "entity-default"].iter().any(|name| options.has(name));
    if general && NAMED.iter().chain(DEFAULTS).any(|(name, _)| options.has(name)) {
        return said(
            "--entity-{type,name,default} should not be used in conjunction with specific entity flags",
        );
    }
    if controller && options.has("bootstrap-server") {
        return said("Only one of --bootstrap-server or --bootstrap-controller can be specified");
    }
    let types = entities.types.join(",");
    let named = entities.names.iter().find(|name| !name.is_empty());
    if let Some(name) = named
        && (entities.has("brokers") || entities.has("broker-loggers"))
        && name.parse::<i32>().is_err()
    {
        return said(format!(
            "The entity name for {types} must be a valid integer broker id, but it is: {name}"
        ));
    }
    let default = entities.names.iter().any(String::is_empty);
    let may_default = WITH_DEFAULTS.iter().any(|kind| entities.has(kind));
    if options.has("describe") {
        if !may_default && options.has("entity-default") {
            return said(format!("--entity-default must not be specified with --describe of {types}"));
        }
        if entities.has("broker-loggers") && named.is_none() {
            return said(format!("An entity name must be specified with --describe of {types}"));
        }
        return Ok(());
    }
    if named.is_none() && !(may_default && default) {
        return said(match may_default {
            true => "An entity-name or default entity must be specified with --alter of users, clients, brokers or ips"
                .to_owned(),
            false => format!("An entity name must be specified with --alter of {types}"),
        });
    }
    match (options.has("add-config"), options.has("add-config-file")) {
        (true, true) => said("Only one of --add-config or --add-config-file must be specified"),
        (false, false) if !options.has("delete-config") => said(
            "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter",
        ),
        _ => Ok(()),
    }
}

fn changes(options: &Options) -> Done<Changes> {
    let mut set = Vec::new();
    if let Some(file) = options.value("add-config-file")? {
        set = properties_of(file).map_err(|_| Failure::NoFile(file.to_owned()))?;
    }
    if let Some(text) = options.value("add-config")? {
        set.extend(pairs(text)?);
    }
    let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '$' | '.' | '_' | '-'));
    if let Some((name, _)) = set.iter().find(|(name, _)| name.contains(odd)) {
        return said(format!("Invalid character found for config key: {name}"));
    }
    let delete = options.values("delete-config").flat_map(|names| names.split(','));
    Ok(Changes { set, delete: delete.map(|name| name.trim().to_owned()).collect() })
}

/// Reads `a=1,b=[2,3]`. Brackets keep what is in them together and are no part of a value.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut parts = outside_brackets(text, ',');
    while parts.len() > 1 && parts.last() == Some(&"") {
        parts.pop();
    }
    let pair = |part: &&str| match outside_brackets(part, '=')[..] {
        [name, value] => Some((name.trim().to_owned(), value.replace(['[', ']'], "").trim().to_owned())),
        _ => None,
    };
    parts.iter().map(pair).collect::<Option<_>>().ok_or_else(|| {
        "requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\" or  \
         \"key=[val1,val2]\" to group values which contain commas."
            .into()
    })
}

/// Splits at a character, but not where the next bracket is a closing one.
fn outside_brackets(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, _) in text.match_indices(separator) {
        let rest = &text[at..];
        if rest.find(['[', ']']).is_none_or(|bracket| rest[bracket..].starts_with('[')) {
            parts.push(&text[from..at]);
            from = at + separator.len_utf8();
        }
    }
    parts.push(&text[from..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_keep_commas() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            pairs("a=1,b=[x,y=z], c = ,"),
            Ok(vec![pair("a", "1"), pair("b", "x,y=z"), pair("c", "")])
        );
        assert!(pairs("a").is_err() && pairs("").is_err() && pairs("a=b=c").is_err());
    }
}
