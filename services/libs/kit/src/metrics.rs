//! Prometheus metrics: one set of registries per process, one registry per service in it.
//!
//! A service that is started again in the same process (the demo stops and starts cdr) gets a fresh registry in place of its
//! old one, so that no metric stands twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Default)]
pub struct Metrics {
    scopes: Arc<Mutex<BTreeMap<String, Registry>>>,
    scope: String,
}

impl Metrics {
    #[must_use]
    pub fn new() -> Metrics {
        Metrics::default()
    }

    /// The same set, with a fresh registry of its own for `name`. Metric names still carry their service:
    /// `<service>_<noun>_<unit>`.
    #[must_use]
    pub fn scope(&self, name: &str) -> Metrics {
        self.scopes.lock().insert(name.to_owned(), Registry::default());
        Metrics { scopes: Arc::clone(&self.scopes), scope: name.to_owned() }
    }

    /// Registers metrics.
    pub fn with<R>(&self, register: impl FnOnce(&mut Registry) -> R) -> R {
        register(self.scopes.lock().entry(self.scope.clone()).or_default())
    }

    /// All of them as OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(16 * 1024);
        let scopes = self.scopes.lock();
        let written = scopes.values().try_for_each(|registry| text::encode_registry(&mut out, registry));
        written.and_then(|()| text::encode_eof(&mut out)).expect("writing to a String does not fail");
        out
    }
}
