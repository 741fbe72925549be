//! What goes wrong between us and a cluster, on librdkafka's mock cluster of three brokers: nothing is lost, nothing changes its place
//! in its partition, and the sender does what the port asks of it (several appends in flight, what failed is repeated in order).
//!
//! The mock answers like brokers but does not recognise a request that comes twice, so where an answer was lost on the way duplicates
//! are counted, not forbidden; `kafka_broker.rs` forbids them on real brokers.

mod common;

use std::{
    cell::{Cell, RefCell},
    future::Future,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    kafka::{Arrived, arrived, numbered, send_window},
    topic, until,
};
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext, types::RDKafkaApiKey, types::RDKafkaRespErr};
use schemas::TopicSpec;
use stream::{Commit, EventLog, KafkaConfig, KafkaLog, Start, Subscription};

static CALLS: TopicSpec = topic("fault.calls", 3, false);

type Mock = MockCluster<'static, DefaultProducerContext>;

fn mock() -> (Mock, KafkaConfig) {
    let cluster = MockCluster::new(3).expect("a mock cluster");
    cluster.create_topic(CALLS.name, CALLS.partitions, 3).expect("a topic");
    cluster.broker_round_trip_time(-1, Duration::from_millis(3)).expect("a delay");
    let config = KafkaConfig { bootstrap: cluster.bootstrap_servers(), ..KafkaConfig::default() };
    (cluster, config)
}

/// Publishes without pause while the fault does its work, then a little longer; gives what arrived.
async fn under<F: Future<Output = ()>>(fault: impl FnOnce(Rc<Mock>, Progress) -> F) -> Arrived {
    let (cluster, config) = mock();
    let figures = config.figures.clone();
    let log: Arc<dyn EventLog> = Arc::new(KafkaLog::new(config).expect("a client"));
    let cluster = Rc::new(cluster);
    let progress = Progress::default();
    let over = Cell::new(false);
    let sent = RefCell::new(0);
    let producing = async {
        while !over.get() {
            let from = *sent.borrow();
            let batches: Vec<_> = (0..8).map(|batch| numbered(&CALLS, from + batch * 30, 30)).collect();
            send_window(&log, &batches, 4).await;
            *sent.borrow_mut() += 8 * 30;
            progress.0.set(progress.0.get() + 1);
        }
    };
    let faulting = async {
        progress.more(2).await;
        fault(cluster.clone(), progress.clone()).await;
        progress.more(3).await;
        over.set(true);
    };
    let both = async { tokio::join!(producing, faulting) };
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("the producer goes on after the fault");
    let sent = *sent.borrow();
    let arrived = arrived(&log, &CALLS, sent).await;
    let replaced = figures.replaced();
    eprintln!("{sent} events, {} duplicates, {replaced} producers replaced", arrived.duplicates);
    arrived
}

/// Rounds that were acknowledged.
#[derive(Clone, Default)]
struct Progress(Rc<Cell<u64>>);

impl Progress {
    async fn more(&self, rounds: u64) {
        let target = self.0.get() + rounds;
        until("events are acknowledged again", || self.0.get() >= target).await;
    }
}

