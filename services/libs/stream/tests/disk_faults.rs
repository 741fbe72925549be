//! The disk of the embedded log fails: full, read-only, broken, slow. An append is whole or not there, callers get an answer, and it
//! goes on when the fault ends.

mod common;

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{DEADLINE, outgoing, topic, until, value};
use parking_lot::{Condvar, Mutex};
use schemas::TopicSpec;
use stream::{
    Ack, Commit, EmbeddedConfig, EmbeddedLog, EventLog, Files, Keep, LogError, RealFiles, Record, Start, Subscription,
};

static T: TopicSpec = topic("test.faults", 1, false);
const DIR: &str = "STREAM_TEST_CHILD_DIR";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Half of a write fits.
    Full,
    ReadOnly,
    /// Half of a write arrives.
    WriteError,
    SyncError,
    SlowSync(Duration),
    /// A sync ends when the fault does.
    HungSync,
}

/// The real disk behind a fault that can be changed at any time.
#[derive(Debug)]
struct FaultyFiles {
    fault: Mutex<Fault>,
    ended: Condvar,
}

impl FaultyFiles {
    fn new() -> Arc<Self> {
        Arc::new(Self { fault: Mutex::new(Fault::None), ended: Condvar::new() })
    }
    fn set(&self, fault: Fault) {
        *self.fault.lock() = fault;
        self.ended.notify_all();
    }
    fn change(&self) -> io::Result<()> {
        match *self.fault.lock() {
            Fault::Full => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            Fault::ReadOnly => Err(io::Error::from_raw_os_error(libc::EROFS)),
            Fault::WriteError => Err(io::Error::from_raw_os_error(libc::EIO)),
            _ => Ok(()),
        }
    }
}

impl Files for FaultyFiles {
    fn make(&self, path: &Path) -> io::Result<File> {
        self.change().and_then(|()| RealFiles.make(path))
    }
    fn open(&self, path: &Path, write: bool) -> io::Result<File> {
        if write && *self.fault.lock() == Fault::ReadOnly {
            self.change()?;
        }
        RealFiles.open(path, write)
    }
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let fault = self.change();
        if fault.is_err() && *self.fault.lock() != Fault::ReadOnly {
            file.write_all_at(&bytes[..bytes.len() / 2], at)?;
        }
        fault.and_then(|()| RealFiles.write_at(file, bytes, at))
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        let mut fault = self.fault.lock();
        while *fault == Fault::HungSync {
            self.ended.wait(&mut fault);
        }
        match *fault {
            Fault::SyncError => return Err(io::Error::from_raw_os_error(libc::EIO)),
            Fault::SlowSync(time) => {
                drop(fault);
                std::thread::sleep(time);
            }
            _ => drop(fault),
        }
        RealFiles.sync(file)
    }
    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        // Cutting frees room: a full disk does not refuse it.
        if *self.fault.lock() != Fault::Full {
            self.change()?;
        }
        RealFiles.set_len(file, len)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        if *self.fault.lock() == Fault::ReadOnly {
            self.change()?;
        }
        RealFiles.remove(path)
    }
    fn preallocate(&self, file: &File, len: u64) -> io::Result<()> {
        self.change().and_then(|()| RealFiles.preallocate(file, len))
    }
}

fn config(dir: &Path, ack: Ack, files: Arc<dyn Files>) -> EmbeddedConfig {
    let keep = Keep::Age { age: Duration::from_secs(1000 * 365 * 24 * 3600), bytes: 20 << 30 };
    // Small segments: faults also meet the making of a new one.
    EmbeddedConfig { ack, keep, files, segment_bytes: 2000, ..EmbeddedConfig::new(dir) }
}

/// A batch is three records; `n` names it.
async fn append(log: &EmbeddedLog, n: usize) -> Result<(), LogError> {
    let batch = (0..3).map(|part| outgoing(&T, "k", &format!("{n}/{part} {}", "x".repeat(50)))).collect();
    tokio::time::timeout(DEADLINE, log.append(batch)).await.expect("every caller gets an answer")
}

async fn read_all(log: &EmbeddedLog) -> Vec<Record> {
    let topics = vec![&T];
    let mut source =
        log.subscribe(Subscription { group: None, topics, start: Start::Beginning }).await.expect("subscribe");
    let mut out = Vec::new();
    loop {
        let records = source.poll(1000, Duration::ZERO).await.expect("poll");
        if records.is_empty() {
            return out;
        }
        out.extend(records);
    }
}

