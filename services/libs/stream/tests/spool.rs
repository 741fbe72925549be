//! The way through the spool: a log that is away, a disk that fails, fills up or hangs, and starts in between.

mod common;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use common::{
    DEADLINE, TestClock,
    fake::{FakeLog, call, decision, id},
    until,
};
use schemas::NodeHealth;
use stream::{Files, Publisher, PublisherConfig, RealFiles, Reason, Ring, SpoolConfig, Way};

/// A disk with faults.
#[derive(Debug, Default)]
struct Disk(AtomicU8);

const WELL: u8 = 0;
const FULL: u8 = 1;
const READ_ONLY: u8 = 2;
const BROKEN: u8 = 3;
/// Every write takes five seconds.
const SLOW: u8 = 4;

impl Disk {
    fn becomes(&self, state: u8) {
        self.0.store(state, Ordering::SeqCst);
    }

    fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::SeqCst) {
            FULL => Err(io::ErrorKind::StorageFull.into()),
            READ_ONLY => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            BROKEN => Err(io::Error::from_raw_os_error(5)),
            SLOW => {
                std::thread::sleep(Duration::from_secs(5));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Files for Disk {
    fn make(&self, path: &Path) -> io::Result<File> {
        self.check()?;
        RealFiles.make(path)
    }
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        self.check()?;
        RealFiles.write_at(file, bytes, at)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        self.check()?;
        RealFiles.sync(file)
    }
    fn preallocate(&self, file: &File, len: u64) -> io::Result<()> {
        self.check()?;
        RealFiles.preallocate(file, len)
    }
}

struct Stage {
    dir: tempfile::TempDir,
    run: tempfile::TempDir,
    disk: Arc<Disk>,
    log: Arc<FakeLog>,
}

impl Stage {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a folder"),
            run: tempfile::tempdir_in("/dev/shm").expect("a tmpfs"),
            disk: Arc::default(),
            log: Arc::default(),
        }
    }

    fn ring(&self) -> PathBuf {
        self.run.path().join("0123456789ab")
    }

    fn config(&self, epoch: i64) -> PublisherConfig {
        let files: Arc<dyn Files> = self.disk.clone();
        let spool = SpoolConfig {
            reserve_bytes: 1 << 20,
            patience: Duration::from_millis(300),
            files,
            ..SpoolConfig::new(self.dir.path().join("spool"))
        };
        PublisherConfig {
            ring: Ring::Shared { dir: self.ring(), bytes: 4 << 20 },
            spool: Some(spool),
            ..PublisherConfig::new("edge/test", epoch, TestClock::shared())
        }
    }

    fn start(&self, epoch: i64) -> Publisher {
        Publisher::start(self.log.clone(), self.config(epoch)).expect("a publisher")
    }

    /// Every number of the epoch came, in order, each once; or with copies, then the last ones are in order.
    fn assert_all(&self, epoch: i64, expected: u64) {
        let mut total = 0;
        for (line, numbers) in self.log.numbers(epoch) {
            let mut seen: Vec<i64> = numbers.clone();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, (0..seen.len() as i64).collect::<Vec<_>>(), "{line:?}");
            total += seen.len() as u64;
            // No number comes for the first time after a greater one.
            let mut first: BTreeMap<i64, usize> = BTreeMap::new();
            for (at, number) in numbers.iter().enumerate() {
                first.entry(*number).or_insert(at);
            }
            assert!(first.values().is_sorted(), "{line:?} out of order: {numbers:?}");
        }
        assert_eq!(total, expected);
    }
}

