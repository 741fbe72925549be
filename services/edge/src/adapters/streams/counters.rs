//! Counts of the connections, written by their thread and read by whoever scrapes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

macro_rules! counters {
    ($($name:ident: $help:literal,)*) => {
        #[derive(Debug, Default)]
        pub struct Counters {
            $(#[doc = $help] pub $name: AtomicU64,)*
            /// Places that are taken now: open, or being opened.
            pub open: AtomicU64,
        }

        impl Counters {
            /// Name, help and value of each.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), $help, self.$name.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

counters! {
    accepted: "Connections admitted",
    denied: "Connections from sources that are neither trunk nor node, closed unread",
    over_cap: "Connections closed because of the limits in total or per source",
    unopened: "Connections whose PROXY header or handshake failed or took too long",
    made: "Connections made to peers",
    unreachable: "Connections to peers that failed",
    shed: "Connections closed because their peer did not read",
    slow: "Connections closed because a message, or the first byte, took too long",
    idle: "Connections closed because nobody needed them",
    broken: "Connections closed because messages could not be told apart",
    accept_errors: "Connections that the system did not give us",
    messages_in: "Messages received by connections",
    messages_out: "Messages written to connections",
    unsent: "Messages whose connection was gone or full",
}

pub fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[derive(Debug)]
struct Reader(Arc<Counters>);

pub fn register(metrics: &kit::Metrics, counters: Arc<Counters>) {
    metrics.with(|registry| registry.register_collector(Box::new(Reader(counters))));
}

impl Collector for Reader {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, help, value) in self.0.list() {
            let counter = ConstCounter::new(value);
            let name = format!("edge_connections_{name}");
            counter.encode(encoder.encode_descriptor(&name, help, None, counter.metric_type())?)?;
        }
        let open = ConstGauge::new(self.0.open.load(Ordering::Relaxed) as f64);
        open.encode(encoder.encode_descriptor("edge_connections_open", "Open connections", None, open.metric_type())?)
    }
}

/// Names of all, for the test of the README.
#[cfg(test)]
pub fn names() -> Vec<String> {
    let counters = Counters::default().list();
    let names = counters.into_iter().map(|(name, ..)| format!("edge_connections_{name}"));
    names.chain(["edge_connections_open".to_owned()]).collect()
}
