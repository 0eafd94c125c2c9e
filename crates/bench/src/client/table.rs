//! The clients' table: one line per figure, the clients beside each other, and the ratios that count.

use serde_json::{Value, json};

/// What is to be reached by Ottla's client.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    None,
    /// Times librdkafka's and times Java's.
    AtLeastOfEach(f64),
    /// Times the smaller one of librdkafka's and Java's.
    AtMostOfBetter(f64),
    AtMostOfLibrdkafka(f64),
    AtMost(f64),
}

/// Figures of Ottla's client, librdkafka and Java, in this order.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

struct Row {
    figure: String,
    unit: &'static str,
    target: Target,
    values: [f64; 3],
}

impl Table {
    pub fn note(&mut self, figure: String, unit: &'static str, target: Target, values: [f64; 3]) {
        self.rows.push(Row { figure, unit, target, values });
    }

    pub fn print(&self) {
        if self.rows.is_empty() {
            return;
        }
        println!(
            "{:40} {:8} {:>10} {:>10} {:>10} {:>8} {:>8}  target",
            "figure", "unit", "ottla", "librdkafka", "java", "/librdk.", "/java"
        );
        for row in &self.rows {
            let [ottla, librdkafka, java] = row.values;
            println!(
                "{:40} {:8} {ottla:>10.1} {librdkafka:>10.1} {java:>10.1} {:>8.3} {:>8.3}  {}",
                row.figure,
                row.unit,
                ottla / librdkafka,
                ottla / java,
                row.verdict()
            );
        }
    }

    pub fn to_json(&self) -> Vec<Value> {
        let row = |row: &Row| {
            let [ottla, librdkafka, java] = row.values;
            json!({
                "figure": row.figure,
                "unit": row.unit,
                "ottla": ottla,
                "librdkafka": librdkafka,
                "java": java,
                "ottla_by_librdkafka": ottla / librdkafka,
                "ottla_by_java": ottla / java,
            })
        };
        self.rows.iter().map(row).collect()
    }
}

impl Row {
    fn verdict(&self) -> String {
        let [ottla, librdkafka, java] = self.values;
        let (reached, target) = match self.target {
            Target::None => return String::new(),
            Target::AtLeastOfEach(least) => {
                (ottla >= least * librdkafka.max(java), format!(">= {least} of each"))
            }
            Target::AtMostOfBetter(most) => {
                (ottla <= most * librdkafka.min(java), format!("<= {most} of the better"))
            }
            Target::AtMostOfLibrdkafka(most) => {
                (ottla <= most * librdkafka, format!("<= {most} of librdkafka"))
            }
            Target::AtMost(most) => (ottla <= most, format!("<= {most}")),
        };
        format!("{target}: {}", if reached { "reached" } else { "MISSED" })
    }
}
