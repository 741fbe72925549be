//! `kill -9` on a process that appends: every acknowledged record is there afterwards, in order. And a disk that is full for a while.
//!
//! The child is this test binary itself, told by an environment variable what to do.

mod common;

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use common::{outgoing, topic, value};
use schemas::TopicSpec;
use stream::{EmbeddedConfig, EmbeddedLog, EventLog, Keep, Start, Subscription};

static T: TopicSpec = topic("test.kill", 3, false);
const DIR: &str = "STREAM_TEST_CHILD_DIR";

fn config(dir: &Path) -> EmbeddedConfig {
    let age = Duration::from_secs(1000 * 365 * 24 * 3600);
    // Small segments: kills also meet the making of a new one.
    EmbeddedConfig { keep: Keep::Age { age, bytes: 20 << 30 }, segment_bytes: 64 << 10, ..EmbeddedConfig::new(dir) }
}

fn child(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts")
}

/// Appends for ever and says which numbers are acknowledged. Started by the test below, killed by it.
#[test]
#[ignore = "a child process of kill_nine_loses_nothing_that_was_acknowledged"]
fn appending_child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let log = EmbeddedLog::open(config(Path::new(&dir))).expect("opens");
        let first: i64 = log.bounds(&T).await.map_or(0, |bounds| bounds.iter().map(|b| b.end).sum());
        let mut n = first;
        loop {
            let size = n as usize % 23 + 1;
            let batch: Vec<_> =
                (0..size as i64).map(|i| outgoing(&T, &format!("k{}", (n + i) % 7), &(n + i).to_string())).collect();
            log.append(batch).await.expect("append");
            n += size as i64;
            // A pipe: what is in it outlives us.
            println!("acked {n}");
            std::io::stdout().flush().expect("flush");
        }
    });
}

#[tokio::test]
async fn kill_nine_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut total, mut torn_by_kill) = (0, 0);
    for round in 0..25_u64 {
        let mut process = child("appending_child", dir.path());
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut acked = 0_i64;
        // A different number of acknowledgements each round, then the kill lands wherever the writer is.
        let enough = 3 + (round * 7919) % 60;
        for _ in 0..enough {
            loop {
                let line = lines.next().expect("the child goes on").expect("utf-8");
                if let Some(n) = line.strip_prefix("acked ") {
                    acked = n.parse().expect("a number");
                    break;
                }
            }
        }
        process.kill().expect("kill");
        process.wait().expect("wait");
        for line in lines.map_while(Result::ok) {
            if let Some(n) = line.strip_prefix("acked ").and_then(|n| n.parse().ok()) {
                acked = n;
            }
        }
        let log = EmbeddedLog::open(config(dir.path())).expect("opens after the kill");
        assert_eq!(log.damage(), [], "round {round}");
        let mut source = log
            .subscribe(Subscription { group: None, topics: vec![&T], start: Start::Beginning })
            .await
            .expect("subscribe");
        let mut found = vec![false; acked as usize];
        let mut last: [i64; 3] = [-1; 3];
        let mut count = 0_i64;
        loop {
            let records = source.poll(1000, Duration::ZERO).await.expect("poll");
            if records.is_empty() {
                break;
            }
            for record in records {
                let n: i64 = value(&record).parse().expect("a number");
                assert!(n > last[record.partition as usize], "order in partition {}", record.partition);
                last[record.partition as usize] = n;
                if let Some(slot) = found.get_mut(n as usize) {
                    assert!(!*slot, "{n} is there twice");
                    *slot = true;
                }
                count += 1;
            }
        }
        let missing = found.iter().filter(|f| !**f).count();
        assert_eq!(missing, 0, "round {round}: acknowledged records are gone");
        torn_by_kill += count - acked;
        total = acked;
    }
    assert!(total > 1000, "the children did real work: {total}");
    println!("{total} acknowledged, {torn_by_kill} written and not yet acknowledged, over 25 kills");
}

/// The file size limit of a process stands in for a full disk: writes fail, and work again when there is room.
#[test]
#[ignore = "a child process of a_full_disk_is_an_error_and_passes"]
fn full_disk_child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let log: Arc<dyn EventLog> = EmbeddedLog::open(config(Path::new(&dir))).expect("opens");
        let batch = |n: i64| vec![outgoing(&T, "k", &n.to_string()), outgoing(&T, "k", &"x".repeat(2000))];
        log.append(batch(0)).await.expect("there is room");
        limit_file_size(5000);
        let mut failures = 0;
        for _ in 0..10 {
            // The same batch again and again, as the publisher does it.
            match log.append(batch(1)).await {
                Ok(()) => {}
                Err(error) => {
                    assert!(!error.is_permanent(), "{error}");
                    failures += 1;
                }
            }
        }
        assert!(failures >= 8, "only {failures} failures");
        limit_file_size(u64::MAX);
        log.append(batch(2)).await.expect("room again");
        println!("child done");
    });
}

#[expect(unsafe_code, reason = "setrlimit and signal have no safe wrapper among our dependencies; test child only")]
fn limit_file_size(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: plain calls with valid arguments; ignoring SIGXFSZ turns it into an error of `write`.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_passes() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = child("full_disk_child", dir.path()).wait_with_output().expect("the child ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("child done"), "{said}");
    let log = EmbeddedLog::open(config(dir.path())).expect("opens");
    assert_eq!(log.damage(), []);
    let mut source = log
        .subscribe(Subscription { group: None, topics: vec![&T], start: Start::Beginning })
        .await
        .expect("subscribe");
    let records = source.poll(100, Duration::ZERO).await.expect("poll");
    let numbers: Vec<&str> = records.iter().map(value).filter(|v| v.len() < 10).collect();
    assert_eq!((numbers[0], *numbers.last().expect("some")), ("0", "2"));
    let offsets: Vec<i64> = records.iter().map(|r| r.offset).collect();
    assert_eq!(offsets, (0..records.len() as i64).collect::<Vec<_>>(), "failed appends leave no hole");
}
