//! Metrics of publishers, pumps and the embedded log, read when they are scraped: nothing is counted twice.
//!
//! One registration per registry; then every publisher and pump of the service is added to it.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use schemas::Class;

use crate::{
    BrokerFigures, ClientFigures, EmbeddedLog, EmbeddedStats, KafkaFigures, PumpStats, SHED_ORDER, Way,
    publisher::StatsReader,
};

/// Adds parts to a registered set.
#[derive(Clone, Default)]
pub struct Meters(Arc<Mutex<Parts>>);

#[derive(Default)]
struct Parts {
    publishers: Vec<StatsReader>,
    pumps: Vec<(&'static str, Arc<PumpStats>)>,
    logs: Vec<std::sync::Weak<EmbeddedLog>>,
    kafka: Vec<Arc<KafkaFigures>>,
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stream::metrics::Meters")
    }
}

/// Registers the set; every name begins with `<service>_stream_`.
pub fn register(registry: &mut Registry, service: &str) -> Meters {
    let meters = Meters::default();
    registry
        .sub_registry_with_prefix(service)
        .sub_registry_with_prefix("stream")
        .register_collector(Box::new(meters.clone()));
    meters
}

impl Meters {
    /// Does not keep the publisher alive.
    pub fn publisher(&self, publisher: &crate::Publisher) {
        self.0.lock().publishers.push(publisher.stats_reader());
    }

    /// `name` becomes the label `pump`; a second one of that name takes the place of the first.
    pub fn pump(&self, name: &'static str, stats: Arc<PumpStats>) {
        let mut parts = self.0.lock();
        parts.pumps.retain(|(n, _)| *n != name);
        parts.pumps.push((name, stats));
    }

    /// Does not keep the log open.
    pub fn log(&self, log: &Arc<EmbeddedLog>) {
        self.0.lock().logs.push(Arc::downgrade(log));
    }

    pub fn kafka(&self, figures: &Arc<KafkaFigures>) {
        self.0.lock().kafka.push(figures.clone());
    }
}

enum Kind {
    Counter,
    Gauge,
}

/// One metric family: a value per label set.
fn family(
    encoder: &mut DescriptorEncoder<'_>,
    (kind, name, help): (Kind, &str, &str),
    values: impl IntoIterator<Item = (Vec<(&'static str, String)>, f64)>,
) -> fmt::Result {
    let mut values = values.into_iter().peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let metric_type = match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
    };
    let mut metric = encoder.encode_descriptor(name, help, None, metric_type)?;
    for (labels, value) in values {
        match kind {
            Kind::Counter => ConstCounter::new(value as u64).encode(metric.encode_family(&labels)?)?,
            Kind::Gauge => ConstGauge::new(value).encode(metric.encode_family(&labels)?)?,
        }
    }
    Ok(())
}

impl Collector for Meters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let parts = self.0.lock();
        let encoder = &mut encoder;
        publishers(encoder, &parts.publishers)?;
        pumps(encoder, &parts.pumps)?;
        let logs: Vec<EmbeddedStats> =
            parts.logs.iter().filter_map(std::sync::Weak::upgrade).map(|l| l.stats()).collect();
        embedded(encoder, &logs)?;
        kafka(encoder, &parts.kafka)
    }
}

