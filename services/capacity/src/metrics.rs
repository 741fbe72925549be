//! What this service counts. `README.md` lists the same names.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

#[derive(Clone, Default)]
pub struct Metrics {
    pub heartbeats: Counter,
    pub calls: Counter,
    pub weights: Counter,
    pub tombstones: Counter,
    pub known_nodes: Gauge,
    pub dead_nodes: Gauge,
    pub open_calls: Gauge,
    pub untracked_calls: Gauge,
    pub stale_events: Gauge,
}

impl Metrics {
    #[must_use]
    pub fn new(kit: &kit::Metrics) -> Metrics {
        let m = Metrics::default();
        kit.with(|r| {
            r.register("capacity_heartbeats", "Heartbeats read", m.heartbeats.clone());
            r.register("capacity_calls", "Steps of calls on nodes read", m.calls.clone());
            r.register("capacity_weights", "Weights written", m.weights.clone());
            r.register("capacity_tombstones", "Weights deleted", m.tombstones.clone());
            r.register("capacity_known_nodes", "Nodes that sent a heartbeat", m.known_nodes.clone());
            r.register("capacity_dead_nodes", "Nodes with weight 0 because they are dead", m.dead_nodes.clone());
            r.register("capacity_open_calls", "Open calls on nodes that are remembered", m.open_calls.clone());
            r.register(
                "capacity_untracked_calls",
                "Calls not remembered because the table was full, since the start",
                m.untracked_calls.clone(),
            );
            r.register(
                "capacity_stale_events",
                "Events ignored because they were older than 30 s on arrival, since the start",
                m.stale_events.clone(),
            );
        });
        m
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_lists_every_metric() {
        let registry = kit::Metrics::new();
        let _registered = Metrics::new(&registry);
        let readme = include_str!("../README.md");
        let text = registry.encode();
        let names: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        assert_eq!(names.len(), 9);
        for name in names {
            assert!(readme.contains(name), "{name}");
        }
    }
}
