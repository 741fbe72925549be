//! Schemas of other builds, and who published a record.
//!
//! What is learned stays for the process, so every test here takes an id of its own.

use proptest::prelude::*;
use schemas::{DecodeError, Encoder, Event, LearnError, NodeHealth, SipTransaction, decode, identity, learn};
use serde_json::{Value, json};

use crate::kinds::{self, json_files};

/// A newer schema of `sip.transactions`: one more field behind the envelope.
fn newer() -> String {
    let mut schema: Value = serde_json::from_str(SipTransaction::TOPIC.schema).unwrap();
    let added = json!({ "name": "later", "type": "string", "default": "", "doc": "Added later (text)." });
    schema["fields"].as_array_mut().unwrap().insert(1, added);
    schema.to_string()
}

/// An event as the newer build writes it.
fn written_by_newer(id: u32, event: &SipTransaction) -> Vec<u8> {
    let mut frame = Encoder::new().encode(event).unwrap().to_vec();
    frame[1..5].copy_from_slice(&id.to_be_bytes());
    let behind = 5 + envelope_bytes(event);
    frame.splice(behind..behind, [6, b'n', b'e', b'w']);
    frame
}

/// How long an event's envelope is: what it makes the event longer, and a zero byte for each field of an empty one.
fn envelope_bytes(event: &SipTransaction) -> usize {
    let schema: Value = serde_json::from_str(SipTransaction::TOPIC.schema).unwrap();
    let empty = schema["fields"][0]["type"]["fields"].as_array().unwrap().len();
    let with = SipTransaction { envelope: event.envelope.clone(), ..Default::default() };
    let length = |event: &SipTransaction| Encoder::new().encode(event).unwrap().len();
    length(&with) - length(&SipTransaction::default()) + empty
}

fn an_event() -> SipTransaction {
    let (_, json) = json_files("sip.transactions", "examples").into_iter().find(|(n, _)| n == "answered.json").unwrap();
    kinds::strict(&json["events"][0]).unwrap()
}

#[test]
fn a_record_of_an_unknown_schema_is_read_once_the_schema_is_learned() {
    let id = 0x5452_f001;
    let frame = written_by_newer(id, &an_event());
    assert!(matches!(decode::<SipTransaction>(&frame), Err(DecodeError::UnknownSchema(unknown)) if unknown == id));
    assert!(matches!(identity(&frame), Err(DecodeError::UnknownSchema(_))));
    assert!(learn(id, "sip.transactions", &newer()).unwrap());
    assert_eq!(decode::<SipTransaction>(&frame).unwrap(), an_event());
    assert_eq!(schemas::to_json(&frame).unwrap().0, SipTransaction::TOPIC);
    assert_eq!(identity(&frame).unwrap().producer, an_event().envelope.producer_id);
    assert!(matches!(decode::<NodeHealth>(&frame), Err(DecodeError::WrongTopic { .. })));
}

#[test]
fn another_schema_under_a_known_id_is_refused_and_changes_nothing() {
    let topic = SipTransaction::TOPIC;
    let ours = learn(topic.schema_id, topic.name, &newer());
    assert!(matches!(ours, Err(LearnError::Mismatch { id, .. }) if id == topic.schema_id), "{ours:?}");
    assert!(!learn(topic.schema_id, topic.name, topic.schema).unwrap(), "the same text is no news");
    let other_topic = learn(topic.schema_id, "node.health", topic.schema);
    assert!(matches!(other_topic, Err(LearnError::Mismatch { .. })), "{other_topic:?}");

    let id = 0x5452_f002;
    assert!(learn(id, topic.name, &newer()).unwrap());
    assert!(!learn(id, topic.name, &newer()).unwrap());
    assert!(matches!(learn(id, topic.name, topic.schema), Err(LearnError::Mismatch { .. })));
    assert_eq!(decode::<SipTransaction>(&written_by_newer(id, &an_event())).unwrap(), an_event());
}

#[test]
fn what_is_no_schema_of_ours_is_not_learned() {
    let refused = |topic: &str, text: &str| learn(0x5452_f003, topic, text).unwrap_err();
    assert!(matches!(refused("sip.transactions", "{"), LearnError::NotASchema { .. }));
    assert!(matches!(refused("billing.things", &newer()), LearnError::NoTopic { .. }));
    assert!(matches!(refused("node.health", &newer()), LearnError::Unfit { .. }));
    assert!(matches!(refused("node.health", "\"string\""), LearnError::Unfit { .. }));
}

#[test]
fn many_threads_learn_at_once_and_each_id_once() {
    let news: usize = std::thread::scope(|scope| {
        let learners: Vec<_> = (0..8)
            .map(|_| {
                let learn_all =
                    || (0x5452_f100..0x5452_f120).filter(|id| learn(*id, "sip.transactions", &newer()).unwrap());
                scope.spawn(move || learn_all().count())
            })
            .collect();
        learners.into_iter().map(|learner| learner.join().unwrap()).sum()
    });
    assert_eq!(news, 0x20);
}

#[test]
fn the_identity_of_every_example_is_that_of_its_envelope() {
    for kind in kinds::all() {
        for (name, json) in json_files(kind.topic.name, "examples") {
            for event in json["events"].as_array().unwrap() {
                let (frame, _) = (kind.through)(event).unwrap();
                let (read, envelope) = (identity(&frame).unwrap(), &event["envelope"]);
                let shown = json!([read.producer, read.epoch, read.partition, read.seq]);
                let wanted = ["producer_id", "producer_epoch", "partition", "seq"].map(|field| &envelope[field]);
                assert_eq!(shown, json!(wanted), "{}/{name}", kind.topic.name);
                assert!(matches!(read.producer, std::borrow::Cow::Borrowed(_)), "{} is read slowly", kind.topic.name);
            }
        }
    }
}

#[test]
fn an_identity_whose_envelope_stands_elsewhere_is_read_the_long_way() {
    let mut schema: Value = serde_json::from_str(SipTransaction::TOPIC.schema).unwrap();
    schema["fields"].as_array_mut().unwrap().swap(0, 1);
    let id = 0x5452_f004;
    learn(id, "sip.transactions", &schema.to_string()).unwrap();
    let event = an_event();
    let frame = Encoder::new().encode(&event).unwrap().to_vec();
    let short = identity(&frame).unwrap();
    let (envelope, rest) = frame[5..].split_at(envelope_bytes(&event));
    let (event_type, rest) = rest.split_at(1 + event.event_type.len());
    let moved = [&[0][..], &id.to_be_bytes(), event_type, envelope, rest].concat();
    let long = identity(&moved).unwrap();
    assert_eq!(long, short);
    assert!(matches!(long.producer, std::borrow::Cow::Owned(_)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_have_an_identity_or_an_error(datum in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut frame = vec![0];
        frame.extend(SipTransaction::TOPIC.schema_id.to_be_bytes());
        frame.extend(&datum);
        let _ = identity(&frame);
    }

    #[test]
    fn any_identity_is_read_back(producer in "\\PC{0,40}", epoch in any::<i64>(), partition in any::<i32>(), seq in any::<i64>()) {
        let mut event = SipTransaction::default();
        event.envelope.producer_id = producer.clone();
        (event.envelope.producer_epoch, event.envelope.partition, event.envelope.seq) = (epoch, partition, seq);
        let frame = Encoder::new().encode(&event).unwrap().to_vec();
        let read = identity(&frame).unwrap();
        prop_assert_eq!((&*read.producer, read.epoch, read.partition, read.seq), (&*producer, epoch, partition, seq));
    }
}
