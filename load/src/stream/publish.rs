//! What one `publish` costs its caller beyond encoding.
//!
//! Every call is timed alone, three kinds in turns, so that whatever slows this machine meets all of them: `publish`; the encoder alone on
//! an equal event; and the rest alone, which is the envelope filled and freed, and `publish_encoded` with the same bytes: number, lock,
//! frame, ring, wake. The gate is on the rest's own p99. A difference of two p99s would be no p99 of the difference: an encoder that is
//! interrupted is slower by microseconds, with or without a ring. Medians do not suffer from that, and `publish` minus the encoder is
//! shown beside the rest's median: they must agree, else the rest is not what it says.
//!
//! Twice: in bursts, which is the load that the gate is about, and one every 50 µs, where a neighbour on the same core has emptied the
//! caches in between: shown without a gate, beside what a bare copy of the bytes costs then. The clock's own cost is in all of them; it is
//! shown and not taken off.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use schemas::{Encoder, Envelope, Event, SipTransaction};
use serde_json::Value;
use stream::{EmbeddedConfig, EmbeddedLog, Publisher, PublisherConfig, Ring};
use tokio::runtime::Runtime;

use super::{
    Size,
    events::{EVENT_TYPE, TRACEPARENT},
};
use crate::figures::{Figures, Gate, percentile};
use crate::{clock, place};

const FIXTURE: &str = include_str!("../../../schemas/sip.transactions/examples/full-invite.json");
const RING_BYTES: usize = 16 << 20;
/// So many fit into the ring, so nothing is shed.
const BURST: usize = 3000;
const BOOT_ID: &str = "7f9c24e5-2c31-4c5e-9d43-9a2f7e1f4a11";
const PACE: Duration = Duration::from_micros(50);
const MAX_BEYOND_NS: f64 = 1_000.0;

#[derive(Default)]
struct Samples {
    publish: Vec<f64>,
    encode: Vec<f64>,
    rest: Vec<f64>,
    bare: Vec<f64>,
}

/// The least that any ring could do: the bytes copied once into memory as large as the ring, round and round.
struct Bare {
    memory: Vec<u8>,
    at: usize,
}

impl Bare {
    fn new() -> Bare {
        Bare { memory: vec![1; RING_BYTES], at: 0 }
    }

    fn copy(&mut self, value: &[u8]) {
        if self.at + value.len() > self.memory.len() {
            self.at = 0;
        }
        self.memory[self.at..self.at + value.len()].copy_from_slice(value);
        self.at += value.len();
        black_box(&self.memory);
    }
}

impl Samples {
    fn difference_of_medians(&self) -> f64 {
        percentile(&self.publish, 50.0) - percentile(&self.encode, 50.0)
    }
}