/// How long something lasts; nothing is waited for.
async fn lasts(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_change_of_leader_loses_and_reorders_nothing() {
    let arrived = under(|cluster, progress| async move {
        for round in 0..6 {
            for partition in 0..CALLS.partitions {
                let leader = 1 + (round + partition) % 3;
                cluster.partition_leader(CALLS.name, partition, Some(leader)).expect("another leader");
            }
            progress.more(2).await;
        }
    })
    .await;
    assert_eq!((arrived.lost, arrived.reordered), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_broker_that_goes_and_comes_back_loses_and_reorders_nothing() {
    let arrived = under(|cluster, progress| async move {
        for broker in [1, 2, 3, -1] {
            cluster.broker_down(broker).expect("down");
            lasts(500).await;
            cluster.broker_up(broker).expect("up");
            progress.more(2).await;
        }
    })
    .await;
    assert_eq!((arrived.lost, arrived.reordered), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn errors_that_pass_are_waited_out() {
    use RDKafkaRespErr as E;
    let arrived = under(|cluster, progress| async move {
        for error in [
            E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            E::RD_KAFKA_RESP_ERR__TRANSPORT,
        ] {
            cluster.request_errors(RDKafkaApiKey::Produce, &[error; 7]);
            progress.more(2).await;
        }
    })
    .await;
    assert_eq!((arrived.lost, arrived.reordered), (0, 0));
}

/// Librdkafka gives such a batch up. Without the gapless producer, the batches behind it would overtake its repetition.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_refusal_takes_what_is_behind_it_along_so_that_its_repetition_keeps_its_place() {
    use RDKafkaRespErr as E;
    let arrived = under(|cluster, progress| async move {
        for error in [E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, E::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP] {
            cluster.request_errors(RDKafkaApiKey::Produce, &[error; 2]);
            progress.more(3).await;
        }
    })
    .await;
    assert_eq!((arrived.lost, arrived.reordered), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_slow_way_to_the_brokers_loses_nothing() {
    let arrived = under(|cluster, progress| async move {
        for ms in [200, 0, 80] {
            cluster.broker_round_trip_time(-1, Duration::from_millis(ms)).expect("a delay");
            progress.more(2).await;
        }
    })
    .await;
    assert_eq!((arrived.lost, arrived.reordered, arrived.duplicates), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_producer_starts_while_the_coordinator_still_loads_and_a_reader_outlives_it() {
    use RDKafkaRespErr as E;
    let (cluster, config) = mock();
    let loading = [E::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS; 3];
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &loading);
    cluster.request_errors(RDKafkaApiKey::FindCoordinator, &[E::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE; 2]);
    cluster.request_errors(RDKafkaApiKey::Fetch, &[E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 4]);
    let log: Arc<dyn EventLog> = Arc::new(KafkaLog::new(config).expect("a client"));
    let batches: Vec<_> = (0..4).map(|batch| numbered(&CALLS, batch * 30, 30)).collect();
    send_window(&log, &batches, 4).await;
    let group = Subscription { group: Some("g".into()), topics: vec![&CALLS], start: Start::Committed };
    let mut source = log.subscribe(group).await.expect("a reader");
    let records = common::read(&mut source, 120).await;
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &loading);
    let last = records.iter().filter(|r| r.partition == 0).map(|r| r.offset).max().expect("its records");
    let done = [Commit { topic: &CALLS, partition: 0, next_offset: last + 1 }];
    // A commit that cannot be made yet is an error that passes; the pump tries it again.
    while let Err(error) = source.commit(&done).await {
        assert!(!error.is_permanent(), "{error}");
    }
    assert_eq!(log.committed("g", &CALLS).await.expect("asked")[0], Some(last + 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn clients_report_their_queue_and_their_brokers() {
    let (cluster, mut config) = mock();
    config.extra.insert("statistics.interval.ms".into(), "50".into());
    let figures = config.figures.clone();
    let log: Arc<dyn EventLog> = Arc::new(KafkaLog::new(config).expect("a client"));
    send_window(&log, &[numbered(&CALLS, 0, 30)], 1).await;
    let producer = || figures.clients().into_iter().find(|c| c.client == "producer");
    until("the producer reports its brokers", || producer().is_some_and(|p| p.brokers.iter().any(|b| b.up))).await;
    cluster.broker_down(-1).expect("down");
    let mut waiting = log.append_shared(numbered(&CALLS, 30, 30));
    tokio::select! {
        answer = &mut waiting => panic!("answered without a broker: {answer:?}"),
        () = until("the queue shows", || producer().is_some_and(|p| p.queued_messages == 30)) => {}
    }
    until("the brokers show as away", || producer().is_some_and(|p| p.brokers.iter().all(|b| !b.up))).await;
    cluster.broker_up(-1).expect("up");
    waiting.await.expect("the brokers are back");
    let all = Subscription { group: None, topics: vec![&CALLS], start: Start::Beginning };
    let mut source = log.subscribe(all).await.expect("a reader");
    common::read(&mut source, 60).await;
    let lag =
        || figures.clients().iter().find_map(|c| c.lag.iter().find(|(t, _)| t == CALLS.name).map(|(_, lag)| *lag));
    // A client's figures come with its polls.
    let give_up = Instant::now() + common::DEADLINE;
    while lag() != Some(0) {
        assert!(Instant::now() < give_up, "the reader has no lag any more, but tells {:?}", lag());
        assert!(source.poll(1, Duration::from_millis(50)).await.expect("poll").is_empty());
    }
}
