//! Results as people read them, aligned and with totals, or as JSON for programs.
//!
//! A table's columns are the field names of its JSON: one list says both, and it is a promise to programs.

use std::io::{self, Write};

use anyhow::Result;
use serde_json::{Map, Value};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// Rows under columns.
pub struct Table {
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
    totals: Option<Vec<Value>>,
}

impl Table {
    pub fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new(), totals: None }
    }

    /// One more row, a value for each column.
    pub fn row<const N: usize>(&mut self, values: [Value; N]) {
        assert_eq!(N, self.columns.len(), "a value for each of {:?}", self.columns);
        self.rows.push(values.into());
    }

    /// A last line with the sums of these columns, for people only, and only below several rows.
    pub fn total(&mut self, summed: &[&str]) {
        let sum = |at: usize| -> Value {
            let numbers = self.rows.iter().filter_map(|row| row[at].as_i64());
            numbers.fold(0i64, i64::saturating_add).into()
        };
        let totals =
            self.columns.iter().enumerate().map(|(at, column)| match (at, summed.contains(column)) {
                (_, true) => sum(at),
                (0, _) => "total".into(),
                _ => "".into(),
            });
        self.totals = (self.rows.len() > 1).then(|| totals.collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// An array of objects.
    pub fn to_json(&self) -> Value {
        let object = |row: &Vec<Value>| {
            let fields = self.columns.iter().map(|column| column.to_string()).zip(row.iter().cloned());
            Value::Object(fields.collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }

    /// Prints the table in the form that is wanted.
    pub fn print(&self, format: Format) -> Result<()> {
        match format {
            Format::Table => self.write(&mut io::stdout().lock(), ""),
            Format::Json => print_json(&self.to_json()),
        }
    }

    /// Writes aligned lines: numbers to the right, all else to the left, nothing behind the last word.
    pub fn write(&self, out: &mut impl Write, indent: &str) -> Result<()> {
        let header = self.columns.iter().map(|column| column.replace('_', " ").to_uppercase()).collect();
        let rows = self.rows.iter().chain(&self.totals);
        let texts: Vec<Vec<String>> =
            std::iter::once(header).chain(rows.map(|row| row.iter().map(text).collect())).collect();
        let is_number = |at: usize| {
            self.rows.iter().any(|row| row[at].is_number())
                && self.rows.iter().all(|row| row[at].is_number() || row[at].is_null())
        };
        let width = |at: usize| texts.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let shape: Vec<_> = (0..self.columns.len()).map(|at| (width(at), is_number(at))).collect();
        for row in &texts {
            let mut line = indent.to_owned();
            for (at, (text, (width, number))) in row.iter().zip(&shape).enumerate() {
                let gap = if at == 0 { "" } else { "  " };
                match number {
                    true => line.push_str(&format!("{gap}{text:>width$}")),
                    false => line.push_str(&format!("{gap}{text:<width$}")),
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Prints a JSON value over several lines.
pub fn print_json(value: &Value) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "-".into(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(table: &Table) -> String {
        let mut out = Vec::new();
        table.write(&mut out, "").unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn people_see_aligned_lines_and_totals() {
        let mut table = Table::new(&["topic", "log_end_offset", "replicas", "rack"]);
        table.row([json!("orders"), json!(5), json!([1, 2]), json!(null)]);
        table.total(&["log_end_offset"]);
        assert_eq!(
            lines(&table),
            "TOPIC   LOG END OFFSET  REPLICAS  RACK\norders               5  1,2       -\n"
        );
        table.row([json!("größe"), json!(null), json!([]), json!("a")]);
        table.total(&["log_end_offset"]);
        let expected = [
            "TOPIC   LOG END OFFSET  REPLICAS  RACK",
            "orders               5  1,2       -",
            "größe                -  -         a",
            "total                5",
            "",
        ];
        assert_eq!(lines(&table), expected.join("\n"));
    }

    #[test]
    fn programs_see_fields() {
        let mut table = Table::new(&["topic", "offset"]);
        assert_eq!(table.to_json(), json!([]));
        table.row([json!("orders"), json!(5)]);
        table.total(&["offset"]);
        assert_eq!(table.to_json(), json!([{"topic": "orders", "offset": 5}]));
    }
}
