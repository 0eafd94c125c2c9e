//! `kafka-consumer-groups`: groups are listed, described, deleted; what they have committed is reset or deleted.

mod delete;
mod describe;
mod offsets;
mod reset;

use ottla_client::protocol::api::list_groups::{ListGroupsRequest, ListedGroup};
use ottla_client::{Error, Target};

use super::options::{Exit, Options, Outcome};
use super::session::Session;
use super::{java, table};

pub const OPTIONS: &str = "
    --group <id>                The group; may be repeated
    --all-groups                All groups
    --topic <name>              A topic, or some of its partitions as name:0,1; may be repeated
    --all-topics                All topics for which the group has committed
    --list                      Print the ids of groups
    --describe                  Print what groups have committed, their members, or their states
    --delete                    Delete groups
    --reset-offsets             Commit other offsets for groups without members
    --delete-offsets            Delete committed offsets
    --dry-run                   Print the new offsets and commit nothing
    --execute                   Commit the new offsets
    --export                    Print the new offsets as CSV
    --to-offset <offset>        Reset to this offset
    --from-file <file>          Reset to the offsets in a CSV file
    --to-datetime <time>        Reset to the first record of this time or later: 2026-01-31T12:00:00.000
    --by-duration <duration>    Reset to the first record not older than this: P1DT2H
    --to-earliest               Reset to where partitions begin
    --to-latest                 Reset to where partitions end
    --to-current                Reset to what is committed
    --shift-by <number>         Reset so many records forwards, or backwards below zero
    --members                   Describe members
    --offsets                   Describe committed offsets (the default)
    --state [states]            Describe states; list states, or only groups in these
    --type [types]              List types, or only groups of these
    --verbose                   Describe more
    --timeout <ms>              Accepted; default.api.timeout.ms of --command-config is the limit
    --validate-regex <pattern>  Say whether a pattern is one
";

const RESETS: &[&str] = &[
    "to-offset",
    "shift-by",
    "to-datetime",
    "by-duration",
    "to-earliest",
    "to-latest",
    "to-current",
    "from-file",
];

/// What went wrong while the script ran.
pub enum Failure {
    /// Wrong use, found late.
    Usage(String),
    /// Said on stdout; the status stays 0.
    Said(String),
    /// The same, of what the cluster refused.
    Refused(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Said(message)
    }
}

pub type Done<T = ()> = Result<T, Failure>;

pub fn run(options: &Options) -> Outcome {
    if let Some(pattern) = options.value("validate-regex")? {
        return validate(pattern);
    }
    check(options)?;
    let session = Session::open(options)?;
    let action = ["list", "describe", "delete", "reset-offsets", "delete-offsets"];
    let outcome = match action.into_iter().find(|action| options.has(action)) {
        Some("list") => list(&session, options),
        Some("describe") => describe::describe(&session, options),
        Some("delete") => delete::groups(&session, options),
        Some("reset-offsets") => reset::reset(&session, options),
        _ => delete::offsets(&session, options),
    };
    match outcome {
        Ok(()) => Ok(()),
        Err(Failure::Usage(message)) => Err(Exit::Usage(message)),
        Err(Failure::Said(message)) => failed(&message),
        Err(Failure::Refused(error)) => failed(&java::exception(&error)),
    }
}

fn failed(message: &str) -> Outcome {
    print_error(&format!("Executing consumer group command failed due to {message}"));
    Ok(())
}

pub fn print_error(message: &str) {
    println!("\nError: {message}");
}

fn validate(pattern: &str) -> Outcome {
    match regex::Regex::new(pattern) {
        Ok(_) => println!("The regular expression `{pattern}` is valid."),
        Err(error) => {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            println!("The regular expression `{pattern}` is invalid: {reason}.");
        }
    }
    Ok(())
}

