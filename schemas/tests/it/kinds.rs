//! Every event type behind one face, so that a test runs over all topics and none is forgotten.

use std::path::PathBuf;

use schemas::{
    CallReconciled, CdrCall, CdrLeg, ChannelEvent, ControlAck, ControlAudit, ControlBlock, ControlNode, ControlRoute,
    ControlWeight, DeadLetter, Encoder, Event, FraudAlert, Invalid, IvrDecision, NodeHealth, SipRejections,
    SipTransaction, StreamManifest, StreamSchema, TopicSpec, codec::FRAME_HEADER_BYTES, decode,
};
use serde_json::Value;

pub struct Kind {
    pub topic: &'static TopicSpec,
    /// The default value as JSON.
    pub default: fn() -> Value,
    /// Reads JSON strictly, encodes it as apache-avro would, decodes it, and gives the frame and what came back.
    pub through: fn(&Value) -> Result<Through, String>,
    /// Reads JSON strictly and checks what must hold beyond the schema.
    pub check: fn(&Value) -> Result<Facts, String>,
    /// Decodes a frame.
    pub decode: fn(&[u8]) -> Result<Value, schemas::DecodeError>,
    /// Decodes a datum that was written with the schema of somebody else.
    pub read_with: fn(&apache_avro::Schema, &[u8]) -> Result<Value, String>,
}

/// A frame, and what it reads back as.
type Through = (Vec<u8>, Value);

pub struct Facts {
    pub key: String,
    pub event_type: String,
    pub logical_id: [u8; 16],
    pub event_id: String,
}

pub fn all() -> Vec<Kind> {
    vec![
        kind::<SipTransaction>(),
        kind::<SipRejections>(),
        kind::<ChannelEvent>(),
        kind::<IvrDecision>(),
        kind::<NodeHealth>(),
        kind::<CallReconciled>(),
        kind::<CdrLeg>(),
        kind::<CdrCall>(),
        kind::<FraudAlert>(),
        kind::<ControlBlock>(),
        kind::<ControlWeight>(),
        kind::<ControlRoute>(),
        kind::<ControlNode>(),
        kind::<ControlAck>(),
        kind::<ControlAudit>(),
        kind::<StreamManifest>(),
        kind::<StreamSchema>(),
        kind::<DeadLetter>(),
    ]
}

fn kind<E: Event + PartialEq>() -> Kind {
    Kind {
        topic: E::TOPIC,
        default: || serde_json::to_value(E::default()).unwrap(),
        through: |json| {
            let event: E = strict(json)?;
            let frame = Encoder::new().encode(&event).map_err(|e| e.to_string())?.to_vec();
            if frame[FRAME_HEADER_BYTES..] != by_apache_avro(&event)? {
                return Err("apache-avro writes other bytes".to_owned());
            }
            let back: E = decode(&frame).map_err(|e| e.to_string())?;
            if back != event {
                return Err("decoding gives another event than was encoded".to_owned());
            }
            Ok((frame, serde_json::to_value(back).unwrap()))
        },
        check: |json| {
            let event: E = strict(json)?;
            event.check().map_err(|e: Invalid| e.to_string())?;
            Ok(Facts {
                key: event.key(),
                event_type: event.event_type().to_owned(),
                logical_id: event.logical_id(),
                event_id: event.envelope().event_id(E::TOPIC.name),
            })
        },
        decode: |frame| decode::<E>(frame).map(|e| serde_json::to_value(e).unwrap()),
        read_with: |schema, mut datum| {
            let reader = apache_avro::reader::datum::GenericDatumReader::builder(schema).human_readable(false).build();
            let event: E = reader.unwrap().read_deser(&mut datum).map_err(|e| e.to_string())?;
            Ok(serde_json::to_value(event).unwrap())
        },
    }
}

/// The datum as apache-avro writes it, with the schema beside the event and every field looked up by its name.
fn by_apache_avro<E: Event>(event: &E) -> Result<Vec<u8>, String> {
    let schema = apache_avro::Schema::parse_str(E::TOPIC.schema).unwrap();
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&schema).human_readable(false).build();
    let mut datum = Vec::new();
    writer.unwrap().write_ser(&mut datum, event).map_err(|e| e.to_string())?;
    Ok(datum)
}

/// Reads an event from JSON in which no field may be misspelt.
pub fn strict<E: Event>(json: &Value) -> Result<E, String> {
    let mut unknown = Vec::new();
    let event = serde_ignored::deserialize(json, |path| unknown.push(path.to_string())).map_err(|e| {
        // serde_json names the value but not the field; look for the field that makes the difference.
        format!("{e} at {}", culprit::<E>(json))
    })?;
    if unknown.is_empty() { Ok(event) } else { Err(format!("unknown field {}", unknown.join(", "))) }
}

/// The first field without which the rest can be read.
fn culprit<E: Event>(json: &Value) -> String {
    fn paths(value: &Value, at: &str, out: &mut Vec<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, v)| paths(v, &format!("{at}/{name}"), out)),
            Value::Array(items) => items.iter().enumerate().for_each(|(i, v)| paths(v, &format!("{at}/{i}"), out)),
            _ => {}
        }
        out.push(at.to_owned());
    }
    let mut all = Vec::new();
    paths(json, "", &mut all);
    let readable_without = |path: &&String| {
        let mut json = json.clone();
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", ""));
        match json.pointer_mut(parent) {
            Some(Value::Object(fields)) => drop(fields.remove(name)),
            Some(Value::Array(items)) => drop(items.remove(name.parse().unwrap())),
            _ => return false,
        }
        serde_json::from_value::<E>(json).is_ok()
    };
    all.iter().find(readable_without).cloned().unwrap_or_default()
}

/// The folder of the crate.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The JSON files in a folder of a topic, by name.
pub fn json_files(topic: &str, sub: &str) -> Vec<(String, Value)> {
    let dir = folder().join(topic).join(sub);
    let mut files: Vec<_> = std::fs::read_dir(&dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path.file_name().unwrap().to_string_lossy().into_owned(), json)
        })
        .collect()
}
