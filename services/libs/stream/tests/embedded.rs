//! The embedded log under damage, against a second writer, read from outside, and over its retention.

mod common;

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use common::{append, outgoing, read, topic, until, value};
use schemas::TopicSpec;
use stream::{EmbeddedConfig, EmbeddedLog, EventLog, Keep, LogError, Record, Source, Start, Subscription};

static T: TopicSpec = topic("test.events", 3, false);
static STATE: TopicSpec = topic("test.state", 2, true);
static QUIET: TopicSpec = topic("test.quiet", 1, false);

/// The records of these tests are from 2023; only the test of retention by age wants them dropped for that.
fn config(dir: &Path) -> EmbeddedConfig {
    EmbeddedConfig { keep: keep(20 << 30), ..EmbeddedConfig::new(dir) }
}

/// A thousand years, and this many bytes.
fn keep(bytes: u64) -> Keep {
    Keep::Age { age: Duration::from_secs(1000 * 365 * 24 * 3600), bytes }
}

fn everything(topics: &[&'static TopicSpec]) -> Subscription {
    Subscription { group: None, topics: topics.to_vec(), start: Start::Beginning }
}

async fn read_all(log: &Arc<EmbeddedLog>, topics: &[&'static TopicSpec]) -> Vec<Record> {
    let mut source = log.subscribe(everything(topics)).await.expect("subscribe");
    let mut out = Vec::new();
    loop {
        let records = source.poll(1000, Duration::ZERO).await.expect("poll");
        if records.is_empty() {
            return out;
        }
        out.extend(records);
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .expect("the folder")
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect();
    paths.sort();
    paths
}

async fn fill(dir: &Path, events: usize) {
    let log: Arc<dyn EventLog> = EmbeddedLog::open(config(dir)).expect("a log");
    for n in 0..events {
        append(&log, vec![outgoing(&T, &format!("key-{n}"), &format!("value-{n}"))]).await;
    }
}

fn values(records: &[Record]) -> Vec<String> {
    let mut values: Vec<String> = records.iter().map(|r| value(r).to_owned()).collect();
    values.sort_by_key(|v| v.trim_start_matches("value-").parse::<u32>().expect("a number"));
    values
}

fn expected(numbers: impl Iterator<Item = usize>) -> Vec<String> {
    numbers.map(|n| format!("value-{n}")).collect()
}

/// Cut at every byte of the last frames: what stands before the cut survives, nothing else appears, and the log goes on.
#[tokio::test]
async fn a_torn_tail_is_cut_and_everything_before_it_survives() {
    let dir = tempfile::tempdir().expect("a folder");
    fill(dir.path(), 20).await;
    let path = segments(dir.path()).remove(0);
    let whole = fs::read(&path).expect("the segment");
    let mut survivors = 20;
    for cut in (whole.len() - 200..whole.len()).rev() {
        fs::write(&path, &whole[..cut]).expect("cut");
        let log = EmbeddedLog::open(config(dir.path())).expect("opens");
        assert_eq!(log.damage(), []);
        let left = values(&read_all(&log, &[&T]).await);
        assert!(left.len() <= survivors && left.len() + 1 >= survivors, "cut {cut}: {} of {survivors}", left.len());
        survivors = left.len();
        assert_eq!(left, expected(0..survivors));
    }
    assert!(survivors < 20, "the cuts must have reached a frame");
    let log = EmbeddedLog::open(config(dir.path())).expect("opens");
    let port: Arc<dyn EventLog> = log.clone();
    append(&port, vec![outgoing(&T, "key", &format!("value-{survivors}"))]).await;
    assert_eq!(values(&read_all(&log, &[&T]).await), expected(0..=survivors));
}

/// Garbage behind the last frame, as an interrupted write leaves it.
#[tokio::test]
async fn garbage_and_zeroes_behind_the_last_frame_are_cut() {
    for tail in [vec![0_u8; 4096], b"TLF1garbage that begins like a frame".to_vec(), vec![0xff; 10]] {
        let dir = tempfile::tempdir().expect("a folder");
        fill(dir.path(), 5).await;
        let path = segments(dir.path()).remove(0);
        let mut bytes = fs::read(&path).expect("the segment");
        let good = bytes.len();
        bytes.extend_from_slice(&tail);
        fs::write(&path, bytes).expect("write");
        let log = EmbeddedLog::open(config(dir.path())).expect("opens");
        assert_eq!(values(&read_all(&log, &[&T]).await), expected(0..5));
        assert_eq!(fs::metadata(&path).expect("stat").len(), good as u64);
    }
}

/// A flipped bit in the middle loses exactly the record that it is in, is reported, and nothing behind it is touched.
#[tokio::test]
async fn a_bit_flip_in_the_middle_costs_one_record_and_is_reported() {
    let dir = tempfile::tempdir().expect("a folder");
    fill(dir.path(), 20).await;
    let path = segments(dir.path()).remove(0);
    let whole = fs::read(&path).expect("the segment");
    let hit = whole.windows(8).position(|w| w == b"value-10").expect("in the file");
    for at in [hit, hit - 30, hit - 45] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).expect("write");
        let log = EmbeddedLog::open(config(dir.path())).expect("opens");
        assert_eq!(log.damage().len(), 1, "at {at}");
        let damage = &log.damage()[0];
        assert!(damage.from <= at as u64 && (at as u64) < damage.to, "{damage:?} names {at}");
        assert_eq!(values(&read_all(&log, &[&T]).await), expected((0..20).filter(|n| *n != 10)));
        let lost = outgoing(&T, "key-10", "").partition;
        let of_partition = (0..20).filter(|n| outgoing(&T, &format!("key-{n}"), "").partition == lost).count();
        // The number of the lost record stays taken: readers see the hole.
        let bounds = log.bounds(&T).await.expect("bounds");
        assert_eq!(bounds[lost as usize].end as usize, of_partition);
        assert_eq!(log.stats().skipped, 1);
    }
}

/// The disk goes bad under an open log: the reader reports it and reads on.
#[tokio::test]
async fn damage_that_appears_under_an_open_log_is_reported_by_the_reader() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = EmbeddedLog::open(config(dir.path())).expect("opens");
    let port: Arc<dyn EventLog> = log.clone();
    for n in 0..20 {
        append(&port, vec![outgoing(&T, &format!("key-{n}"), &format!("value-{n}"))]).await;
    }
    let path = segments(dir.path()).remove(0);
    let whole = fs::read(&path).expect("the segment");
    let hit = whole.windows(8).position(|w| w == b"value-10").expect("in the file") as u64;
    let file = OpenOptions::new().write(true).open(&path).expect("open");
    file.write_all_at(b"VALUE", hit).expect("damage");
    assert_eq!(log.damage(), []);
    assert_eq!(values(&read_all(&log, &[&T]).await), expected((0..20).filter(|n| *n != 10)));
    assert_eq!(log.damage().len(), 1);
    // Met again, it is not news.
    read_all(&log, &[&T]).await;
    assert_eq!(log.damage().len(), 1);
}

