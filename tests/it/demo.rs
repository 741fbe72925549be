//! The demo as a newcomer runs it: the books balance, and each kind of sabotage is found.

use std::time::Duration;

use serde_json::Value;
use tests::{Said, run};

fn demo(args: &[&str]) -> (Said, Value) {
    let folder = tempfile::tempdir().expect("a folder of its own");
    let mut all = vec!["demo", "--exit", "--json"];
    all.extend(args);
    let said = run(folder.path(), &all, Duration::from_secs(240)).expect("the demo ends by itself");
    let json = said.last_json().expect("the last line is the result");
    (said, json)
}

fn number(json: &Value, key: &str) -> u64 {
    json[key].as_u64().unwrap_or_else(|| panic!("`{key}` is missing in {json}"))
}

#[test]
fn ten_calls_give_ten_records() {
    let (said, json) = demo(&["--calls", "10", "--rate", "10", "--hold", "1"]);
    assert!(said.status.success(), "{json}\n{}", said.err);
    assert_eq!(number(&json, "calls"), 10);
    assert_eq!(number(&json, "records"), 10);
    assert_eq!(number(&json, "answered") + number(&json, "failed"), 10);
    assert_eq!((number(&json, "missing"), number(&json, "doubled"), number(&json, "phantom")), (0, 0, 0));
    assert_eq!(json["replay_equal"], true);
}

#[test]
fn an_attack_is_blocked_a_dead_node_relieved_and_the_books_balance() {
    let (said, json) = demo(&["--calls", "480", "--rate", "30", "--seed", "7", "--hold", "2"]);
    assert!(said.status.success(), "{json}\n{}", said.err);
    assert!(number(&json, "calls") > 480, "the attack's calls count: {json}");
    assert_eq!(number(&json, "records"), number(&json, "calls"), "{json}");
    assert_eq!((number(&json, "missing"), number(&json, "doubled"), number(&json, "phantom")), (0, 0, 0), "{json}");
    assert_eq!(json["replay_equal"], true, "{json}");
    assert_eq!(json["attack"]["blocked"], true, "{json}");
    assert!(number(&json["attack"], "refused") > 0, "{json}");
    assert_eq!(json["node_failure"]["relieved"], true, "{json}");
}

#[test]
fn a_call_that_loses_its_events_is_missed() {
    let (said, json) = demo(&["--calls", "40", "--rate", "20", "--hold", "1", "--sabotage", "drop"]);
    assert_eq!(said.status.code(), Some(1), "{json}");
    assert!(number(&json, "missing") >= 1, "{json}");
    assert_eq!((number(&json, "doubled"), number(&json, "phantom")), (0, 0), "{json}");
}

#[test]
fn a_call_that_never_was_is_found() {
    let (said, json) = demo(&["--calls", "40", "--rate", "20", "--hold", "1", "--sabotage", "phantom"]);
    assert_eq!(said.status.code(), Some(1), "{json}");
    assert!(number(&json, "phantom") >= 1, "{json}");
    assert_eq!((number(&json, "missing"), number(&json, "doubled")), (0, 0), "{json}");
}

#[test]
fn a_second_record_of_a_call_is_found() {
    let (said, json) = demo(&["--calls", "40", "--rate", "20", "--hold", "1", "--sabotage", "double"]);
    assert_eq!(said.status.code(), Some(1), "{json}");
    assert!(number(&json, "doubled") >= 1, "{json}");
    assert_eq!((number(&json, "missing"), number(&json, "phantom")), (0, 0), "{json}");
}

#[test]
fn two_demos_at_once_do_not_meet() {
    let folder = tempfile::tempdir().expect("one folder for both");
    let at_once: Vec<_> = (0..2)
        .map(|seed| {
            let path = folder.path().to_path_buf();
            std::thread::spawn(move || {
                let seed = seed.to_string();
                let args =
                    ["demo", "--exit", "--json", "--calls", "20", "--rate", "10", "--hold", "1", "--seed", &seed];
                run(&path, &args, Duration::from_secs(120))
            })
        })
        .collect();
    for one in at_once {
        let said = one.join().expect("no panic").expect("the demo ends by itself");
        assert!(said.status.success(), "{}\n{}", said.out, said.err);
    }
}
