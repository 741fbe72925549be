//! The fault labs of the stream in a size for every run; the figures come from the same commands with larger numbers (README).
//!
//! A lab ends with 1 when an accepted event was lost, when something lost was not declared, or when the run proved nothing.

use std::process::Command;

use parking_lot::Mutex;
use serde_json::Value;

/// One lab at a time: each wants events to flow at its rate.
static QUIET: Mutex<()> = Mutex::new(());

/// Runs a lab and gives its last line; fails with all that it said.
fn lab(args: &[&str]) -> Value {
    let _quiet = QUIET.lock();
    let binary = tests::build("load").expect("load builds");
    let out = Command::new(&binary)
        .arg("stream-faults")
        .args(args)
        .current_dir(tests::root())
        .output()
        .expect("the lab starts");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{args:?}: {}\n{text}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("the last line is JSON")
}

fn kafka() -> Option<String> {
    std::env::var("TRUNKLINE_TEST_KAFKA").ok().filter(|address| !address.is_empty())
}

#[test]
fn kill_nine_loses_no_accepted_event_on_the_embedded_log() {
    let result = lab(&["kill", "--kills", "20"]);
    assert_eq!((&result["lost"], &result["gaps"]), (&0.into(), &0.into()), "{result}");
}

#[test]
fn kill_nine_loses_no_accepted_event_on_the_way_to_kafka() {
    let target = kafka().unwrap_or_else(|| "mock".to_owned());
    let result = lab(&["kill", "--kills", "20", "--target", &target]);
    assert_eq!((&result["lost"], &result["gaps"]), (&0.into(), &0.into()), "{result}");
}

#[test]
fn a_minute_without_kafka_loses_nothing_and_events_are_soon_fresh_again() {
    // A broker of the lab's own, where Kafka's jars are; else librdkafka's mock, which forgets too early for a whole minute.
    let result = if kafka().is_some() {
        lab(&["outage", "--minutes", "1", "--target", "broker"])
    } else {
        tests::skipped("a minute without a real Kafka (infra/local/up kafka); 15 s without the mock instead");
        lab(&["outage", "--minutes", "0.25", "--target", "mock"])
    };
    assert_eq!(result["declared"], 0, "{result}");
}

#[test]
fn a_failing_disk_reaches_no_caller_and_what_is_lost_is_declared() {
    let result = lab(&["disk", "--seconds", "5"]);
    if result["skipped"] != 0 {
        tests::skipped("a disk that really is full (no namespace to mount a tmpfs in)");
    }
}
