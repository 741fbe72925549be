//! The pump against a model: a log whose assignments come and go, handlers that fail, processes that end, commits that are refused.
//!
//! Whatever happens: each record's effect is there at least once, no commit passes a record without an effect, no commit is made for a
//! partition that went away, and what is in flight passes the budget by no more than the record that reached it.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{TestClock, topic};
use parking_lot::Mutex;
use proptest::{prelude::*, test_runner::Config};
use schemas::TopicSpec;
use stream::{
    Assigned, Bounds, CapLimits, Client, Commit, EmbeddedConfig, EmbeddedLog, EventLog, Failure, Handler, Held, Lag,
    LogError, Outgoing, Poison, Publisher, PublisherConfig, Pump, PumpConfig, PumpStats, Record, Room, Source,
    Subscription,
};
use tokio_util::sync::CancellationToken;

static T: TopicSpec = topic("test.model", 4, false);
const PARTS: i32 = 4;
/// Size of the largest record, with which the budget in bytes may be reached.
const LARGEST: usize = 64 + 90;

/// What happens, drawn from one seed.
struct Dice(u64);

impl Dice {
    /// SplitMix64.
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % u64::from(n)) as u32
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }
}

struct World {
    dice: Dice,
    records: i64,
    /// Trouble is over: from now on everything works.
    calm: bool,
    commits: [i64; PARTS as usize],
    effects: [BTreeSet<i64>; PARTS as usize],
    wrong: Vec<String>,
    budget: Room,
    stats: Option<Arc<PumpStats>>,
}

impl World {
    fn check_budget(&mut self) {
        let Some((events, bytes)) = self.stats.as_ref().map(|s| s.in_flight()) else { return };
        if events > self.budget.events || bytes >= self.budget.bytes + LARGEST {
            self.wrong.push(format!("{events} events and {bytes} bytes are in flight"));
        }
    }

    fn is_done(&self) -> bool {
        self.commits.iter().all(|next| *next == self.records)
    }
}

struct ModelLog(Arc<Mutex<World>>);

