//! Old and new builds on one topic: what one does not know, the other does without.

use apache_avro::{Schema, writer::datum::GenericDatumWriter};
use schemas::SipTransaction;
use serde_json::{Value, json};

use crate::kinds::{self, json_files, strict};

/// Every way to take one optional group or field out of the top level of a schema.
fn without_each_field(schema: &str) -> Vec<(String, Schema)> {
    let whole: Value = serde_json::from_str(schema).unwrap();
    let count = whole["fields"].as_array().unwrap().len();
    let mut shorter = Vec::new();
    for i in 0..count {
        let mut less = whole.clone();
        let gone = less["fields"].as_array_mut().unwrap().remove(i);
        // A record that is defined in the field taken out and used again later cannot be taken out alone.
        if let (Some(_), Ok(parsed)) = (gone.get("default"), Schema::parse_str(&less.to_string())) {
            shorter.push((gone["name"].as_str().unwrap().to_owned(), parsed));
        }
    }
    shorter
}

#[test]
fn an_event_of_a_writer_that_lacks_a_field_gets_its_default() {
    for kind in kinds::all() {
        for (field, older) in without_each_field(kind.topic.schema) {
            let written = record_of_defaults(&older);
            let read = (kind.read_with)(&older, &written)
                .unwrap_or_else(|e| panic!("{} without {field}: {e}", kind.topic.name));
            assert_eq!(read, (kind.default)(), "{} without {field}", kind.topic.name);
        }
    }
}

#[test]
fn a_field_that_a_newer_writer_added_is_skipped() {
    for kind in kinds::all() {
        let mut newer: Value = serde_json::from_str(kind.topic.schema).unwrap();
        let added = json!({ "name": "later", "type": { "type": "array", "items": "string" }, "default": ["x", "y"] });
        newer["fields"].as_array_mut().unwrap().insert(1, added);
        let newer = Schema::parse_str(&newer.to_string()).unwrap();
        let written = record_of_defaults(&newer);
        assert_eq!((kind.read_with)(&newer, &written).unwrap(), (kind.default)(), "{}", kind.topic.name);
    }
}

#[test]
fn a_newer_writer_may_leave_out_a_whole_group() {
    let (_, json) = json_files("sip.transactions", "examples").into_iter().find(|(n, _)| n == "answered.json").unwrap();
    let mut event: SipTransaction = strict(&json["events"][1]).unwrap();
    let (_, schema) =
        without_each_field(schemas::all_topics()[0].schema).into_iter().find(|(f, _)| f == "timing").unwrap();
    event.timing = None;
    // apache-avro writes structs by name here, as a build with another schema would.
    let mut value = serde_json::to_value(&event).unwrap();
    value.as_object_mut().unwrap().remove("timing");
    let writer = GenericDatumWriter::builder(&schema).human_readable(false).build().unwrap();
    let datum = writer.write_ser_to_vec(&Older(&event)).unwrap();
    let read = (kinds::all()[0].read_with)(&schema, &datum).unwrap();
    assert_eq!(read, serde_json::to_value(&event).unwrap());
}

/// An event in the eyes of a build that has never heard of `timing`.
struct Older<'a>(&'a SipTransaction);

impl serde::Serialize for Older<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let e = self.0;
        let mut s = serializer.serialize_struct("SipTransaction", 22)?;
        s.serialize_field("envelope", &e.envelope)?;
        s.serialize_field("event_type", &e.event_type)?;
        s.serialize_field("call_root_id", &e.call_root_id)?;
        s.serialize_field("leg_id", &e.leg_id)?;
        s.serialize_field("parent_leg_id", &e.parent_leg_id)?;
        s.serialize_field("edge_id", &e.edge_id)?;
        s.serialize_field("occurred_us", &e.occurred_us)?;
        s.serialize_field("occurred_mono_us", &e.occurred_mono_us)?;
        s.serialize_field("source_side", &e.source_side)?;
        s.serialize_field("source_id", &e.source_id)?;
        s.serialize_field("attempt", &e.attempt)?;
        s.serialize_field("identity", &e.identity)?;
        s.serialize_field("transport", &e.transport)?;
        s.serialize_field("parties", &e.parties)?;
        s.serialize_field("headers", &e.headers)?;
        s.serialize_field("offer", &e.offer)?;
        s.serialize_field("answer", &e.answer)?;
        s.serialize_field("outcome", &e.outcome)?;
        s.serialize_field("decision", &e.decision)?;
        s.serialize_field("sent", &e.sent)?;
        s.serialize_field("correlation", &e.correlation)?;
        s.serialize_field("branches", &e.branches)?;
        s.serialize_field("dialog", &e.dialog)?;
        s.end()
    }
}

/// A datum in which every field has the default of the schema; keys are empty.
fn record_of_defaults(schema: &Schema) -> Vec<u8> {
    struct Nothing;
    impl serde::Serialize for Nothing {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeStruct;
            serializer.serialize_struct("Nothing", 0)?.end()
        }
    }
    // A struct without fields: apache-avro fills in each default. Keys have none, so they get one here.
    let mut json = serde_json::to_value(schema).unwrap();
    for field in json["fields"].as_array_mut().unwrap() {
        let field = field.as_object_mut().unwrap();
        field.entry("default").or_insert_with(|| json!(""));
    }
    let schema = Schema::parse_str(&json.to_string()).unwrap();
    GenericDatumWriter::builder(&schema).human_readable(false).build().unwrap().write_ser_to_vec(&Nothing).unwrap()
}
