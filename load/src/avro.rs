//! What encoding and decoding one event costs, against serde_avro_fast in the same run.
//!
//! The yardstick is a full INVITE of the edge, the largest event of the busiest topic. Both get the same
//! value, the same schema and a buffer that is reused; they must also give the same bytes, else the run is void. The
//! two take turns in short rounds and each round's best counts, so that a busy machine slows both alike.
//!
//! Gates: at most 900 bytes, at most 6 µs, at most twice serde_avro_fast.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use schemas::{Encoder, Event, SipTransaction, codec::FRAME_HEADER_BYTES};
use serde_json::{Value, json};

const FIXTURE: &str = include_str!("../../schemas/sip.transactions/examples/full-invite.json");
const MAX_BYTES: usize = 900;
const MAX_ENCODE_NS: f64 = 6_000.0;
const MAX_RATIO: f64 = 2.0;
const MIN_FIELDS: usize = 60;

/// Runs the comparison; `Ok(false)` when a gate was asked for and missed.
pub fn run(args: &[String]) -> anyhow::Result<bool> {
    let flag = |name: &str| args.iter().any(|a| a == name);
    let unknown = args.iter().find(|a| !["--gate", "--smoke"].contains(&a.as_str()));
    ensure!(unknown.is_none(), "unknown argument {unknown:?}: avro [--gate] [--smoke]");
    let rounds = if flag("--smoke") { 20 } else { 200 };

    let event = fixture()?;
    let fields = leaves(&serde_json::to_value(&event)?);
    ensure!(fields >= MIN_FIELDS, "the fixture sets {fields} fields, at least {MIN_FIELDS} are needed");
    let result = measure(&event, rounds)?;

    let encode_ratio = result.encode.ours / result.encode.fast;
    let decode_ratio = result.decode.ours / result.decode.fast;
    let pass = result.bytes <= MAX_BYTES && result.encode.ours <= MAX_ENCODE_NS && encode_ratio <= MAX_RATIO;
    println!("one full INVITE event: {fields} fields set, {} bytes in its frame (gate {MAX_BYTES})", result.bytes);
    println!("{:8} {:>12} {:>16} {:>7}", "", "ours", "serde_avro_fast", "ratio");
    println!("{:8} {:>9.0} ns {:>13.0} ns {:>7.2}", "encode", result.encode.ours, result.encode.fast, encode_ratio);
    println!("{:8} {:>9.0} ns {:>13.0} ns {:>7.2}", "decode", result.decode.ours, result.decode.fast, decode_ratio);
    println!("gates: encode <= {MAX_ENCODE_NS} ns and ratio <= {MAX_RATIO}: {}", if pass { "pass" } else { "MISSED" });
    println!(
        "{}",
        json!({
            "bench": "avro", "ratio": round(encode_ratio), "gate": MAX_RATIO, "pass": pass, "fields": fields,
            "bytes": result.bytes, "gate_bytes": MAX_BYTES, "encode_ns": result.encode.ours.round(),
            "gate_encode_ns": MAX_ENCODE_NS, "fast_encode_ns": result.encode.fast.round(),
            "decode_ns": result.decode.ours.round(), "fast_decode_ns": result.decode.fast.round(),
            "decode_ratio": round(decode_ratio),
        })
    );
    Ok(pass || !flag("--gate"))
}

fn fixture() -> anyhow::Result<SipTransaction> {
    let file: Value = serde_json::from_str(FIXTURE)?;
    serde_json::from_value(file["events"][0].clone()).context("full-invite.json is no SipTransaction")
}

/// Fields that say something: no nulls, no empty texts or lists, every entry of a list or map counted as one.
fn leaves(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::String(text) => usize::from(!text.is_empty()),
        Value::Array(items) => items.iter().map(leaves).sum(),
        Value::Object(fields) => fields.values().map(leaves).sum(),
        Value::Bool(_) | Value::Number(_) => 1,
    }
}

/// Best time per event.
struct Pair {
    ours: f64,
    fast: f64,
}

struct Measured {
    bytes: usize,
    encode: Pair,
    decode: Pair,
}

fn measure(event: &SipTransaction, rounds: u32) -> anyhow::Result<Measured> {
    let schema: serde_avro_fast::Schema = SipTransaction::TOPIC.schema.parse()?;
    let mut config = serde_avro_fast::ser::SerializerConfig::new(&schema);
    let mut ours = Encoder::<SipTransaction>::new();

    let frame = ours.encode(event)?.to_vec();
    let mut buffer = serde_avro_fast::to_datum(event, Vec::new(), &mut config)?;
    ensure!(frame[FRAME_HEADER_BYTES..] == buffer, "the two libraries give different bytes");
    let datum = buffer.clone();
    ensure!(&schemas::decode::<SipTransaction>(&frame)? == event, "what was written is not what is read");
    ensure!(&serde_avro_fast::from_datum_slice::<SipTransaction>(&datum, &schema)? == event, "the other reads another");

    let mut result = Measured { bytes: frame.len(), encode: Pair::worst(), decode: Pair::worst() };
    for _ in 0..rounds {
        keep_best(&mut result.encode.ours, || {
            black_box(ours.encode(black_box(event)).expect("encoded once already"));
        });
        keep_best(&mut result.encode.fast, || {
            buffer.clear();
            let spent = std::mem::take(&mut buffer);
            buffer = serde_avro_fast::to_datum(black_box(event), spent, &mut config).expect("encoded once already");
            black_box(&buffer);
        });
        keep_best(&mut result.decode.ours, || {
            black_box(schemas::decode::<SipTransaction>(black_box(&frame)).expect("decoded once already"));
        });
        keep_best(&mut result.decode.fast, || {
            let read = serde_avro_fast::from_datum_slice::<SipTransaction>(black_box(&datum), &schema);
            black_box(read.expect("decoded once already"));
        });
    }
    Ok(result)
}

impl Pair {
    fn worst() -> Self {
        Self { ours: f64::INFINITY, fast: f64::INFINITY }
    }
}

/// One round of about two milliseconds, short enough to fall between two interruptions.
pub(crate) fn keep_best(best: &mut f64, mut once: impl FnMut()) {
    const ROUND: Duration = Duration::from_millis(2);
    let start = Instant::now();
    let mut turns = 0_u32;
    while start.elapsed() < ROUND {
        for _ in 0..32 {
            once();
        }
        turns += 32;
    }
    let per_turn = start.elapsed().as_nanos() as f64 / f64::from(turns);
    *best = best.min(per_turn);
}

pub(crate) fn round(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}
