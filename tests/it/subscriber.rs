//! A stranger subscribes: the example script, in Python's standard library alone, reads the calls of a running demo; on Kafka it
//! is a stock client with the registry that the api serves.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{line_with, spawn};

use super::outside::Ends;

const CALLS: usize = 5;

/// Everything that the script prints of a topic as it is now.
fn subscribe(api: &str, topic: &str, call: Option<&str>) -> Vec<Value> {
    let script = tests::root().join("infra/examples/subscribe.py");
    let out = Command::new("python3").arg(script).args([api, topic]).args(call).arg("--once").output();
    let out = out.expect("python3 starts");
    assert!(out.status.success(), "{topic}: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// Every topic of a platform on Kafka, by a stock client and as JSON lines; there must be so many `calls`, `told` of them with a
/// record.
pub fn reads_every_topic(api: &str, prefix: &str, calls: usize, told: usize) {
    let broker = std::env::var("TRUNKLINE_TEST_KAFKA").expect("the caller looked");
    let python = tests::root().join("target/local/python/bin/python");
    let script = tests::root().join("infra/examples/subscribe.py");
    let folders =
        std::fs::read_dir(tests::root().join("schemas")).expect("schemas").map(|entry| entry.expect("an entry").path());
    let topics: Vec<String> = folders
        .filter(|path| path.join("topic.toml").exists())
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert!(topics.len() >= 10, "{topics:?}");
    let read = |topic: &String| {
        let mut command = Command::new(&python);
        command.arg(&script).args([api, &format!("{prefix}{topic}"), "--once"]).arg(format!("--kafka={broker}"));
        let out = command.output().expect("python starts");
        assert!(out.status.success(), "{topic}: {}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).expect("UTF-8");
        let by_client: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{topic}: {e}: {line}")))
            .collect();
        (by_client, subscribe(api, topic, None))
    };
    let found: BTreeMap<&String, (Vec<Value>, Vec<Value>)> = std::thread::scope(|scope| {
        let readers: Vec<_> = topics.iter().map(|topic| (topic, scope.spawn(move || read(topic)))).collect();
        readers.into_iter().map(|(topic, reader)| (topic, reader.join().expect("read"))).collect()
    });
    for (topic, calls) in [("sip.transactions", calls), ("cdr.calls", told)] {
        let (by_client, by_lines) = &found[&topic.to_owned()];
        for records in [by_client, by_lines] {
            let ids: std::collections::BTreeSet<&str> =
                records.iter().filter_map(|record| record["event"]["call_root_id"].as_str()).collect();
            assert!(ids.len() >= calls, "{topic}: {} of {calls} calls in {} records", ids.len(), records.len());
        }
    }
    for topic in ["channel.events", "ivr.decisions", "node.health", "cdr.legs"] {
        let (by_client, by_lines) = &found[&topic.to_owned()];
        assert!(!by_client.is_empty() && !by_lines.is_empty(), "{topic} holds nothing");
    }
}

fn types(records: &[Value]) -> BTreeMap<&str, Vec<&str>> {
    let mut calls: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for record in records {
        let call = record["event"]["call_root_id"].as_str().expect("a call id");
        calls.entry(call).or_default().push(record["event"]["event_type"].as_str().expect("a type"));
    }
    calls
}

#[test]
fn the_example_subscriber_sees_every_call_of_a_demo_from_its_attempt_to_its_end() {
    if Command::new("python3").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: the example subscriber (python3 is not installed)");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let args = ["demo", "--calls", "5", "--rate", "5", "--hold", "0.5"];
    let mut demo = Ends(spawn(folder.path(), &args).expect("started"));
    let mut out = BufReader::new(demo.0.stdout.take().expect("stdout"));
    let page = line_with(&mut out, |line| line.contains("http://")).expect("the demo says where its page is");
    let at = page.find("http://").expect("just found");
    let api = page[at..].split_whitespace().next().expect("an address").trim_end_matches('/').to_owned();

    let over = |kinds: &Vec<&str>| kinds.iter().any(|k| ["final", "ended", "lost", "refused"].contains(k));
    let started = Instant::now();
    let records = loop {
        let records = subscribe(&api, "sip.transactions", None);
        let calls = types(&records);
        if calls.len() >= CALLS && calls.values().all(over) {
            break records;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "waited for {CALLS} finished calls: {calls:?}");
        std::thread::sleep(Duration::from_millis(100));
    };
    for (call, kinds) in types(&records) {
        assert!(["attempt", "refused"].contains(&kinds[0]), "{call} does not begin with its attempt: {kinds:?}");
        let alone = subscribe(&api, "sip.transactions", Some(call));
        assert_eq!(types(&alone), BTreeMap::from([(call, kinds)]), "one call alone has the same events");
    }
    assert!(!subscribe(&api, "channel.events", None).is_empty(), "the switches' side of the calls");
    assert!(records.iter().any(|record| record.to_string().contains('•')), "numbers are masked");
}
