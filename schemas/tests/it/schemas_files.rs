//! The `.avsc` files: documented, with defaults, and never two under one id.

use std::collections::BTreeMap;

use apache_avro::Schema;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::kinds::{self, folder};

/// Words in brackets at the end of a doc that say what the value is counted in or looks like.
fn has_unit(field: &Value) -> bool {
    let doc = field["doc"].as_str().unwrap_or_default();
    let kind = &field["type"];
    let scalar = |t: &Value| t.is_string() && t != "boolean" && t != "null" && t.as_str().is_some_and(is_primitive);
    let needs = match kind {
        Value::Array(variants) => variants.iter().any(scalar),
        Value::Object(inner) => scalar(&inner.get("items").or(inner.get("values")).cloned().unwrap_or_default()),
        other => scalar(other),
    };
    let event_type = field["name"] == "event_type";
    !needs || event_type || (doc.contains('(') && doc.ends_with(").")) || says_its_form(doc)
}

fn is_primitive(name: &str) -> bool {
    ["int", "long", "double", "string", "bytes"].contains(&name)
}

/// "service/instance", "The body itself (text as on the wire)" and the like in the middle of a sentence.
fn says_its_form(doc: &str) -> bool {
    doc.contains("): ") || doc.contains("); ") || doc.contains(") ") || doc.contains(": service/instance")
}

fn fields(schema: &Value, at: &str, each: &mut impl FnMut(&str, &Value)) {
    match schema {
        Value::Object(object) => {
            for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
                let at = format!("{at}/{}", field["name"].as_str().unwrap());
                each(&at, field);
                fields(&field["type"], &at, each);
            }
            for inner in ["items", "values"] {
                object.get(inner).into_iter().for_each(|t| fields(t, at, each));
            }
        }
        Value::Array(variants) => variants.iter().for_each(|t| fields(t, at, each)),
        _ => {}
    }
}

#[test]
fn every_field_has_a_doc_with_its_unit() {
    let mut without = Vec::new();
    for kind in kinds::all() {
        let schema: Value = serde_json::from_str(kind.topic.schema).unwrap();
        fields(&schema, kind.topic.name, &mut |at, field| {
            if field["doc"].as_str().is_none_or(str::is_empty) || !has_unit(field) {
                without.push(format!("{at}: {}", field["doc"]));
            }
        });
    }
    assert!(without.is_empty(), "no unit or form in the doc:\n{}", without.join("\n"));
}

#[test]
fn every_field_has_a_default_unless_it_is_the_key() {
    let keys: &[(&str, &[&str])] = &[
        ("sip.transactions", &["call_root_id"]),
        ("sip.rejections", &["source"]),
        ("channel.events", &["call_root_id"]),
        ("ivr.decisions", &["call_root_id"]),
        ("node.health", &["node_id"]),
        ("call.reconciled", &["call_root_id"]),
        ("cdr.legs", &["call_root_id"]),
        ("cdr.calls", &["call_root_id"]),
        ("fraud.alerts", &["subject"]),
        ("control.blocks", &["author", "block_id"]),
        ("control.weights", &["node_id", "author"]),
        ("control.routes", &["kind", "id"]),
        ("control.nodes", &["kind", "id"]),
        ("control.acks", &["applier_id"]),
        ("control.audit", &["actor"]),
        ("stream.manifests", &["producer"]),
        ("stream.schemas", &[]),
        ("dead.letters", &["source_topic"]),
    ];
    for kind in kinds::all() {
        let schema: Value = serde_json::from_str(kind.topic.schema).unwrap();
        let mut without = Vec::new();
        fields(&schema, "", &mut |at, field| {
            if field.get("default").is_none() {
                without.push(at.trim_start_matches('/').to_owned());
            }
        });
        let wanted = keys.iter().find(|(topic, _)| *topic == kind.topic.name).unwrap().1;
        assert_eq!(without, wanted, "{}", kind.topic.name);
    }
}

#[test]
fn every_optional_field_is_null_first_with_null_as_default() {
    for kind in kinds::all() {
        let schema: Value = serde_json::from_str(kind.topic.schema).unwrap();
        fields(&schema, kind.topic.name, &mut |at, field| {
            if let Some(variants) = field["type"].as_array() {
                assert_eq!(variants.len(), 2, "{at}");
                assert_eq!(variants[0], "null", "{at}");
                assert_eq!(field["default"], Value::Null, "{at}");
            }
        });
    }
}

#[test]
fn a_record_that_several_topics_share_is_the_same_in_all() {
    let mut seen: BTreeMap<String, (String, &str)> = BTreeMap::new();
    for kind in kinds::all() {
        let schema = Schema::parse_str(kind.topic.schema).unwrap();
        let names = apache_avro::schema::ResolvedSchema::try_from(&schema).unwrap();
        for (name, schema) in names.get_names() {
            let text = schema.canonical_form();
            let first = seen.entry(name.to_string()).or_insert((text.clone(), kind.topic.name));
            assert_eq!(first.0, text, "{name} differs between {} and {}", first.1, kind.topic.name);
        }
    }
    assert!(seen.contains_key("trunkline.Envelope"));
}

#[test]
fn every_id_has_one_schema_forever() {
    let text = std::fs::read_to_string(folder().join("ids.toml")).unwrap();
    let pinned: BTreeMap<String, BTreeMap<String, String>> = toml::from_str(&text).unwrap();
    let pinned = &pinned["schemas"];
    let mut built = BTreeMap::new();
    for topic in schemas::all_topics() {
        for (id, schema) in std::iter::once((topic.schema_id, topic.schema)).chain(topic.retired.iter().copied()) {
            assert!((0x5452_0001..=0x5452_ffff).contains(&id), "{}: {id:#x} is outside our range", topic.name);
            let form = Schema::parse_str(schema).unwrap().canonical_form();
            let digest: String = Sha256::digest(form.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
            let before = built.insert(format!("{id:#010x}"), format!("{} {}", topic.name, &digest[..32]));
            assert_eq!(before, None, "{id:#010x} is used twice");
        }
    }
    assert_eq!(
        pinned, &built,
        "a schema changed under its id: keep the old file as retired and take the next free id (README, \"Add a field\")"
    );
}
