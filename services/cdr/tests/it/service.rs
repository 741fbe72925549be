use std::sync::Arc;
use std::time::Duration;

use schemas::{CdrCall, Event};
use stream::{EventLog, Record, Start, Subscription};

use crate::platform::{DEADLINE, Platform};
use crate::traffic::{CORE, Call, heartbeat};

async fn all(log: &dyn EventLog, topic: &'static schemas::TopicSpec, at_least: usize) -> Vec<Record> {
    let mut source =
        log.subscribe(Subscription { group: None, topics: vec![topic], start: Start::Beginning }).await.unwrap();
    let mut records = Vec::new();
    let end = tokio::time::Instant::now() + DEADLINE;
    while records.len() < at_least {
        assert!(tokio::time::Instant::now() < end, "{} of {at_least} records in {}", records.len(), topic.name);
        records.extend(source.poll(10_000, Duration::from_millis(50)).await.unwrap());
    }
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_become_rows_once_whatever_is_delivered_twice_and_a_replay_gives_the_same() {
    let p = Platform::new();
    let cdr = p.cdr(cdr::Config::default()).await;
    let publisher = p.publisher("edge/test");
    let calls: Vec<Call> = (0..200).map(|n| Call::new(&*p.clock(), n)).collect();
    calls.iter().for_each(|c| c.begin(&publisher));
    publisher.flush(DEADLINE).await.unwrap();
    cdr.running.wait_caught_up(DEADLINE).await.unwrap();
    assert_eq!(
        p.number("SELECT count(*) FROM calls_view WHERE finality = 'open' AND answer_us IS NOT NULL").await,
        200
    );

    calls.iter().for_each(|c| c.end(&publisher));
    publisher.flush(DEADLINE).await.unwrap();
    cdr.running.wait_caught_up(DEADLINE).await.unwrap();
    assert_eq!(p.number("SELECT count(*) FROM calls_view WHERE finality = 'final' AND talk_ms = 4001").await, 200);
    assert_eq!(
        p.number("SELECT count(*) FROM legs_view WHERE witnesses = 'edge,engine' AND quality = 'complete'").await,
        200
    );
    assert_eq!(p.number("SELECT min(revision) FROM calls").await, 8);
    let before = cdr.running.facts();

    // Everything again: other offsets, other sequence numbers, the same facts.
    for c in &calls {
        c.end(&publisher);
        c.begin(&publisher);
    }
    publisher.flush(DEADLINE).await.unwrap();
    cdr.running.wait_caught_up(DEADLINE).await.unwrap();
    assert_eq!(cdr.running.facts(), before, "copies are no new facts");
    assert_eq!(p.number("SELECT count(*) FROM calls").await, 200);
    assert_eq!(p.number("SELECT count(*) FROM legs").await, 200);
    assert_eq!(p.number("SELECT count(*) FROM events_view WHERE call_id = (SELECT min(call_id) FROM calls)").await, 8);

    let published = all(&*p.log, CdrCall::TOPIC, 200).await;
    let first: CdrCall = schemas::decode(published[0].value.as_deref().unwrap()).unwrap();
    assert_eq!(first.outcome.unwrap().disposition.as_deref(), Some("answered"));
    assert!(first.revision >= 1);
    p.eventually("SELECT count(*) FROM outbox", 0).await;

    let into = p.dir.path().join("replay/calls.sqlite");
    let log: Arc<dyn EventLog> = p.log.clone();
    let report = cdr::replay::replay(log.clone(), &into, |_| {}).await.unwrap();
    assert_eq!((report.calls, report.legs, report.facts), (200, 200, 1600));
    let comparison = cdr::replay::compare(&p.path(), &into).await.unwrap();
    assert!(comparison.equal, "{comparison:?}");
    assert!(cdr::replay::replay(log, &into, |_| {}).await.is_err(), "never into a file that exists");
    cdr.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_in_the_middle_of_calls_neither_loses_nor_doubles() {
    let p = Platform::new();
    let publisher = p.publisher("edge/test");
    let calls: Vec<Call> = (0..60).map(|n| Call::new(&*p.clock(), n)).collect();
    let mut cdr = p.cdr(cdr::Config { flush_ms: 1, max_batch: 7, ..cdr::Config::default() }).await;
    for (n, call) in calls.iter().enumerate() {
        call.begin(&publisher);
        if n > 10 {
            calls[n - 10].end(&publisher);
        }
        if n % 20 == 19 {
            cdr.stop().await;
            cdr = p.cdr(cdr::Config { flush_ms: 1, max_batch: 7, ..cdr::Config::default() }).await;
        }
    }
    publisher.flush(DEADLINE).await.unwrap();
    cdr.running.wait_caught_up(DEADLINE).await.unwrap();
    assert_eq!(p.number("SELECT count(*) FROM calls").await, 60);
    assert_eq!(p.number("SELECT count(*) FROM calls WHERE finality = 'final'").await, 49);
    cdr.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_lost_is_rebuilt_from_the_topics() {
    let p = Platform::new();
    let publisher = p.publisher("edge/test");
    let cdr = p.cdr(cdr::Config::default()).await;
    for n in 0..20 {
        let call = Call::new(&*p.clock(), n);
        call.begin(&publisher);
        call.end(&publisher);
    }
    publisher.flush(DEADLINE).await.unwrap();
    cdr.running.wait_caught_up(DEADLINE).await.unwrap();
    cdr.stop().await;
    for file in std::fs::read_dir(p.path().parent().unwrap()).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().starts_with(cdr::FILE) {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    let cdr = p.cdr(cdr::Config::default()).await;
    p.eventually("SELECT count(*) FROM calls WHERE finality = 'final'", 20).await;
    cdr.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_a_silent_node_are_closed_within_ten_seconds_and_a_late_hangup_wins() {
    let p = Platform::new();
    let publisher = p.publisher("engine/test");
    let cdr = p.cdr(cdr::Config { node_silence_ms: 1000, ..cdr::Config::default() }).await;
    let clock = p.clock();
    heartbeat(&publisher, &*clock, CORE, 1);
    let call = Call::new(&*clock, 1);
    call.begin(&publisher);
    heartbeat(&publisher, &*clock, CORE, 2);
    let since = std::time::Instant::now();
    // The edge goes on talking about the node's calls. That is no proof that the node lives.
    let others = async {
        for n in 100.. {
            Call::new(&*clock, n).attempt(&publisher);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let closed = "SELECT count(*) FROM calls WHERE finality = 'reconciled' AND disposition = 'node_lost' AND sip_call_id LIKE 'call-1@%'";
    tokio::select! {
        () = others => {}
        () = p.eventually(closed, 1) => {}
    }
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    assert_eq!(
        p.number("SELECT end_latest_us > end_earliest_us FROM calls WHERE sip_call_id LIKE 'call-1@%'").await,
        1
    );

    call.end(&publisher);
    p.eventually("SELECT count(*) FROM calls WHERE finality = 'final' AND disposition = 'answered'", 1).await;
    p.eventually("SELECT count(*) FROM outbox", 0).await;
    let revisions: Vec<i32> = all(&*p.log, CdrCall::TOPIC, 2)
        .await
        .iter()
        .map(|r| schemas::decode::<CdrCall>(r.value.as_deref().unwrap()).unwrap())
        .filter(|c| c.sip_call_id.as_deref() == Some("call-1@carrier"))
        .map(|c| c.revision)
        .collect();
    assert!(revisions.len() == 2 && revisions[0] < revisions[1], "{revisions:?}");
    cdr.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_no_event_becomes_a_dead_letter_and_the_next_is_read() {
    let p = Platform::new();
    let cdr = p.cdr(cdr::Config::default()).await;
    let garbage = stream::Outgoing {
        topic: schemas::SipTransaction::TOPIC,
        partition: 0,
        timestamp_us: 1,
        key: "k".into(),
        value: Some("not a frame".into()),
        headers: Vec::new(),
    };
    p.log.append(vec![garbage]).await.unwrap();
    let publisher = p.publisher("edge/test");
    let call = Call::new(&*p.clock(), 1);
    call.begin(&publisher);
    call.end(&publisher);
    publisher.flush(DEADLINE).await.unwrap();
    cdr.running.wait_caught_up(DEADLINE).await.unwrap();
    assert_eq!(p.number("SELECT count(*) FROM calls WHERE finality = 'final'").await, 1);
    let dead = all(&*p.log, schemas::DeadLetter::TOPIC, 1).await;
    let letter: schemas::DeadLetter = schemas::decode(dead[0].value.as_deref().unwrap()).unwrap();
    assert_eq!((letter.source_topic.as_str(), letter.error_class.as_str()), ("sip.transactions", "not_framed"));
    cdr.stop().await;
}

/// The gate is 5,000 events a second on one core of two; a loaded build machine is given room, the figure is printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_events_a_second_are_kept_up_with() {
    let p = Platform::new();
    let publisher = p.publisher("edge/test");
    let calls: Vec<Call> = (0..5000).map(|n| Call::new(&*p.clock(), n)).collect();
    calls.iter().for_each(|c| c.begin(&publisher));
    calls.iter().for_each(|c| c.end(&publisher));
    publisher.flush(DEADLINE).await.unwrap();
    let since = std::time::Instant::now();
    let cdr = p.cdr(cdr::Config::default()).await;
    cdr.running.wait_caught_up(Duration::from_secs(120)).await.unwrap();
    let rate = 40_000.0 / since.elapsed().as_secs_f64();
    println!("call log: {rate:.0} events/s");
    assert_eq!(p.number("SELECT count(*) FROM calls WHERE finality = 'final'").await, 5000);
    assert!(rate > 1500.0, "{rate:.0} events/s");
    cdr.stop().await;
}
