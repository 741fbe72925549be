//! A peer that only plays back: it authenticates, then writes what a recording holds, and keeps every byte that it was sent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::Control;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::harness::{Engine, PASSWORD, config, node};

#[derive(Clone)]
pub struct Script {
    pub address: String,
    pub connections: Arc<AtomicUsize>,
    pub received: Arc<Mutex<Vec<u8>>>,
    stop: CancellationToken,
}

impl Script {
    /// `frames` are written once the engine has subscribed.
    pub async fn start(password: &'static str, frames: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let script = Self {
            address: listener.local_addr().expect("bound").to_string(),
            connections: Arc::default(),
            received: Arc::default(),
            stop: CancellationToken::new(),
        };
        let (serving, stop) = (script.clone(), script.stop.clone());
        #[expect(clippy::disallowed_methods, reason = "a peer outside of the platform, ended by its token")]
        tokio::spawn(async move {
            let _ = stop
                .run_until_cancelled(async {
                    while let Ok((stream, _)) = listener.accept().await {
                        serving.connections.fetch_add(1, Ordering::SeqCst);
                        // One engine, one connection at a time.
                        let _ = serving.serve(stream, password, &frames).await;
                    }
                })
                .await;
        });
        script
    }

    async fn serve(&self, mut stream: TcpStream, password: &str, frames: &[String]) -> std::io::Result<()> {
        stream.write_all(b"Content-Type: auth/request\n\n").await?;
        let mut pending = String::new();
        let mut buffer = [0; 4096];
        loop {
            while let Some(end) = pending.find("\n\n") {
                let command: String = pending.drain(..end + 2).collect();
                if command == format!("auth {password}\n\n") {
                    stream.write_all(b"Content-Type: command/reply\nReply-Text: +OK accepted\n\n").await?;
                } else if command.starts_with("auth ") {
                    stream.write_all(b"Content-Type: command/reply\nReply-Text: -ERR invalid\n\n").await?;
                    stream
                        .write_all(
                            b"Content-Type: text/disconnect-notice\nContent-Length: 23\n\nDisconnected, goodbye.\n",
                        )
                        .await?;
                    return Ok(());
                } else if command.starts_with("event ") {
                    stream
                        .write_all(b"Content-Type: command/reply\nReply-Text: +OK event listener enabled plain\n\n")
                        .await?;
                    for frame in frames {
                        stream.write_all(frame.as_bytes()).await?;
                    }
                } else if command.starts_with("api ") {
                    stream.write_all(b"Content-Type: api/response\nContent-Length: 5\n\nfalse").await?;
                } else {
                    stream.write_all(b"Content-Type: command/reply\nReply-Text: +OK\n\n").await?;
                }
            }
            let n = stream.read(&mut buffer).await?;
            if n == 0 {
                return Ok(());
            }
            self.received.lock().extend_from_slice(&buffer[..n]);
            pending.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    }

    /// What was received without the password, the subscription and the pings.
    pub fn commands(&self) -> String {
        let received = String::from_utf8_lossy(&self.received.lock()).into_owned();
        received
            .split_inclusive("\n\n")
            .filter(|c| {
                !c.starts_with("auth ") && !c.starts_with("event ") && !c.starts_with("api uuid_exists 00000000-")
            })
            .collect()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if Arc::strong_count(&self.connections) == 2 {
            self.stop.cancel();
        }
    }
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../libs/esl/tests/fixtures").join(format!("{name}.frame"));
    std::fs::read_to_string(path).expect("a committed fixture")
}

