//! Epochs that died: what a killed process leaves in its ring is drained and accounted for by the next start.

mod common;

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use common::{
    DEADLINE, TestClock,
    fake::{FakeLog, call, decision},
    until,
};
use schemas::{Event, StreamManifest, stream_manifest};
use stream::{Publisher, PublisherConfig, PublisherError, Ring, ring};

fn config(dir: &Path, epoch: i64) -> PublisherConfig {
    PublisherConfig {
        ring: Ring::Shared { dir: dir.to_owned(), bytes: 1 << 20 },
        manifests: true,
        ..PublisherConfig::new("cdr/0123456789ab", epoch, TestClock::shared())
    }
}

/// What a process that is killed now leaves behind: its file, byte for byte, and nobody who holds it.
fn killed(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    std::fs::copy(from.join("ring"), to.join("ring")).expect("a copy");
}

fn manifests(log: &FakeLog, epoch: i64) -> Vec<StreamManifest> {
    let taken = log.taken.lock();
    let ours = taken.iter().filter(|r| r.topic == StreamManifest::TOPIC);
    let decoded =
        ours.map(|r| schemas::decode::<StreamManifest>(r.value.as_deref().expect("a value")).expect("decodes"));
    decoded.filter(|m| m.epoch == epoch).collect()
}

#[tokio::test]
async fn the_next_start_delivers_what_the_dead_one_had_accepted_and_closes_its_account() {
    let run = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
    let (live, dead) = (run.path().join("a"), run.path().join("b"));
    let away = Arc::new(FakeLog::default());
    away.hang.store(true, Ordering::SeqCst);
    let first = Publisher::start(away.clone(), config(&live, 1)).expect("a publisher");
    until("the account is open", || first.stats().accepted == 1).await;
    for n in 0..300 {
        first.publish(call(n));
        first.publish(decision(n));
    }
    let mut large = decision(1);
    large.menu_id = "x".repeat(stream::MAX_EVENT_BYTES);
    first.publish(large);
    killed(&live, &dead);
    let report = &ring::inspect(&dead).expect("a report")[0];
    assert_eq!((report.producer.as_str(), report.epoch, report.in_use), ("cdr/0123456789ab", 1, false));
    assert_eq!(report.events, 601, "with the manifest");
    assert_eq!(report.losses.iter().map(|l| l.events).sum::<u64>(), 1);

    let log = Arc::new(FakeLog::default());
    let second = Publisher::start(log.clone(), config(&dead, 2)).expect("a publisher");
    second.publish(call(1));
    second.flush(DEADLINE).await.expect("delivered");
    until("the dead ring is gone", || ring::inspect(&dead).is_ok_and(|reports| reports.len() == 1)).await;
    assert_eq!(second.stats().dead_epochs, 1);
    let delivered: usize =
        log.numbers(1).into_iter().filter(|((t, _), _)| *t != "stream.manifests").map(|(_, n)| n.len()).sum();
    assert_eq!(delivered, 600);
    // Its events came before anything of the new epoch.
    let epochs: Vec<i64> =
        log.taken.lock().iter().filter_map(|r| schemas::identity(r.value.as_deref()?).ok().map(|i| i.epoch)).collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
    let closed = manifests(&log, 1).pop().expect("an account of the dead epoch");
    assert_eq!(closed.closed_by.as_deref(), Some(stream_manifest::BY_NEXT_START));
    closed.check().expect("a valid account");
    assert_eq!(closed.lines.iter().map(|l| l.next_seq).sum::<i64>(), 601);
    let losses: Vec<_> = closed.lines.iter().flat_map(|l| &l.losses).map(|l| (l.events, l.reason.as_str())).collect();
    assert_eq!(losses, [(1, "unfit")]);
    away.hang.store(false, Ordering::SeqCst);
}

