//! Our whole path: ring in shared memory, spool on the disk, Kafka, and our source at the other end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use stream::{
    EventLog, KafkaConfig, KafkaLog, Outgoing, Publisher, PublisherConfig, Ring, SpoolConfig, Start, Subscription,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{super::events, ROUND_LIMIT};
use crate::{clock, place};

const RING_BYTES: usize = 16 << 20;
/// `publish` never waits, so a loop that publishes as fast as it can must look how full the ring is. So often, in events.
const LOOK_EVERY: usize = 64;

pub struct Path<'a> {
    runtime: &'a Runtime,
    publisher: Publisher,
    seen: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<anyhow::Result<()>>>,
    published: usize,
    _memory: TempDir,
}

impl<'a> Path<'a> {
    pub fn start(runtime: &'a Runtime, dir: &std::path::Path, kafka: KafkaConfig) -> anyhow::Result<Self> {
        let memory = place::in_memory()?;
        let log: Arc<dyn EventLog> = Arc::new(KafkaLog::new(kafka.clone())?);
        let config = PublisherConfig {
            ring: Ring::Shared { dir: memory.path().join("load"), bytes: RING_BYTES },
            spool: Some(SpoolConfig::new(dir.join("spool"))),
            manifests: true,
            ..PublisherConfig::new("load/1", clock::wall_us(), clock::shared())
        };
        let publisher = Publisher::start(log, config)?;
        let (seen, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counter, ended) = (seen.clone(), stop.clone());
        let reader = std::thread::Builder::new().name("our-consumer".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(read(&KafkaLog::new(kafka)?, &counter, &ended))
        })?;
        Ok(Self { runtime, publisher, seen, stop, reader: Some(reader), published: 0, _memory: memory })
    }

    /// Publishes so many and waits until as many were consumed.
    pub fn round(&mut self, events: &[Outgoing], count: usize) -> anyhow::Result<Duration> {
        let started = Instant::now();
        for (n, event) in events.iter().cycle().take(count).enumerate() {
            if n % LOOK_EVERY == 0 {
                while self.publisher.stats().queued_bytes > (RING_BYTES / 2) as u64 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            let key = std::str::from_utf8(&event.key)?;
            let value = event.value.as_deref().context("every event has a value")?;
            self.publisher.publish_encoded(event.topic, key, events::EVENT_TYPE, events::TRACEPARENT, value);
        }
        self.published += count;
        while self.seen.load(Ordering::Relaxed) < self.published {
            let alive = self.reader.as_ref().is_some_and(|r| !r.is_finished());
            ensure!(alive && started.elapsed() < ROUND_LIMIT, "our path is stuck: {:?}", self.publisher.stats());
            std::thread::sleep(Duration::from_millis(1));
        }
        let took = started.elapsed();
        let stats = self.publisher.stats();
        ensure!(stats.shed.iter().all(|shed| *shed == 0), "the ring was too small for this pace: {stats:?}");
        Ok(took)
    }

    pub fn close(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| anyhow::anyhow!("the consumer panicked"))??;
        }
        let left = self.runtime.block_on(self.publisher.close(Duration::from_secs(30)));
        ensure!(left.is_nothing(), "the publisher leaves {left}");
        Ok(())
    }
}

async fn read(log: &KafkaLog, seen: &AtomicUsize, stop: &AtomicBool) -> anyhow::Result<()> {
    let topics = vec![events::topic()];
    let mut source = log.subscribe(Subscription { group: None, topics, start: Start::Beginning }).await?;
    while !stop.load(Ordering::Relaxed) {
        let records = source.poll(5000, Duration::from_millis(100)).await?;
        let bytes: usize = records.iter().map(|r| r.value.as_ref().map_or(0, |v| v.len())).sum();
        std::hint::black_box(bytes);
        seen.fetch_add(records.len(), Ordering::Relaxed);
    }
    Ok(())
}
