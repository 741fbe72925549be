//! Reads the log from outside while the lab goes on: every event once it is there, and how old it is by then.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context;
use parking_lot::Mutex;
use schemas::{Event, SipTransaction, StreamManifest, identity};
use stream::{EventLog, LogError, Record, Start, Subscription};

use super::{
    account::{Manifest, Seen},
    child,
    notes::Note,
};
use crate::clock::wall_us;

#[derive(Default)]
pub struct Sightings {
    pub seen: Seen,
    /// By second of UTC in which they came: how many events, and the age of the oldest, in ms.
    pub by_second: BTreeMap<i64, (u64, i64)>,
}

impl Sightings {
    /// Events that came in these seconds, and the greatest age among them.
    pub fn between(&self, from_us: i64, to_us: i64) -> (u64, i64) {
        let range = self.by_second.range(from_us / 1_000_000..to_us / 1_000_000);
        range.fold((0, 0), |(count, oldest), (_, (c, age))| (count + c, oldest.max(*age)))
    }

    /// The last second in which an event came that was older than this.
    pub fn last_older_than(&self, age_ms: i64) -> Option<i64> {
        self.by_second.iter().rev().find(|(_, (_, oldest))| *oldest > age_ms).map(|(second, _)| *second)
    }

    fn take(&mut self, record: &Record) -> anyhow::Result<()> {
        let Some(value) = record.value.as_deref() else { return Ok(()) };
        if record.topic == StreamManifest::TOPIC {
            let manifest: StreamManifest = schemas::decode(value)?;
            let lines = manifest.lines.iter().filter(|l| l.topic == SipTransaction::TOPIC.name);
            let losses = lines.clone().flat_map(|l| l.losses.iter().map(|x| (l.partition, x.first, x.last, x.events)));
            let (losses, next) = (losses.collect(), lines.map(|l| (l.partition, l.next_seq)).collect());
            let closed = manifest.is_closed();
            self.seen.manifest(manifest.epoch, Manifest { made_us: manifest.made_us, closed, losses, next });
            return Ok(());
        }
        let id = identity(value)?;
        let n = child::number_in(&record.key).context("a key that is not ours")?;
        self.seen.event(Note { epoch: id.epoch, partition: id.partition, seq: id.seq, n });
        let now = wall_us();
        let age_ms = (now - record.timestamp_us) / 1000;
        let second = self.by_second.entry(now / 1_000_000).or_default();
        *second = (second.0 + 1, second.1.max(age_ms));
        Ok(())
    }
}

pub struct Reader {
    pub sightings: Arc<Mutex<Sightings>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Reader {
    pub fn start(log: Arc<dyn EventLog>) -> anyhow::Result<Self> {
        let (sightings, stop) = (Arc::<Mutex<Sightings>>::default(), Arc::<AtomicBool>::default());
        let (into, ended) = (sightings.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("lab-reader".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(read(&*log, &into, &ended))
        })?;
        Ok(Self { sightings, stop, thread: Some(thread) })
    }

    /// Waits until this holds. False: the time was up. An error: the reader ended.
    pub fn wait_until(&mut self, limit: Duration, holds: impl Fn(&Sightings) -> bool) -> anyhow::Result<bool> {
        let started = Instant::now();
        loop {
            if holds(&self.sightings.lock()) {
                return Ok(true);
            }
            if let Some(thread) = self.thread.take_if(|thread| thread.is_finished()) {
                thread.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?.context("the reader ended")?;
            }
            if started.elapsed() > limit {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the reader and gives what it saw.
    pub fn finish(mut self) -> anyhow::Result<Sightings> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        }
        Ok(std::mem::take(&mut self.sightings.lock()))
    }
}

async fn read(log: &dyn EventLog, into: &Mutex<Sightings>, stop: &AtomicBool) -> anyhow::Result<()> {
    let topics = vec![SipTransaction::TOPIC, StreamManifest::TOPIC];
    let mut source = log.subscribe(Subscription { group: None, topics, start: Start::Beginning }).await?;
    while !stop.load(Ordering::Relaxed) {
        let records = match source.poll(5000, Duration::from_millis(100)).await {
            Ok(records) => records,
            // A broker that is away is what the lab is about; the source reads on when it is back.
            Err(LogError::Kafka { .. }) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let mut sightings = into.lock();
        for record in &records {
            sightings.take(record)?;
        }
    }
    Ok(())
}
