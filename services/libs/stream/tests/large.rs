//! A log of 10 GiB opens within a second. Ignored: it writes 10 GiB; `cargo test --release -p stream --test large -- --ignored --nocapture`.

mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{outgoing, topic};
use schemas::TopicSpec;
use stream::{Ack, EmbeddedConfig, EmbeddedLog, EventLog, Outgoing};

static CALLS: TopicSpec = topic("test.calls", 12, false);
const BYTES: u64 = 10 << 30;

#[tokio::test]
#[ignore = "writes 10 GiB"]
async fn a_log_of_ten_gib_opens_within_a_second() {
    // The tests' folder of cargo, not /tmp: that may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    // Answered before the sync: making the log is not what is measured.
    let log =
        EmbeddedLog::open(EmbeddedConfig { ack: Ack::Written, ..EmbeddedConfig::new(dir.path()) }).expect("opens");
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_micros() as i64);
    let batch: Arc<Vec<Outgoing>> = Arc::new(
        (0..5000)
            .map(|n| Outgoing { timestamp_us: now, ..outgoing(&CALLS, &n.to_string(), &"x".repeat(600)) })
            .collect(),
    );
    while log.stats().total_bytes < BYTES {
        log.append_shared(batch.clone()).await.expect("append");
    }
    let (records, segments) = (log.stats().appended, log.stats().segments);
    log.close();
    drop(log);
    let before = resident();
    let started = Instant::now();
    let log = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).expect("opens");
    let took = started.elapsed();
    let memory = resident().saturating_sub(before);
    println!("{records} records in {segments} segments open in {took:?} with {} KiB more memory", memory >> 10);
    let ends: i64 = log.bounds(&CALLS).await.expect("bounds").iter().map(|b| b.end).sum();
    assert_eq!(ends.cast_unsigned(), records);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(memory < 64 << 20, "{memory} bytes");
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("linux");
    pages.split(' ').nth(1).and_then(|p| p.parse::<u64>().ok()).expect("pages") * 4096
}
