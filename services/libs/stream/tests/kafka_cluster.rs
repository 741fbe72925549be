//! On brokers of our own: TLS and SASL with the password from a file, three copies, a leader that is killed while events flow, and
//! topics that are weaker than they should be.

mod common;

use std::{
    cell::Cell,
    path::Path,
    time::{Duration, Instant},
};

use common::{
    cluster::Cluster,
    kafka::{OnBroker, arrived, numbered, send_window},
    topic, until,
};
use rdkafka::{
    ClientConfig,
    admin::{AdminOptions, NewTopic, TopicReplication},
    consumer::{BaseConsumer, Consumer as _},
};
use schemas::{Retention, TopicSpec};
use stream::{Adapter, Config, Kafka, Start, Subscription};

static CALLS: TopicSpec = TopicSpec { retention: Retention::Forever, ..topic("cluster.calls", 6, false) };
static WEAK: TopicSpec = topic("cluster.weak", 2, false);

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tls_and_a_password_from_a_file_reach_a_real_broker_and_a_wrong_password_does_not() {
    let Some(cluster) = Cluster::start(1) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let secret = dir.path().join("password");
    let config = |password: &str| {
        std::fs::write(&secret, format!("{password}\n")).expect("written");
        let ca = cluster.ca().display().to_string();
        let extra = [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "trunkline"),
            ("ssl.ca.location", &ca),
        ];
        let kafka = Kafka {
            bootstrap: cluster.bootstrap_tls(),
            sasl_password_file: secret.display().to_string(),
            extra: extra.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        };
        Config { adapter: Adapter::Kafka, kafka, ..Config::default() }
    };
    let log = stream::open(&config(cluster.password()), Path::new("/")).expect("a client");
    log.ensure_topics(&[&CALLS]).await.expect("topics over TLS");
    send_window(&log, &[numbered(&CALLS, 0, 100)], 1).await;
    let all = Subscription { group: Some("g".into()), topics: vec![&CALLS], start: Start::Committed };
    let mut source = log.subscribe(all).await.expect("a reader");
    common::read(&mut source, 100).await;
    let refused = stream::open(&config("not-this-one"), Path::new("/")).expect("a client");
    let error = refused.ensure_topics(&[&CALLS]).await.expect_err("a wrong password");
    assert!(!error.is_permanent(), "whoever corrects the password need not restart: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_keep_everything_in_order_while_leaders_are_killed() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let broker = OnBroker::at(cluster.bootstrap(), [("statistics.interval.ms".to_owned(), "200".to_owned())].into());
    let log = broker.log();
    log.ensure_topics(&[&CALLS]).await.expect("topics");
    assert_eq!(log.weaknesses(&[&CALLS]).await.expect("told"), [], "what we make on three brokers is as it should be");
    weaker_topics_are_told(&broker).await;

    let over = Cell::new(false);
    let rounds = Cell::new(0_u64);
    let producing = async {
        let mut sent = 0;
        let mut slowest = Duration::ZERO;
        while !over.get() {
            let batches: Vec<_> = (0..10).map(|batch| numbered(&CALLS, sent + batch * 60, 60)).collect();
            let started = Instant::now();
            assert_eq!(send_window(&log, &batches, 4).await, 0, "an append waits; it does not fail");
            slowest = slowest.max(started.elapsed());
            sent += 600;
            rounds.set(rounds.get() + 1);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (sent, slowest)
    };
    let killing = async {
        let more = |n| {
            let target = rounds.get() + n;
            let rounds = &rounds;
            async move { until("events are acknowledged", || rounds.get() >= target).await }
        };
        more(5).await;
        for node in [1, 2] {
            cluster.kill(node);
            more(20).await;
            cluster.up(node);
            in_sync(&cluster.bootstrap(), &broker.name(&CALLS), 3).await;
            more(5).await;
        }
        over.set(true);
    };
    let ((sent, slowest), ()) = tokio::join!(producing, killing);
    let arrived = arrived(&log, &CALLS, sent).await;
    eprintln!("{sent} events, two leaders killed: {arrived:?}, longest wait of an append {slowest:?}");
    assert_eq!((arrived.lost, arrived.reordered, arrived.duplicates), (0, 0, 0));
}

/// Waits until every partition has so many copies in sync.
async fn in_sync(bootstrap: &str, topic: &str, copies: usize) {
    let give_up = Instant::now() + Duration::from_secs(90);
    loop {
        let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
        let synced = tokio::task::spawn_blocking(move || {
            let asked: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", bootstrap)
                .set("log_level", "0")
                .create()
                .expect("a client");
            let metadata = asked.fetch_metadata(Some(&topic), Duration::from_secs(2)).ok()?;
            metadata.topics().first()?.partitions().iter().map(|p| p.isr().len()).min()
        });
        if synced.await.expect("asked").is_some_and(|least| least >= copies) {
            return;
        }
        assert!(Instant::now() < give_up, "the copies are not in sync again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// As an administrator might have made it.
async fn weaker_topics_are_told(broker: &OnBroker) {
    let name = broker.name(&WEAK);
    let made = NewTopic::new(&name, WEAK.partitions, TopicReplication::Fixed(1))
        .set("cleanup.policy", "compact")
        .set("retention.ms", "3600000")
        .set("unclean.leader.election.enable", "true");
    broker.admin().create_topics(&[made], &AdminOptions::new()).await.expect("made");
    let log = broker.log();
    log.ensure_topics(&[&WEAK]).await.expect("a weak topic is used and told, not refused");
    let told = log.weaknesses(&[&WEAK]).await.expect("told");
    let mut what: Vec<&str> = told.iter().map(|weakness| weakness.what.as_str()).collect();
    what.sort_unstable();
    assert_eq!(
        what,
        [
            "cleanup.policy",
            "max.message.bytes",
            "message.timestamp.after.max.ms",
            "min.insync.replicas",
            "replication factor",
            "retention.ms",
            "unclean.leader.election.enable"
        ]
    );
}