/// With a mark put on it, as our dialplan would; the length follows.
fn marked(frame: &str) -> String {
    let (_, body) = frame.split_once("\n\n").expect("a head and a body");
    let body = body.replacen(
        "variable_direction: inbound\n",
        "variable_direction: inbound\nvariable_trunkline_control: own\n",
        1,
    );
    format!("Content-Length: {}\nContent-Type: text/event-plain\n\n{body}", body.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_a_byte_is_written_for_a_real_channel_without_the_mark() {
    let names = [
        "channel_create_inbound",
        "channel_park",
        "dtmf",
        "execute_complete_digits",
        "hangup_complete_media",
        "heartbeat",
    ];
    let script = Script::start(PASSWORD, names.iter().map(|name| fixture(name)).collect()).await;
    let mut engine = Engine::start(config(vec![node("node-a", &script.address, PASSWORD)])).await;
    engine
        .until("all frames read", |e| e.running.nodes[0].state().tally.heartbeats == 1 && e.channels.len() == 5)
        .await;
    assert_eq!(script.commands(), "");
    assert!(engine.decisions.is_empty());
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_channel_with_the_mark_is_answered_and_asked() {
    let frames = vec![fixture("channel_create_inbound"), marked(&fixture("channel_park"))];
    let script = Script::start(PASSWORD, frames).await;
    let mut engine = Engine::start(config(vec![node("node-a", &script.address, PASSWORD)])).await;
    engine.until("the first question", |_| script.commands().contains("play_and_get_digits")).await;
    assert!(script.commands().starts_with("api uuid_answer 0043554a-92bb-4593-abc0-d028bd916bd6\n\nsendmsg 0043554a"));
    engine.until("a decision", |e| e.told() == ["menu_entered:welcome"]).await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_observe_mode_the_mark_changes_nothing() {
    let frames = vec![fixture("channel_create_inbound"), marked(&fixture("channel_park")), fixture("heartbeat")];
    let script = Script::start(PASSWORD, frames).await;
    let observe =
        engine::Config { control: Control::Observe, ..config(vec![node("node-a", &script.address, PASSWORD)]) };
    let mut engine = Engine::start(observe).await;
    engine
        .until("all frames read", |e| e.running.nodes[0].state().tally.heartbeats == 1 && e.channels.len() == 2)
        .await;
    assert_eq!(script.commands(), "");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_with_its_setting_and_not_tried_again_and_again() {
    let script = Script::start("Another-password-1", vec![]).await;
    let mut engine = Engine::start(config(vec![node("node-a", &script.address, PASSWORD)])).await;
    engine.until("the refusal", |e| e.running.nodes[0].state().last_error.is_some()).await;
    let error = engine.running.nodes[0].state().last_error.expect("an error");
    assert!(error.contains("engine.nodes[0]") && error.contains("password") && !error.contains(PASSWORD), "{error}");
    // Ten times the pause that a lost link gets.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(script.connections.load(Ordering::SeqCst), 1);
    assert!(engine.health.is_empty());
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_speak_esl_is_left_and_nothing_breaks() {
    let script = Script::start(PASSWORD, vec![format!("Content-Length: {}\n\n", u32::MAX)]).await;
    let mut engine = Engine::start(config(vec![node("node-a", &script.address, PASSWORD)])).await;
    engine.until("the end of the connection", |e| e.health.iter().any(|h| h.event_type == "link_down")).await;
    let down = engine.health.iter().find(|h| h.event_type == "link_down").expect("told");
    assert!(down.reason.as_deref().is_some_and(|r| r.contains("does not speak ESL")), "{down:?}");
    engine.stop().await;
}

fn recorded(name: &str) -> Option<Vec<String>> {
    let path: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/esl-recordings").join(format!("{name}.jsonl"));
    let text = std::fs::read_to_string(path).ok()?;
    let frames = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    Some(
        frames
            .filter(|f| f["dir"] == "recv")
            .map(|f| f["frame"].as_str().expect("text").to_owned())
            .filter(|f| f.contains("text/event-plain"))
            .collect(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_bridged_call_becomes_two_legs_of_one_call_in_the_order_of_the_wire() {
    let Some(frames) = recorded("bridge-answered") else {
        return eprintln!("skipped: no recorded sessions beside the repository");
    };
    // FreeSWITCH numbers events before it queues them, so the numbers are not sorted on the wire.
    let wire: Vec<i64> = frames
        .iter()
        .filter_map(|f| f.lines().find_map(|l| l.strip_prefix("Event-Sequence: "))?.parse().ok())
        .collect();
    let script = Script::start(PASSWORD, frames).await;
    let mut engine = Engine::start(config(vec![node("node-a", &script.address, PASSWORD)])).await;
    engine
        .until("both legs ended", |e| e.channels.iter().filter(|c| c.event_type == "CHANNEL_DESTROY").count() == 2)
        .await;
    let calls: std::collections::BTreeSet<&str> = engine.channels.iter().map(|c| c.call_root_id.as_str()).collect();
    let legs: std::collections::BTreeSet<&str> = engine.channels.iter().map(|c| c.leg_id.as_str()).collect();
    assert_eq!((calls.len(), legs.len()), (1, 2));
    let published: Vec<i64> = engine.channels.iter().map(|c| c.event_sequence).collect();
    let expected: Vec<i64> = wire.into_iter().filter(|n| published.contains(n)).collect();
    assert_eq!(published, expected, "one call is one partition, and its order is the wire's");
    assert_eq!(script.commands(), "");
    engine.stop().await;
}
