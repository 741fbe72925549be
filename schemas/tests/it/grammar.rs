//! The grammar's checker can fail: every story of the examples, broken in every simple way, is refused.

use schemas::{SipTransaction, grammar};

use crate::kinds::{json_files, strict};

fn stories() -> Vec<(String, Vec<SipTransaction>)> {
    json_files("sip.transactions", "examples")
        .into_iter()
        .filter(|(_, json)| json["open"] != true)
        .map(|(name, json)| (name, json["events"].as_array().unwrap().iter().map(|e| strict(e).unwrap()).collect()))
        .collect()
}

#[test]
fn every_story_lacks_nothing() {
    for (name, story) in stories() {
        for gone in 0..story.len() {
            // One of several independent transactions, and an answer that came late, may be missing unnoticed.
            if ["transaction", "refused", "late_answer"].contains(&story[gone].event_type.as_str()) {
                continue;
            }
            let mut less = story.clone();
            less.remove(gone);
            assert!(grammar::check(&less).is_err(), "{name} without event {gone} was accepted");
        }
    }
}

#[test]
fn every_story_has_nothing_twice() {
    for (name, story) in stories() {
        for twice in 0..story.len() {
            let mut more = story.clone();
            more.insert(twice, story[twice].clone());
            assert!(grammar::check(&more).is_err(), "{name} with event {twice} twice was accepted");
        }
    }
}

#[test]
fn stories_may_interleave() {
    let stories = stories();
    let longest = stories.iter().map(|(_, s)| s.len()).max().unwrap();
    let mixed: Vec<SipTransaction> =
        (0..longest).flat_map(|i| stories.iter().filter_map(move |(_, s)| s.get(i).cloned())).collect();
    grammar::check(&mixed).unwrap();
}

#[test]
fn every_beginning_of_a_story_is_a_story_so_far() {
    for (name, story) in stories() {
        for end in 0..=story.len() {
            grammar::check_so_far(&story[..end]).unwrap_or_else(|v| panic!("{name} up to {end}: {v}"));
        }
    }
}

#[test]
fn another_call_id_in_the_middle_is_noticed() {
    for (name, mut story) in stories() {
        if story.len() > 1 && story[1].event_type != "transaction" && name != "passes-twice.json" {
            story[1].call_root_id = "01a1fbd8-3279-718b-869b-2e81c0c52955".to_owned();
            assert!(grammar::check(&story).is_err(), "{name}");
        }
    }
}

#[test]
fn a_violation_names_event_transaction_and_fault() {
    let (_, story) = stories().into_iter().find(|(name, _)| name == "answered.json").unwrap();
    let text = grammar::check(&story[1..]).unwrap_err().to_string();
    assert_eq!(text, "event 0 (answered of a84b4c76e66710@198.51.100.7 1928301774 314159): not allowed after nothing");
}
