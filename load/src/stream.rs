//! What the event log costs: writing with group commit against the bare disk, reading, and one `publish`.
//!
//! Events are pre-encoded values of 600 bytes, 240 of them random, with our three headers. The bare loop writes the same number of bytes
//! with the same number of syncs to a file beside the log, in turns with it, so that a busy disk slows both alike. `publish` is measured
//! beyond encoding: the same event through the encoder alone is taken off.
//!
//! Gates: at least 200,000 events/s written and half of the bare disk's rate, at least 1,000,000/s read, publish at most 2 µs
//! beyond encoding.

use std::{
    fs::File,
    hint::black_box,
    io::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use domain::{Clock, Now};
use schemas::{Encoder, Event, SipTransaction};
use serde_json::{Value, json};
use stream::{
    EmbeddedConfig, EmbeddedLog, EventLog, Outgoing, Publisher, PublisherConfig, Start, Subscription, header,
};

const FIXTURE: &str = include_str!("../../schemas/sip.transactions/examples/full-invite.json");
const VALUE_BYTES: usize = 600;
const RANDOM_BYTES: usize = 240;
const BATCH: usize = 1500;
/// Appends that wait for the same sync, as several services' publishers do.
const IN_FLIGHT: usize = 4;
const MIN_WRITTEN: f64 = 200_000.0;
const MIN_RATIO: f64 = 0.5;
const MIN_READ: f64 = 1_000_000.0;
const MAX_PUBLISH_NS: f64 = 2_000.0;

/// Runs the measurements; `Ok(false)` when a gate was asked for and missed.
pub fn run(args: &[String]) -> anyhow::Result<bool> {
    let flag = |name: &str| args.iter().any(|a| a == name);
    let unknown = args.iter().find(|a| !["--gate", "--smoke"].contains(&a.as_str()));
    ensure!(unknown.is_none(), "unknown argument {unknown:?}: stream [--gate] [--smoke]");
    let (rounds, per_round) = if flag("--smoke") { (2, 60_000) } else { (6, 300_000) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;

    let place = if Path::new("target").is_dir() { Path::new("target").to_owned() } else { std::env::temp_dir() };
    let dir = tempfile::tempdir_in(place)?;
    let log = EmbeddedLog::open(EmbeddedConfig::new(dir.path().join("log")))?;
    let batches = batches(per_round);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let before = log.stats();
        let started = Instant::now();
        runtime.block_on(write(&log, &batches))?;
        let events = batches.len() * BATCH;
        ours.push(events as f64 / started.elapsed().as_secs_f64());
        let after = log.stats();
        let took = bare_write(dir.path(), round, after.bytes - before.bytes, after.syncs - before.syncs)?;
        bare.push(events as f64 / took.as_secs_f64());
    }
    let read = runtime.block_on(read(&log, rounds * batches.len() * BATCH))?;
    let publish = publish(&runtime, &log, if flag("--smoke") { 4 } else { 25 })?;

    let (ours, bare) = (median(&mut ours), median(&mut bare));
    let ratio = ours / bare;
    let beyond = publish.publish_ns - publish.encode_ns;
    let pass = ours >= MIN_WRITTEN && ratio >= MIN_RATIO && read >= MIN_READ && beyond <= MAX_PUBLISH_NS;
    println!(
        "embedded log, values of {VALUE_BYTES} bytes, batches of {BATCH}, {IN_FLIGHT} in flight, median of {rounds}"
    );
    println!("{:28} {:>12.0} events/s (gate {MIN_WRITTEN})", "written and synced", ours);
    println!("{:28} {:>12.0} events/s, ratio {ratio:.2} (gate {MIN_RATIO})", "bare file, same syncs", bare);
    println!("{:28} {:>12.0} events/s (gate {MIN_READ})", "read", read);
    println!(
        "{:28} {:>12.0} ns, of it encoding {:.0} ns, beyond {beyond:.0} ns (gate {MAX_PUBLISH_NS})",
        "publish", publish.publish_ns, publish.encode_ns
    );
    println!(
        "{}",
        json!({
            "bench": "stream", "ratio": (ratio * 1000.0).round() / 1000.0, "gate": MIN_RATIO, "pass": pass,
            "written_per_s": ours.round(), "gate_written_per_s": MIN_WRITTEN, "bare_per_s": bare.round(),
            "read_per_s": read.round(), "gate_read_per_s": MIN_READ, "publish_ns": publish.publish_ns.round(),
            "encode_ns": publish.encode_ns.round(), "beyond_encoding_ns": beyond.round(), "gate_beyond_ns": MAX_PUBLISH_NS,
        })
    );
    Ok(pass || !flag("--gate"))
}

fn batches(events: usize) -> Vec<Arc<Vec<Outgoing>>> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    (0..events / BATCH)
        .map(|_| {
            let records = (0..BATCH).map(|_| {
                let mut value = vec![b'x'; VALUE_BYTES];
                value[..RANDOM_BYTES].chunks_mut(8).for_each(|c| c.copy_from_slice(&next().to_le_bytes()));
                record(value, next())
            });
            Arc::new(records.collect())
        })
        .collect()
}

