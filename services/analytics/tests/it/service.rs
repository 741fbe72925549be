use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::{CallId, Clock};
use kit::{Host, Lifecycle, Metrics, Service};
use schemas::{SipBranch, SipDialogEnd, SipIdentity, SipOutcome, SipTiming, SipTransaction};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row};
use stream::{Client, EmbeddedConfig, EmbeddedLog, EventLog, Publisher, PublisherConfig};

const DEADLINE: Duration = Duration::from_secs(120);

fn host(dir: &Path) -> Host {
    Host {
        life: Lifecycle::isolating(Duration::from_secs(10)),
        metrics: Metrics::new(),
        clock: Arc::new(kit::clock::SystemClock),
        data_dir: dir.join("data"),
        run_dir: dir.join("run"),
        keys: Arc::new(kit::keys::ensure(&dir.join("keys")).unwrap()),
    }
}

/// attempt, answered, ended; or attempt, final.
fn call(n: u8, start_us: i64, status: u16) -> Vec<SipTransaction> {
    let id = CallId::new(start_us, [n; 10]).to_string();
    let event = |what: &str| SipTransaction {
        event_type: what.into(),
        call_root_id: id.clone(),
        leg_id: format!("{n:016x}"),
        edge_id: "edge-1".into(),
        source_side: "trunk".into(),
        source_id: if n.is_multiple_of(2) { "even" } else { "odd" }.into(),
        attempt: 1,
        occurred_us: start_us,
        identity: SipIdentity {
            method: "INVITE".into(),
            call_id: format!("{n}"),
            cseq: 1,
            from_tag: "t".into(),
            ..SipIdentity::default()
        },
        timing: Some(SipTiming {
            received_us: Some(start_us),
            t_first_18x_us: (what != "attempt").then_some(150_000),
            t_final_us: (what != "attempt").then_some(1_000_000),
            ..SipTiming::default()
        }),
        outcome: (what != "attempt").then(|| SipOutcome { status: Some(status), ..SipOutcome::default() }),
        branches: vec![SipBranch {
            leg_id: format!("{n:016x}"),
            target_side: "node".into(),
            target_id: "fs1".into(),
            ..SipBranch::default()
        }],
        ..SipTransaction::default()
    };
    let mut events = vec![event("attempt")];
    if status < 300 {
        events.push(event("answered"));
        let mut ended = event("ended");
        ended.dialog = Some(SipDialogEnd { talk_us: Some(5_000_000), ..SipDialogEnd::default() });
        events.push(ended);
    } else {
        events.push(event("final"));
    }
    events
}

async fn rows(path: &Path) -> Vec<(String, Option<String>, i64, i64, Option<f64>, Option<f64>)> {
    let mut db = SqliteConnectOptions::new().filename(path).read_only(true).connect().await.unwrap();
    let sql = "SELECT scope, coalesce(trunk, node), attempts, answered, asr_percent, acd_ms FROM metrics_by_minute ORDER BY 1, 2";
    let rows = sqlx::query(sql).fetch_all(&mut db).await.unwrap();
    rows.iter().map(|r| (r.get(0), r.get(1), r.get(2), r.get(3), r.get(4), r.get(5))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn minutes_are_counted_and_stay_when_everything_comes_twice_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedConfig::new(dir.path().join("log"))).unwrap();
    let host = host(dir.path());
    let clock: Arc<dyn Clock> = host.clock.clone();
    let publisher = Publisher::start(log.clone(), PublisherConfig::new("edge/test", 1, clock.clone())).unwrap();
    let start = async || {
        let kit = Service::open("analytics", &host).unwrap();
        let life = kit.life.clone();
        let client = Client { log: log.clone(), publisher: publisher.clone() };
        let config = analytics::Config { flush_ms: 10, late_every_ms: 50, ..analytics::Config::default() };
        (life, analytics::run(config, kit, client).await.unwrap())
    };
    let (life, running) = start().await;

    let minute = (clock.now().wall_us / 60_000_000 - 3) * 60_000_000;
    let calls: Vec<SipTransaction> =
        (0..8).flat_map(|n| call(n, minute + i64::from(n) * 1000, if n < 4 { 200 } else { 486 })).collect();
    calls.iter().for_each(|e| {
        publisher.publish(e.clone());
    });
    publisher.flush(DEADLINE).await.unwrap();
    running.wait_caught_up(DEADLINE).await.unwrap();
    let expected = vec![
        ("all".to_owned(), None, 8, 4, Some(50.0), Some(5000.0)),
        ("node".to_owned(), Some("fs1".to_owned()), 8, 4, Some(50.0), Some(5000.0)),
        ("trunk".to_owned(), Some("even".to_owned()), 4, 2, Some(50.0), Some(5000.0)),
        ("trunk".to_owned(), Some("odd".to_owned()), 4, 2, Some(50.0), Some(5000.0)),
    ];
    assert_eq!(rows(&running.path).await, expected);

    let outcome = life.stop().await;
    assert!(outcome.abandoned.is_empty() && outcome.failed.is_empty());
    calls.iter().rev().for_each(|e| {
        publisher.publish(e.clone());
    });
    publisher.flush(DEADLINE).await.unwrap();
    let (life, running) = start().await;
    running.wait_caught_up(DEADLINE).await.unwrap();
    assert_eq!(rows(&running.path).await, expected);
    life.stop().await;
}
