//! Every valid example goes through its type and back; every invalid one is refused for the reason that it names.

use std::collections::BTreeMap;

use domain::{CallId, LegId};
use schemas::{SipTransaction, grammar};
use serde_json::Value;

use crate::kinds::{self, Kind, json_files, strict};

fn events(json: &Value) -> &[Value] {
    json["events"].as_array().expect("an example has events")
}

/// What a reader of the topic would refuse: the schema first, then what must hold in an event, then the story.
fn accept(kind: &Kind, json: &Value) -> Result<(), String> {
    for event in events(json) {
        (kind.through)(event)?;
        (kind.check)(event)?;
    }
    if kind.topic.name == "sip.transactions" {
        let story: Vec<SipTransaction> = events(json).iter().map(|e| strict(e).unwrap()).collect();
        let check = if json["open"] == true { grammar::check_so_far } else { grammar::check };
        check(&story).map_err(|v| v.to_string())?;
    }
    Ok(())
}

#[test]
fn every_valid_example_round_trips_and_holds_what_must_hold() {
    for kind in kinds::all() {
        let files = json_files(kind.topic.name, "examples");
        assert!(!files.is_empty(), "{} has no example", kind.topic.name);
        for (name, json) in files {
            assert!(json["description"].is_string(), "{name} says not what it shows");
            accept(&kind, &json).unwrap_or_else(|why| panic!("{}/{name}: {why}", kind.topic.name));
        }
    }
}

#[test]
fn every_invalid_example_is_refused_for_its_reason() {
    for kind in kinds::all() {
        let files = json_files(kind.topic.name, "invalid");
        assert!(files.len() >= 2, "{} has too few invalid examples", kind.topic.name);
        for (name, json) in files {
            let wanted = json["refused"].as_str().expect("an invalid example says what it is refused for");
            let why = accept(&kind, &json).expect_err(&format!("{}/{name} was accepted", kind.topic.name));
            assert!(why.contains(wanted), "{}/{name}: refused for {why:?}, not for {wanted:?}", kind.topic.name);
        }
    }
}

#[test]
fn key_and_logical_id_tell_every_example_event_from_every_other() {
    for kind in kinds::all() {
        let mut seen: BTreeMap<(String, [u8; 16]), String> = BTreeMap::new();
        for (name, json) in json_files(kind.topic.name, "examples") {
            for event in events(&json) {
                let facts = (kind.check)(event).unwrap();
                assert!(!facts.key.is_empty() && !facts.event_type.is_empty());
                assert!(facts.event_id.contains(kind.topic.name), "{}", facts.event_id);
                let before = seen.insert((facts.key, facts.logical_id), name.clone());
                assert_eq!(before, None, "{}: {name} repeats an event", kind.topic.name);
            }
        }
    }
}

#[test]
fn a_copy_under_another_envelope_has_the_same_logical_id() {
    for kind in kinds::all() {
        for (name, json) in json_files(kind.topic.name, "examples") {
            for event in events(&json) {
                let mut copy = event.clone();
                copy["envelope"]["producer_id"] = "somebody/else".into();
                copy["envelope"]["seq"] = 7.into();
                let (one, two) = ((kind.check)(event).unwrap(), (kind.check)(&copy).unwrap());
                assert_eq!((one.key, one.logical_id), (two.key, two.logical_id), "{}/{name}", kind.topic.name);
                assert_ne!(one.event_id, two.event_id);
            }
        }
    }
}

#[test]
fn leg_ids_in_the_examples_are_those_that_the_edge_computes() {
    let mut compared = 0;
    for (name, json) in json_files("sip.transactions", "examples") {
        for event in events(&json) {
            let event: SipTransaction = strict(event).unwrap();
            if event.event_type == "transaction" {
                continue;
            }
            let call: CallId = event.call_root_id.parse().unwrap_or_else(|_| panic!("{name}: {}", event.call_root_id));
            let i = &event.identity;
            let leg = |attempt: i32| {
                LegId::edge(&call, &i.call_id, &i.from_tag, i.cseq, u32::try_from(attempt).unwrap()).to_string()
            };
            assert_eq!(event.leg_id, leg(event.attempt), "{name}: {} of attempt {}", event.event_type, event.attempt);
            for branch in &event.branches {
                assert_eq!(branch.leg_id, leg(branch.attempt), "{name}: branch of attempt {}", branch.attempt);
            }
            compared += 1;
        }
    }
    assert!(compared > 20, "only {compared} legs were compared");
}