#[tokio::test]
async fn two_deaths_before_anything_was_delivered_are_drained_oldest_first() {
    let run = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
    let away = Arc::new(FakeLog::default());
    away.hang.store(true, Ordering::SeqCst);
    let mut folder = run.path().join("0");
    for epoch in 1..=2 {
        let publisher = Publisher::start(away.clone(), config(&folder, epoch)).expect("a publisher");
        publisher.publish(call(epoch as usize));
        let next = run.path().join(epoch.to_string());
        std::fs::create_dir_all(&next).expect("a folder");
        for report in ring::inspect(&folder).expect("reports") {
            std::fs::copy(&report.path, next.join(report.path.file_name().expect("a name"))).expect("a copy");
        }
        folder = next;
    }
    assert_eq!(ring::inspect(&folder).expect("reports").len(), 2);
    let log = Arc::new(FakeLog::default());
    let publisher = Publisher::start(log.clone(), config(&folder, 3)).expect("a publisher");
    publisher.flush(DEADLINE).await.expect("delivered");
    until("both are closed", || !manifests(&log, 1).is_empty() && !manifests(&log, 2).is_empty()).await;
    let calls: Vec<i64> = log
        .taken
        .lock()
        .iter()
        .filter(|r| r.topic.name == "sip.transactions")
        .map(|r| schemas::identity(r.value.as_deref().expect("a value")).expect("ours").epoch)
        .collect();
    assert_eq!(calls, [1, 2]);
    away.hang.store(false, Ordering::SeqCst);
}

#[tokio::test]
async fn an_epoch_opens_its_account_tells_losses_soon_and_closes_it() {
    let run = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
    let dir = run.path().join("a");
    let log = Arc::new(FakeLog::default());
    let publisher = Publisher::start(log.clone(), config(&dir, 7)).expect("a publisher");
    until("the account is open", || manifests(&log, 7).len() == 1).await;
    assert_eq!(manifests(&log, 7)[0].event_type, stream_manifest::OPEN);
    let mut large = decision(1);
    large.menu_id = "x".repeat(stream::MAX_EVENT_BYTES);
    publisher.publish(large);
    publisher.publish(call(1));
    let soon = || manifests(&log, 7).iter().any(|m| m.lines.iter().any(|l| !l.losses.is_empty()));
    tokio::time::timeout(Duration::from_secs(5), until("the loss is told", soon)).await.expect("within seconds");
    assert!(publisher.close(DEADLINE).await.is_nothing());
    let last = manifests(&log, 7).pop().expect("an account");
    assert_eq!(last.closed_by.as_deref(), Some(stream_manifest::BY_ITSELF));
    last.check().expect("a valid account");
    assert_eq!(last.lines.iter().map(|l| l.next_seq).sum::<i64>(), 2);
    assert!(!dir.exists(), "an empty ring goes");
}

#[tokio::test]
async fn a_service_that_is_stopped_and_started_in_one_process_goes_on_in_the_same_folder() {
    let run = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
    let dir = run.path().join("a");
    let log = Arc::new(FakeLog::default());
    let mut held = Vec::new();
    for epoch in 1..=3 {
        // With a log that hangs, something is left in the ring each time.
        log.hang.store(epoch < 3, Ordering::SeqCst);
        let publisher = Publisher::start(log.clone(), config(&dir, epoch)).expect("a publisher");
        publisher.publish(call(1));
        let left = publisher.close(Duration::from_millis(100)).await;
        assert_eq!(left.is_nothing(), epoch == 3, "{left}");
        assert!(!left.lost);
        // Somebody forgot to drop a clone.
        held.push(publisher);
    }
    until("all epochs came", || {
        (1..=3).all(|epoch| log.numbers(epoch).contains_key(&("sip.transactions", log_partition())))
    })
    .await;
}

fn log_partition() -> i32 {
    domain::partition::for_key(call(1).call_root_id.as_bytes(), 12)
}

#[tokio::test]
async fn a_ring_folder_on_a_disk_is_refused_at_start() {
    let log = Arc::new(FakeLog::default());
    let refused = Publisher::start(log, config(Path::new("/proc/self"), 1));
    assert!(matches!(refused, Err(PublisherError::Ring(_))));
}