fn publishers(encoder: &mut DescriptorEncoder<'_>, readers: &[StatsReader]) -> fmt::Result {
    use Kind::{Counter, Gauge};
    let all: Vec<_> = readers.iter().map(|r| (r.producer().to_owned(), r.stats())).collect();
    let one = |value: fn(&crate::PublisherStats) -> f64| {
        all.iter().map(move |(producer, stats)| (vec![("producer", producer.clone())], value(stats)))
    };
    family(encoder, (Counter, "accepted", "Events given to publish"), one(|s| s.accepted as f64))?;
    family(encoder, (Counter, "delivered", "Events that the log acknowledged"), one(|s| s.delivered as f64))?;
    family(encoder, (Counter, "append_errors", "Failed attempts to append a batch"), one(|s| s.errors as f64))?;
    family(encoder, (Gauge, "queued_events", "Events that wait for the log"), one(|s| s.queued_events as f64))?;
    family(encoder, (Gauge, "queued_bytes", "Memory of the events that wait"), one(|s| s.queued_bytes as f64))?;
    family(
        encoder,
        (Gauge, "oldest_seconds", "Age of the oldest event that waits"),
        one(|s| s.oldest_us as f64 / 1e6),
    )?;
    let ring = (Gauge, "ring_bytes", "Bytes in the ring");
    family(encoder, ring, one(|s| s.ring_bytes as f64))?;
    let fill = (Gauge, "ring_fill", "How full the ring is, 0 to 1");
    family(encoder, fill, one(|s| s.ring_bytes as f64 / s.ring_capacity.max(1) as f64))?;
    family(encoder, (Gauge, "spool_events", "Events in the spool"), one(|s| s.spool_events as f64))?;
    family(encoder, (Gauge, "spool_bytes", "Bytes in the spool"), one(|s| s.spool_bytes as f64))?;
    let drained = (Counter, "dead_epochs", "Rings of killed processes that were drained and closed");
    family(encoder, drained, one(|s| s.dead_epochs as f64))?;
    let late = (Counter, "after_close", "Events that came after the end of their publisher");
    family(encoder, late, one(|s| s.after_close as f64))?;
    let ways = all.iter().flat_map(|(producer, stats)| {
        Way::ALL.into_iter().map(move |way| {
            let labels = vec![("producer", producer.clone()), ("way", way.as_str().to_owned())];
            (labels, f64::from(u8::from(way == stats.way)))
        })
    });
    family(encoder, (Gauge, "way", "1 at the way that events take"), ways)?;
    let lost = all.iter().flat_map(|(producer, stats)| {
        let label = move |reason: &str, class: Option<Class>| {
            let class = class.map_or("any", Class::as_str);
            vec![("producer", producer.clone()), ("reason", reason.to_owned()), ("class", class.to_owned())]
        };
        let shed = SHED_ORDER.iter().zip(stats.shed).map(move |(class, n)| (label("shed", Some(*class)), n as f64));
        shed.chain([(label("unfit", None), stats.unfit as f64), (label("refused", None), stats.refused as f64)])
    });
    family(encoder, (Counter, "lost", "Events that were lost and declared"), lost)
}

fn pumps(encoder: &mut DescriptorEncoder<'_>, pumps: &[(&'static str, Arc<PumpStats>)]) -> fmt::Result {
    use Kind::{Counter, Gauge};
    let one = |value: fn(&PumpStats) -> f64| {
        pumps.iter().map(move |(name, stats)| (vec![("pump", (*name).to_owned())], value(stats)))
    };
    family(encoder, (Counter, "handled", "Records handled"), one(|s| s.handled() as f64))?;
    family(encoder, (Counter, "dead_letters", "Records that became dead letters"), one(|s| s.dead() as f64))?;
    family(encoder, (Counter, "retries", "Batches that had to be tried again"), one(|s| s.retries() as f64))?;
    family(encoder, (Gauge, "lag_events", "Records that wait in the topics"), one(|s| s.lag_events() as f64))?;
    family(
        encoder,
        (Gauge, "lag_seconds", "Age of the oldest record that is not handled; it grows while the pump waits"),
        one(PumpStats::lag_seconds),
    )?;
    let topics: Vec<_> =
        pumps.iter().flat_map(|(name, stats)| stats.topics().into_iter().map(move |t| (*name, t))).collect();
    let of_topic = |value: fn(&crate::TopicLag) -> f64| {
        let labels = |name: &str, topic: &str| vec![("pump", name.to_owned()), ("topic", topic.to_owned())];
        topics.iter().map(move |(name, topic)| (labels(name, topic.topic.name), value(topic)))
    };
    family(encoder, (Gauge, "topic_lag_events", "As lag_events, per topic"), of_topic(|t| t.events as f64))?;
    family(encoder, (Gauge, "topic_lag_seconds", "As lag_seconds, per topic"), of_topic(|t| t.oldest_us as f64 / 1e6))?;
    family(encoder, (Gauge, "in_flight_events", "Records read and not finished"), one(|s| s.in_flight().0 as f64))?;
    family(encoder, (Gauge, "in_flight_bytes", "Bytes of these records"), one(|s| s.in_flight().1 as f64))?;
    let parked = pumps.iter().flat_map(|(name, stats)| {
        stats.parked().into_iter().map(move |spot| {
            let labels = vec![
                ("pump", (*name).to_owned()),
                ("topic", spot.at.topic.name.to_owned()),
                ("partition", spot.at.partition.to_string()),
                ("schema", format!("{:#010x}", spot.schema_id)),
            ];
            (labels, spot.offset as f64)
        })
    });
    family(encoder, (Gauge, "parked", "Offset at which a partition waits for a schema that is unknown here"), parked)?;
    family(encoder, (Gauge, "paused", "1 while a failure is waited out"), one(|s| f64::from(u8::from(s.paused()))))
}

