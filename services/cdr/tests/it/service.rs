use std::sync::Arc;
use std::time::Duration;

use schemas::{CdrCall, Event};
use stream::{EventLog, Record, Start, Subscription};

use crate::platform::{DEADLINE, Platform};
use crate::traffic::{CORE, Call, heartbeat};

/// Every promise holds over both stores; Postgres where there is one.
macro_rules! over_both_stores {
    ($($name:ident,)*) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::platform::Platform::new()).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(p) = crate::platform::Platform::on_postgres() {
                    super::$name(p).await;
                }
            })*
        }
    };
}

over_both_stores! {
    calls_become_rows_once_whatever_is_delivered_twice_and_a_replay_gives_the_same,
    a_restart_in_the_middle_of_calls_neither_loses_nor_doubles,
    a_call_log_that_was_lost_is_rebuilt_from_the_topics,
    calls_of_a_silent_node_are_closed_within_ten_seconds_and_a_late_hangup_wins,
    a_record_that_is_no_event_becomes_a_dead_letter_and_the_next_is_read,
    thousands_of_events_a_second_are_kept_up_with,
    whatever_a_stranger_sends_has_its_record,
}

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

async fn calls_become_rows_once_whatever_is_delivered_twice_and_a_replay_gives_the_same(p: Platform) {
    let cdr = p.cdr(p.config()).await;
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
    let live = cdr::replay::snapshot(&cdr.running.place, &p.dir.path().join("live.sqlite")).await.unwrap();
    assert_eq!(live.export.sha256, report.sha256);
    assert_eq!((live.export.calls, live.export.legs), (200, 200));
    assert!(cdr::replay::replay(log, &into, |_| {}).await.is_err(), "never into a file that exists");
    cdr.stop().await;
}

async fn a_restart_in_the_middle_of_calls_neither_loses_nor_doubles(p: Platform) {
    let publisher = p.publisher("edge/test");
    let calls: Vec<Call> = (0..60).map(|n| Call::new(&*p.clock(), n)).collect();
    let mut cdr = p.cdr(cdr::Config { flush_ms: 1, max_batch: 7, ..p.config() }).await;
    for (n, call) in calls.iter().enumerate() {
        call.begin(&publisher);
        if n > 10 {
            calls[n - 10].end(&publisher);
        }
        if n % 20 == 19 {
            cdr.stop().await;
            cdr = p.cdr(cdr::Config { flush_ms: 1, max_batch: 7, ..p.config() }).await;
        }
    }
    publisher.flush(DEADLINE).await.unwrap();
    cdr.running.wait_caught_up(DEADLINE).await.unwrap();
    assert_eq!(p.number("SELECT count(*) FROM calls").await, 60);
    assert_eq!(p.number("SELECT count(*) FROM calls WHERE finality = 'final'").await, 49);
    cdr.stop().await;
}

async fn a_call_log_that_was_lost_is_rebuilt_from_the_topics(p: Platform) {
    let publisher = p.publisher("edge/test");
    let cdr = p.cdr(p.config()).await;
    for n in 0..20 {
        let call = Call::new(&*p.clock(), n);
        call.begin(&publisher);
        call.end(&publisher);
    }
    publisher.flush(DEADLINE).await.unwrap();
    cdr.running.wait_caught_up(DEADLINE).await.unwrap();
    cdr.stop().await;
    p.lose().await;
    let cdr = p.cdr(p.config()).await;
    p.eventually("SELECT count(*) FROM calls WHERE finality = 'final'", 20).await;
    cdr.stop().await;
}

