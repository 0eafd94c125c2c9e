//! Text scenarios for the tests of step machines: blocks of commands, a line `----`, what they print, an empty line.
//!
//! ```text
//! # A follower that has everything is let in.
//! lead isr=1
//! fetch 2 0
//! ----
//! isr 1,2
//! ```
//!
//! `#` begins a comment; a block of comments stands for itself. Commands that print nothing print `nothing`.
//! `UPDATE_EXPECT=1` rewrites what is printed; read the difference before you commit it.

use std::fs;
use std::path::{Path, PathBuf};

/// Plays every `*.txt` of the folder `testdata` beside `manifest_dir`'s Cargo.toml, each in a world of its own, whose
/// commands `begin` gives; panics with the first line that differs in each file.
pub fn play_all<World: FnMut(&str) -> String>(manifest_dir: &str, begin: impl Fn() -> World) {
    let files = files(&Path::new(manifest_dir).join("testdata"));
    assert!(!files.is_empty(), "no scenario in {manifest_dir}/testdata");
    let rewrites = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut differences = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let printed = play(&text, begin());
        if rewrites {
            fs::write(&path, printed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        } else if let Some(difference) = difference(&text, &printed) {
            differences.push(format!("{}:{difference}", path.display()));
        }
    }
    assert!(differences.is_empty(), "run with UPDATE_EXPECT=1 if this is meant:\n{}", differences.join("\n"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|it| it == "txt")).collect();
    files.sort();
    files
}

/// The scenario `text` with what its commands print now.
pub fn play(text: &str, mut world: impl FnMut(&str) -> String) -> String {
    let blocks = text.trim().split("\n\n").map(|block| {
        let (commands, _) = block.split_once("\n----").unwrap_or((block, ""));
        if commands.lines().all(|line| line.starts_with('#')) {
            return commands.to_owned();
        }
        let printed: String =
            commands.lines().filter(|line| !line.starts_with('#')).map(&mut world).collect();
        let printed = if printed.is_empty() { "nothing" } else { printed.trim_end() };
        format!("{commands}\n----\n{printed}")
    });
    blocks.collect::<Vec<_>>().join("\n\n") + "\n"
}

/// The first line in which they differ: its number, what was expected, what came.
fn difference(expected: &str, printed: &str) -> Option<String> {
    if expected == printed {
        return None;
    }
    let (expected, printed): (Vec<_>, Vec<_>) = (expected.lines().collect(), printed.lines().collect());
    let longest = expected.len().max(printed.len());
    let at = (0..longest).find(|at| expected.get(*at) != printed.get(*at)).unwrap_or(longest);
    let line = |lines: &[&str]| lines.get(at).copied().unwrap_or("(the end)").to_owned();
    Some(format!("{}\n  expected: {}\n  printed:  {}", at + 1, line(&expected), line(&printed)))
}

/// The words of a command: the verb, plain ones, and `key=value`.
pub struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    pub fn new(command: &'a str) -> Self {
        Self(command.split_ascii_whitespace().collect())
    }

    pub fn verb(&self) -> &'a str {
        self.0[0]
    }

    /// The word after `at` others.
    pub fn at(&self, at: usize) -> &'a str {
        self.0[at]
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    pub fn number(&self, key: &str, default: i64) -> i64 {
        self.get(key).map_or(default, number)
    }

    pub fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    /// The words `key=value`.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(|word| word.split_once('='))
    }

    /// What comes after the verb and has no key.
    pub fn plain(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().skip(1).copied().filter(|word| !word.contains('='))
    }
}

/// A number, or a panic that shows what stands there instead.
pub fn number(word: &str) -> i64 {
    word.parse().unwrap_or_else(|error| panic!("{word}: {error}"))
}

/// `1,2,3`; empty for none.
pub fn numbers(text: &str) -> Vec<i32> {
    text.split(',').filter(|word| !word.is_empty()).map(|word| number(word) as i32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# About nothing.\n\nsay a\n# and\nsay b\n----\na\nb\n\nsay\n----\nnothing\n";

    fn world() -> impl FnMut(&str) -> String {
        |command| Words::new(command).plain().map(|word| format!("{word}\n")).collect()
    }

    #[test]
    fn what_is_printed_stands_below_the_commands() {
        assert_eq!(play(TEXT, world()), TEXT);
        assert_eq!(play(&TEXT.replace("a\nb\n\n", "other\n\n"), world()), TEXT);
    }

    #[test]
    fn the_first_line_that_differs_is_told() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nb\n", "a\nc\n").unwrap(), "2\n  expected: b\n  printed:  c");
        assert_eq!(difference("a\n", "a\nc\n").unwrap(), "2\n  expected: (the end)\n  printed:  c");
    }

    #[test]
    fn words_are_found_by_place_or_key() {
        let words = Words::new("lead 7 isr=1,2 end=5 soon");
        assert_eq!((words.verb(), words.at(1), words.get("isr")), ("lead", "7", Some("1,2")));
        assert_eq!((words.number("end", 0), words.number("start", 3)), (5, 3));
        assert_eq!(words.plain().collect::<Vec<_>>(), ["7", "soon"]);
        assert!(words.has("soon") && !words.has("so"));
        assert_eq!(numbers("1,2"), [1, 2]);
    }
}