fn embedded(encoder: &mut DescriptorEncoder<'_>, logs: &[EmbeddedStats]) -> fmt::Result {
    use Kind::{Counter, Gauge};
    let one = |value: fn(&EmbeddedStats) -> f64| logs.iter().map(move |stats| (Vec::new(), value(stats)));
    family(encoder, (Counter, "log_appended", "Records written"), one(|s| s.appended as f64))?;
    family(encoder, (Counter, "log_syncs", "Commits that reached the disk"), one(|s| s.syncs as f64))?;
    family(encoder, (Counter, "log_failures", "Commits that failed"), one(|s| s.failures as f64))?;
    family(encoder, (Counter, "log_skipped", "Records gone before a reader got them"), one(|s| s.skipped as f64))?;
    family(
        encoder,
        (Counter, "log_dropped_segments", "Segments that retention dropped"),
        one(|s| s.dropped_segments as f64),
    )?;
    let dropped = "Records that retention took, over the life of the log";
    family(encoder, (Counter, "log_dropped_records", dropped), one(|s| s.dropped_records as f64))?;
    family(
        encoder,
        (Counter, "log_failed_syncs", "Syncs that failed behind the callers"),
        one(|s| s.failed_syncs as f64),
    )?;
    let unsynced = "Bytes that are answered and not on the disk yet";
    family(encoder, (Gauge, "log_unsynced_bytes", unsynced), one(|s| s.unsynced_bytes as f64))?;
    family(encoder, (Gauge, "log_bytes", "Size of the log on disk"), one(|s| s.total_bytes as f64))?;
    family(
        encoder,
        (Gauge, "log_damaged_ranges", "Ranges of the log that cannot be read"),
        one(|s| s.damaged_ranges as f64),
    )
}

fn kafka(encoder: &mut DescriptorEncoder<'_>, logs: &[Arc<KafkaFigures>]) -> fmt::Result {
    use Kind::{Counter, Gauge};
    let replaced = logs.iter().map(|figures| (Vec::new(), figures.replaced() as f64));
    family(encoder, (Counter, "kafka_producers_replaced", "Producers in a fatal state, made anew"), replaced)?;
    let clients = merged(logs.iter().flat_map(|figures| figures.clients()));
    let one =
        |value: fn(&ClientFigures) -> f64| clients.iter().map(move |c| (vec![("client", c.client.clone())], value(c)));
    let queued = "Messages that wait for their acknowledgement";
    family(encoder, (Gauge, "kafka_queued_messages", queued), one(|c| c.queued_messages as f64))?;
    family(encoder, (Gauge, "kafka_queued_bytes", "Size of these messages"), one(|c| c.queued_bytes as f64))?;
    family(encoder, (Counter, "kafka_rebalances", "Changes of the assignment"), one(|c| c.rebalances as f64))?;
    let lag = clients.iter().flat_map(|c| {
        c.lag.iter().map(|(topic, lag)| (vec![("client", c.client.clone()), ("topic", topic.clone())], *lag as f64))
    });
    family(encoder, (Gauge, "kafka_lag_events", "Records that the consumer was not given yet"), lag)?;
    let each = |value: fn(&BrokerFigures) -> f64| {
        clients.iter().flat_map(move |c| {
            c.brokers.iter().map(move |b| (vec![("client", c.client.clone()), ("broker", b.broker.clone())], value(b)))
        })
    };
    family(encoder, (Gauge, "kafka_broker_up", "1 while connected"), each(|b| f64::from(u8::from(b.up))))?;
    let rtt = "Round trip, 99th percentile of the last seconds";
    family(encoder, (Gauge, "kafka_broker_rtt_seconds", rtt), each(|b| b.rtt_us as f64 / 1e6))?;
    family(encoder, (Counter, "kafka_broker_errors", "Failed sends and receives"), each(|b| b.errors as f64))?;
    family(encoder, (Counter, "kafka_broker_retries", "Requests sent again"), each(|b| b.retries as f64))?;
    family(encoder, (Counter, "kafka_broker_timeouts", "Requests without an answer"), each(|b| b.timeouts as f64))?;
    family(encoder, (Counter, "kafka_broker_disconnects", "Lost connections"), each(|b| b.disconnects as f64))
}

