//! The pump against records that it cannot handle, schemas that it does not know, leases that move, and a budget that is used up: on the
//! embedded log, and on a real broker where one is named.

mod common;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{TestClock, append, kafka::OnBroker, until};
use parking_lot::Mutex;
use schemas::{DeadLetter, Event, IvrDecision, StreamSchema, TopicSpec};
use stream::{
    Assigned, Assignment, Bad, Client, EmbeddedConfig, EmbeddedLog, EventLog, Failure, Handler, Leased, Outgoing,
    Poison, Progress, Publisher, PublisherConfig, Pump, PumpConfig, PumpError, PumpStats, Record, Room, Start,
    Subscription, decode,
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

static TOPICS: [&TopicSpec; 3] = [IvrDecision::TOPIC, DeadLetter::TOPIC, StreamSchema::TOPIC];

/// Runs each test on every adapter that is there.
macro_rules! on_every_log {
    ($($name:ident)*) => {
        mod embedded { $(#[tokio::test] async fn $name() {
            let dir = tempfile::tempdir().expect("a folder");
            let log: std::sync::Arc<dyn stream::EventLog> =
                stream::EmbeddedLog::open(stream::EmbeddedConfig::new(dir.path())).expect("a log");
            log.ensure_topics(&super::TOPICS).await.expect("topics");
            super::$name(log).await;
        })* }
        mod real_kafka { $(#[tokio::test(flavor = "multi_thread", worker_threads = 1)] async fn $name() {
            let Some(broker) = super::OnBroker::from_env() else { return };
            broker.run(&super::TOPICS, super::$name).await;
        })* }
    };
}

on_every_log! {
    poison_of_each_kind_is_one_dead_letter_each_and_the_partition_goes_on
    a_record_with_an_unknown_schema_parks_its_partition_and_the_others_go_on_until_the_schema_is_there
}

fn client(log: Arc<dyn EventLog>) -> Client {
    let config = PublisherConfig::new(format!("test/{}", uuid::Uuid::now_v7()), 1, TestClock::shared());
    Client { publisher: Publisher::start(log.clone(), config).expect("a publisher"), log }
}

fn event(call: &str, node: &str) -> IvrDecision {
    IvrDecision {
        call_root_id: call.to_owned(),
        event_type: "input".to_owned(),
        menu_node: node.to_owned(),
        ..IvrDecision::default()
    }
}

fn frame(event: &IvrDecision) -> Vec<u8> {
    schemas::Encoder::new().encode(event).expect("encodes").to_vec()
}

fn raw(key: &str, value: Option<Vec<u8>>) -> Outgoing {
    Outgoing {
        topic: IvrDecision::TOPIC,
        partition: domain::partition::for_key(key.as_bytes(), IvrDecision::TOPIC.partitions),
        timestamp_us: 1_700_000_000_000_000,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.map(Bytes::from),
        headers: Vec::new(),
    }
}

const CALL: &str = "00000000-0000-7000-8000-000000000001";

/// Decodes, as a service does, and keeps the nodes that it saw.
#[derive(Clone, Default)]
struct Decoding {
    seen: Arc<Mutex<Vec<(i32, i64, String)>>>,
}

#[async_trait]
impl Handler for Decoding {
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure> {
        let mut poison = Vec::new();
        for (index, record) in batch.iter().enumerate() {
            match decode::<IvrDecision>(index, record) {
                Ok(event) => self.seen.lock().push((record.partition, record.offset, event.menu_node)),
                Err(Bad::Poison(bad)) => poison.push(bad),
                Err(Bad::Wait(error)) => return Err(Failure::Transient(error)),
            }
        }
        Ok(poison)
    }
}

type Running = (JoinHandle<Result<(), PumpError>>, Arc<PumpStats>, CancellationToken);

#[expect(clippy::disallowed_methods, reason = "the test is the task's owner and joins it")]
fn start(client: &Client, config: PumpConfig, handler: impl Handler + 'static) -> Running {
    let pump = Pump::new(client.clone(), config);
    let (stats, shutdown) = (pump.stats(), CancellationToken::new());
    let stop = shutdown.clone();
    (tokio::spawn(async move { pump.run(handler, stop, || ()).await }), stats, shutdown)
}

