//! How fast the adapter appends beside a bare loop over the same client, in one run. Not a gate (`load -- stream` is): a tool for
//! whoever changes the producer.
//!
//! `TRUNKLINE_TEST_KAFKA=… cargo test --release -p stream --test kafka_speed -- --ignored --nocapture`

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{
    kafka::{OnBroker, send_window},
    outgoing, topic, until,
};
use rdkafka::{
    ClientConfig, ClientContext,
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, ProducerContext, ThreadedProducer},
};
use schemas::{Retention, TopicSpec};
use stream::Outgoing;

static SPEED: TopicSpec = TopicSpec { retention: Retention::Forever, ..topic("test.speed", 12, false) };
const EVENTS: usize = 400_000;

struct Count(Arc<AtomicU64>);
impl ClientContext for Count {}
impl ProducerContext for Count {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok(), "refused");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// 600 bytes of which 240 are random, three headers.
fn events() -> Vec<Outgoing> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..20_000)
        .map(|n| {
            let mut value = format!("{n:0>360}").into_bytes();
            value.extend((0..30).flat_map(|_| random().to_le_bytes()));
            let mut event = outgoing(&SPEED, &format!("{:032x}", random()), "");
            event.value = Some(Bytes::from(value));
            event.headers = vec![
                ("content-type".into(), Bytes::from_static(b"application/vnd.apache.avro")),
                ("event-type".into(), Bytes::from_static(b"attempt")),
                ("traceparent".into(), Bytes::from_static(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
            ];
            event
        })
        .collect()
}

async fn bare(broker: &OnBroker, events: &[Outgoing]) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &broker.config.bootstrap).set("enable.idempotence", "true");
    config.set("compression.type", "zstd").set("linger.ms", "5").set("queue.buffering.max.kbytes", "131072");
    let producer: ThreadedProducer<Count> = config.create_with_context(Count(done.clone())).expect("a producer");
    let name = broker.name(&SPEED);
    let started = Instant::now();
    for n in 0..EVENTS {
        let event = &events[n % events.len()];
        loop {
            let headers = event.headers.iter().fold(OwnedHeaders::new_with_capacity(3), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value.as_ref()) })
            });
            let mut record = BaseRecord::to(&name).partition(event.partition).key(event.key.as_ref()).headers(headers);
            record.payload = event.value.as_deref();
            if producer.send(record).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    until("all are acknowledged", || done.load(Ordering::Relaxed) == EVENTS as u64).await;
    EVENTS as f64 / started.elapsed().as_secs_f64()
}

async fn ours(broker: &OnBroker, events: &[Outgoing], batch: usize, window: usize) -> f64 {
    let log = broker.log();
    let batches: Vec<Arc<Vec<Outgoing>>> = events.chunks(batch).map(|chunk| Arc::new(chunk.to_vec())).collect();
    let all: Vec<_> = batches.iter().cycle().take(EVENTS.div_ceil(batch)).cloned().collect();
    let started = Instant::now();
    assert_eq!(send_window(&log, &all, window).await, 0, "no append fails");
    EVENTS as f64 / started.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run by hand"]
async fn appends_beside_a_bare_loop() {
    let Some(broker) = OnBroker::from_env() else { return };
    let events = events();
    broker.log().ensure_topics(&[&SPEED]).await.expect("topics");
    for (batch, window) in [(2000, 4), (2000, 1), (2000, 8), (8000, 4), (500, 8)] {
        let reference = bare(&broker, &events).await;
        let speed = ours(&broker, &events, batch, window).await;
        eprintln!(
            "batches of {batch}, {window} in flight: {speed:.0} events/s, bare {reference:.0}, ratio {:.2}",
            speed / reference
        );
    }
    broker.tidy(&[&SPEED]).await;
}
