//! The port by which edges share the limits of trunks: one suite of behaviour for both adapters, and what an edge does without it.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use edge::core::Input;
use edge::core::admission::{Told, Use};
use edge::hot_state::{HotState, InProcess, Redis};

use super::text::invite;
use super::world::*;

/// Short, so that the test does not wait long for an edge to fall silent.
const LEASE: Duration = Duration::from_millis(400);
const DEADLINE: Duration = Duration::from_secs(20);

fn uses(list: &[(&str, u32, f64)]) -> BTreeMap<String, Use> {
    list.iter().map(|&(id, calls, asked_per_s)| (id.to_owned(), Use { calls, asked_per_s, ..Use::default() })).collect()
}

async fn behaves(store: Arc<dyn HotState>) {
    // Edges see themselves and each other, whatever their trunks are called.
    let (one, two) = (uses(&[("carrier-a", 3, 1.5), ("a \"b\" {c} \\ é", 1, 0.0)]), uses(&[("carrier-a", 4, 0.25)]));
    let alone = store.exchange("edge-1", &one).await.unwrap();
    assert_eq!(alone.edges, BTreeMap::from([("edge-1".to_owned(), one.clone())]));
    let both = store.exchange("edge-2", &two).await.unwrap();
    assert_eq!(both.edges["edge-1"], one);
    assert_eq!(both.edges["edge-2"], two);
    // What an edge says replaces what it said.
    let later = uses(&[("carrier-a", 9, 0.0)]);
    assert_eq!(store.exchange("edge-1", &later).await.unwrap().edges["edge-1"], later);
    // Many at once: each exchange is whole.
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..50u32 {
        let (store, said) = (Arc::clone(&store), uses(&[("t", i, f64::from(i))]));
        tasks.spawn(async move { (i, store.exchange(&format!("many-{i}"), &said).await.unwrap()) });
    }
    while let Some(done) = tasks.join_next().await {
        let (i, told) = done.unwrap();
        assert_eq!(told.edges[&format!("many-{i}")]["t"].calls, i);
    }
    // Whoever falls silent is left out after the lease, whoever speaks stays.
    let since = Instant::now();
    loop {
        let told = store.exchange("edge-2", &two).await.unwrap();
        if told.edges.len() == 1 {
            assert_eq!(told.edges["edge-2"], two);
            break;
        }
        assert!(since.elapsed() < DEADLINE, "{:?} are still there", told.edges.keys());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(since.elapsed() >= LEASE - Duration::from_millis(100), "left out before its lease ended");
}

#[tokio::test]
async fn edges_of_one_process_share() {
    behaves(Arc::new(InProcess::new(Arc::new(kit::clock::SystemClock), LEASE))).await;
}

fn redis() -> Option<(String, String)> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let Some(url) = std::env::var("TRUNKLINE_TEST_REDIS").ok().filter(|url| !url.is_empty()) else {
        // Past the capture of the test's output: whoever runs the tests is to see it.
        let _ = writeln!(std::io::stderr(), "SKIPPED: limits shared in Redis (TRUNKLINE_TEST_REDIS names no server)");
        return None;
    };
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Some((url, format!("trunkline:test:{}:{number}", std::process::id())))
}

#[tokio::test]
async fn edges_share_in_redis() {
    let Some((url, key)) = redis() else { return };
    behaves(Arc::new(Redis::new(&url, &key, LEASE).unwrap())).await;
}

/// A way to Redis that can be cut.
async fn forward(listener: tokio::net::TcpListener, to: String, mut cut: tokio::sync::watch::Receiver<bool>) {
    let mut open = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            _ = cut.changed() => return,
            accepted = listener.accept() => {
                let (mut near, _) = accepted.unwrap();
                let to = to.clone();
                open.spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }
    }
}

#[tokio::test]
async fn redis_may_go_and_come_back() {
    let Some((url, key)) = redis() else { return };
    let (secret, rest) = url.rsplit_once('@').map_or(("redis://", url.trim_start_matches("redis://")), |(s, r)| (s, r));
    let (host, database) = rest.split_once('/').unwrap_or((rest, "0"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = listener.local_addr().unwrap();
    let secret = if secret == "redis://" { secret.to_owned() } else { format!("{secret}@") };
    let store = Redis::new(&format!("{secret}{near}/{database}"), &key, LEASE).unwrap();
    let (cut, is_cut) = tokio::sync::watch::channel(false);
    let way = crate::spawn(forward(listener, host.to_owned(), is_cut));
    let said = uses(&[("t", 1, 0.0)]);
    assert_eq!(store.exchange("edge-1", &said).await.unwrap().edges.len(), 1);
    cut.send(true).unwrap();
    way.await.unwrap();
    let since = Instant::now();
    let error = store.exchange("edge-1", &said).await.unwrap_err().to_string();
    assert!(since.elapsed() < Duration::from_secs(5), "{error}");
    assert!(!error.contains(secret.trim_start_matches("redis://")) || secret == "redis://", "no password in an error");
    assert!(store.exchange("edge-1", &said).await.is_err());
    let listener = tokio::net::TcpListener::bind(near).await.unwrap();
    let (_keep, is_cut) = tokio::sync::watch::channel(false);
    crate::spawn(forward(listener, host.to_owned(), is_cut));
    assert_eq!(store.exchange("edge-1", &said).await.unwrap().edges.len(), 1);
}

#[test]
fn an_edge_uses_its_part_of_a_limit_and_an_equal_one_while_the_others_are_silent() {
    let mut shared = config();
    shared.hot_state.edges = 2;
    shared.trunks[0].cps = 100.0;
    shared.admission.invites_per_cps = 100.0;
    let mut w = World::with(shared);
    let told = |own: f64, other: f64| {
        let edge = |asked| uses(&[("t1", 0, asked)]);
        Told { edges: [("edge-1".to_owned(), edge(own)), ("edge-2".to_owned(), edge(other))].into() }
    };
    // A second at ten times the limit, after the bucket was used up.
    let mut calls = 0;
    let mut passed_in_a_second = |w: &mut World| {
        let before = w.proxy.snapshot(w.now.wall_us).trunks[0].passed;
        for _ in 0..1_000 {
            calls += 1;
            let m = invite(t1(), edge_trunk(), &format!("c{calls}"), "+4930123456", 1);
            w.send(t1(), &m);
            w.pass_ms(1);
            w.wire.clear();
        }
        w.proxy.snapshot(w.now.wall_us).trunks[0].passed - before
    };
    passed_in_a_second(&mut w);
    for (news, want) in [
        (None, 50),
        (Some(told(1_000.0, 1_000.0)), 50),
        (Some(told(1_000.0, 20.0)), 80),
        (Some(told(1_000.0, 0.0)), 100),
    ] {
        if let Some(news) = news {
            w.give(Input::Shared(Arc::new(news)));
        }
        passed_in_a_second(&mut w);
        let passed = passed_in_a_second(&mut w);
        assert!(passed.abs_diff(want) <= 2, "{passed} instead of {want}");
    }
    // Two seconds passed since the others were heard; after three it is its equal part again.
    passed_in_a_second(&mut w);
    passed_in_a_second(&mut w);
    let passed = passed_in_a_second(&mut w);
    assert!(passed.abs_diff(50) <= 2, "{passed}");
}
