//! What became of several things that were to be changed: each is told, and one failure is enough to fail.

use std::io::{self, Write};

use anyhow::Result;
use serde_json::Value;

use crate::exit::{self, Told};
use crate::table::{Format, Table, print_json};

/// Collects what happened to each thing of one kind.
pub struct Outcomes {
    table: Table,
    done: Vec<String>,
    failures: Vec<anyhow::Error>,
}

impl Outcomes {
    pub fn new() -> Self {
        Self { table: Table::new(&["name", "outcome", "error"]), done: Vec::new(), failures: Vec::new() }
    }

    /// `done` is the word for success, such as `created`.
    pub fn add<E: Into<anyhow::Error>>(&mut self, name: &str, done: &str, outcome: Result<(), E>) {
        match outcome {
            Ok(()) => {
                self.table.row([name.into(), done.into(), Value::Null]);
                self.done.push(format!("{done} {name}"));
            }
            Err(error) => {
                let error = error.into();
                self.table.row([name.into(), "failed".into(), format!("{error:#}").into()]);
                self.failures.push(error.context(name.to_owned()));
            }
        }
    }

    /// Prints what was done, and failures on stderr. The error, if there was one, is the gravest exit code.
    pub fn print(self, format: Format) -> Result<()> {
        match format {
            Format::Json => print_json(&self.table.to_json())?,
            Format::Table => {
                let mut out = io::stdout().lock();
                for line in &self.done {
                    writeln!(out, "{line}")?;
                }
            }
        }
        self.failures.iter().for_each(exit::tell);
        match self.failures.iter().map(exit::code).max() {
            Some(code) => Err(Told(code).into()),
            None => Ok(()),
        }
    }
}