async fn calls_of_a_silent_node_are_closed_within_ten_seconds_and_a_late_hangup_wins(p: Platform) {
    let publisher = p.publisher("engine/test");
    let cdr = p.cdr(cdr::Config { node_silence_ms: 1000, ..p.config() }).await;
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
        p.number("SELECT count(*) FROM calls WHERE end_latest_us > end_earliest_us AND sip_call_id LIKE 'call-1@%'")
            .await,
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

async fn a_record_that_is_no_event_becomes_a_dead_letter_and_the_next_is_read(p: Platform) {
    let cdr = p.cdr(p.config()).await;
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
async fn thousands_of_events_a_second_are_kept_up_with(p: Platform) {
    let publisher = p.publisher("edge/test");
    let calls: Vec<Call> = (0..5000).map(|n| Call::new(&*p.clock(), n)).collect();
    // No more at once than the ring holds beside a disk that is slow; what it cannot hold it drops, and says so.
    for some in calls.chunks(500) {
        some.iter().for_each(|c| c.begin(&publisher));
        publisher.flush(DEADLINE).await.unwrap();
    }
    for some in calls.chunks(500) {
        some.iter().for_each(|c| c.end(&publisher));
        publisher.flush(DEADLINE).await.unwrap();
    }
    let since = std::time::Instant::now();
    let cdr = p.cdr(p.config()).await;
    cdr.running.wait_caught_up(Duration::from_secs(120)).await.unwrap();
    let rate = 40_000.0 / since.elapsed().as_secs_f64();
    println!("call log: {rate:.0} events/s");
    assert_eq!(p.number("SELECT count(*) FROM calls WHERE finality = 'final'").await, 5000);
    assert!(rate > 1500.0, "{rate:.0} events/s");
    cdr.stop().await;
}

/// No store may choke on a text that it cannot index or hold: it would stop the records of everybody.
async fn whatever_a_stranger_sends_has_its_record(p: Platform) {
    let cdr = p.cdr(p.config()).await;
    let publisher = p.publisher("edge/test");
    let odd: String = (0..9000_u32).filter_map(|n| char::from_u32(33 + n.wrapping_mul(2_654_435_761) % 3000)).collect();
    let mut strange = Call::new(&*p.clock(), 1);
    strange.cid = format!("call-1@\0{odd}");
    let plain = Call::new(&*p.clock(), 2);
    for call in [&strange, &plain] {
        call.begin(&publisher);
        call.end(&publisher);
    }
    publisher.flush(DEADLINE).await.unwrap();
    cdr.running.wait_caught_up(DEADLINE).await.unwrap();
    p.eventually("SELECT count(*) FROM calls WHERE finality = 'final'", 2).await;
    assert_eq!(
        p.number("SELECT count(*) FROM calls WHERE length(sip_call_id) > 5000 OR sip_call_id LIKE 'call-1@%'").await,
        1
    );
    cdr.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_is_made_again_and_nothing_is_lost() {
    let Some(p) = Platform::on_postgres() else { return };
    let cdr = p.cdr(cdr::Config { flush_ms: 1, max_batch: 16, ..p.config() }).await;
    let publisher = p.publisher("edge/test");
    for n in 0..200 {
        let call = Call::new(&*p.clock(), n);
        call.begin(&publisher);
        call.end(&publisher);
        if n % 50 == 25 {
            publisher.flush(DEADLINE).await.unwrap();
            p.break_connections().await;
        }
    }
    publisher.flush(DEADLINE).await.unwrap();
    cdr.running.wait_caught_up(DEADLINE).await.unwrap();
    assert_eq!(p.number("SELECT count(*) FROM calls WHERE finality = 'final'").await, 200);
    p.eventually("SELECT count(*) FROM outbox", 0).await;
    cdr.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_writer_of_the_same_schema_is_refused() {
    let Some(p) = Platform::on_postgres() else { return };
    let cdr = p.cdr(p.config()).await;
    let place = cdr.running.place.clone();
    let second = cdr::adapters::store::Store::open(&place, true).await.err().expect("refused");
    assert!(matches!(second, cdr::error::StoreError::Taken { .. }), "{second}");
    cdr.stop().await;
    cdr::adapters::store::Store::open(&place, true).await.expect("free again").close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_may_not_be_made_at_the_start_are_named_with_the_command_that_makes_them() {
    let Some(p) = Platform::on_postgres() else { return };
    let config = cdr::Config { migrate_at_start: false, ..p.config() };
    let place = cdr::Place::of(&config, p.dir.path()).unwrap();
    let refused = cdr::adapters::store::Store::open(&place, false).await.err().expect("no tables yet");
    assert!(refused.to_string().contains("trunkline migrate"), "{refused}");
    cdr::migrate(&config, p.dir.path()).await.unwrap();
    cdr::adapters::store::Store::open(&place, false).await.expect("they are there").close().await.unwrap();
}