#[tokio::test]
async fn a_damaged_first_frame_loses_no_record() {
    let dir = tempfile::tempdir().expect("a folder");
    fill(dir.path(), 20).await;
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&path).expect("the segment");
    bytes[10] ^= 1;
    fs::write(&path, &bytes).expect("write");
    let log = EmbeddedLog::open(config(dir.path())).expect("opens");
    assert_eq!(log.damage().len(), 1);
    assert_eq!(values(&read_all(&log, &[&T]).await), expected(0..20));
}

#[tokio::test]
async fn an_empty_last_segment_of_an_interrupted_start_is_removed() {
    for content in [&b""[..], b"TRK", b"TRKSEG01", b"TRKSEG01TLF1"] {
        let dir = tempfile::tempdir().expect("a folder");
        fill(dir.path(), 3).await;
        fs::write(dir.path().join("00000000000000000001.seg"), content).expect("write");
        let log = EmbeddedLog::open(config(dir.path())).expect("opens");
        assert_eq!(log.damage(), []);
        assert_eq!(values(&read_all(&log, &[&T]).await), expected(0..3));
        assert_eq!(segments(dir.path()).len(), 1);
    }
}

#[tokio::test]
async fn a_second_writer_is_refused_and_told_who_has_the_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = EmbeddedLog::open(config(dir.path())).expect("opens");
    let Err(error) = EmbeddedLog::open(config(dir.path())) else { panic!("opened twice") };
    assert!(
        matches!(&error, LogError::Locked { owner, .. } if owner.contains(&std::process::id().to_string())),
        "{error}"
    );
    log.close();
    EmbeddedLog::open(config(dir.path())).expect("free again");
}

#[tokio::test]
async fn a_read_only_opener_sees_new_data_and_new_segments_and_can_change_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = EmbeddedConfig { segment_bytes: 4 << 10, ..config(dir.path()) };
    let writer: Arc<dyn EventLog> = EmbeddedLog::open(settings).expect("opens");
    append(&writer, vec![outgoing(&T, "k", "value-0")]).await;
    let reader = EmbeddedLog::open_read_only(dir.path()).expect("opens beside the writer");
    let mut source = reader.subscribe(everything(&[&T])).await.expect("subscribe");
    assert_eq!(read(&mut source, 1).await[0].offset, 0);
    for n in 1..200 {
        append(&writer, vec![outgoing(&T, "k", &format!("value-{n}"))]).await;
    }
    let records = read(&mut source, 199).await;
    assert_eq!(values(&records), expected(1..200));
    assert!(segments(dir.path()).len() > 2, "several segments were met");
    assert!(matches!(reader.append(vec![outgoing(&T, "k", "v")]).await, Err(LogError::ReadOnly)));
    let grouped = Subscription { group: Some("g".into()), topics: vec![&T], start: Start::Committed };
    let mut source = reader.subscribe(grouped).await.expect("subscribe");
    let commit = stream::Commit { topic: &T, partition: 0, next_offset: 1 };
    assert!(matches!(source.commit(&[commit]).await, Err(LogError::ReadOnly)));
}