async fn stop((pump, _, shutdown): Running) {
    shutdown.cancel();
    tokio::time::timeout(common::DEADLINE, pump).await.expect("it ends").expect("no panic").expect("a clean end");
}

fn config() -> PumpConfig {
    PumpConfig {
        name: "faults",
        group: Some("g".into()),
        topics: vec![IvrDecision::TOPIC],
        poll_wait: Duration::from_millis(20),
        ..PumpConfig::default()
    }
}

async fn dead_letters(log: &Arc<dyn EventLog>) -> Vec<DeadLetter> {
    let mut out = Vec::new();
    let mut walk = stream::Walk::through(log, &[DeadLetter::TOPIC]).await.expect("a walk");
    while let Some(records) = walk.next().await.expect("read") {
        out.extend(records.iter().map(|r| schemas::decode(r.value.as_deref().expect("a value")).expect("a letter")));
    }
    out
}

async fn poison_of_each_kind_is_one_dead_letter_each_and_the_partition_goes_on(log: Arc<dyn EventLog>) {
    let client = client(log.clone());
    let good = frame(&event(CALL, "good"));
    let of_other_topic = [&[0][..], &DeadLetter::TOPIC.schema_id.to_be_bytes(), &[0; 9]].concat();
    let length_bomb = [&good[..5], &[0xff; 9], &[0x01]].concat();
    let kinds: Vec<(&str, Outgoing)> = vec![
        ("not_framed", raw(CALL, Some(b"\x01nonsense".to_vec()))),
        ("not_framed", raw(CALL, Some(Vec::new()))),
        ("avro", raw(CALL, Some(good[..good.len() - 3].to_vec()))),
        ("avro", raw(CALL, Some(length_bomb))),
        ("wrong_topic", raw(CALL, Some(of_other_topic))),
        ("tombstone", raw(CALL, None)),
        ("trailing_bytes", raw(CALL, Some([good.clone(), vec![0; (3 << 20) + (800 << 10)]].concat()))),
        ("wrong_key", Outgoing { key: Bytes::from_static(b"somebody else's"), ..raw(CALL, Some(good.clone())) }),
    ];
    for (_, bad) in &kinds {
        append(&log, vec![raw(CALL, Some(good.clone())), bad.clone()]).await;
    }
    append(&log, vec![raw(CALL, Some(frame(&event(CALL, "last"))))]).await;
    let handler = Decoding::default();
    let running = start(&client, config(), handler.clone());
    let all = kinds.len() as u64 * 2 + 1;
    until("all is handled", || running.1.handled() == all).await;
    assert_eq!(running.1.dead(), kinds.len() as u64);
    stop(running).await;
    assert_eq!(handler.seen.lock().len(), kinds.len() + 1);
    assert_eq!(handler.seen.lock().last().map(|(_, _, node)| node.clone()).as_deref(), Some("last"));
    let partition = kinds[0].1.partition;
    let committed = log.committed("g", IvrDecision::TOPIC).await.expect("committed");
    assert_eq!(committed[usize::try_from(partition).expect("a partition")], Some(all as i64));

    let letters = dead_letters(&log).await;
    assert_eq!(letters.len(), kinds.len());
    for (n, (class, bad)) in kinds.iter().enumerate() {
        let letter = letters.iter().find(|l| l.source_offset == n as i64 * 2 + 1).expect("its letter");
        assert_eq!((letter.error_class.as_str(), letter.source_partition), (*class, partition));
        assert_eq!(letter.key.as_ref(), bad.key.as_ref());
        let (kept, whole) = (letter.value.as_ref().map(AsRef::as_ref), bad.value.as_deref());
        match whole.filter(|whole| whole.len() > 2 << 20) {
            Some(whole) => {
                let kept: &[u8] = kept.expect("the beginning");
                assert!(kept.len() >= 1 << 20 && whole.starts_with(kept));
                let cut = letter.headers.iter().find(|h| h.name == "dead-letter-cut-of").expect("it says so");
                assert_eq!(cut.value.as_ref(), whole.len().to_string().as_bytes());
            }
            None => assert_eq!(kept, whole),
        }
    }

    // And back they go, once: byte for byte, also the one that was cut.
    let choice = stream::redrive::Choice::default();
    let redrive = |dry_run| stream::redrive::redrive(&log, TestClock::shared(), &choice, dry_run, |_| ());
    let would = redrive(true).await.expect("a dry run");
    assert_eq!((would.redriven, would.already), (kinds.len() as u64, 0));
    let done = redrive(false).await.expect("a redrive");
    assert_eq!((done.redriven, done.already, done.refused), (kinds.len() as u64, 0, 0), "{:?}", done.reasons);
    let again = redrive(false).await.expect("a second redrive");
    assert_eq!((again.redriven, again.already), (0, kinds.len() as u64));
    let at = Assigned { topic: IvrDecision::TOPIC, partition, next_offset: Some(all as i64) };
    let mut source = log.assign(vec![at]).await.expect("a reader");
    let mut back = common::read(&mut source, kinds.len()).await;
    back.sort_by_key(|record| record.header("redriven-from").map(<[u8]>::to_vec));
    for record in &back {
        assert!(record.header("redriven-from").is_some_and(|from| from.starts_with(b"dead.letters/")));
        assert!(record.header("dead-letter-cut-of").is_none());
    }
    let count = |key: &Bytes, value: &Option<Bytes>| {
        (
            back.iter().filter(|r| r.key == *key && r.value == *value).count(),
            kinds.iter().filter(|(_, k)| k.key == *key && k.value == *value).count(),
        )
    };
    for (_, bad) in &kinds {
        let (found, wanted) = count(&bad.key, &bad.value);
        assert_eq!(found, wanted);
    }
}

