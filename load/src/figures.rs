//! What a measurement is reduced to: medians, percentiles, and whether the gate holds.

use serde_json::{Map, Value, json};

/// The middle one. An even number of values has two; the upper is taken.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// Nearest rank.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Which side of its limit a figure has to be on.
#[derive(Clone, Copy)]
pub enum Gate {
    AtLeast(f64),
    AtMost(f64),
}

impl Gate {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::AtMost(limit) => value <= limit,
        }
    }

    fn limit(self) -> f64 {
        match self {
            Self::AtLeast(limit) | Self::AtMost(limit) => limit,
        }
    }
}

/// All figures of a run: printed as they come, and kept for the JSON line.
#[derive(Default)]
pub struct Figures {
    json: Map<String, Value>,
    missed: Vec<&'static str>,
}

impl Figures {
    /// A figure without a limit.
    pub fn show(&mut self, key: &'static str, what: &str, value: f64, unit: &str) {
        println!("  {what:46} {:>12} {unit}", pretty(value));
        self.json.insert(key.to_owned(), number(value));
    }

    /// A figure with one. A value that is no number misses it.
    pub fn check(&mut self, key: &'static str, what: &str, value: f64, unit: &str, gate: Gate) {
        let pass = gate.holds(value);
        let sign = if matches!(gate, Gate::AtLeast(_)) { "at least" } else { "at most" };
        let verdict = if pass { "" } else { "  MISSED" };
        println!("  {what:46} {:>12} {unit} ({sign} {}){verdict}", pretty(value), pretty(gate.limit()));
        self.json.insert(key.to_owned(), number(value));
        self.json.insert(format!("gate_{key}"), number(gate.limit()));
        if !pass {
            self.missed.push(key);
        }
    }

    pub fn note(&mut self, key: &'static str, text: &str) {
        println!("  {text}");
        self.json.insert(key.to_owned(), text.into());
    }

    pub fn pass(&self) -> bool {
        self.missed.is_empty()
    }

    /// The last line: `ratio` and `gate` repeat the figure that names the benchmark.
    pub fn finish(mut self, bench: &str, headline: &str) -> Value {
        let get = |map: &Map<String, Value>, key: &str| map.get(key).cloned().unwrap_or(Value::Null);
        let (ratio, gate) = (get(&self.json, headline), get(&self.json, &format!("gate_{headline}")));
        let mut all = Map::new();
        all.insert("bench".into(), bench.into());
        all.insert("pass".into(), self.missed.is_empty().into());
        all.insert("missed".into(), json!(self.missed));
        all.insert("ratio".into(), ratio);
        all.insert("gate".into(), gate);
        all.append(&mut self.json);
        Value::Object(all)
    }
}

fn number(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}

fn pretty(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!([50.0, 99.0, 100.0].map(|p| percentile(&values, p)), [50.0, 99.0, 100.0]);
        assert_eq!(percentile(&[7.0], 99.0), 7.0);
    }

    #[test]
    fn a_figure_that_is_no_number_misses_its_gate() {
        let mut figures = Figures::default();
        figures.check("a", "a", 1.0, "x", Gate::AtLeast(1.0));
        assert!(figures.pass());
        figures.check("b", "b", f64::NAN, "x", Gate::AtMost(1.0));
        let json = figures.finish("stream", "a");
        assert_eq!((&json["missed"][0], &json["pass"], &json["gate"]), (&json!("b"), &json!(false), &json!(1.0)));
    }
}