fn burst(publisher: &Publisher, from: usize, count: usize) {
    (from..from + count).for_each(|n| {
        publisher.publish(call(n));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn events_pass_through_the_spool_in_order_and_the_figures_add_up() {
    let stage = Stage::new();
    let publisher = stage.start(1);
    burst(&publisher, 0, 3000);
    publisher.flush(DEADLINE).await.expect("delivered");
    stage.assert_all(1, 3000);
    assert_eq!(stage.log.count(), 3000, "no copies");
    let stats = publisher.stats();
    assert_eq!((stats.accepted, stats.delivered, stats.queued_events, stats.way), (3000, 3000, 0, Way::Spool));
    assert!(publisher.close(DEADLINE).await.is_nothing());
    assert!(!stage.ring().exists(), "an empty ring goes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_outage_waits_in_the_spool_and_the_ring_stays_empty() {
    let stage = Stage::new();
    stage.log.hang.store(true, Ordering::SeqCst);
    let publisher = stage.start(1);
    // More than the ring holds.
    for n in 0..20 {
        burst(&publisher, n * 1000, 1000);
        until("the ring is empty", || publisher.stats().ring_bytes == 0).await;
    }
    let stats = publisher.stats();
    assert_eq!((stats.accepted, stats.delivered, stats.queued_events), (20_000, 0, 20_000));
    assert!(publisher.flush(Duration::from_millis(50)).await.expect_err("the log is away").spooled == 20_000);
    until("the oldest has an age", || publisher.stats().oldest_us > 0).await;
    stage.log.hang.store(false, Ordering::SeqCst);
    publisher.flush(DEADLINE).await.expect("delivered");
    stage.assert_all(1, 20_000);
    assert_eq!(publisher.stats().delivered, 20_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_log_that_fails_gets_everything_again_in_order() {
    let stage = Stage::new();
    let publisher = stage.start(1);
    for round in 0..6 {
        stage.log.fail.store(round % 2 == 0, Ordering::SeqCst);
        burst(&publisher, round * 500, 500);
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    publisher.flush(DEADLINE).await.expect("delivered");
    stage.assert_all(1, 3000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_left_in_the_spool_goes_first_at_the_next_start() {
    let stage = Stage::new();
    stage.log.hang.store(true, Ordering::SeqCst);
    let first = stage.start(1);
    burst(&first, 0, 1000);
    let left = first.close(Duration::from_millis(300)).await;
    assert_eq!((left.in_ring, left.in_spool), (0, 1000));
    assert_eq!(first.publish(call(1)).seq, -1, "no number after the end");
    assert_eq!(first.stats().after_close, 1);
    drop(first);
    stage.log.hang.store(false, Ordering::SeqCst);
    let second = stage.start(2);
    burst(&second, 0, 500);
    second.flush(DEADLINE).await.expect("delivered");
    stage.assert_all(1, 1000);
    stage.assert_all(2, 500);
    let stats = second.stats();
    assert_eq!((stats.accepted, stats.delivered), (500, 500), "those of the first start are not its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_disk_that_cannot_be_written_is_passed_and_later_used_again() {
    for fault in [READ_ONLY, BROKEN, FULL] {
        let stage = Stage::new();
        let publisher = stage.start(1);
        burst(&publisher, 0, 200);
        publisher.flush(DEADLINE).await.expect("delivered");
        stage.disk.becomes(fault);
        burst(&publisher, 200, 200);
        until("events go past the spool", || publisher.stats().way == Way::Direct).await;
        publisher.flush(DEADLINE).await.expect("delivered past the spool");
        burst(&publisher, 400, 200);
        publisher.flush(DEADLINE).await.expect("delivered past the spool");
        stage.disk.becomes(WELL);
        until("the spool is used again", || {
            publisher.publish(call(7));
            publisher.stats().way == Way::Spool
        })
        .await;
        publisher.flush(DEADLINE).await.expect("delivered");
        stage.assert_all(1, publisher.stats().accepted);
        assert_eq!(publisher.stats().delivered, publisher.stats().accepted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_full_disk_sheds_nothing_while_the_log_takes_events() {
    let stage = Stage::new();
    let publisher = stage.start(1);
    publisher.publish(call(0));
    publisher.flush(DEADLINE).await.expect("delivered");
    stage.disk.becomes(FULL);
    publisher.publish(call(1));
    until("events go past the spool", || publisher.stats().way == Way::Direct).await;
    publisher.flush(DEADLINE).await.expect("delivered past the spool");
    let shed = || publisher.stats().shed.iter().sum::<u64>();
    // Only the moment between the full disk and the way past it may cost what matters less than calls.
    until("health is let in", || {
        let before = shed();
        publisher.publish(NodeHealth { node_id: "fs1".to_owned(), ..NodeHealth::default() });
        shed() == before
    })
    .await;
    publisher.flush(DEADLINE).await.expect("delivered past the spool");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_disk_that_takes_five_seconds_holds_up_neither_callers_nor_the_log() {
    let stage = Stage::new();
    let publisher = stage.start(1);
    burst(&publisher, 0, 200);
    publisher.flush(DEADLINE).await.expect("delivered");
    stage.disk.becomes(SLOW);
    let mut slowest = Duration::ZERO;
    for n in 0..1000 {
        let started = Instant::now();
        publisher.publish(call(n));
        slowest = slowest.max(started.elapsed());
    }
    assert!(slowest < Duration::from_millis(200), "one publish took {slowest:?}");
    let started = Instant::now();
    publisher.flush(DEADLINE).await.expect("delivered past the spool");
    assert!(started.elapsed() < Duration::from_secs(4), "it took {:?}", started.elapsed());
    stage.disk.becomes(WELL);
    until("the spool is used again", || {
        publisher.publish(call(7));
        publisher.stats().way == Way::Spool
    })
    .await;
    publisher.flush(DEADLINE).await.expect("delivered");
    stage.assert_all(1, publisher.stats().accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn when_neither_takes_anything_the_ring_fills_and_what_goes_is_declared() {
    let stage = Stage::new();
    let publisher = stage.start(1);
    publisher.publish(call(0));
    publisher.flush(DEADLINE).await.expect("delivered");
    stage.disk.becomes(BROKEN);
    stage.log.fail.store(true, Ordering::SeqCst);
    burst(&publisher, 0, 40_000);
    let shed: u64 = publisher.stats().shed.iter().sum();
    assert!(shed > 0, "the ring is full");
    stage.log.fail.store(false, Ordering::SeqCst);
    stage.disk.becomes(WELL);
    publisher.flush(DEADLINE).await.expect("delivered");
    let stats = publisher.stats();
    assert_eq!(stats.delivered + shed, stats.accepted);
    let declared: u64 = publisher.declared().iter().map(|r| r.events).sum();
    assert_eq!(declared, shed);
    let mut numbers = stage.log.numbers(1);
    for range in publisher.declared() {
        assert_eq!(range.reason, Reason::Shed);
        numbers.entry((range.topic, range.partition)).or_default().extend(range.first..=range.last);
    }
    for (line, mut seqs) in numbers {
        seqs.sort_unstable();
        seqs.dedup();
        assert_eq!(seqs, (0..seqs.len() as i64).collect::<Vec<_>>(), "{line:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_start_on_a_dead_disk_feeds_the_log_all_the_same() {
    let stage = Stage::new();
    stage.disk.becomes(READ_ONLY);
    let publisher = stage.start(1);
    burst(&publisher, 0, 500);
    publisher.flush(DEADLINE).await.expect("delivered past the spool");
    stage.assert_all(1, 500);
    assert_eq!(publisher.stats().way, Way::Direct);
    stage.disk.becomes(WELL);
    until("the spool is used", || {
        publisher.publish(call(7));
        publisher.stats().way == Way::Spool
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_record_that_the_log_refuses_is_declared_and_holds_up_nobody() {
    let stage = Stage::new();
    *stage.log.refuse_key.lock() = Some(id(3));
    let publisher = stage.start(1);
    (0..10).for_each(|n| {
        publisher.publish(decision(n));
    });
    publisher.flush(DEADLINE).await.expect("the rest is delivered");
    let stats = publisher.stats();
    assert_eq!((stats.delivered, stats.refused), (9, 1));
    assert_eq!(publisher.declared()[0].reason, Reason::Refused);
}
