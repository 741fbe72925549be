//! What one `publish` costs its caller beyond encoding.
//!
//! Every call is timed alone. `publish` and the encoder alone get equal events in turns, so that whatever slows this machine meets both,
//! and both free their event inside the timed span. What is beyond encoding is the difference between the two distributions at the same
//! rank: median minus median, p99 minus p99. The clock's own cost is in both and goes out in the difference; it is shown.
//!
//! Twice: in bursts, where the forwarder is always awake, and paced, where it may have gone to sleep and the caches are cold. The worse
//! one counts.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use schemas::{Encoder, SipTransaction};
use serde_json::Value;
use stream::{EmbeddedConfig, EmbeddedLog, Publisher, PublisherConfig, Ring};
use tokio::runtime::Runtime;

use super::{
    Size,
    figures::{Figures, Gate, percentile},
};
use crate::{clock, place};

const FIXTURE: &str = include_str!("../../../schemas/sip.transactions/examples/full-invite.json");
const RING_BYTES: usize = 16 << 20;
/// So many fit into the ring, so nothing is shed.
const BURST: usize = 4000;
const PACE: Duration = Duration::from_micros(50);
const MAX_BEYOND_NS: f64 = 1_000.0;

#[derive(Default)]
struct Samples {
    publish: Vec<f64>,
    encode: Vec<f64>,
}

impl Samples {
    fn beyond(&self, percent: f64) -> f64 {
        percentile(&self.publish, percent) - percentile(&self.encode, percent)
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
    // The first calls make the encoders and the lines.
    measure(&publisher, &mut encoder, &event, 500, None, &mut Samples::default())?;
    flush()?;
    let mut burst = Samples::default();
    for _ in 0..bursts {
        measure(&publisher, &mut encoder, &event, BURST, None, &mut burst)?;
        flush()?;
    }
    let mut paced = Samples::default();
    for _ in 0..paced_events / BURST.min(paced_events) {
        measure(&publisher, &mut encoder, &event, BURST.min(paced_events), Some(PACE), &mut paced)?;
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
    figures.show("beyond_p50_ns", "beyond encoding, bursts, median", burst.beyond(50.0), "ns");
    figures.show("paced_beyond_p50_ns", "beyond encoding, every 50 µs, median", paced.beyond(50.0), "ns");
    figures.show("burst_beyond_p99_ns", "beyond encoding, bursts, p99", burst.beyond(99.0), "ns");
    figures.show("paced_beyond_p99_ns", "beyond encoding, every 50 µs, p99", paced.beyond(99.0), "ns");
    let worse = burst.beyond(99.0).max(paced.beyond(99.0));
    figures.check("beyond_p99_ns", "beyond encoding, p99, the worse", worse, "ns", Gate::AtMost(MAX_BEYOND_NS));
    Ok(())
}

/// Half of the calls each, alternating.
fn measure(
    publisher: &Publisher,
    encoder: &mut Encoder<SipTransaction>,
    event: &SipTransaction,
    pairs: usize,
    pace: Option<Duration>,
    into: &mut Samples,
) -> anyhow::Result<()> {
    // Made before the clock runs.
    let events: Vec<_> = (0..pairs).map(|_| (event.clone(), event.clone())).collect();
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
    }
    Ok(())
}

fn fixture() -> anyhow::Result<SipTransaction> {
    let file: Value = serde_json::from_str(FIXTURE)?;
    serde_json::from_value(file["events"][0].clone()).context("full-invite.json is no SipTransaction")
}
