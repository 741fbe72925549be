//! The metrics of the api.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabel {
    /// The pattern, from the table of routes; never the path itself.
    pub route: &'static str,
    pub class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ChangeLabel {
    pub action: &'static str,
    pub result: &'static str,
}

#[derive(Clone, Default)]
pub struct Metrics {
    pub requests: Family<RouteLabel, Counter>,
    pub changes: Family<ChangeLabel, Counter>,
    pub live_clients: Gauge,
    pub store_errors: Counter,
}

impl Metrics {
    pub fn register(kit: &kit::Metrics) -> Metrics {
        let metrics = Metrics::default();
        kit.with(|registry| {
            registry.register("api_requests", "Requests by route and status class", metrics.requests.clone());
            registry.register("api_changes", "Changes asked for by operators", metrics.changes.clone());
            registry.register("api_live_clients", "Pages that watch the live view", metrics.live_clients.clone());
            registry.register("api_store_errors", "Queries that a store did not answer", metrics.store_errors.clone());
        });
        metrics
    }
}
