//! What the engine counts. Read from the nodes' state when somebody asks, so that counting costs an event nothing.
//!
//! The label `node` comes from the settings. README.md lists these names; a test compares.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::status::{NodeHandle, NodeState};

type Counted = (&'static str, &'static str, fn(&NodeState) -> u64);
type Gauged = (&'static str, &'static str, fn(&NodeState) -> i64);

/// Counters; the encoder adds `_total`.
pub(crate) const COUNTERS: [Counted; 13] = [
    ("engine_events_read", "Events read from the node", |s| s.tally.events),
    ("engine_events_published", "Events that became a record of channel.events", |s| s.tally.published),
    ("engine_events_ignored", "Events about no channel, and frames that we do not use", |s| s.tally.events_ignored),
    (
        "engine_events_unattributed",
        "First events of channels older than our connection that do not say whose they are",
        |s| s.tally.events_unattributed,
    ),
    ("engine_events_unread", "Events that could not be read", |s| s.tally.events_unread),
    ("engine_keys_withheld", "Keys of sensitive inputs, not published", |s| s.tally.keys_withheld),
    ("engine_heartbeats", "Heartbeats of the node", |s| s.tally.heartbeats),
    ("engine_decisions", "Records of ivr.decisions", |s| s.tally.decisions),
    ("engine_commands_sent", "Commands sent to channels", |s| s.tally.commands),
    ("engine_commands_refused", "Commands that the node refused", |s| s.tally.commands_refused),
    ("engine_channels_forgotten", "Channels that ended while the link was away, or with their node", |s| {
        s.tally.channels_forgotten
    }),
    ("engine_channels_refused", "Marked channels whose id is no UUID and which are therefore not commanded", |s| {
        s.tally.channels_refused
    }),
    ("engine_link_connections", "Connections to the node that came up", |s| s.connections),
];

pub(crate) const GAUGES: [Gauged; 4] = [
    ("engine_link_up", "Whether the node is connected (1) or not (0)", |s| i64::from(s.up)),
    ("engine_channels", "Channels of the node that are alive", |s| i64::try_from(s.channels).unwrap_or(i64::MAX)),
    ("engine_callers", "Channels that are led through a menu", |s| i64::try_from(s.callers).unwrap_or(i64::MAX)),
    ("engine_event_lag_us", "From the node's time stamp of an event to our reading it, latest", |s| {
        s.event_lag_us.unwrap_or(0)
    }),
];

pub(crate) fn register(registry: &mut Registry, nodes: Vec<NodeHandle>) {
    registry.register_collector(Box::new(Nodes(nodes)));
}

#[derive(Debug)]
struct Nodes(Vec<NodeHandle>);

impl Collector for Nodes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let states: Vec<(&str, NodeState)> = self.0.iter().map(|node| (node.id.as_str(), node.state())).collect();
        for (name, help, value) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (id, state) in &states {
                ConstCounter::new(value(state)).encode(family.encode_family(&[("node", *id)])?)?;
            }
        }
        for (name, help, value) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (id, state) in &states {
                ConstGauge::new(value(state)).encode(family.encode_family(&[("node", *id)])?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_lists_every_metric() {
        let readme = include_str!("../README.md");
        for name in COUNTERS.iter().map(|c| format!("{}_total", c.0)).chain(GAUGES.iter().map(|g| g.0.to_owned())) {
            assert!(readme.contains(&format!("`{name}`")), "{name} is missing in README.md");
        }
    }

    #[test]
    fn a_scrape_shows_each_node_under_its_id() {
        let metrics = kit::Metrics::new();
        let node = NodeHandle::new("node-a", "127.0.0.1:8021");
        node.update(|state| {
            state.up = true;
            state.tally.events = 7;
        });
        metrics.with(|registry| register(registry, vec![node]));
        let text = metrics.encode();
        assert!(text.contains("engine_link_up{node=\"node-a\"} 1"), "{text}");
        assert!(text.contains("engine_events_read_total{node=\"node-a\"} 7"), "{text}");
    }
}