#[tokio::test]
async fn an_idle_reader_is_woken_by_an_append() {
    let dir = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn EventLog> = EmbeddedLog::open(config(dir.path())).expect("opens");
    let mut source = log.subscribe(everything(&[&T])).await.expect("subscribe");
    let polling = source.poll(10, Duration::from_secs(60));
    let (records, ()) = tokio::join!(polling, async {
        // The reader is polled first and sleeps by now; nothing but the wake-up can bring it back within the deadline.
        append(&log, vec![outgoing(&T, "k", "v")]).await;
    });
    assert_eq!(records.expect("poll").len(), 1);
}

#[tokio::test]
async fn the_newest_member_of_a_group_takes_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn EventLog> = EmbeddedLog::open(config(dir.path())).expect("opens");
    let grouped = || Subscription { group: Some("g".into()), topics: vec![&T], start: Start::Committed };
    let mut old = log.subscribe(grouped()).await.expect("subscribe");
    let mut new = log.subscribe(grouped()).await.expect("subscribe");
    assert!(matches!(old.poll(1, Duration::ZERO).await, Err(LogError::Fenced { .. })));
    let commit = stream::Commit { topic: &T, partition: 0, next_offset: 0 };
    assert!(matches!(old.commit(&[commit]).await, Err(LogError::Fenced { .. })));
    assert!(new.poll(1, Duration::ZERO).await.is_ok());
}

/// Old segments go; state topics keep the newest value of every key, tombstones and their keys go; groups, names and ends stay; and all
/// of it is the same after a restart.
#[tokio::test]
async fn retention_drops_segments_and_keeps_the_newest_state() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = EmbeddedConfig { segment_bytes: 16 << 10, keep: keep(64 << 10), ..config(dir.path()) };
    let log = EmbeddedLog::open(settings.clone()).expect("opens");
    let port: Arc<dyn EventLog> = log.clone();
    append(&port, vec![outgoing(&QUIET, "q", "value-0")]).await;
    append(&port, (0..10).map(|n| outgoing(&STATE, &format!("s{n}"), "old")).collect()).await;
    append(&port, (0..5).map(|n| outgoing(&STATE, &format!("s{n}"), "new")).collect()).await;
    let mut gone = outgoing(&STATE, "s9", "");
    gone.value = None;
    append(&port, vec![gone]).await;
    let mut source = log
        .subscribe(Subscription { group: Some("g".into()), topics: vec![&QUIET], start: Start::Committed })
        .await
        .expect("subscribe");
    source.commit(&[stream::Commit { topic: &QUIET, partition: 0, next_offset: 1 }]).await.expect("commit");
    for _ in 0..60 {
        append(&port, vec![outgoing(&T, "k", &"x".repeat(4000))]).await;
    }
    until("old segments are dropped", || log.stats().dropped_segments >= 3 && log.stats().total_bytes < 100 << 10)
        .await;

    let check = async |log: &Arc<EmbeddedLog>| {
        let mut state: BTreeMap<String, String> = BTreeMap::new();
        for record in read_all(log, &[&STATE]).await {
            let key = String::from_utf8(record.key.to_vec()).expect("text");
            match &record.value {
                Some(_) => state.insert(key, value(&record).to_owned()),
                None => state.remove(&key),
            };
        }
        let want = (0..9).map(|n| (format!("s{n}"), if n < 5 { "new" } else { "old" }.to_owned()));
        assert_eq!(state, want.collect());
        let quiet = log.bounds(&QUIET).await.expect("bounds")[0];
        assert_eq!((quiet.begin, quiet.end), (1, 1), "dropped, and its number stays taken");
        assert_eq!(log.committed("g", &QUIET).await.expect("committed"), [Some(1)]);
        let k = outgoing(&T, "k", "").partition as usize;
        let bounds = log.bounds(&T).await.expect("bounds")[k];
        assert_eq!(bounds.end, 60);
        assert!(bounds.begin > 0);
        assert_eq!(read_all(log, &[&T]).await.first().expect("some are left").offset, bounds.begin);
    };
    check(&log).await;
    log.close();
    let log = EmbeddedLog::open(settings).expect("opens");
    assert_eq!(log.damage(), []);
    check(&log).await;
    let port: Arc<dyn EventLog> = log.clone();
    append(&port, vec![outgoing(&QUIET, "q", "value-1")]).await;
    assert_eq!(read_all(&log, &[&QUIET]).await[0].offset, 1);
}

