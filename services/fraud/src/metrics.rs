//! What this service counts. `README.md` lists the same names.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

#[derive(Clone)]
pub struct Metrics {
    pub attempts: Counter,
    pub alerts: Counter,
    pub blocks: Counter,
    pub unconfirmed: Counter,
    pub subjects: Gauge,
    pub unwatched: Gauge,
    pub publish_seconds: Histogram,
    pub confirm_seconds: Histogram,
}

const SECONDS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

impl Metrics {
    #[must_use]
    pub fn new(kit: &kit::Metrics) -> Metrics {
        let m = Metrics {
            attempts: Counter::default(),
            alerts: Counter::default(),
            blocks: Counter::default(),
            unconfirmed: Counter::default(),
            subjects: Gauge::default(),
            unwatched: Gauge::default(),
            publish_seconds: Histogram::new(SECONDS),
            confirm_seconds: Histogram::new(SECONDS),
        };
        kit.with(|r| {
            r.register("fraud_attempts", "Attempts that the rules looked at", m.attempts.clone());
            r.register("fraud_alerts", "Alerts published", m.alerts.clone());
            r.register("fraud_blocks", "Block rules published", m.blocks.clone());
            r.register(
                "unconfirmed_blocks",
                "Blocks that ended before any edge acknowledged them",
                m.unconfirmed.clone(),
            );
            r.register("fraud_watched_callers", "Callers watched now", m.subjects.clone());
            r.register(
                "fraud_unwatched_attempts",
                "Attempts not watched because the table was full",
                m.unwatched.clone(),
            );
            r.register(
                "publish_seconds",
                "From the triggering attempt to the published block",
                m.publish_seconds.clone(),
            );
            r.register(
                "confirm_seconds",
                "From the triggering attempt to the edge's acknowledgement",
                m.confirm_seconds.clone(),
            );
        });
        m
    }
}
