//! Options as Apache's tools take them: `--name value`, `--name=value`, repeated or not, in any order.
//!
//! Knows no tool. What is wrong is said in the words that scripts know from Apache's tools.

use std::fmt::Write as _;

/// Why a script ends early, and with what.
#[derive(Debug)]
pub enum Exit {
    /// Wrong use: the message and all options go to stderr, the status is 1.
    Usage(String),
    /// The message goes to stderr, the status is 1.
    Failed(String),
    /// Everything has been said.
    Status(u8),
}

impl Exit {
    /// What is still to be said.
    pub fn message(self) -> String {
        match self {
            Self::Usage(message) | Self::Failed(message) => message,
            Self::Status(_) => String::new(),
        }
    }
}

pub type Outcome<T = ()> = Result<T, Exit>;

impl From<String> for Exit {
    /// What is wrong with an option is wrong use.
    fn from(message: String) -> Self {
        Self::Usage(message)
    }
}

/// What follows an option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Argument {
    None,
    Required,
    Optional,
}

/// The options of a script. They are declared as help shows them, a line each: `--name`, `--name <value>` or
/// `--name [value]` where the value may be missing, and behind two blanks what it is for.
pub struct Table(Vec<Opt>);

/// A row of the table: what stands on the left, the option in it, what it is for.
struct Opt {
    shown: &'static str,
    name: &'static str,
    argument: Argument,
    about: &'static str,
}

impl Table {
    pub fn new(texts: &[&'static str]) -> Self {
        let lines = texts.iter().flat_map(|text| text.lines()).filter(|line| !line.trim().is_empty());
        let mut rows: Vec<_> = lines.map(Opt::declared).collect();
        rows.sort_unstable_by_key(|row| row.shown);
        Self(rows)
    }

    /// The table as help shows it.
    pub fn help(&self) -> String {
        let width = self.0.iter().map(|row| row.shown.len()).max().unwrap_or(0);
        let mut text = format!("{:width$}  Description\n{:width$}  -----------\n", "Option", "------");
        for row in &self.0 {
            let _ = writeln!(text, "{:width$}  {}", row.shown, row.about);
        }
        text
    }
}

impl Opt {
    fn declared(line: &'static str) -> Self {
        let (shown, about) = line.trim().split_once("  ").unwrap_or((line.trim(), ""));
        let (option, value) = shown.split_once(' ').unwrap_or((shown, ""));
        let argument = match value.chars().next() {
            None => Argument::None,
            Some('[') => Argument::Optional,
            Some(_) => Argument::Required,
        };
        Self { shown, name: option.trim_start_matches('-'), argument, about: about.trim() }
    }
}

/// What a command line says.
#[derive(Debug, Default)]
pub struct Options {
    found: Vec<(&'static str, Option<String>)>,
    line: String,
}

impl Options {
    /// Reads a command line; words that belong to no option are passed over, as Apache's tools do.
    pub fn parse(table: &Table, arguments: &[String]) -> Result<Self, String> {
        let mut options = Self { found: Vec::new(), line: arguments.join(" ") };
        let mut rest = arguments.iter().peekable();
        while let Some(word) = rest.next() {
            let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else { continue };
            if word == "--" {
                break;
            }
            let (name, attached) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let Some(row) = table.0.iter().find(|row| row.name == name) else {
                return Err(format!("{name} is not a recognized option"));
            };
            let value = match row.argument {
                Argument::None => None,
                Argument::Required => match attached.or_else(|| rest.next().cloned()) {
                    Some(value) => Some(value),
                    None => return Err(format!("Option {name} requires an argument")),
                },
                Argument::Optional => {
                    attached.or_else(|| rest.next_if(|next| !next.starts_with('-')).cloned())
                }
            };
            options.found.push((row.name, value));
        }
        Ok(options)
    }

    pub fn has(&self, name: &str) -> bool {
        self.found.iter().any(|(found, _)| *found == name)
    }

    /// The words that were read.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// All options with their values, in order.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        self.found.iter().map(|(name, value)| (*name, value.as_deref()))
    }

    /// All values of an option, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.found.iter().filter(move |(found, _)| *found == name).filter_map(|(_, value)| value.as_deref())
    }

    /// The value of an option that may be given once.
    pub fn value(&self, name: &str) -> Result<Option<&str>, String> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => {
                Err(format!("Found multiple arguments for option {name}, but you asked for only one"))
            }
            (value, None) => Ok(value),
        }
    }

    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let parsed =
            |text: &str| text.parse().map_err(|_| format!("Cannot parse argument '{text}' of option {name}"));
        self.value(name)?.map(parsed).transpose()
    }

    /// Wrong use if one of these options is missing.
    pub fn require(&self, names: &[&str]) -> Outcome {
        match names.iter().find(|name| !self.has(name)) {
            Some(name) => Err(Exit::Usage(format!("Missing required argument \"[{name}]\""))),
            None => Ok(()),
        }
    }

    /// Wrong use if `name` is given together with one of `others`.
    pub fn exclude(&self, name: &str, others: &[&str]) -> Outcome {
        match others.iter().find(|other| **other != name && self.has(other)) {
            Some(other) if self.has(name) => {
                Err(Exit::Usage(format!("Option \"[{name}]\" can't be used with option \"[{other}]\"")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "
        --list            Print them
        --topic <name>    The topic
        --state [states]  Only these
        --max <n>         So many
    ";

    fn parse(line: &str) -> Result<Options, String> {
        let table = Table::new(&[TABLE]);
        Options::parse(&table, &line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn help_shows_the_table_in_order() {
        let help = Table::new(&[TABLE, "--all  Everything"]).help();
        let lines: Vec<_> = help.lines().collect();
        assert_eq!(lines[0], "Option            Description");
        assert_eq!(lines[2..4], ["--all             Everything", "--list            Print them"]);
    }

    #[test]
    fn values_follow_or_are_attached_and_may_repeat() {
        let options = parse("--list --topic a --topic=b stray --state --max 7").unwrap();
        assert!(options.has("list") && options.has("state") && !options.has("help"));
        assert_eq!(options.values("topic").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(options.value("state"), Ok(None));
        assert_eq!(options.number("max"), Ok(Some(7)));
        assert_eq!(parse("--state Empty").unwrap().value("state"), Ok(Some("Empty")));
        assert_eq!(parse("--topic --list").unwrap().value("topic"), Ok(Some("--list")));
    }

    #[test]
    fn wrong_lines_are_refused() {
        assert_eq!(parse("--lists").unwrap_err(), "lists is not a recognized option");
        assert_eq!(parse("--topic").unwrap_err(), "Option topic requires an argument");
        let twice = parse("--topic a --topic b").unwrap();
        assert_eq!(
            twice.value("topic").unwrap_err(),
            "Found multiple arguments for option topic, but you asked for only one"
        );
        let word = parse("--max many").unwrap();
        assert_eq!(word.number::<i32>("max").unwrap_err(), "Cannot parse argument 'many' of option max");
    }
}
