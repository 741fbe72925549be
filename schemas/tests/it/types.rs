//! The Rust types against the schemas, field by field.
//!
//! A value is made from the schema alone, with another value in every field. It must pass strictly through the Rust
//! type (so the type has every field of the schema), come back unchanged (so it has no other), and what the type
//! encodes must read back, through apache-avro's generic reader, with every value under its own name (so the order is
//! that of the schema, which encoding by position relies on).

use apache_avro::{Schema, reader::datum::GenericDatumReader, types::Value as Avro};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use crate::kinds;

const ROUNDS: u64 = 64;

#[test]
fn every_type_has_the_fields_of_its_schema_in_its_order() {
    for kind in kinds::all() {
        let schema = Schema::parse_str(kind.topic.schema).unwrap();
        let reader = GenericDatumReader::builder(&schema).build().unwrap();
        for round in 0..ROUNDS {
            let filled = Filler { round, names: named(&schema) }.value(&schema, kind.topic.name);
            let (frame, back) = (kind.through)(&filled).unwrap_or_else(|e| panic!("{}: {e}", kind.topic.name));
            assert_eq!(back, filled, "{}: Rust has other fields than the schema", kind.topic.name);
            let generic = reader.read_value(&mut &frame[schemas::codec::FRAME_HEADER_BYTES..]).unwrap();
            assert_eq!(plain(generic), filled, "{}: fields are out of order", kind.topic.name);
        }
    }
}

#[test]
fn every_default_is_that_of_the_schema() {
    for kind in kinds::all() {
        let schema: Value = serde_json::from_str(kind.topic.schema).unwrap();
        assert_eq!((kind.default)(), defaults(&schema), "{}", kind.topic.name);
    }
}

#[test]
fn two_fields_that_change_places_are_noticed() {
    // The proof above must be able to fail: the same value under a schema whose first two texts have changed places.
    let kind = &kinds::all()[0];
    let schema = Schema::parse_str(kind.topic.schema).unwrap();
    let filled = Filler { round: 0, names: named(&schema) }.value(&schema, kind.topic.name);
    let (frame, _) = (kind.through)(&filled).unwrap();
    let mut swapped: Value = serde_json::from_str(kind.topic.schema).unwrap();
    let fields = swapped["fields"].as_array_mut().unwrap();
    assert_eq!((&fields[1]["type"], &fields[2]["type"]), (&json!("string"), &json!("string")));
    fields.swap(1, 2);
    let swapped = Schema::parse_str(&swapped.to_string()).unwrap();
    let reader = GenericDatumReader::builder(&swapped).build().unwrap();
    let generic = reader.read_value(&mut &frame[schemas::codec::FRAME_HEADER_BYTES..]).unwrap();
    assert_ne!(plain(generic), filled);
}

/// Makes values from a schema. The first round sets everything; later ones leave options out and turn flags at random.
struct Filler {
    round: u64,
    names: Map<String, Value>,
}

impl Filler {
    fn value(&self, schema: &Schema, at: &str) -> Value {
        match schema {
            Schema::Boolean => json!(self.dice(at).is_multiple_of(2)),
            Schema::Int => json!(1 + self.dice(at) % 60_000),
            Schema::Long => json!(1 + self.dice(at) % u64::from(u32::MAX)),
            Schema::Double => json!((self.dice(at) % 100_000) as f64 + 0.5),
            Schema::String => json!(format!("{at} {}", self.dice(at) % 1000)),
            Schema::Bytes => json!(STANDARD.encode(at)),
            Schema::Array(array) => {
                json!([self.value(&array.items, &format!("{at}/0")), self.value(&array.items, &format!("{at}/1"))])
            }
            Schema::Map(map) => json!({ at: self.value(&map.types, at) }),
            Schema::Union(union) if self.round > 0 && self.dice(at).is_multiple_of(3) => {
                assert_eq!(union.variants()[0], Schema::Null, "{at}: null comes first, so that null is the default");
                Value::Null
            }
            Schema::Union(union) => self.value(&union.variants()[1], at),
            Schema::Record(record) => {
                let field = |f: &apache_avro::schema::RecordField| {
                    (f.name.clone(), self.value(&f.schema, &format!("{at}/{}", f.name)))
                };
                Value::Object(record.fields.iter().map(field).collect())
            }
            Schema::Ref { name } => {
                let text = self.names[name.name()].to_string();
                self.value(&Schema::parse_str(&text).unwrap(), at)
            }
            other => panic!("{at}: events have no {other:?}"),
        }
    }

    /// A number that depends on the place and the round only (FNV-1a).
    fn dice(&self, at: &str) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ self.round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in at.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash >> 7
    }
}

/// The named records of a schema, for those that it uses twice.
fn named(schema: &Schema) -> Map<String, Value> {
    fn walk(value: &Value, out: &mut Map<String, Value>) {
        if value["type"] == "record" {
            out.insert(value["name"].as_str().unwrap().to_owned(), value.clone());
        }
        match value {
            Value::Object(fields) => fields.values().for_each(|v| walk(v, out)),
            Value::Array(items) => items.iter().for_each(|v| walk(v, out)),
            _ => {}
        }
    }
    let mut out = Map::new();
    walk(&serde_json::to_value(schema).unwrap(), &mut out);
    out
}

fn plain(value: Avro) -> Value {
    match value {
        Avro::Null => Value::Null,
        Avro::Boolean(b) => json!(b),
        Avro::Int(n) => json!(n),
        Avro::Long(n) => json!(n),
        Avro::Double(n) => json!(n),
        Avro::String(s) => json!(s),
        Avro::Bytes(b) => json!(STANDARD.encode(b)),
        Avro::Union(_, inner) => plain(*inner),
        Avro::Array(items) => items.into_iter().map(plain).collect(),
        Avro::Map(entries) => Value::Object(entries.into_iter().map(|(k, v)| (k, plain(v))).collect()),
        Avro::Record(fields) => Value::Object(fields.into_iter().map(|(k, v)| (k, plain(v))).collect()),
        other => panic!("events have no {other:?}"),
    }
}

/// What a reader puts in when the writer knew none of the fields; keys, which have no default, are empty texts.
fn defaults(record: &Value) -> Value {
    let field = |f: &Value| {
        let value = match f.get("default") {
            None => json!(""),
            Some(_) if f["type"]["type"] == "record" => defaults(&f["type"]),
            Some(default) => default.clone(),
        };
        (f["name"].as_str().unwrap().to_owned(), value)
    };
    Value::Object(record["fields"].as_array().unwrap().iter().map(field).collect())
}