#[tokio::test]
async fn a_reader_that_retention_overtook_reads_on_and_the_loss_is_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = EmbeddedConfig { segment_bytes: 16 << 10, keep: keep(48 << 10), ..config(dir.path()) };
    let log = EmbeddedLog::open(settings).expect("opens");
    let port: Arc<dyn EventLog> = log.clone();
    append(&port, vec![outgoing(&T, "k", "first")]).await;
    let mut source = log.subscribe(everything(&[&T])).await.expect("subscribe");
    assert_eq!(read(&mut source, 1).await.len(), 1);
    for _ in 0..60 {
        append(&port, vec![outgoing(&T, "k", &"x".repeat(4000))]).await;
    }
    until("old segments are dropped", || log.stats().dropped_segments >= 3).await;
    let next = read(&mut source, 1).await[0].offset;
    assert!(next > 1);
    assert_eq!(log.stats().skipped as i64, next - 1);
}

#[tokio::test]
async fn events_older_than_the_retention_age_go_with_their_segment() {
    let dir = tempfile::tempdir().expect("a folder");
    let day = Duration::from_secs(24 * 3600);
    let settings =
        EmbeddedConfig { segment_bytes: 8 << 10, keep: Keep::Age { age: day, bytes: 20 << 30 }, ..config(dir.path()) };
    let log = EmbeddedLog::open(settings).expect("opens");
    let port: Arc<dyn EventLog> = log.clone();
    for _ in 0..10 {
        append(&port, vec![outgoing(&T, "k", &"x".repeat(4000))]).await;
    }
    until("old segments are dropped", || log.stats().segments == 1).await;
    assert_eq!(log.bounds(&T).await.expect("bounds").iter().map(|b| b.end).max(), Some(10));
}

/// One rare topic among a lot of others: reading it does not read everything.
#[tokio::test]
async fn a_reader_of_a_rare_topic_jumps_over_the_rest() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = EmbeddedConfig { segment_bytes: 8 << 20, ..config(dir.path()) };
    let log = EmbeddedLog::open(settings).expect("opens");
    let port: Arc<dyn EventLog> = log.clone();
    let big = "x".repeat(100_000);
    for n in 0..4 {
        append(&port, vec![outgoing(&QUIET, "q", &format!("value-{n}"))]).await;
        append(&port, (0..100).map(|k| outgoing(&T, &k.to_string(), &big)).collect()).await;
    }
    append(&port, vec![outgoing(&QUIET, "q", "value-4")]).await;
    let before = read_bytes_of_this_process();
    assert_eq!(values(&read_all(&log, &[&QUIET]).await), expected(0..5));
    let read = read_bytes_of_this_process() - before;
    assert!(read < 20 << 20, "{read} bytes were read of 40 MB, for five records");
}

/// Other tests of this file run beside this one; they read kilobytes.
fn read_bytes_of_this_process() -> u64 {
    let io = fs::read_to_string("/proc/self/io").expect("linux");
    let line = io.lines().find_map(|l| l.strip_prefix("rchar: ")).expect("rchar");
    line.parse().expect("a number")
}

#[tokio::test]
async fn a_record_over_the_limit_is_refused_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn EventLog> = EmbeddedLog::open(config(dir.path())).expect("opens");
    let error =
        log.append(vec![outgoing(&T, "k", &"x".repeat(stream::MAX_RECORD_BYTES))]).await.expect_err("too large");
    assert!(matches!(error, LogError::TooLarge { .. }) && error.is_permanent());
    let mut wrong = outgoing(&T, "k", "v");
    wrong.partition = 3;
    assert!(matches!(log.append(vec![outgoing(&T, "k", "v"), wrong]).await, Err(LogError::NoPartition { .. })));
    append(&log, vec![outgoing(&T, "k", "v")]).await;
    let mut source: Box<dyn Source> = log.subscribe(everything(&[&T])).await.expect("subscribe");
    assert_eq!(read(&mut source, 1).await[0].offset, 0, "a refused batch takes no number");
}

#[tokio::test]
async fn a_closed_log_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = EmbeddedLog::open(config(dir.path())).expect("opens");
    let mut source = log.subscribe(everything(&[&T])).await.expect("subscribe");
    log.close();
    assert!(matches!(log.append(vec![outgoing(&T, "k", "v")]).await, Err(LogError::Closed)));
    assert!(matches!(source.poll(1, Duration::from_secs(5)).await, Err(LogError::Closed)));
}
