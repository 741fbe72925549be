//! One topic for somebody who is going to read it.

use std::fmt::Write as _;

use anyhow::Context as _;
use schemas::TopicSpec;
use serde_json::Value;

/// How records of every topic are ordered and copies recognised; the envelope is the same in all of them.
const READING: &str = "\
order        records of one key stand in one partition in the order of their publishing; between keys there is none.
             What happened first, among several producers, is told by the event's own times (fields that end in _us).
copies       a retry can write a record twice: the same envelope.producer_id, producer_epoch, partition and seq is the
             same publication. Two publications with the same key that differ in nothing but the envelope say the same
             thing; count it once.
gaps         seq grows by 1 in each (producer_id, producer_epoch, partition): what is missing there was lost or shed.
";

const COMPACTED: &str = "\
compacted    the newest record of a key is the state of that key; a record without a value ends it.
";

pub fn text(topic: &TopicSpec) -> anyhow::Result<String> {
    let facts = schemas::facts(topic);
    let schema: Value = serde_json::from_str(topic.schema).context("the schema that is built in")?;
    let or_open = |list: &[&str]| if list.is_empty() { "an open set".to_owned() } else { list.join(", ") };
    let mut out = format!("{}: {}\n\n", topic.name, doc(&schema));
    for (name, value) in [
        ("owner", facts.owner.to_owned()),
        ("key", facts.key.to_owned()),
        ("partitions", format!("{} (murmur2 of the key, as Kafka's clients choose them)", topic.partitions)),
        ("kept", super::kept(topic)),
        ("written by", facts.producers.join(", ")),
        ("read by", facts.consumers.join(", ")),
        ("event_type", or_open(&facts.event_types)),
        ("schema", format!("id {} ({:#010x}), Avro behind a zero byte and the id", topic.schema_id, topic.schema_id)),
        ("shed", format!("class {}", topic.class.as_str())),
    ] {
        let _ = writeln!(out, "{name:<13}{value}");
    }
    out.push_str(READING);
    if topic.compacted {
        out.push_str(COMPACTED);
    }
    out.push('\n');
    let mut rows = Vec::new();
    fields(&schema, "", &mut rows);
    let width = |pick: fn(&Row) -> &str| rows.iter().map(|row| pick(row).chars().count()).max().unwrap_or(0);
    let (names, kinds) = (width(|row| &row.name), width(|row| &row.kind));
    for row in &rows {
        let _ = writeln!(out, "{:<names$}  {:<kinds$}  {}", row.name, row.kind, row.doc);
    }
    Ok(out)
}

struct Row {
    name: String,
    kind: String,
    doc: String,
}

fn doc(of: &Value) -> &str {
    of["doc"].as_str().unwrap_or_default()
}

/// The fields of a record and, behind a dot, of the records in it.
fn fields(record: &Value, at: &str, rows: &mut Vec<Row>) {
    for field in record["fields"].as_array().into_iter().flatten() {
        let (kind, inner, many) = kind(&field["type"]);
        let name = format!("{at}{}{}", field["name"].as_str().unwrap_or_default(), if many { "[]" } else { "" });
        rows.push(Row { name: name.clone(), kind, doc: doc(field).to_owned() });
        if let Some(inner) = inner {
            fields(inner, &format!("{name}."), rows);
        }
    }
}

/// Name of a type (with `?` when it may be absent), the record in it, and whether there can be several.
fn kind(of: &Value) -> (String, Option<&Value>, bool) {
    match of {
        Value::String(name) => (name.rsplit('.').next().unwrap_or(name).to_owned(), None, false),
        Value::Array(variants) => {
            let Some(present) = variants.iter().find(|v| *v != "null") else { return ("null".to_owned(), None, false) };
            let (name, inner, many) = kind(present);
            (format!("{name}?"), inner, many)
        }
        other => match other["type"].as_str() {
            Some("record") => (other["name"].as_str().unwrap_or("record").to_owned(), Some(other), false),
            Some("array") => {
                let (name, inner, _) = kind(&other["items"]);
                (format!("list of {name}"), inner, true)
            }
            Some("map") => (format!("map of {}", kind(&other["values"]).0), None, false),
            Some(name) => (name.to_owned(), None, false),
            None => kind(&other["type"]),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_described_with_every_field_and_its_unit() {
        for topic in schemas::all_topics() {
            let text = text(topic).expect("a description");
            let owner = schemas::facts(topic).owner;
            assert!(!owner.is_empty() && text.contains(&format!("owner        {owner}\n")), "{text}");
            assert!(text.contains("envelope.seq ") && text.contains("envelope.emitted_wall_us"), "{text}");
            let fields = topic.schema.matches("\"doc\"").count() - topic.schema.matches("\"type\": \"record\"").count();
            let shown = text.lines().skip_while(|line| !line.starts_with("envelope ")).count();
            assert_eq!(shown, fields, "{}:\n{text}", topic.name);
        }
    }

    #[test]
    fn a_nested_field_says_its_type_and_where_it_stands() {
        let text = text(schemas::by_name("sip.transactions").expect("a topic")).expect("a description");
        for part in ["identity.request_user", "branches[].target_id", "string?", "list of SipBranch", "µs since 1970"]
        {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }
}
