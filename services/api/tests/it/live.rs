use std::net::SocketAddr;

use domain::Clock;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::harness::{Call, start, start_with};
use crate::http::{LONG, get, open};

struct Watch {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Watch {
    async fn open(addr: SocketAddr) -> Watch {
        Watch { stream: open(addr, "/v1/live").await, seen: Vec::new() }
    }

    /// Reads until an event of this name has come whole.
    async fn next(&mut self, name: &str) -> Value {
        let wanted = format!("event: {name}\ndata: ");
        let read = async {
            loop {
                let text = String::from_utf8_lossy(&self.seen);
                if let Some((data, rest)) = text.split_once(&wanted).and_then(|(_, rest)| rest.split_once("\n\n")) {
                    let data = serde_json::from_str(data).unwrap();
                    self.seen = rest.as_bytes().to_vec();
                    return data;
                }
                assert!(self.stream.read_buf(&mut self.seen).await.unwrap() > 0, "the stream ended");
            }
        };
        tokio::time::timeout(LONG, read).await.expect("the event comes")
    }
}

#[tokio::test]
async fn a_watcher_gets_the_last_minutes_and_then_samples_with_the_newest_calls() {
    let api = start().await;
    let pool = api.call_log().await;
    let now = kit::clock::SystemClock.now().wall_us;
    for n in 1..=20 {
        let (finality, disposition) = if n > 15 {
            ("open", None)
        } else if n > 10 {
            ("final", Some("busy"))
        } else {
            ("final", Some("answered"))
        };
        Call { n, finality, disposition, start_us: now - 2_000_000 }.insert(&pool).await;
    }
    let mut watch = Watch::open(api.addr).await;
    let history = watch.next("history").await;
    assert_eq!(history["seconds"][0]["attempts"], 20);
    let sample = watch.next("live").await;
    assert_eq!((&sample["attempts"], &sample["answered"], &sample["open"]), (&20.into(), &10.into(), &5.into()));
    assert!(
        (sample["asr"].as_f64().unwrap() - 100.0 * 10.0 / 15.0).abs() < 1e-9,
        "calls that still ring decide nothing"
    );
    assert_eq!(sample["calls"].as_array().unwrap().len(), 20);
    assert!(sample["calls"][0]["caller_e164"].as_str().unwrap().contains('•'));
    assert!(sample["lag"]["cdr"].is_null(), "nobody consumes here");
}

#[tokio::test]
async fn a_watcher_without_a_call_log_is_told_what_is_missing() {
    let api = start().await;
    let sample = Watch::open(api.addr).await.next("live").await;
    assert!(sample["notice"].as_str().unwrap().contains("cdr"), "{sample}");
}

#[tokio::test]
async fn watchers_are_bounded_and_give_their_place_back() {
    let api = start_with(|config, _| config.max_live_clients = 1).await;
    let mut first = Watch::open(api.addr).await;
    first.next("live").await;
    assert_eq!(get(api.addr, "/v1/live").await.status, 503);
    drop(first);
    let end = tokio::time::Instant::now() + LONG;
    loop {
        let mut second = open(api.addr, "/v1/live").await;
        let mut status = [0; 12];
        second.read_exact(&mut status).await.unwrap();
        if status.ends_with(b"200") {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "the place stays taken");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_open_page_does_not_hold_up_the_end_of_the_process() {
    let api = start().await;
    let mut watch = Watch::open(api.addr).await;
    watch.next("live").await;
    let outcome = tokio::time::timeout(LONG / 2, api.life.stop()).await.expect("well before the drain time");
    assert!(outcome.is_clean(), "{outcome}");
}