#[async_trait]
impl EventLog for ModelLog {
    async fn ensure_topics(&self, _: &[&'static TopicSpec]) -> Result<(), LogError> {
        Ok(())
    }
    async fn append_shared(&self, _: Arc<Vec<Outgoing>>) -> Result<(), LogError> {
        Err(LogError::ReadOnly)
    }
    async fn subscribe(&self, _: Subscription) -> Result<Box<dyn Source>, LogError> {
        let mut source = ModelSource {
            world: self.0.clone(),
            epoch: 0,
            held: BTreeMap::new(),
            next: BTreeMap::new(),
            paused: false,
        };
        source.rebalance();
        Ok(Box::new(source))
    }
    async fn assign(&self, _: Vec<Assigned>) -> Result<Box<dyn Source>, LogError> {
        Err(LogError::Kafka { what: "no look".to_owned(), message: String::new(), fatal: false })
    }
    async fn bounds(&self, _: &'static TopicSpec) -> Result<Vec<Bounds>, LogError> {
        Ok(vec![Bounds { begin: 0, end: self.0.lock().records }; PARTS as usize])
    }
    async fn committed(&self, _: &str, _: &'static TopicSpec) -> Result<Vec<Option<i64>>, LogError> {
        Ok(self.0.lock().commits.iter().map(|next| Some(*next)).collect())
    }
}

struct ModelSource {
    world: Arc<Mutex<World>>,
    epoch: u64,
    held: BTreeMap<i32, u64>,
    next: BTreeMap<i32, i64>,
    paused: bool,
}

impl ModelSource {
    /// Takes some partitions away and gives some; a given one begins at its commit.
    fn rebalance(&mut self) {
        let mut world = self.world.lock();
        self.epoch += 1;
        for p in 0..PARTS {
            let (take, give) = (world.dice.one_in(2), world.calm || world.dice.one_in(2));
            if take {
                self.held.remove(&p);
            }
            if give && !self.held.contains_key(&p) {
                self.held.insert(p, self.epoch);
                self.next.insert(p, world.commits[p as usize]);
            }
        }
    }
}

#[async_trait]
impl Source for ModelSource {
    async fn poll_within(&mut self, room: Room, wait: Duration) -> Result<Vec<Record>, LogError> {
        tokio::task::yield_now().await;
        let (calm, fails, moves) = {
            let mut world = self.world.lock();
            world.check_budget();
            (world.calm, world.dice.one_in(15), world.dice.one_in(6))
        };
        if !calm && fails {
            return Err(LogError::Kafka { what: "read".to_owned(), message: "away".to_owned(), fatal: false });
        }
        if (!calm && moves) || (calm && self.held.len() < PARTS as usize) {
            self.rebalance();
        }
        let mut out = Vec::new();
        if !self.paused {
            let mut world = self.world.lock();
            let (mut bytes, end) = (0, world.records);
            let parts: Vec<i32> = self.held.keys().copied().collect();
            while out.len() < room.events && parts.iter().any(|p| self.next[p] < end) {
                let p = parts[world.dice.below(parts.len() as u32) as usize];
                let next = self.next.get_mut(&p).expect("held");
                if *next >= end {
                    continue;
                }
                let value = Bytes::from(vec![b'v'; 1 + (*next as usize * 7) % 90]);
                let record = Record {
                    topic: &T,
                    partition: p,
                    offset: *next,
                    timestamp_us: 1_700_000_000_000_000,
                    key: Bytes::new(),
                    value: Some(value),
                    headers: Vec::new(),
                };
                bytes += record.size_bytes();
                if bytes > room.bytes && !out.is_empty() {
                    break;
                }
                *next += 1;
                out.push(record);
            }
        }
        if out.is_empty() {
            tokio::time::sleep(wait).await;
        }
        Ok(out)
    }

    fn held(&self) -> Held {
        let parts = self.held.iter().map(|(p, number)| ((T.name, *p), *number)).collect();
        Held { epoch: self.epoch, parts: Arc::new(parts) }
    }

    async fn commit(&mut self, done: &[Commit]) -> Result<(), LogError> {
        let mut world = self.world.lock();
        if !world.calm && world.dice.one_in(4) {
            return Err(LogError::Kafka { what: "commit".to_owned(), message: "away".to_owned(), fatal: false });
        }
        for commit in done {
            let p = commit.partition as usize;
            if !self.held.contains_key(&commit.partition) {
                world.wrong.push(format!("a commit of partition {p}, which went away"));
            }
            if let Some(open) = (world.commits[p]..commit.next_offset).find(|o| !world.effects[p].contains(o)) {
                world.wrong.push(format!("{p}: a commit of {} passes {open}, which has no effect", commit.next_offset));
            }
            if commit.next_offset < world.commits[p] {
                world.wrong.push(format!("{p}: a commit goes back to {}", commit.next_offset));
            }
            world.commits[p] = commit.next_offset;
        }
        Ok(())
    }

    async fn park(&mut self, _: &[Assigned]) -> Result<(), LogError> {
        Ok(())
    }

    async fn unpark(&mut self, _: &[Assigned]) -> Result<(), LogError> {
        Ok(())
    }

    async fn lag(&mut self) -> Result<Vec<Lag>, LogError> {
        let end = self.world.lock().records;
        let lag = |p: &i32| Lag { topic: &T, partition: *p, position: self.next[p], end };
        Ok(self.held.keys().map(lag).collect())
    }

    async fn pause(&mut self) -> Result<(), LogError> {
        self.paused = true;
        Ok(())
    }