/// The batches that are there, each whole, with offsets without a hole.
fn batches(records: &[Record]) -> Vec<usize> {
    let offsets: Vec<i64> = records.iter().map(|r| r.offset).collect();
    assert_eq!(offsets, (0..records.len() as i64).collect::<Vec<_>>(), "no hole");
    let names = records.iter().map(|r| value(r).split(' ').next().expect("a name"));
    let names: Vec<(&str, &str)> = names.map(|n| n.split_once('/').expect("batch/part")).collect();
    let whole = |c: &[(&str, &str)]| {
        let parts: Vec<&str> = c.iter().map(|(_, part)| *part).collect();
        assert_eq!(parts, ["0", "1", "2"], "a batch is half there");
        c[0].0.parse().expect("a number")
    };
    names.chunks(3).map(whole).collect()
}

async fn a_fault_passes(ack: Ack, fault: Fault) {
    let dir = tempfile::tempdir().expect("a folder");
    let files = FaultyFiles::new();
    let log = EmbeddedLog::open(config(dir.path(), ack, files.clone())).expect("opens");
    let what = format!("{ack:?} {fault:?}");
    let mut answered = Vec::new();
    for n in 0..8 {
        append(&log, n).await.expect("a good disk");
        answered.push(n);
    }
    log.synced().await.expect("a good disk");
    files.set(fault);
    let mut failures = 0;
    for n in 8..30 {
        let before = Instant::now();
        match append(&log, n).await {
            Ok(()) => answered.push(n),
            Err(error) => {
                assert!(!error.is_permanent(), "{what}: {error}");
                assert!(before.elapsed() < Duration::from_secs(2), "{what}: an error comes quickly");
                failures += 1;
            }
        }
        // What is visible is whole at any time.
        batches(&read_all(&log).await);
    }
    let fails = !matches!(fault, Fault::SlowSync(_)) && (ack, fault) != (Ack::Written, Fault::SyncError);
    assert_eq!(failures > 0, fails, "{what}: {failures} failures");
    if (ack, fault) == (Ack::Written, Fault::SyncError) {
        until("a sync failed behind the callers' backs", || log.stats().failed_syncs > 0).await;
        // Whoever asks while it happens is told.
        let give_up = Instant::now() + DEADLINE;
        loop {
            append(&log, 29).await.expect("written");
            if log.synced().await.is_err() {
                break;
            }
            assert!(Instant::now() < give_up, "{what}: nobody was told");
        }
    }
    files.set(Fault::None);
    for n in 30..40 {
        append(&log, n).await.unwrap_or_else(|e| panic!("{what}: a good disk again: {e}"));
        answered.push(n);
    }
    log.synced().await.expect("a good disk again");
    let seen = batches(&read_all(&log).await);
    let mut once = seen.clone();
    once.dedup();
    let answered_seen: Vec<usize> = once.iter().copied().filter(|n| answered.contains(n)).collect();
    assert_eq!(answered_seen, answered, "{what}: each answered batch once, in order");
    log.close();
    let log = EmbeddedLog::open(config(dir.path(), ack, Arc::new(RealFiles))).expect("opens");
    assert_eq!(log.damage(), [], "{what}");
    assert_eq!(batches(&read_all(&log).await), seen, "{what}: the same after a restart");
}

#[tokio::test]
async fn every_fault_passes_and_no_batch_is_half_there() {
    for ack in [Ack::Synced, Ack::Written] {
        for fault in [
            Fault::Full,
            Fault::ReadOnly,
            Fault::WriteError,
            Fault::SyncError,
            Fault::SlowSync(Duration::from_millis(20)),
        ] {
            a_fault_passes(ack, fault).await;
        }
    }
}

#[tokio::test]
async fn syncs_of_five_seconds_hold_up_nobody_who_does_not_wait_for_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let files = FaultyFiles::new();
    let log = EmbeddedLog::open(config(dir.path(), Ack::Written, files.clone())).expect("opens");
    files.set(Fault::SlowSync(Duration::from_secs(5)));
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut n = 0;
    while started.elapsed() < Duration::from_secs(6) {
        let before = Instant::now();
        append(&log, n).await.expect("append");
        slowest = slowest.max(before.elapsed());
        n += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    files.set(Fault::None);
    assert!(slowest < Duration::from_secs(2), "an append took {slowest:?}");
    assert!(log.stats().syncs >= 1, "the syncs were met");
    assert_eq!(batches(&read_all(&log).await).len(), n);
    println!("{n} appends beside syncs of 5 s, the slowest {slowest:?}");

    let log = EmbeddedLog::open(config(&dir.path().join("synced"), Ack::Synced, files.clone())).expect("opens");
    append(&log, 0).await.expect("append");
    files.set(Fault::SlowSync(Duration::from_secs(5)));
    let before = Instant::now();
    append(&log, 1).await.expect("who wants it synced waits, and then has it");
    assert!(before.elapsed() >= Duration::from_secs(5));
    files.set(Fault::None);
}

