//! Metrics, read from the last snapshot of the shard when somebody scrapes: no cost while calls are set up.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::core::{NodeSnapshot, Snapshot};

/// Gauges of nodes: name, help and value.
type NodeGauge = (&'static str, &'static str, fn(&NodeSnapshot) -> f64);

const NODE_GAUGES: [NodeGauge; 8] = [
    ("edge_node_state", "State of a node: 0 up, 1 suspect, 2 down, 3 draining, 4 disabled", |n| match n.state {
        "up" => 0.0,
        "suspect" => 1.0,
        "draining" => 3.0,
        "disabled" => 4.0,
        _ => 2.0,
    }),
    ("edge_node_calls", "Open calls on a node", |n| n.calls_now as f64),
    ("edge_node_weight", "Effective weight of a node", |n| n.effective_weight),
    ("edge_node_failing", "Share of its calls of the last 15 s that a node failed by its own fault", |n| n.failing),
    ("edge_node_first_response_seconds", "Smoothed time from an INVITE to the first response of a node", |n| {
        f64::from(n.first_response_us) / 1e6
    }),
    ("edge_node_attempts_total", "INVITEs forwarded to a node", |n| n.attempts as f64),
    ("edge_node_failed_5xx_total", "INVITEs that a node answered with 5xx", |n| n.failed_5xx as f64),
    ("edge_node_timeouts_total", "INVITEs that a node never answered", |n| n.timeouts as f64),
];

const CARRIER_STATE: (&str, &str) =
    ("edge_carrier_state", "State of a trunk that calls go to: 0 up, 1 silent, full or suspect, 2 down");

/// Names of all metrics without the suffix of counters, for the test of the README.
#[cfg(test)]
pub fn names() -> Vec<String> {
    let counters = crate::core::Counters::default().list();
    let counters = counters.into_iter().map(|(name, ..)| format!("edge_{name}_total"));
    let gauges = [
        "edge_dialogs_open",
        "edge_invites_setting_up",
        "edge_transactions",
        "edge_journal_bytes",
        "edge_journal_bytes_max",
        "edge_draining",
        "edge_names",
        "edge_names_stale",
    ];
    counters
        .chain(gauges.map(str::to_owned))
        .chain([CARRIER_STATE.0.to_owned()])
        .chain(NODE_GAUGES.map(|(name, ..)| name.to_owned()))
        .collect()
}

#[derive(Debug)]
struct Reader(Arc<ArcSwap<Snapshot>>);

pub fn register(metrics: &kit::Metrics, snapshot: Arc<ArcSwap<Snapshot>>) {
    metrics.with(|registry| registry.register_collector(Box::new(Reader(snapshot))));
}

impl Collector for Reader {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let s = self.0.load();
        for (name, help, value) in s.counters.list() {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(&format!("edge_{name}"), help, None, counter.metric_type())?)?;
        }
        let gauges = [
            ("edge_dialogs_open", "Open dialogs", s.dialogs as f64),
            ("edge_invites_setting_up", "INVITEs without a final response", s.setting_up as f64),
            ("edge_transactions", "Transactions remembered", s.transactions as f64),
            ("edge_journal_bytes", "Bytes of the journal in use", s.journal_bytes as f64),
            ("edge_journal_bytes_max", "Size of the journal; 0 when there is none", s.journal_bytes_max as f64),
            ("edge_names", "Next hops that are names", s.names.len() as f64),
            (
                "edge_names_stale",
                "Names whose last look-up failed; their last good answer is in use",
                s.names.iter().filter(|n| n.stale).count() as f64,
            ),
            ("edge_draining", "1 while no new calls are taken", f64::from(u8::from(s.draining))),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let mut family = encoder.encode_descriptor(CARRIER_STATE.0, CARRIER_STATE.1, None, MetricType::Gauge)?;
        for trunk in s.trunks.iter().filter(|t| t.address.is_some()) {
            let labels = [("trunk", trunk.id.as_str())];
            ConstGauge::new(f64::from(trunk.rank)).encode(family.encode_family(&labels)?)?;
        }
        for (name, help, value) in NODE_GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for node in &s.nodes {
                let labels = [("node", node.id.as_str())];
                ConstGauge::new(value(node)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_readme_lists_every_metric() {
        let readme = include_str!("../README.md");
        for name in super::names().into_iter().chain(crate::adapters::streams::names()) {
            let stem = name.strip_suffix("_total").unwrap_or(&name);
            assert!(readme.contains(stem), "{name} is missing");
        }
    }

    #[test]
    fn a_scrape_shows_counters_and_nodes() {
        let metrics = kit::Metrics::new();
        let node =
            crate::core::NodeSnapshot { id: "fs-1".into(), state: "down", effective_weight: 1.0, ..Default::default() };
        let snapshot = crate::core::Snapshot { nodes: vec![node], dialogs: 7, ..Default::default() };
        super::register(&metrics, std::sync::Arc::new(arc_swap::ArcSwap::from_pointee(snapshot)));
        let text = metrics.encode();
        for line in [
            "edge_invites_total 0",
            "edge_dialogs_open 7",
            "edge_node_state{node=\"fs-1\"} 2",
            "edge_node_weight{node=\"fs-1\"} 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