/// A schema of another build: the same fields under an id that this build does not have. Each test process learns it once.
fn of_another_build(id: u32, event: &IvrDecision) -> Vec<u8> {
    let mut value = frame(event);
    value[1..5].copy_from_slice(&id.to_be_bytes());
    value
}

async fn a_record_with_an_unknown_schema_parks_its_partition_and_the_others_go_on_until_the_schema_is_there(
    log: Arc<dyn EventLog>,
) {
    // An id of this run alone: a learned schema stays for the life of the process, which both adapters share.
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0x5452_7000);
    let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let client = client(log.clone());
    let calls: Vec<String> = (0..40).map(|n| format!("00000000-0000-7000-8000-{n:012}")).collect();
    let mut batch: Vec<Outgoing> = calls.iter().map(|call| raw(call, Some(frame(&event(call, "before"))))).collect();
    batch.push(raw(CALL, Some(of_another_build(id, &event(CALL, "new")))));
    batch.extend(calls.iter().map(|call| raw(call, Some(frame(&event(call, "after"))))));
    append(&log, batch.clone()).await;
    let parked = batch[40].partition;
    let held_back = batch[40..].iter().filter(|r| r.partition == parked).count();
    assert!(held_back > 1, "something stands behind it");

    let handler = Decoding::default();
    let running = start(&client, config(), handler.clone());
    let elsewhere = (batch.len() - held_back) as u64;
    until("everything else is handled", || running.1.handled() == elsewhere && !running.1.parked().is_empty()).await;
    let spots = running.1.parked();
    assert_eq!((spots.len(), spots[0].at.partition, spots[0].schema_id), (1, parked, id));
    until("the wait shows as lag and does not keep the rest from being ready", || {
        running.1.lag_events() == held_back as u64 && running.1.caught_up()
    })
    .await;
    assert!(running.1.lag_us() > 0 && running.1.topics()[0].events == held_back as u64);
    assert_eq!((running.1.dead(), running.1.paused()), (0, false));

    client.publisher.publish(StreamSchema {
        event_type: "schema".to_owned(),
        schema_id: id,
        subject: format!("{}-value", IvrDecision::TOPIC.name),
        topic: IvrDecision::TOPIC.name.to_owned(),
        version: 99,
        schema: IvrDecision::TOPIC.schema.to_owned(),
        ..StreamSchema::default()
    });
    until("the partition goes on", || running.1.handled() == batch.len() as u64).await;
    until("nothing is parked and nothing behind", || running.1.parked().is_empty() && running.1.lag_events() == 0)
        .await;
    stop(running).await;
    let mut next: HashMap<i32, i64> = HashMap::new();
    for (partition, offset, _) in handler.seen.lock().iter() {
        let at = next.entry(*partition).or_default();
        assert_eq!(offset, at, "each record once and in order");
        *at += 1;
    }
    assert!(dead_letters(&log).await.is_empty());
}

