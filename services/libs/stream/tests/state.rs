//! State topics over retention: whatever is written, dropped and restarted in between, the newest value of every key is there, deleted
//! keys stay deleted, and the log stays as small as it should.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use common::{outgoing, topic, until};
use proptest::prelude::*;
use schemas::TopicSpec;
use stream::{EmbeddedConfig, EmbeddedLog, EventLog, Keep, Record, Start, Subscription};

static STATE: TopicSpec = topic("test.state", 2, true);
static EVENTS: TopicSpec = topic("test.events", 3, false);

const SEGMENT: u64 = 4 << 10;
const LIMIT: u64 = 24 << 10;

#[derive(Debug, Clone)]
enum Step {
    Put {
        key: u8,
        size: usize,
    },
    Delete {
        key: u8,
    },
    /// Events between the state, which push segments out.
    Events {
        count: usize,
    },
    Restart {
        keep_indexes: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..20_u8, 0..200_usize).prop_map(|(key, size)| Step::Put { key, size }),
        2 => (0..20_u8).prop_map(|key| Step::Delete { key }),
        4 => (1..20_usize).prop_map(|count| Step::Events { count }),
        1 => any::<bool>().prop_map(|keep_indexes| Step::Restart { keep_indexes }),
    ]
}

fn folder() -> tempfile::TempDir {
    let place = Path::new("/dev/shm");
    if place.is_dir() { tempfile::tempdir_in(place) } else { tempfile::tempdir() }.expect("a folder")
}

fn open(dir: &Path, keep: &Keep) -> Arc<EmbeddedLog> {
    let config = EmbeddedConfig { segment_bytes: SEGMENT, keep: keep.clone(), ..EmbeddedConfig::new(dir) };
    EmbeddedLog::open(config).expect("opens")
}

async fn read_all(log: &EmbeddedLog, spec: &'static TopicSpec) -> Vec<Record> {
    let everything = Subscription { group: None, topics: vec![spec], start: Start::Beginning };
    let mut source = log.subscribe(everything).await.expect("subscribe");
    let mut out = Vec::new();
    loop {
        let records = source.poll(1000, Duration::ZERO).await.expect("poll");
        if records.is_empty() {
            return out;
        }
        out.extend(records);
    }
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a consumer knows that has read the topic from its beginning.
async fn state(log: &EmbeddedLog) -> Model {
    let mut out = Model::new();
    for record in read_all(log, &STATE).await {
        match record.value {
            Some(value) => drop(out.insert(record.key.to_vec(), value.to_vec())),
            None => drop(out.remove(&record.key[..])),
        }
    }
    out
}

/// Where every partition begins, which must survive a restart: it is the number of records that retention took.
async fn begins(log: &EmbeddedLog) -> Vec<i64> {
    let mut out = Vec::new();
    for spec in [&STATE, &EVENTS] {
        out.extend(log.bounds(spec).await.expect("bounds").iter().map(|b| b.begin));
    }
    out
}

/// Records of a topic between its bounds.
async fn held(log: &EmbeddedLog, spec: &'static TopicSpec) -> i64 {
    log.bounds(spec).await.expect("bounds").iter().map(|b| b.end - b.begin).sum()
}

async fn run(steps: Vec<Step>, keep: Keep) -> Result<(), TestCaseError> {
    let dir = folder();
    let mut log = open(dir.path(), &keep);
    log.ensure_topics(&[&STATE, &EVENTS]).await.expect("topics");
    let mut model = Model::new();
    for (n, step) in steps.into_iter().enumerate() {
        match step {
            Step::Put { key, size } => {
                let record = outgoing(&STATE, &format!("k{key}"), &format!("{n} {}", "v".repeat(size)));
                model.insert(record.key.to_vec(), record.value.clone().expect("a value").to_vec());
                log.append(vec![record]).await.expect("append");
            }
            Step::Delete { key } => {
                let mut record = outgoing(&STATE, &format!("k{key}"), "");
                record.value = None;
                model.remove(&record.key[..]);
                log.append(vec![record]).await.expect("append");
            }
            Step::Events { count } => {
                let batch = (0..count).map(|e| outgoing(&EVENTS, &e.to_string(), &"e".repeat(300)));
                log.append(batch.collect()).await.expect("append");
            }
            Step::Restart { keep_indexes } => {
                log.close();
                let told = begins(&log).await;
                drop(log);
                if !keep_indexes {
                    let paths = fs::read_dir(dir.path()).expect("the folder").map(|e| e.expect("an entry").path());
                    paths.filter(|p| p.extension().is_some_and(|e| e == "idx")).for_each(|p| {
                        fs::remove_file(p).expect("remove");
                    });
                }
                log = open(dir.path(), &keep);
                // Retention may already have gone on behind our back; nothing comes back.
                let now = begins(&log).await;
                prop_assert!(told.iter().zip(&now).all(|(told, now)| told <= now), "{told:?} became {now:?}");
                prop_assert!(log.damage().is_empty());
            }
        }
        if n % 7 == 0 {
            prop_assert_eq!(state(&log).await, model.clone(), "after step {}", n);
        }
    }
    prop_assert_eq!(&state(&log).await, &model);
    // Retention may still be at work beside the reader.
    let most = held(&log, &EVENTS).await;
    let events = read_all(&log, &EVENTS).await.len() as i64;
    let least = held(&log, &EVENTS).await;
    prop_assert!((least..=most).contains(&events), "{events} events read, {most} to {least} there");
    if let Keep::Age { bytes, .. } = keep {
        let slack = 8 * SEGMENT;
        until("retention has caught up", || log.stats().total_bytes <= bytes.saturating_add(slack)).await;
    }
    Ok(())
}

fn property(keep: Keep) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(40)
    });
    let steps = proptest::collection::vec(step(), 50..300);
    runner.run(&steps, |steps| runtime.block_on(run(steps, keep.clone()))).expect("holds");
}

