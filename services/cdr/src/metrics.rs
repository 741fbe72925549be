//! The metrics of the call log. Labels come from closed sets.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use stream::PumpStats;

use crate::books::Applied;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Label {
    pub kind: &'static str,
}

#[derive(Clone)]
pub struct Metrics {
    records: Counter,
    channel_events: Counter,
    facts: Counter,
    rows: Family<Label, Counter>,
    reconciled: Family<Label, Counter>,
    unreadable: Counter,
    published: Gauge,
    open: Gauge,
    cached: Gauge,
    cached_bytes: Gauge,
    lag_events: Gauge,
    lag_seconds: Gauge<f64, AtomicU64>,
    write: Histogram,
    pub visible: Histogram,
    stats: Arc<parking_lot::Mutex<Option<Arc<PumpStats>>>>,
}

/// Names and help texts; the README lists them and a test compares.
pub const CATALOGUE: &[(&str, &str)] = &[
    ("cdr_records", "Records read from the topics"),
    ("cdr_channel_events", "Records of channel.events among them"),
    ("cdr_facts", "New facts joined; copies are not counted"),
    ("cdr_rows", "Rows of calls written, by finality"),
    ("cdr_reconciled", "Calls closed by the reconciler, by kind"),
    ("cdr_unreadable", "Records that became dead letters"),
    ("cdr_published_records", "Records that cdr.calls and cdr.legs have taken since the start"),
    ("cdr_open_calls", "Calls that have not ended"),
    ("cdr_cached_calls", "Calls held in memory"),
    ("cdr_cached_bytes", "Text of facts held in memory"),
    ("cdr_lag_events", "Records between our position and the end of the topics"),
    ("cdr_lag_seconds", "Age of the oldest record that is not handled"),
    ("cdr_write_seconds", "Time of one batch: translate, join, derive, write"),
    ("cdr_visible_seconds", "From the end of a call to its row, by the clocks of the witnesses"),
];

impl Metrics {
    pub fn register(registry: &kit::Metrics) -> Metrics {
        let metrics = Metrics {
            records: Counter::default(),
            channel_events: Counter::default(),
            facts: Counter::default(),
            rows: Family::default(),
            reconciled: Family::default(),
            unreadable: Counter::default(),
            published: Gauge::default(),
            open: Gauge::default(),
            cached: Gauge::default(),
            cached_bytes: Gauge::default(),
            lag_events: Gauge::default(),
            lag_seconds: Gauge::default(),
            write: Histogram::new([0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0]),
            visible: Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0]),
            stats: Arc::default(),
        };
        let m = metrics.clone();
        registry.with(|r| {
            let mut help = CATALOGUE.iter();
            let mut next = || help.next().copied().expect("one entry per metric");
            macro_rules! add {
                ($($field:ident),*) => {$({ let (name, text) = next(); r.register(name, text, m.$field.clone()); })*};
            }
            add!(
                records,
                channel_events,
                facts,
                rows,
                reconciled,
                unreadable,
                published,
                open,
                cached,
                cached_bytes,
                lag_events,
                lag_seconds,
                write,
                visible
            );
        });
        metrics
    }

    pub fn watch(&self, stats: Arc<PumpStats>) {
        *self.stats.lock() = Some(stats);
    }

    pub fn batch(&self, records: usize, channel_events: usize, applied: &Applied, took: Duration) {
        self.records.inc_by(records as u64);
        self.channel_events.inc_by(channel_events as u64);
        self.facts.inc_by(applied.facts);
        self.unreadable.inc_by(applied.unreadable.len() as u64);
        self.write.observe(took.as_secs_f64());
        for touched in &applied.touched {
            let kind = match touched.finality.as_str() {
                "open" => "open",
                "reconciled" => "reconciled",
                _ => "final",
            };
            self.rows.get_or_create(&Label { kind }).inc();
        }
    }

    pub fn reconciled(&self, kind: &'static str) {
        self.reconciled.get_or_create(&Label { kind }).inc();
    }

    pub fn published(&self, records: u64) {
        self.published.set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    pub fn gauges(&self, open: usize, cached: usize, bytes: usize) {
        let whole = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.open.set(whole(open));
        self.cached.set(whole(cached));
        self.cached_bytes.set(whole(bytes));
        if let Some(stats) = self.stats.lock().as_ref() {
            self.lag_events.set(i64::try_from(stats.lag_events()).unwrap_or(i64::MAX));
            self.lag_seconds.set(stats.lag_seconds());
        }
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

    #[test]
    fn every_metric_is_registered_under_its_name() {
        let registry = kit::Metrics::new();
        let metrics = Metrics::register(&registry);
        metrics.reconciled("node_lost");
        metrics.rows.get_or_create(&Label { kind: "final" }).inc();
        let text = registry.encode();
        for (name, _) in CATALOGUE {
            assert!(text.contains(&format!("# HELP {name}")), "{name}");
        }
    }
}