/// What a database would keep: positions under a generation, and the effects, changed together or not at all.
#[derive(Default)]
struct Store {
    generations: BTreeMap<i32, u64>,
    next: BTreeMap<i32, i64>,
    effects: Vec<(i32, i64)>,
    fenced: u64,
}

struct Transactional {
    store: Arc<Mutex<Store>>,
    open: Vec<(i32, i64)>,
}

#[async_trait]
impl Handler for Transactional {
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure> {
        self.open = batch.iter().map(|r| (r.partition, r.offset)).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(Vec::new())
    }

    async fn commit(&mut self, done: &[Progress]) -> Result<(), Failure> {
        let mut store = self.store.lock();
        let open = std::mem::take(&mut self.open);
        for progress in done {
            let p = progress.partition;
            let holds =
                store.generations.get(&p) == Some(&progress.epoch) && store.next.get(&p).copied() == progress.expected;
            if !holds {
                store.fenced += 1;
                return Err(Failure::Transient(anyhow::anyhow!("partition {p} is somebody else's")));
            }
        }
        for progress in done {
            store.next.insert(progress.partition, progress.next_offset);
            let part = open.iter().filter(|(p, o)| *p == progress.partition && *o < progress.next_offset);
            store.effects.extend(part.copied());
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_lease_that_moves_between_two_pumps_doubles_no_effect_and_loses_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).expect("a log");
    log.ensure_topics(&TOPICS).await.expect("topics");
    let client = client(log.clone());
    let store = Arc::new(Mutex::new(Store::default()));
    let leased = PumpConfig { group: None, topics: Vec::new(), max_batch: 7, ..config() };
    let pumps: Vec<(watch::Sender<Vec<Leased>>, Running)> = (0..2)
        .map(|_| {
            let (give, lease) = watch::channel(Vec::new());
            let handler = Transactional { store: store.clone(), open: Vec::new() };
            let config = PumpConfig { assignment: Assignment::Leased(lease), ..leased.clone() };
            (give, start(&client, config, handler))
        })
        .collect();
    let mut holders: BTreeMap<i32, usize> = BTreeMap::new();
    let mut written = 0;
    for round in 0..30_usize {
        // One partition moves in each round; its generation grows, and the new holder begins where the store says.
        let moving = (round % 3) as i32;
        holders.insert(moving, round / 2 % 2);
        let lease_of = |pump: usize, store: &Store| -> Vec<Leased> {
            let mine = holders.iter().filter(|(_, holder)| **holder == pump);
            mine.map(|(p, _)| Leased {
                part: Assigned { topic: IvrDecision::TOPIC, partition: *p, next_offset: store.next.get(p).copied() },
                epoch: store.generations[p],
            })
            .collect()
        };
        let leases: Vec<Vec<Leased>> = {
            let mut store = store.lock();
            *store.generations.entry(moving).or_default() += 1;
            (0..2).map(|pump| lease_of(pump, &store)).collect()
        };
        for ((give, _), lease) in pumps.iter().zip(leases) {
            give.send(lease).expect("the pump runs");
        }
        let batch = (0..60)
            .map(|n| Outgoing { partition: n % 3, ..raw(CALL, Some(frame(&event(CALL, &n.to_string())))) })
            .collect::<Vec<_>>();
        written += batch.len();
        append(&log, batch).await;
    }
    until("every effect is there", || store.lock().effects.len() >= written).await;
    for (_, running) in pumps {
        stop(running).await;
    }
    let mut effects = store.lock().effects.clone();
    let ends = log.bounds(IvrDecision::TOPIC).await.expect("bounds");
    effects.sort_unstable();
    let wanted: Vec<(i32, i64)> = (0..3).flat_map(|p| (0..ends[p as usize].end).map(move |o| (p, o))).collect();
    assert_eq!(effects, wanted, "each once");
}

/// Works on a batch until it is told to go on.
struct Gated {
    go: watch::Receiver<bool>,
    stats: Arc<Mutex<Option<Arc<PumpStats>>>>,
    most: Arc<Mutex<(usize, usize)>>,
}

#[async_trait]
impl Handler for Gated {
    async fn handle(&mut self, _: &[Record]) -> Result<Vec<Poison>, Failure> {
        let _gone = self.go.wait_for(|go| *go).await;
        if let Some(stats) = &*self.stats.lock() {
            let (events, bytes) = stats.in_flight();
            let mut most = self.most.lock();
            *most = (most.0.max(events), most.1.max(bytes));
        }
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn what_is_read_and_not_finished_stays_within_the_budget_in_events_and_in_bytes() {
    let dir = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).expect("a log");
    log.ensure_topics(&TOPICS).await.expect("topics");
    let client = client(log.clone());
    // The record that reaches the budget in bytes may pass it.
    const ONE: usize = 64 + CALL.len() + 500;
    let record = || Outgoing { value: Some(Bytes::from(vec![b'x'; 500])), ..raw(CALL, None) };
    append(&log, (0..600).map(|_| record()).collect()).await;
    for budget in [Room { events: 50, bytes: 1 << 20 }, Room { events: 1000, bytes: 20_000 }] {
        let (go, gate) = watch::channel(false);
        let (shared, most) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new((0, 0))));
        let handler = Gated { go: gate, stats: shared.clone(), most: most.clone() };
        let group = Some(format!("budget-{}", budget.events));
        let running = start(&client, PumpConfig { budget, max_batch: 20, group, ..config() }, handler);
        *shared.lock() = Some(running.1.clone());
        // It reads on beside its handler until the budget is used up, and no further.
        until("the budget is used", || {
            let (events, bytes) = running.1.in_flight();
            events == budget.events || bytes >= budget.bytes
        })
        .await;
        let watched = Instant::now();
        while watched.elapsed() < Duration::from_millis(1500) {
            let (events, bytes) = running.1.in_flight();
            assert!(events <= budget.events && bytes < budget.bytes + ONE, "{events} {bytes}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(running.1.handled(), 0);
        until("a stuck handler shows as lag", || running.1.lag_events() == 600 && running.1.lag_us() > 1_000_000).await;
        go.send(true).expect("the handler waits");
        until("all is handled", || running.1.handled() == 600).await;
        stop(running).await;
        let (events, bytes) = *most.lock();
        assert!(events <= budget.events && bytes < budget.bytes + ONE, "{events} {bytes}");
    }
}

#[tokio::test]
async fn a_pump_that_waits_tells_the_age_of_records_that_it_has_never_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).expect("a log");
    log.ensure_topics(&TOPICS).await.expect("topics");
    let client = client(log.clone());
    // Partition 1 is an hour older than partition 0; the budget is used up by partition 0.
    let of = |partition: i32, back_us: i64| Outgoing {
        partition,
        timestamp_us: 1_700_000_000_000_000 - back_us,
        ..raw(CALL, None)
    };
    append(&log, (0..5).map(|_| of(0, 0)).collect()).await;
    append(&log, vec![of(1, 3_600_000_000)]).await;
    let (_go, gate) = watch::channel(false);
    let handler = Gated { go: gate, stats: Arc::default(), most: Arc::default() };
    let budget = Room { events: 5, bytes: 1 << 20 };
    let running = start(&client, PumpConfig { budget, ..config() }, handler);
    until("the old record is known", || running.1.lag_events() == 6 && running.1.lag_seconds() >= 3600.0).await;
    running.0.abort();
}

#[tokio::test]
async fn a_subscription_from_the_end_is_not_behind() {
    let dir = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.path())).expect("a log");
    log.ensure_topics(&TOPICS).await.expect("topics");
    append(&log, (0..5).map(|_| raw(CALL, None)).collect()).await;
    let subscription = Subscription { group: None, topics: vec![IvrDecision::TOPIC], start: Start::End };
    let source = log.subscribe(subscription).await.expect("subscribe");
    assert_eq!(source.held().parts.len(), 12);
    let client = client(log);
    let running = start(&client, PumpConfig { group: None, start: Start::End, ..config() }, Decoding::default());
    until("it is ready", || running.1.caught_up()).await;
    assert_eq!((running.1.lag_events(), running.1.lag_us()), (0, 0));
    stop(running).await;
}
