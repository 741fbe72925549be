//! `topic.toml` against the table that the code uses.

use std::collections::BTreeSet;

use schemas::{Event as _, Retention, all_topics, by_name};
use serde::Deserialize;

use crate::kinds::{self, folder, json_files};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    owner: String,
    key: String,
    partitions: i32,
    cleanup: String,
    retention_days: Option<u32>,
    class: String,
    version: i32,
    schema_id: u32,
    producers: Vec<String>,
    consumers: Vec<String>,
    event_types: Vec<String>,
}

fn file(topic: &str) -> File {
    let text = std::fs::read_to_string(folder().join(topic).join("topic.toml")).unwrap();
    toml::from_str(&text).unwrap_or_else(|e| panic!("{topic}/topic.toml: {e}"))
}

#[test]
fn every_topic_file_says_what_the_code_does() {
    for topic in all_topics() {
        let file = file(topic.name);
        let retention = file.retention_days.map_or(Retention::Forever, Retention::Days);
        assert_eq!(file.name, topic.name);
        assert_eq!(file.partitions, topic.partitions, "{}", topic.name);
        assert_eq!(file.cleanup == "compact", topic.compacted, "{}", topic.name);
        assert_eq!(retention, topic.retention, "{}", topic.name);
        assert_eq!(file.class, topic.class.as_str(), "{}", topic.name);
        assert_eq!((file.version, file.schema_id), (topic.version, topic.schema_id), "{}", topic.name);
        let text = std::fs::read_to_string(folder().join(topic.name).join(format!("v{}.avsc", topic.version))).unwrap();
        assert_eq!(text, topic.schema, "{}", topic.name);
        for text in [&file.owner, &file.key] {
            assert!(!text.is_empty(), "{}", topic.name);
        }
        assert!(!file.producers.is_empty() && !file.consumers.is_empty(), "{}", topic.name);
        let facts = schemas::facts(topic);
        assert_eq!((facts.owner, facts.key), (file.owner.as_str(), file.key.as_str()));
        assert_eq!(facts.producers, file.producers, "{}", topic.name);
        assert_eq!(facts.consumers, file.consumers, "{}", topic.name);
        assert_eq!(facts.event_types, file.event_types, "{}", topic.name);
    }
}

#[test]
fn a_manifest_outlives_every_record_that_it_accounts_for() {
    let Retention::Days(manifests) = schemas::StreamManifest::TOPIC.retention else { panic!("kept for days") };
    for topic in all_topics().iter().filter(|topic| **topic != schemas::StreamManifest::TOPIC) {
        match topic.retention {
            Retention::Days(days) => assert!(manifests > days, "{} outlives its manifests", topic.name),
            Retention::Forever => assert!(topic.compacted, "{} is kept whole for ever, manifests are not", topic.name),
        }
    }
}

#[test]
fn topics_keyed_by_call_id_have_twelve_partitions_and_the_others_three() {
    for topic in all_topics() {
        let by_call = file(topic.name).key.starts_with("call id");
        assert_eq!(topic.partitions, if by_call { 12 } else { 3 }, "{}", topic.name);
    }
}

#[test]
fn every_folder_is_a_topic_with_a_type_and_a_json_reader() {
    let folders: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("topic.toml").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let table: BTreeSet<String> = all_topics().iter().map(|t| t.name.to_owned()).collect();
    let kinds: BTreeSet<String> = kinds::all().iter().map(|k| k.topic.name.to_owned()).collect();
    assert_eq!(folders, table);
    assert_eq!(kinds, table);
    for kind in kinds::all() {
        let (frame, json) = (kind.through)(&(kind.default)()).unwrap();
        let (topic, read) = schemas::to_json(&frame).unwrap();
        assert_eq!((topic.name, read), (kind.topic.name, json));
        assert_eq!(by_name(topic.name), Some(topic));
    }
}

#[test]
fn no_example_shows_a_number_once_it_is_masked() {
    let whole = ["+14155550", "14155550123", "4969123451"];
    let mut seen = 0;
    for kind in kinds::all() {
        for (name, json) in json_files(kind.topic.name, "examples") {
            for event in json["events"].as_array().unwrap() {
                let mut event = event.clone();
                seen += usize::from(whole.iter().any(|number| event.to_string().contains(number)));
                schemas::mask(&mut event);
                let text = event.to_string();
                for number in whole {
                    assert!(!text.contains(number), "{}/{name} shows {number}: {text}", kind.topic.name);
                }
            }
        }
    }
    assert!(seen > 10, "only {seen} examples had a number to mask");
}

#[test]
fn every_event_type_stands_in_the_topic_file_and_has_an_example() {
    for kind in kinds::all() {
        let listed: BTreeSet<String> = file(kind.topic.name).event_types.into_iter().collect();
        let mut shown = BTreeSet::new();
        for (_, json) in json_files(kind.topic.name, "examples") {
            for event in json["events"].as_array().unwrap() {
                shown.insert(event["event_type"].as_str().unwrap().to_owned());
            }
        }
        if kind.topic.name == "channel.events" {
            assert!(listed.is_empty(), "FreeSWITCH's event names are an open set");
        } else {
            let unlisted: Vec<_> = shown.difference(&listed).collect();
            assert!(unlisted.is_empty(), "{}: {unlisted:?} is in no topic file", kind.topic.name);
        }
        let code: BTreeSet<String> = types_in_code(kind.topic.name).iter().map(|s| (*s).to_owned()).collect();
        assert_eq!(listed, code, "{}", kind.topic.name);
        assert!(!shown.is_empty(), "{} has no example", kind.topic.name);
    }
}

#[test]
fn every_story_of_the_grammar_has_an_example() {
    let names: Vec<String> = json_files("sip.transactions", "examples").into_iter().map(|(name, _)| name).collect();
    for wanted in [
        "answered",
        "failover",
        "cancelled",
        "passes-twice",
        "authenticated",
        "refused",
        "late-answer",
        "transactions",
        "lost",
        "busy",
        "full-invite",
    ] {
        assert!(names.contains(&format!("{wanted}.json")), "{wanted} is missing");
    }
}

fn types_in_code(topic: &str) -> &'static [&'static str] {
    match topic {
        "sip.transactions" => schemas::sip_transaction::EVENT_TYPES,
        "sip.rejections" => schemas::sip_rejections::EVENT_TYPES,
        "ivr.decisions" => schemas::ivr_decision::EVENT_TYPES,
        "node.health" => schemas::node_health::EVENT_TYPES,
        "call.reconciled" => schemas::call_reconciled::EVENT_TYPES,
        "cdr.legs" => schemas::cdr_leg::EVENT_TYPES,
        "cdr.calls" => schemas::cdr_call::EVENT_TYPES,
        "fraud.alerts" => schemas::fraud_alert::EVENT_TYPES,
        "control.blocks" => schemas::control_block::EVENT_TYPES,
        "control.weights" => schemas::control_weight::EVENT_TYPES,
        "control.routes" => schemas::control_route::EVENT_TYPES,
        "control.nodes" => schemas::control_node::EVENT_TYPES,
        "control.acks" => schemas::control_ack::EVENT_TYPES,
        "control.audit" => schemas::control_audit::EVENT_TYPES,
        "stream.manifests" => schemas::stream_manifest::EVENT_TYPES,
        "stream.schemas" => schemas::stream_schema::EVENT_TYPES,
        "dead.letters" => schemas::dead_letter::EVENT_TYPES,
        _ => &[],
    }
}