fn record(value: Vec<u8>, key: u64) -> Outgoing {
    let key = Bytes::from(format!("018f{key:016x}-0000-7000-8000"));
    let topic = SipTransaction::TOPIC;
    Outgoing {
        topic,
        partition: domain::partition::for_key(&key, topic.partitions),
        timestamp_us: CLOCK.now().wall_us,
        key,
        value: Some(value.into()),
        headers: vec![
            (header::CONTENT_TYPE.into(), Bytes::from_static(header::AVRO.as_bytes())),
            (header::EVENT_TYPE.into(), Bytes::from_static(b"attempt")),
            (
                header::TRACEPARENT.into(),
                Bytes::from_static(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ),
        ],
    }
}

async fn write(log: &EmbeddedLog, batches: &[Arc<Vec<Outgoing>>]) -> anyhow::Result<()> {
    use futures::StreamExt;
    let appends = futures::stream::iter(batches.iter().cloned().map(|batch| log.append_shared(batch)));
    let mut answers = appends.buffered(IN_FLIGHT);
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(())
}

fn bare_write(dir: &Path, round: usize, bytes: u64, syncs: u64) -> anyhow::Result<Duration> {
    let mut file = File::create(dir.join(format!("bare-{round}")))?;
    let piece = usize::try_from(bytes / syncs.max(1))?;
    let buffer: Vec<u8> = (0..piece).map(|n| (n * 31 % 251) as u8).collect();
    let started = Instant::now();
    for _ in 0..syncs {
        file.write_all(&buffer)?;
        file.sync_data()?;
    }
    Ok(started.elapsed())
}

async fn read(log: &EmbeddedLog, events: usize) -> anyhow::Result<f64> {
    let topics = vec![SipTransaction::TOPIC];
    let mut source = log.subscribe(Subscription { group: None, topics, start: Start::Beginning }).await?;
    let (mut seen, mut bytes) = (0, 0);
    let started = Instant::now();
    while seen < events {
        let records = source.poll(5000, Duration::from_secs(1)).await?;
        ensure!(!records.is_empty(), "only {seen} of {events} events came back");
        seen += records.len();
        bytes += records.iter().map(|r| r.value.as_ref().map_or(0, Bytes::len)).sum::<usize>();
    }
    black_box(bytes);
    Ok(seen as f64 / started.elapsed().as_secs_f64())
}

struct PublishCost {
    publish_ns: f64,
    encode_ns: f64,
}

/// Bursts that fit into the queue, with a flush in between; each burst's mean, the median of them.
fn publish(runtime: &tokio::runtime::Runtime, log: &Arc<EmbeddedLog>, bursts: usize) -> anyhow::Result<PublishCost> {
    const BURST: usize = 4000;
    let file: Value = serde_json::from_str(FIXTURE)?;
    let event: SipTransaction = serde_json::from_value(file["events"][0].clone()).context("no SipTransaction")?;
    let publisher = Publisher::start(log.clone(), PublisherConfig::new("load/1", 1, Arc::new(CLOCK)))?;
    let mut encoder = Encoder::<SipTransaction>::new();
    let (mut published, mut encoded) = (Vec::new(), Vec::new());
    for _ in 0..bursts {
        // Made before the clock runs; both loops drop theirs inside it.
        let (first, second): (Vec<_>, Vec<_>) = (0..BURST).map(|_| (event.clone(), event.clone())).unzip();
        let started = Instant::now();
        for event in first {
            black_box(encoder.encode(&event)?);
        }
        encoded.push(started.elapsed().as_nanos() as f64 / BURST as f64);
        let started = Instant::now();
        for event in second {
            black_box(publisher.publish(event));
        }
        published.push(started.elapsed().as_nanos() as f64 / BURST as f64);
        runtime.block_on(publisher.flush(Duration::from_secs(30)))?;
    }
    let stats = publisher.stats();
    ensure!(stats.delivered == (bursts * BURST) as u64, "events were lost: {stats:?}");
    Ok(PublishCost { publish_ns: median(&mut published), encode_ns: median(&mut encoded) })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

const CLOCK: SystemClock = SystemClock;

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        #[expect(clippy::disallowed_methods, reason = "the one clock of the benchmark")]
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Now { wall_us: wall.as_micros() as i64, mono_us: wall.as_micros() as u64 }
    }
}
