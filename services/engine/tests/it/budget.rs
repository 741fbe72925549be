//! What an event costs from the socket to the publisher's queue; printed by every run.

use std::path::Path;
use std::time::Duration;

use crate::harness::{Engine, PASSWORD, config, node};
use crate::scripted::Script;

/// Events of a bridged call as FreeSWITCH wrote them, over and over with their own ids and numbers.
fn load(rounds: usize) -> Vec<String> {
    let fixture = |name: &str| {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../libs/esl/tests/fixtures").join(format!("{name}.frame"));
        std::fs::read_to_string(path).expect("a committed fixture")
    };
    let names = [
        "channel_create_inbound",
        "channel_create_outbound",
        "channel_bridge",
        "execute_complete_digits",
        "hangup_complete_media",
    ];
    let frames: Vec<String> = names.iter().map(|name| fixture(name)).collect();
    let mut out = Vec::with_capacity(rounds);
    let mut sequence = 1_000_000;
    for round in 0..rounds {
        let mut batch = String::new();
        for frame in &frames {
            let (_, body) = frame.split_once("\n\n").expect("a body");
            sequence += 1;
            let line = body.lines().find(|l| l.starts_with("Event-Sequence: ")).expect("a number");
            let uuid = body.lines().find_map(|l| l.strip_prefix("Unique-ID: ")).expect("a channel");
            let body = body
                .replacen(line, &format!("Event-Sequence: {sequence}"), 1)
                .replace(uuid, &format!("{:08x}{}", round % 1000, &uuid[8..]));
            batch.push_str(&format!("Content-Length: {}\nContent-Type: text/event-plain\n\n{body}", body.len()));
        }
        out.push(batch);
    }
    out
}

/// CPU time of this thread's process, user and system.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number");
    Duration::from_millis(ticks * 10)
}

/// Whole process: this test's switch, the engine, the publisher and the log on disk. Run alone for a figure that means something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_costs_less_than_its_budget() {
    let (rounds, each) = (4000, 5);
    let script = Script::start(PASSWORD, load(rounds)).await;
    let before = cpu();
    let started = std::time::Instant::now();
    let mut engine = Engine::start(config(vec![node("node-a", &script.address, PASSWORD)])).await;
    let wanted = (rounds * each) as u64;
    engine.until("all events published", |e| e.running.nodes[0].state().tally.published >= wanted).await;
    let (took, used) = (started.elapsed(), cpu() - before);
    let per_event = used.as_secs_f64() * 1e6 / wanted as f64;
    eprintln!(
        "engine: {:.0} events/s, {per_event:.0} µs of CPU per event (test switch, engine, publisher, log and reader together; budget 100)",
        wanted as f64 / took.as_secs_f64()
    );
    assert_eq!(engine.running.nodes[0].state().tally.events_unread, 0);
    engine.stop().await;
}
