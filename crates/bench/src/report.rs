//! The table: one line per figure, the subjects beside each other, and the ratios that count.

use std::collections::HashMap;

use anyhow::Result;
use serde_json::json;

use crate::subject::Brand;

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    None,
    /// Ottla by Apache Kafka, at most.
    OfKafka(f64),
    /// Ottla by the limit program, at most.
    OfLimit(f64),
    /// At most.
    Value(f64),
}

#[derive(Default)]
pub struct Report {
    figures: Vec<Figure>,
    failures: Vec<String>,
}

struct Figure {
    name: String,
    unit: &'static str,
    target: Target,
    values: HashMap<Brand, f64>,
}

impl Report {
    /// Notes a figure; lines appear in the order in which they are first noted.
    pub fn note(&mut self, brand: Brand, name: &str, unit: &'static str, target: Target, value: f64) {
        eprintln!("  {:5} {name}: {value:.3} {unit}", brand.name());
        let at = self.figures.iter().position(|figure| figure.name == name);
        let at = at.unwrap_or_else(|| {
            self.figures.push(Figure { name: name.to_owned(), unit, target, values: HashMap::new() });
            self.figures.len() - 1
        });
        self.figures[at].values.insert(brand, value);
    }

    /// Notes what did not come to its end; what was measured before stays.
    pub fn note_failure(&mut self, brand: Brand, outcome: Result<()>) {
        if let Err(error) = outcome {
            let failure = format!("{}: {error:#}", brand.name());
            eprintln!("  {failure}");
            self.failures.push(failure);
        }
    }

    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// What was noted of a subject.
    pub fn value(&self, brand: Brand, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name)?.values.get(&brand).copied()
    }

    /// Fills in what was not measured now from an earlier run's [`Self::to_json`]. Ratios are then between runs.
    pub fn fill_from(&mut self, json: &str) -> Result<()> {
        let earlier: serde_json::Value = serde_json::from_str(json)?;
        for figure in &mut self.figures {
            let same = |earlier: &&serde_json::Value| earlier["figure"] == figure.name.as_str();
            let Some(earlier) = earlier.as_array().into_iter().flatten().find(same) else { continue };
            for brand in Brand::ALL {
                if let Some(value) = earlier[brand.name()].as_f64() {
                    figure.values.entry(brand).or_insert(value);
                }
            }
        }
        Ok(())
    }

    pub fn print(&self) {
        if self.figures.is_empty() {
            return;
        }
        println!(
            "{:40} {:8} {:>10} {:>10} {:>10} {:>8} {:>8}  target",
            "figure", "unit", "kafka", "ottla", "limit", "/kafka", "/limit"
        );
        for figure in &self.figures {
            let cell =
                |brand| figure.values.get(&brand).map_or_else(|| "-".to_owned(), |value| short(*value));
            let ratio = |to| {
                let ratio = figure.ratio(to);
                ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"))
            };
            println!(
                "{:40} {:8} {:>10} {:>10} {:>10} {:>8} {:>8}  {}",
                figure.name,
                figure.unit,
                cell(Brand::Kafka),
                cell(Brand::Ottla),
                cell(Brand::Limit),
                ratio(Brand::Kafka),
                ratio(Brand::Limit),
                figure.verdict()
            );
        }
    }

    /// All figures, and `others` after them.
    pub fn to_json(&self, others: Vec<serde_json::Value>) -> String {
        let figures: Vec<_> = self
            .figures
            .iter()
            .map(|figure| {
                let value = |brand| figure.values.get(&brand);
                json!({
                    "figure": figure.name,
                    "unit": figure.unit,
                    "kafka": value(Brand::Kafka),
                    "ottla": value(Brand::Ottla),
                    "limit": value(Brand::Limit),
                    "ottla_by_kafka": figure.ratio(Brand::Kafka),
                    "ottla_by_limit": figure.ratio(Brand::Limit),
                })
            })
            .chain(others)
            .collect();
        format!("{:#}\n", json!(figures))
    }
}

impl Figure {
    fn ratio(&self, to: Brand) -> Option<f64> {
        let ottla = self.values.get(&Brand::Ottla)?;
        self.values.get(&to).filter(|value| **value > 0.0).map(|value| ottla / value)
    }

    fn verdict(&self) -> String {
        let (value, most, of) = match self.target {
            Target::None => return String::new(),
            Target::OfKafka(most) => (self.ratio(Brand::Kafka), most, " of kafka"),
            Target::OfLimit(most) => (self.ratio(Brand::Limit), most, " of the limit"),
            Target::Value(most) => (self.values.get(&Brand::Ottla).copied(), most, ""),
        };
        let mark = match value {
            None => "?",
            Some(value) if value <= most => "reached",
            Some(_) => "MISSED",
        };
        format!("<= {most}{of}: {mark}")
    }
}

fn short(value: f64) -> String {
    if value >= 1000.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}
