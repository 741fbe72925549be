//! The pump: what it commits, what it does with each kind of failure, and when it stops.

mod common;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::anyhow;
use async_trait::async_trait;
use bytes::Bytes;
use common::{TestClock, append, outgoing, read, topic, until, value};
use parking_lot::Mutex;
use schemas::{DeadLetter, Event, IvrDecision, TopicSpec};
use stream::{
    Bad, CapHit, CapLimits, Client, EmbeddedConfig, EmbeddedLog, EventLog, Failure, Handler, Outgoing, Poison,
    Publisher, PublisherConfig, Pump, PumpConfig, PumpError, PumpStats, Record, Start, Subscription, decode,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

static T: TopicSpec = topic("test.pump", 3, false);

struct Bench {
    _dir: TempDir,
    client: Client,
    shutdown: CancellationToken,
    beats: Arc<AtomicU64>,
}

/// What a handler of these tests shares with its test.
#[derive(Default)]
struct Seen {
    values: Vec<String>,
    ticks: u64,
    caught_up: u64,
    attempts: u64,
}

/// Decides for one batch; notes what went through.
struct Scripted<F> {
    seen: Arc<Mutex<Seen>>,
    decide: F,
}

#[async_trait]
impl<F: FnMut(&[Record], u64) -> Result<Vec<Poison>, Failure> + Send> Handler for Scripted<F> {
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure> {
        let attempts = {
            let mut seen = self.seen.lock();
            seen.attempts += 1;
            seen.attempts
        };
        let poison = (self.decide)(batch, attempts)?;
        let good = batch.iter().enumerate().filter(|(n, _)| poison.iter().all(|p| p.index != *n));
        self.seen.lock().values.extend(good.map(|(_, r)| value(r).to_owned()));
        Ok(poison)
    }
    async fn tick(&mut self) -> Result<(), Failure> {
        self.seen.lock().ticks += 1;
        Ok(())
    }
    fn caught_up(&mut self) {
        self.seen.lock().caught_up += 1;
    }
}

/// The pump's task, what its handler saw, and its figures.
type Running = (JoinHandle<Result<(), PumpError>>, Arc<Mutex<Seen>>, Arc<PumpStats>);

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).expect("a log");
        let publisher =
            Publisher::start(log.clone(), PublisherConfig::new("test/1", 1, TestClock::shared())).expect("a publisher");
        Self { _dir: dir, client: Client { log, publisher }, shutdown: CancellationToken::new(), beats: Arc::default() }
    }

    fn config() -> PumpConfig {
        PumpConfig {
            name: "test",
            group: Some("g".into()),
            topics: vec![&T],
            max_batch: 10,
            poll_wait: Duration::from_millis(20),
            tick_every: Duration::from_millis(20),
            ..PumpConfig::default()
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the test is the task's owner and joins it")]
    fn run(
        &self,
        config: PumpConfig,
        decide: impl FnMut(&[Record], u64) -> Result<Vec<Poison>, Failure> + Send + 'static,
    ) -> Running {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let pump = Pump::new(self.client.clone(), config);
        let stats = pump.stats();
        let handler = Scripted { seen: seen.clone(), decide };
        let (shutdown, beats) = (self.shutdown.clone(), self.beats.clone());
        let beat = move || {
            beats.fetch_add(1, Ordering::Relaxed);
        };
        let run = async move { pump.run(handler, shutdown, beat).await };
        (tokio::spawn(run), seen, stats)
    }

    async fn fill(&self, numbers: std::ops::Range<i64>) {
        append(&self.client.log, numbers.map(|n| outgoing(&T, "k", &n.to_string())).collect()).await;
    }

    async fn committed(&self) -> Option<i64> {
        let partition = outgoing(&T, "k", "").partition as usize;
        self.client.log.committed("g", &T).await.expect("committed")[partition]
    }

    async fn dead_letters(&self, n: usize) -> Vec<DeadLetter> {
        let subscription = Subscription { group: None, topics: vec![DeadLetter::TOPIC], start: Start::Beginning };
        let mut source = self.client.log.subscribe(subscription).await.expect("subscribe");
        let records = read(&mut source, n).await;
        records.iter().map(|r| schemas::decode(r.value.as_deref().expect("a value")).expect("decodes")).collect()
    }
}

async fn join(pump: JoinHandle<Result<(), PumpError>>) -> Result<(), PumpError> {
    tokio::time::timeout(common::DEADLINE, pump).await.expect("the pump ends").expect("no panic")
}

fn poison(index: usize) -> Poison {
    Poison { index, class: "bad", error: "cannot be handled".to_owned() }
}

#[tokio::test]
async fn records_are_handled_in_order_committed_and_not_seen_again() {
    let bench = Bench::new();
    bench.fill(0..25).await;
    let (pump, seen, stats) = bench.run(Bench::config(), |_, _| Ok(Vec::new()));
    until("all is handled and the start is reached", || stats.handled() == 25 && stats.caught_up()).await;
    bench.fill(25..30).await;
    until("the rest is handled", || stats.handled() == 30).await;
    bench.shutdown.cancel();
    join(pump).await.expect("a clean end");
    assert_eq!(seen.lock().values, (0..30).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(seen.lock().caught_up, 1);
    assert!(seen.lock().ticks > 0 && bench.beats.load(Ordering::Relaxed) > 0);
    assert_eq!(bench.committed().await, Some(30), "shutdown commits what is finished");

    let bench = Bench { shutdown: CancellationToken::new(), ..bench };
    bench.fill(30..31).await;
    let (pump, seen, stats) = bench.run(Bench::config(), |_, _| Ok(Vec::new()));
    until("only the new one is handled", || stats.handled() == 1).await;
    bench.shutdown.cancel();
    join(pump).await.expect("a clean end");
    assert_eq!(seen.lock().values, ["30"]);
}

#[tokio::test]
async fn an_empty_topic_is_caught_up_at_once() {
    let bench = Bench::new();
    let (pump, seen, stats) = bench.run(PumpConfig { group: None, ..Bench::config() }, |_, _| Ok(Vec::new()));
    until("it says so", || stats.caught_up()).await;
    assert_eq!((seen.lock().caught_up, stats.lag_events()), (1, 0));
    bench.shutdown.cancel();
    join(pump).await.expect("a clean end");
}

#[tokio::test]
async fn a_transient_failure_is_tried_again_with_the_same_batch_and_commits_nothing_meanwhile() {
    let bench = Bench::new();
    bench.fill(0..5).await;
    let gate = Arc::new(AtomicU64::new(0));
    let open = gate.clone();
    let (pump, seen, stats) = bench.run(Bench::config(), move |batch, _| {
        assert_eq!(batch[0].offset, 0, "the same batch");
        if open.load(Ordering::SeqCst) == 0 { Err(Failure::Transient(anyhow!("away"))) } else { Ok(Vec::new()) }
    });
    until("it was tried twice", || seen.lock().attempts >= 2 && stats.paused()).await;
    assert_eq!(bench.committed().await, None);
    let beats = bench.beats.load(Ordering::Relaxed);
    until("it still beats while it waits", || bench.beats.load(Ordering::Relaxed) > beats).await;
    gate.store(1, Ordering::SeqCst);
    until("it goes on", || stats.handled() == 5).await;
    bench.shutdown.cancel();
    join(pump).await.expect("a clean end");
    assert_eq!(seen.lock().values, ["0", "1", "2", "3", "4"]);
    assert_eq!((bench.committed().await, stats.dead()), (Some(5), 0));
}

#[tokio::test]
async fn shutdown_during_a_transient_failure_ends_at_once_and_commits_nothing() {
    let bench = Bench::new();
    bench.fill(0..5).await;
    let (pump, seen, _) = bench.run(Bench::config(), |_, _| Err(Failure::Transient(anyhow!("away"))));
    until("it fails", || seen.lock().attempts >= 1).await;
    bench.shutdown.cancel();
    join(pump).await.expect("a clean end");
    assert_eq!(bench.committed().await, None);
}

#[tokio::test]
async fn a_fatal_failure_ends_the_pump_and_commits_only_what_was_before() {
    let bench = Bench::new();
    bench.fill(0..10).await;
    let (pump, _, stats) = bench.run(PumpConfig { max_batch: 4, ..Bench::config() }, |batch, _| {
        if batch.iter().any(|r| r.offset == 6) { Err(Failure::Fatal(anyhow!("broken"))) } else { Ok(Vec::new()) }
    });
    let error = join(pump).await.expect_err("must end");
    assert!(matches!(error, PumpError::Fatal { .. }) && error.to_string().contains("broken"), "{error}");
    assert_eq!((bench.committed().await, stats.handled()), (Some(4), 4));
}

#[tokio::test]
async fn poison_becomes_a_dead_letter_byte_for_byte_and_the_partition_goes_on() {
    let bench = Bench::new();
    let mut bad = outgoing(&T, "k", "?");
    bad.value = Some(Bytes::from_static(&[0, 0x54, 0x52, 0, 9, 0xff, 0xfe]));
    bad.headers = vec![("event-type".into(), Bytes::from_static(b"odd"))];
    append(&bench.client.log, vec![outgoing(&T, "k", "0"), bad.clone(), outgoing(&T, "k", "2")]).await;
    let (pump, seen, stats) = bench.run(Bench::config(), |batch, _| {
        Ok(batch.iter().enumerate().filter(|(_, r)| r.offset == 1).map(|(n, _)| poison(n)).collect())
    });
    until("all is handled", || stats.handled() == 3).await;
    bench.shutdown.cancel();
    join(pump).await.expect("a clean end");
    assert_eq!(seen.lock().values, ["0", "2"]);
    assert_eq!((bench.committed().await, stats.dead()), (Some(3), 1));
    let letters = bench.dead_letters(1).await;
    let letter = &letters[0];
    assert_eq!(
        (letter.source_topic.as_str(), letter.source_partition, letter.source_offset),
        (T.name, bad.partition, 1)
    );
    assert_eq!(letter.value.as_ref().map(|v| v.as_ref()), bad.value.as_deref());
    assert_eq!(letter.key.as_ref(), b"k");
    assert_eq!((letter.headers[0].name.as_str(), letter.headers[0].value.as_ref()), ("event-type", &b"odd"[..]));
    assert_eq!(letter.schema_id, Some(0x5452_0009));
    assert_eq!((letter.error_class.as_str(), letter.attempts, letter.consumer.as_str()), ("bad", 1, "test"));
    letter.check().expect("a valid event");
}

#[tokio::test]
async fn when_all_is_bad_the_pump_stops_at_the_first_record_of_the_run_and_after_the_fix_goes_on_there() {
    let bench = Bench::new();
    bench.fill(0..100).await;
    let caps = CapLimits { max_run: 7, ..CapLimits::default() };
    let config = PumpConfig { caps, ..Bench::config() };
    let bad_from_five =
        |batch: &[Record]| batch.iter().enumerate().filter(|(_, r)| r.offset >= 5).map(|(n, _)| poison(n)).collect();
    let (pump, _, stats) = bench.run(config.clone(), move |batch, _| Ok(bad_from_five(batch)));
    let error = join(pump).await.expect_err("must stop");
    let PumpError::PoisonCap { offset, hit, .. } = &error else { panic!("{error}") };
    assert_eq!((*offset, *hit), (5, CapHit::Run { length: 8 }));
    assert!(error.to_string().contains("test.pump/") && error.to_string().contains("offset 5"), "{error}");
    assert_eq!((bench.committed().await, stats.dead(), stats.handled()), (Some(5), 0, 5));
    let thrown_away = bench.client.log.bounds(DeadLetter::TOPIC).await;
    assert!(matches!(thrown_away, Err(stream::LogError::NoTopic { .. })), "{thrown_away:?}");

    let (pump, seen, stats) = bench.run(config, |_, _| Ok(Vec::new()));
    until("the rest is handled", || stats.handled() == 95).await;
    bench.shutdown.cancel();
    join(pump).await.expect("a clean end");
    assert_eq!(seen.lock().values, (5..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn poison_at_the_end_of_a_quiet_topic_does_not_wait_for_ever() {
    let bench = Bench::new();
    bench.fill(0..3).await;
    let (pump, _, stats) = bench.run(Bench::config(), |_, _| Ok(vec![poison(2)]));
    until("it is decided", || stats.dead() == 1).await;
    until_committed(&bench, 3).await;
    bench.shutdown.cancel();
    join(pump).await.expect("a clean end");
    assert_eq!(bench.dead_letters(1).await[0].source_offset, 2);
}

async fn until_committed(bench: &Bench, next: i64) {
    let give_up = std::time::Instant::now() + common::DEADLINE;
    while bench.committed().await != Some(next) {
        assert!(std::time::Instant::now() < give_up, "gave up waiting for the commit of {next}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_commit_waits_for_the_dead_letters_to_be_in_the_log() {
    let bench = Bench::new();
    bench.fill(0..3).await;
    // A publisher whose log takes nothing: the dead letter stays in memory.
    let stuck =
        Publisher::start(Arc::new(NoLog), PublisherConfig::new("test/2", 1, TestClock::shared())).expect("a publisher");
    let client = Client { log: bench.client.log.clone(), publisher: stuck };
    let bench = Bench { client, ..bench };
    let (pump, _, stats) = bench.run(Bench::config(), |_, _| Ok(vec![poison(0)]));
    until("all is handled", || stats.handled() == 3).await;
    bench.shutdown.cancel();
    join(pump).await.expect("a clean end");
    assert_eq!(bench.committed().await, None, "a kill now would lose the dead letter for good");
}

/// A log that is always away.
struct NoLog;

#[async_trait]
impl EventLog for NoLog {
    async fn ensure_topics(&self, _: &[&'static TopicSpec]) -> Result<(), stream::LogError> {
        Ok(())
    }
    async fn append_shared(&self, _: Arc<Vec<Outgoing>>) -> Result<(), stream::LogError> {
        std::future::pending().await
    }
    async fn subscribe(&self, _: Subscription) -> Result<Box<dyn stream::Source>, stream::LogError> {
        Err(stream::LogError::Closed)
    }
    async fn assign(&self, _: Vec<stream::Assigned>) -> Result<Box<dyn stream::Source>, stream::LogError> {
        Err(stream::LogError::Closed)
    }
    async fn bounds(&self, _: &'static TopicSpec) -> Result<Vec<stream::Bounds>, stream::LogError> {
        Ok(Vec::new())
    }
    async fn committed(&self, _: &str, _: &'static TopicSpec) -> Result<Vec<Option<i64>>, stream::LogError> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn decoding_errors_are_sorted_into_poison_and_waiting() {
    let bench = Bench::new();
    bench.client.publisher.publish(IvrDecision {
        call_root_id: "00000000-0000-7000-8000-000000000001".to_owned(),
        event_type: "input".to_owned(),
        ..IvrDecision::default()
    });
    bench.client.publisher.flush(common::DEADLINE).await.expect("delivered");
    let subscription = Subscription { group: None, topics: vec![IvrDecision::TOPIC], start: Start::Beginning };
    let mut source = bench.client.log.subscribe(subscription).await.expect("subscribe");
    let good = read(&mut source, 1).await.remove(0);
    decode::<IvrDecision>(0, &good).expect("decodes");
    let with = |value: Option<&'static [u8]>| Record { value: value.map(Bytes::from_static), ..good.clone() };
    let class = |value: Option<&'static [u8]>| match decode::<IvrDecision>(3, &with(value)) {
        Err(Bad::Poison(poison)) => (poison.index, poison.class),
        other => panic!("{other:?}"),
    };
    assert_eq!(class(Some(b"\x01nonsense")), (3, "not_framed"));
    assert_eq!(class(None), (3, "tombstone"));
    let dead_letter_id: &'static [u8] =
        Box::leak([&[0_u8][..], &DeadLetter::TOPIC.schema_id.to_be_bytes()].concat().into_boxed_slice());
    assert_eq!(class(Some(dead_letter_id)), (3, "wrong_topic"));
    assert!(matches!(decode::<IvrDecision>(0, &with(Some(b"\x00\x7f\x00\x00\x01"))), Err(Bad::Wait(_))));
}

/// Lag is told in events and in seconds while a consumer is behind.
#[tokio::test]
async fn lag_is_told_in_events_and_seconds() {
    let bench = Bench::new();
    let mut batch: Vec<Outgoing> = (0..40).map(|n| outgoing(&T, "k", &n.to_string())).collect();
    for record in &mut batch {
        record.timestamp_us -= 60_000_000;
    }
    append(&bench.client.log, batch).await;
    let (pump, _, stats) = bench.run(Bench::config(), |_, attempts| {
        // The first batch goes through, then the consumer hangs for a while.
        if attempts > 1 { Err(Failure::Transient(anyhow!("slow"))) } else { Ok(Vec::new()) }
    });
    until("the first batch is handled", || stats.handled() == 10).await;
    until("the lag is known", || stats.lag_events() == 30).await;
    assert!(stats.lag_seconds() >= 60.0, "{}", stats.lag_seconds());
    bench.shutdown.cancel();
    join(pump).await.expect("a clean end");
}

#[tokio::test]
async fn partitions_are_committed_each_for_itself() {
    let bench = Bench::new();
    append(&bench.client.log, (0..60).map(|n| outgoing(&T, &n.to_string(), &n.to_string())).collect()).await;
    let (pump, _, stats) = bench.run(Bench::config(), |_, _| Ok(Vec::new()));
    until("all is handled", || stats.handled() == 60).await;
    bench.shutdown.cancel();
    join(pump).await.expect("a clean end");
    let ends: BTreeMap<usize, Option<i64>> =
        bench.client.log.bounds(&T).await.expect("bounds").iter().map(|b| Some(b.end)).enumerate().collect();
    let committed: BTreeMap<usize, Option<i64>> =
        bench.client.log.committed("g", &T).await.expect("committed").into_iter().enumerate().collect();
    assert_eq!(committed, ends);
}