fn check(options: &Options) -> Outcome {
    let usage = |message: String| Err(Exit::Usage(message));
    options.require(&["bootstrap-server"])?;
    let grouped = options.has("group") || options.has("all-groups");
    if options.has("describe") {
        if !grouped {
            return usage("Option [describe] takes one of these options: [group], [all-groups]".into());
        }
        if ["members", "offsets", "state"].iter().filter(|name| options.has(name)).count() > 1 {
            return usage(
                "Option [describe] takes at most one of these options: [members], [offsets], [state]".into(),
            );
        }
        if options.value("state")?.is_some() {
            return usage("Option [describe] does not take a value for [state]".into());
        }
    }
    if options.has("delete") {
        if !grouped {
            return usage("Option [delete] takes one of these options: [group], [all-groups]".into());
        }
        if options.has("topic") {
            let message =
                "The consumer does not support topic-specific offset deletion from a consumer group.";
            return usage(message.into());
        }
    }
    if options.has("delete-offsets") && !(options.has("group") && options.has("topic")) {
        return usage("Option [delete-offsets] takes the following options: [group], [topic]".into());
    }
    if options.has("reset-offsets") {
        if options.has("dry-run") && options.has("execute") {
            return usage("Option [reset-offsets] only accepts one of [execute] and [dry-run]".into());
        }
        if !options.has("dry-run") && !options.has("execute") {
            eprintln!(
                "WARN: No action will be performed as the --execute option is missing. In version 5.0, this command \
                 will require either --dry-run or --execute to be specified. You should add the --dry-run option \
                 explicitly if you are scripting this command and want to keep the current default behavior without \
                 prompting."
            );
        }
        if !grouped {
            return usage("Option [reset-offsets] takes one of these options: [group], [all-groups]".into());
        }
        for reset in RESETS {
            options.exclude(reset, RESETS)?;
        }
    }
    options.exclude("group", &["all-groups"])?;
    options.exclude("group", &["list"])?;
    options.exclude("topic", &["list", "describe"])?;
    let actions = ["list", "describe", "delete", "reset-offsets", "delete-offsets"];
    if actions.iter().filter(|action| options.has(action)).count() != 1 {
        let actions = "--list, --describe, --delete, --reset-offsets, --delete-offsets, --validate-regex";
        return usage(format!("Command must include exactly one action: {actions}"));
    }
    for (name, with) in
        [("members", "describe"), ("offsets", "describe"), ("verbose", "describe"), ("type", "list")]
    {
        if options.has(name) && !options.has(with) {
            return Err(Exit::Failed(format!(
                "Option(s) [{name}] are unavailable given other options on the command line"
            )));
        }
    }
    Ok(())
}

/// The ids that `--group` names, or all.
fn asked(session: &Session, options: &Options) -> Done<Vec<String>> {
    match options.has("all-groups") {
        true => Ok(listed(session, &[], &[])?
            .into_iter()
            .map(|group| group.group_id.as_str().to_owned())
            .collect()),
        false => Ok(options.values("group").map(str::to_owned).collect()),
    }
}

const STATES: &[&str] =
    &["Assigning", "CompletingRebalance", "Dead", "Empty", "PreparingRebalance", "Reconciling", "Stable"];
const TYPES: &[&str] = &["Classic", "Consumer"];

fn list(session: &Session, options: &Options) -> Done {
    let (with_type, with_state) = (options.has("type"), options.has("state"));
    let filter = |name: &str, what: &str, valid: &[&'static str]| -> Done<Vec<&'static str>> {
        let Some(text) = options.value(name)?.filter(|text| !text.is_empty()) else { return Ok(Vec::new()) };
        let find = |word: &str| valid.iter().find(|valid| valid.eq_ignore_ascii_case(word.trim())).copied();
        let words: Option<Vec<_>> = text.split(',').map(find).collect();
        words.ok_or_else(|| {
            let text = if name == "type" { text.to_lowercase() } else { text.to_owned() };
            Failure::Usage(format!("Invalid {what} list '{text}'. Valid {what} are: {}", valid.join(", ")))
        })
    };
    let types = filter("type", "types", TYPES)?;
    let states = filter("state", "state", STATES).map_err(|failure| match failure {
        Failure::Usage(message) => Failure::Usage(message.replace("Valid state are", "Valid states are")),
        said => said,
    })?;
    let groups = listed(session, &states, &types)?;
    if !with_type && !with_state {
        for group in groups {
            println!("{}", group.group_id.as_str());
        }
        return Ok(());
    }
    let width = table::width(15, groups.iter().map(|group| group.group_id.as_str())) + 10;
    let widths = [width, 20, 20];
    let row = |id, kind, state| {
        let cells = [Some(id), with_type.then_some(kind), with_state.then_some(state)];
        println!("{}", table::line(&cells.into_iter().flatten().collect::<Vec<_>>(), &widths));
    };
    row("GROUP", "TYPE", "STATE");
    for group in &groups {
        let kind = group.group_type.as_str();
        let kind = TYPES.iter().find(|known| known.eq_ignore_ascii_case(kind)).copied().unwrap_or("Unknown");
        row(group.group_id.as_str(), kind, group.group_state.as_str());
    }
    Ok(())
}

/// The consumer groups of all brokers, by id.
fn listed(session: &Session, states: &[&str], types: &[&str]) -> Done<Vec<ListedGroup>> {
    let mut groups = Vec::new();
    for broker in session.brokers()? {
        let request = ListGroupsRequest {
            states_filter: states.iter().map(|state| (*state).into()).collect(),
            types_filter: types.iter().map(|kind| (*kind).into()).collect(),
        };
        let answer = session.ask(Target::Node(broker.into()), request)?;
        Error::check(answer.error_code, None::<&str>)?;
        // Groups of Connect and the like are no consumers; a group that only committed has no protocol.
        let consumers = answer.groups.into_iter().filter(|group| {
            matches!(group.protocol_type.as_str(), "consumer" | "")
                && TYPES.iter().any(|kind| kind.eq_ignore_ascii_case(group.group_type.as_str()))
        });
        groups.extend(consumers);
    }
    groups.sort_by(|a, b| a.group_id.as_str().cmp(b.group_id.as_str()));
    Ok(groups)
}
