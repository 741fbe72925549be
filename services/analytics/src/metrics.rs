//! The metrics of analytics itself (not those that it computes).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use stream::PumpStats;

#[derive(Clone)]
pub struct Metrics {
    pub events: Counter,
    pub changed: Counter,
    pub recounts: Counter,
    pub raw_rows: Counter,
    pub dirty: Gauge,
    pub recount_seconds: Histogram,
    lag_events: Gauge,
    lag_seconds: Gauge<f64, AtomicU64>,
}

pub const CATALOGUE: &[(&str, &str)] = &[
    ("analytics_events", "Records of sip.transactions read"),
    ("analytics_changed_records", "Records of calls that changed; copies change nothing"),
    ("analytics_recounts", "Minutes counted again"),
    ("analytics_raw_rows", "Rows that ClickHouse has taken"),
    ("analytics_dirty_minutes", "Minutes that wait to be counted again"),
    ("analytics_recount_seconds", "Time to count one minute"),
    ("analytics_lag_events", "Records between our position and the end of the topic"),
    ("analytics_lag_seconds", "Age of the oldest record that is not handled"),
];

impl Metrics {
    pub fn register(registry: &kit::Metrics) -> Metrics {
        let m = Metrics {
            events: Counter::default(),
            changed: Counter::default(),
            recounts: Counter::default(),
            raw_rows: Counter::default(),
            dirty: Gauge::default(),
            recount_seconds: Histogram::new([0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0]),
            lag_events: Gauge::default(),
            lag_seconds: Gauge::default(),
        };
        registry.with(|r| {
            let mut help = CATALOGUE.iter();
            macro_rules! add {
                ($($field:ident),*) => {$({
                    let (name, text) = *help.next().expect("one entry per metric");
                    r.register(name, text, m.$field.clone());
                })*};
            }
            add!(events, changed, recounts, raw_rows, dirty, recount_seconds, lag_events, lag_seconds);
        });
        m
    }

    pub fn lag(&self, stats: &Arc<PumpStats>) {
        self.lag_events.set(i64::try_from(stats.lag_events()).unwrap_or(i64::MAX));
        self.lag_seconds.set(stats.lag_seconds());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_lists_every_metric() {
        let readme = include_str!("../README.md");
        for (name, _) in CATALOGUE {
            assert!(readme.contains(&format!("`{name}")), "{name} is not in README.md");
        }
    }
}