    async fn resume(&mut self) -> Result<(), LogError> {
        self.paused = false;
        Ok(())
    }
}

struct ModelHandler(Arc<Mutex<World>>);

#[async_trait]
impl Handler for ModelHandler {
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure> {
        let (naps, fate, calm) = {
            let mut world = self.0.lock();
            world.check_budget();
            (world.dice.below(4), world.dice.below(20), world.calm)
        };
        for _ in 0..naps {
            tokio::task::yield_now().await;
        }
        match fate {
            0 if !calm => return Err(Failure::Fatal(anyhow::anyhow!("the process ends"))),
            1 | 2 if !calm => return Err(Failure::Transient(anyhow::anyhow!("away"))),
            _ => {}
        }
        let mut world = self.0.lock();
        let mut poison = Vec::new();
        for (index, record) in batch.iter().enumerate() {
            world.effects[record.partition as usize].insert(record.offset);
            // A dead letter is an effect as well.
            if record.offset % 13 == 5 {
                poison.push(Poison { index, class: "odd", error: "odd".to_owned() });
            }
        }
        Ok(poison)
    }
}

/// One process after the other, until all is committed.
async fn live(seed: u64, records: i64, max_batch: usize, budget: Room) -> Vec<String> {
    let world = Arc::new(Mutex::new(World {
        dice: Dice(seed),
        records,
        calm: false,
        commits: [0; PARTS as usize],
        effects: Default::default(),
        wrong: Vec::new(),
        budget,
        stats: None,
    }));
    let dir = tempfile::tempdir().expect("a folder");
    let letters = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).expect("a log for dead letters");
    let publisher = Publisher::start(letters, PublisherConfig::new("model/1", 1, TestClock::shared())).expect("starts");
    for life in 0.. {
        world.lock().calm = life >= 6;
        let client = Client { log: Arc::new(ModelLog(world.clone())), publisher: publisher.clone() };
        let config = PumpConfig {
            name: "model",
            group: Some("g".into()),
            topics: vec![&T],
            max_batch,
            budget,
            poll_wait: Duration::from_millis(5),
            caps: CapLimits { max_ratio: 1.0, ..CapLimits::default() },
            ..PumpConfig::default()
        };
        let pump = Pump::new(client, config);
        world.lock().stats = Some(pump.stats());
        let shutdown = CancellationToken::new();
        let (stop, watched) = (shutdown.clone(), world.clone());
        let span = Duration::from_millis(u64::from(world.lock().dice.below(400)));
        let end = async move {
            if life < 6 {
                tokio::time::sleep(span).await;
            } else {
                while !watched.lock().is_done() && watched.lock().wrong.is_empty() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            stop.cancel();
        };
        let run = pump.run(ModelHandler(world.clone()), shutdown, || ());
        let both = async { tokio::join!(run, end).0 };
        // A fatal end is a process that died: the next one goes on.
        let outcome = tokio::time::timeout(common::DEADLINE, both).await;
        let mut world = world.lock();
        if outcome.is_err() {
            let state = format!("{:?} of {} are committed", world.commits, world.records);
            world.wrong.push(format!("it does not come to an end: {state}"));
        }
        if !world.wrong.is_empty() || (life >= 6 && world.is_done()) {
            for p in 0..PARTS as usize {
                let effects = world.effects[p].len();
                if world.is_done() && effects as i64 != world.records {
                    world.wrong.push(format!("{p}: {effects} effects"));
                }
            }
            return std::mem::take(&mut world.wrong);
        }
    }
    unreachable!("the last life ends it")
}

proptest! {
    #![proptest_config(Config { cases: 12, max_shrink_iters: 0, failure_persistence: None, ..Config::default() })]

    #[test]
    fn whatever_happens_every_effect_is_there_and_no_commit_passes_a_hole(
        seed in any::<u64>(),
        records in 1_i64..120,
        max_batch in 1_usize..40,
        events in 1_usize..60,
        bytes in 200_usize..4000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let wrong = runtime.block_on(live(seed, records, max_batch, Room { events, bytes }));
        prop_assert!(wrong.is_empty(), "{wrong:?}");
    }
}