/// The writer hangs; callers give up, as one with a time limit does. What they had queued is theirs again.
#[tokio::test]
async fn who_gives_up_on_a_hung_disk_takes_request_and_room_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let files = FaultyFiles::new();
    let small = EmbeddedConfig { max_pending_bytes: 64 << 10, ..config(dir.path(), Ack::Synced, files.clone()) };
    let log = EmbeddedLog::open(small).expect("opens");
    append(&log, 0).await.expect("append");
    files.set(Fault::HungSync);
    let patience = Duration::from_millis(100);
    assert!(tokio::time::timeout(patience, append(&log, 1)).await.is_err(), "the writer has this one and hangs");
    // More than fits into the queue, again and again: with the room of the dead still taken, this would never come to an end.
    let big = || vec![outgoing(&T, "k", &"y".repeat(30_000))];
    for _ in 0..5 {
        assert!(tokio::time::timeout(patience, log.append(big())).await.is_err());
    }
    files.set(Fault::None);
    append(&log, 2).await.expect("the disk is back");
    let records = read_all(&log).await;
    assert!(records.iter().all(|r| !value(r).starts_with('y')), "what was taken back was not written");
    assert_eq!(batches(&records), [0, 1, 2]);
}

/// Appends to a real small file system until it is full. Started by the test below in a mount of its own.
#[test]
#[ignore = "a child process of a_file_system_that_is_full_gives_errors_and_the_reserve_helps"]
fn quota_child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let keep = Keep::Uncommitted { group: "sender".into(), bytes: 20 << 30 };
        let log = EmbeddedLog::open(EmbeddedConfig {
            ack: Ack::Written,
            keep,
            segment_bytes: 256 << 10,
            reserve_bytes: 1 << 20,
            ..EmbeddedConfig::new(dir)
        })
        .expect("opens");
        assert!(log.has_reserve());
        let batch = |n: i64| vec![outgoing(&T, "k", &format!("{n} {}", "x".repeat(10_000)))];
        let mut accepted = Vec::new();
        let mut fill = async |from: i64| {
            for n in from..from + 10_000 {
                let before = Instant::now();
                match log.append(batch(n)).await {
                    Ok(()) => accepted.push(n),
                    Err(error) => {
                        assert!(matches!(&error, LogError::Io { kind: io::ErrorKind::StorageFull, .. }), "{error}");
                        assert!(before.elapsed() < Duration::from_secs(2), "an error comes quickly");
                        return (accepted.clone(), n + 1);
                    }
                }
            }
            panic!("the file system is not limited");
        };
        let (first, next) = fill(0).await;
        assert!(first.len() > 50, "{} fitted", first.len());
        assert!(log.restore_reserve().is_ok(), "it is still held");
        assert!(log.give_up_reserve().expect("free it"));
        let (more, next) = fill(next).await;
        assert!(more.len() > first.len() + 50, "the reserve had room for {}", more.len() - first.len());
        assert!(log.restore_reserve().is_err() && !log.has_reserve());

        // Full, and even a commit does not fit: what is done with goes all the same.
        let topics = vec![&T];
        let group = Some("sender".to_owned());
        let mut source =
            log.subscribe(Subscription { group, topics, start: Start::Committed }).await.expect("subscribe");
        let records = common::read(&mut source, more.len()).await;
        let numbers: Vec<i64> = records.iter().map(|r| value(r).split(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, more, "everything that was accepted is there, in order");
        let commit = Commit { topic: &T, partition: 0, next_offset: records.last().expect("some").offset + 1 };
        let give_up = Instant::now() + DEADLINE;
        while let Err(error) = source.commit(&[commit]).await {
            assert!(!error.is_permanent() && Instant::now() < give_up, "{error}");
        }
        until("the sent segments are gone", || log.stats().segments <= 2).await;
        // They are out of the books first, and then off the disk.
        until("there is room for the reserve again", || log.restore_reserve().is_ok()).await;
        log.append(batch(next)).await.expect("room again");
        assert_eq!(log.stats().backlog_records, 1);
        println!("child done: {} fitted, {} more into the reserve", first.len(), more.len() - first.len());
    });
}

#[tokio::test]
async fn a_file_system_that_is_full_gives_errors_and_the_reserve_helps() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut may = Command::new("unshare");
    may.args(["-rm", "mount", "-t", "tmpfs", "-o", "size=4m", "none"]).arg(dir.path());
    if !may.output().is_ok_and(|o| o.status.success()) {
        println!("SKIPPED: a full tmpfs (no mounts in a namespace of our own here)");
        return;
    }
    let script =
        format!("mount -t tmpfs -o size=4m none \"${DIR}\" && exec \"$0\" --exact quota_child --ignored --nocapture");
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", &script])
        .arg(std::env::current_exe().expect("this binary"))
        .env(DIR, dir.path())
        .output()
        .expect("the child runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("child done"), "{said}\n{wrong}");
    println!("{}", said.lines().find(|l| l.contains("child done")).unwrap_or_default());
}