pub fn run(runtime: &Runtime, dir: &Path, size: Size, figures: &mut Figures) -> anyhow::Result<()> {
    let (bursts, paced_events) = if size == Size::Smoke { (3, 2_000) } else { (30, 40_000) };
    println!("publish of a full INVITE, each call timed, in turns with the encoder alone");
    let log = EmbeddedLog::open(EmbeddedConfig::new(dir.join("publish")))?;
    let memory = place::in_memory()?;
    let config = PublisherConfig {
        ring: Ring::Shared { dir: memory.path().join("load"), bytes: RING_BYTES },
        manifests: true,
        ..PublisherConfig::new("load/1", clock::wall_us(), clock::shared())
    };
    let publisher = Publisher::start(log.clone(), config)?;
    let flush = || runtime.block_on(publisher.flush(Duration::from_secs(60)));
    let event = fixture()?;
    let mut encoder = Encoder::<SipTransaction>::new();
    let mut bare = Bare::new();
    // The first calls make the encoders and the lines.
    measure(&publisher, &mut encoder, &mut bare, &event, 500, None, &mut Samples::default())?;
    flush()?;
    let mut burst = Samples::default();
    for _ in 0..bursts {
        measure(&publisher, &mut encoder, &mut bare, &event, BURST, None, &mut burst)?;
        flush()?;
    }
    let mut paced = Samples::default();
    for _ in 0..paced_events / BURST.min(paced_events) {
        measure(&publisher, &mut encoder, &mut bare, &event, BURST.min(paced_events), Some(PACE), &mut paced)?;
        flush()?;
    }
    let stats = publisher.stats();
    ensure!(stats.accepted == stats.delivered, "events were lost: {stats:?}");
    let left = runtime.block_on(publisher.close(Duration::from_secs(60)));
    ensure!(left.is_nothing(), "the publisher leaves {left}");
    log.close();

    let clock: Vec<f64> = (0..100_000).map(|_| Instant::now().elapsed().as_nanos() as f64).collect();
    figures.show("clock_p50_ns", "timing nothing, median", percentile(&clock, 50.0), "ns");
    figures.show("clock_p99_ns", "timing nothing, p99", percentile(&clock, 99.0), "ns");
    figures.show("encode_p50_ns", "encoding alone, bursts, median", percentile(&burst.encode, 50.0), "ns");
    figures.show("encode_p99_ns", "encoding alone, bursts, p99", percentile(&burst.encode, 99.0), "ns");
    figures.show("publish_p50_ns", "publish, bursts, median", percentile(&burst.publish, 50.0), "ns");
    figures.show("publish_p99_ns", "publish, bursts, p99", percentile(&burst.publish, 99.0), "ns");
    figures.show("paced_encode_p99_ns", "encoding alone, every 50 µs, p99", percentile(&paced.encode, 99.0), "ns");
    figures.show("paced_publish_p99_ns", "publish, every 50 µs, p99", percentile(&paced.publish, 99.0), "ns");
    figures.show(
        "median_difference_ns",
        "publish minus encoding, bursts, medians",
        burst.difference_of_medians(),
        "ns",
    );
    figures.show("paced_median_difference_ns", "the same, every 50 µs", paced.difference_of_medians(), "ns");
    for (name, label, samples, percent) in [
        ("beyond_p50_ns", "beyond encoding, bursts, median", &burst, 50.0),
        ("paced_beyond_p50_ns", "beyond encoding, every 50 µs, median", &paced, 50.0),
        ("paced_beyond_p99_ns", "beyond encoding, every 50 µs, p99", &paced, 99.0),
    ] {
        figures.show(name, label, percentile(&samples.rest, percent), "ns");
    }
    figures.show("bare_p99_ns", "a bare copy of the bytes, bursts, p99", percentile(&burst.bare, 99.0), "ns");
    figures.show(
        "paced_bare_p99_ns",
        "a bare copy of the bytes, every 50 µs, p99",
        percentile(&paced.bare, 99.0),
        "ns",
    );
    let p99 = percentile(&burst.rest, 99.0);
    figures.check("beyond_p99_ns", "beyond encoding, bursts, p99", p99, "ns", Gate::AtMost(MAX_BEYOND_NS));
    Ok(())
}

/// A third of the calls each, in turns.
fn measure(
    publisher: &Publisher,
    encoder: &mut Encoder<SipTransaction>,
    bare: &mut Bare,
    event: &SipTransaction,
    rounds: usize,
    pace: Option<Duration>,
    into: &mut Samples,
) -> anyhow::Result<()> {
    // Made before the clock runs.
    let events: Vec<_> = (0..rounds).map(|_| (event.clone(), event.clone())).collect();
    let value = encoder.encode(event)?.to_vec();
    let mut envelope = Envelope::default();
    let key = event.key().to_string();
    let mut next = Instant::now();
    let mut wait = || {
        if let Some(pace) = pace {
            next += pace;
            while Instant::now() < next {
                std::hint::spin_loop();
            }
        }
    };
    for (first, second) in events {
        wait();
        let started = Instant::now();
        black_box(publisher.publish(first));
        into.publish.push(started.elapsed().as_nanos() as f64);
        wait();
        let started = Instant::now();
        black_box(encoder.encode(&second)?);
        drop(second);
        into.encode.push(started.elapsed().as_nanos() as f64);
        wait();
        let started = Instant::now();
        envelope.producer_id = publisher.producer().to_owned();
        envelope.boot_id = Some(BOOT_ID.to_owned());
        black_box(publisher.publish_encoded(SipTransaction::TOPIC, &key, EVENT_TYPE, TRACEPARENT, &value));
        into.rest.push(started.elapsed().as_nanos() as f64);
        wait();
        let started = Instant::now();
        bare.copy(&value);
        into.bare.push(started.elapsed().as_nanos() as f64);
        black_box(&envelope);
    }
    Ok(())
}

fn fixture() -> anyhow::Result<SipTransaction> {
    let file: Value = serde_json::from_str(FIXTURE)?;
    serde_json::from_value(file["events"][0].clone()).context("full-invite.json is no SipTransaction")
}