#[test]
fn the_newest_value_of_every_key_survives_retention_by_size() {
    property(Keep::Age { age: Duration::from_secs(1000 * 365 * 24 * 3600), bytes: LIMIT });
}

/// The records of these tests are from 2023: every closed segment is too old at once.
#[test]
fn the_newest_value_of_every_key_survives_retention_by_age() {
    property(Keep::Age { age: Duration::from_secs(3600), bytes: 20 << 30 });
}

/// The tombstone outlives its segment, or whoever has just read the value would believe it for ever.
#[tokio::test]
async fn a_reader_between_a_value_and_its_tombstone_learns_of_the_end_though_both_segments_go() {
    let dir = folder();
    let keep = Keep::Age { age: Duration::from_secs(1000 * 365 * 24 * 3600), bytes: LIMIT };
    let log = open(dir.path(), &keep);
    let events = || (0..20).map(|e| outgoing(&EVENTS, &e.to_string(), &"e".repeat(300))).collect::<Vec<_>>();
    log.append(vec![outgoing(&STATE, "k", "lives")]).await.expect("append");
    let everything = Subscription { group: None, topics: vec![&STATE], start: Start::Beginning };
    let mut source = log.subscribe(everything).await.expect("subscribe");
    assert_eq!(source.poll(1, Duration::from_secs(30)).await.expect("poll").len(), 1);
    log.append(events()).await.expect("append");
    let mut end = outgoing(&STATE, "k", "");
    end.value = None;
    log.append(vec![end]).await.expect("append");
    while log.stats().dropped_segments < 3 {
        log.append(events()).await.expect("append");
    }
    let told = source.poll(10, Duration::from_secs(30)).await.expect("poll");
    assert!(told.iter().any(|r| r.key == "k" && r.value.is_none()), "{told:?}");
    // It is carried once, not for ever.
    let before = log.stats().dropped_segments;
    while log.stats().dropped_segments < before + 20 {
        log.append(events()).await.expect("append");
    }
    assert!(read_all(&log, &STATE).await.is_empty());
}

/// A state topic alone, one key changed for ever, and a thousand that never change: the log does not grow.
#[tokio::test]
async fn a_state_topic_that_changes_for_ever_does_not_grow() {
    let dir = folder();
    let keep = Keep::Age { age: Duration::from_secs(1000 * 365 * 24 * 3600), bytes: LIMIT };
    let log = open(dir.path(), &keep);
    log.append((0..1000).map(|k| outgoing(&STATE, &format!("quiet-{k}"), "for ever")).collect()).await.expect("append");
    let live = log.stats().total_bytes;
    assert!(live > LIMIT, "what lives is more than the limit, the hard case");
    let mut most = 0;
    for n in 0..3000 {
        log.append(vec![outgoing(&STATE, "busy", &format!("{n} {}", "v".repeat(100)))]).await.expect("append");
        most = most.max(log.stats().total_bytes);
    }
    assert!(most < 4 * live, "{most} bytes for {live} that live");
    let keys: BTreeSet<Vec<u8>> = state(&log).await.into_keys().collect();
    assert_eq!(keys.len(), 1001);
    let stats = log.stats();
    let dropped: i64 = log.dropped().iter().map(|d| d.records).sum();
    assert!(stats.dropped_segments > 10 && dropped > 1000, "{stats:?}");
    println!("{} bytes written, at most {most} kept, {live} live", stats.bytes);
}