/// One entry per client label: two consumers of one group in this process are one series.
fn merged(clients: impl Iterator<Item = ClientFigures>) -> Vec<ClientFigures> {
    let mut out: Vec<ClientFigures> = Vec::new();
    for more in clients {
        let Some(known) = out.iter_mut().find(|c| c.client == more.client) else {
            out.push(more);
            continue;
        };
        known.queued_messages += more.queued_messages;
        known.queued_bytes += more.queued_bytes;
        known.rebalances += more.rebalances;
        for (topic, lag) in more.lag {
            match known.lag.iter_mut().find(|(t, _)| *t == topic) {
                Some((_, sum)) => *sum += lag,
                None => known.lag.push((topic, lag)),
            }
        }
        for broker in more.brokers {
            match known.brokers.iter_mut().find(|b| b.broker == broker.broker) {
                Some(b) => {
                    b.up &= broker.up;
                    b.rtt_us = b.rtt_us.max(broker.rtt_us);
                    b.errors += broker.errors;
                    b.retries += broker.retries;
                    b.timeouts += broker.timeouts;
                    b.disconnects += broker.disconnects;
                }
                None => known.brokers.push(broker),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn every_metric_is_in_the_readme_and_the_text_is_well_formed() {
        let mut registry = Registry::default();
        let meters = register(&mut registry, "cdr");
        meters.pump("calls", Arc::default());
        let dir = tempfile::tempdir().expect("a folder");
        let log = EmbeddedLog::open(crate::EmbeddedConfig::new(dir.path())).expect("a log");
        meters.log(&log);
        let publisher = crate::Publisher::start(log, crate::PublisherConfig::new("cdr/1", 1, Arc::new(StoppedClock)))
            .expect("a publisher");
        meters.publisher(&publisher);
        let figures = Arc::new(KafkaFigures::default());
        let lag = vec![("eu.sip.transactions".to_owned(), 7)];
        let brokers = vec![BrokerFigures { broker: "b:9092".to_owned(), up: true, ..BrokerFigures::default() }];
        for _ in 0..2 {
            let client = "trunkline-cdr".to_owned();
            figures.put(ClientFigures {
                client,
                lag: lag.clone(),
                brokers: brokers.clone(),
                ..ClientFigures::default()
            });
        }
        meters.kafka(&figures);
        let mut text = String::new();
        encode(&mut text, &registry).expect("encodes");
        assert!(text.contains("cdr_stream_lag_events{pump=\"calls\"} 0"), "{text}");
        assert!(text.contains("cdr_stream_lost_total{producer=\"cdr/1\",reason=\"shed\",class=\"life\"} 0"), "{text}");
        let lag = "cdr_stream_kafka_lag_events{client=\"trunkline-cdr\",topic=\"eu.sip.transactions\"} 14";
        assert!(text.contains(lag), "{text}");
        let readme = include_str!("../README.md");
        for line in text.lines().filter_map(|l| l.strip_prefix("# TYPE ")) {
            let name = line.split(' ').next().and_then(|n| n.strip_prefix("cdr_stream_")).expect("our prefix");
            assert!(readme.contains(&format!("`{name}`")), "{name} is not in README.md");
        }
    }

    struct StoppedClock;

    impl domain::Clock for StoppedClock {
        fn now(&self) -> domain::Now {
            domain::Now::default()
        }
    }
}
