//! What `publish` costs beyond encoding. Not a gate (the machine may be busy): `cargo test --release -p stream --test publish_speed --
//! --ignored --nocapture`.

mod common;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use common::{
    DEADLINE, TestClock,
    fake::{FakeLog, call},
};
use schemas::{Encoder, SipTransaction};
use stream::{Publisher, PublisherConfig, Ring};

fn at(sorted: &[u64], share: f64) -> u64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a measurement"]
async fn publish_beyond_encoding() {
    let run = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
    let log = Arc::new(FakeLog::default());
    let config = PublisherConfig {
        ring: Ring::Shared { dir: run.path().join("a"), bytes: 16 << 20 },
        ..PublisherConfig::new("edge/test", 1, TestClock::shared())
    };
    let publisher = Publisher::start(log.clone(), config).expect("a publisher");
    let mut encoder = Encoder::<SipTransaction>::new();
    let (mut published, mut encoded) = (Vec::new(), Vec::new());
    for burst in 0..60 {
        for n in 0..2000 {
            let event = call(burst * 2000 + n);
            let other = event.clone();
            let started = Instant::now();
            encoder.encode(&other).expect("encodes");
            encoded.push(started.elapsed().as_nanos() as u64);
            let started = Instant::now();
            publisher.publish(event);
            published.push(started.elapsed().as_nanos() as u64);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    publisher.flush(DEADLINE).await.expect("delivered");
    assert_eq!(log.calls.load(Ordering::SeqCst) > 0, publisher.stats().shed.iter().sum::<u64>() == 0);
    published.sort_unstable();
    encoded.sort_unstable();
    for share in [0.5, 0.9, 0.99, 0.999] {
        let (publish, encode) = (at(&published, share), at(&encoded, share));
        println!(
            "p{:<5} publish {publish:>6} ns, encode {encode:>6} ns, beyond {:>6} ns",
            share * 100.0,
            publish.saturating_sub(encode)
        );
    }
}
