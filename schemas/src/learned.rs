//! Schemas of other builds, learned while the process runs.
//!
//! Invariants:
//! * an id has one schema: another text under a known id is refused, wherever it came from (a registry that mixes ids up would
//!   otherwise turn records into other records);
//! * readers take no lock: what was learned is a chain that only grows, and a known link never changes;
//! * a schema from outside can cost time and memory only in proportion to the record: no value of it may nest without end, and
//!   nothing that takes no bytes may be repeated.

use std::sync::OnceLock;

use apache_avro::{Schema, schema::Name};

use crate::{
    known::{self, Known},
    topic,
};

/// Learned schemas stay for the life of the process. A platform has a few dozen; whoever brings more is not one of us.
const MOST: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// R-03: whoever gave this schema mixes ids up, or the id was used twice.
    #[error("schema id {id:#010x} is known with another schema (topic {topic}): refused")]
    Mismatch { id: u32, topic: &'static str },
    /// Nothing here reads that topic.
    #[error("schema id {id:#010x} is for topic {topic:?}, which this build does not have")]
    NoTopic { id: u32, topic: String },
    #[error("schema id {id:#010x}: not an Avro schema: {source}")]
    NotASchema { id: u32, source: Box<apache_avro::Error> },
    /// Avro, but nothing that may be read into our types.
    #[error("schema id {id:#010x}: {why}")]
    Unfit { id: u32, why: String },
}

struct Link {
    id: u32,
    known: Known,
    next: OnceLock<&'static Link>,
}

static FIRST: OnceLock<&'static Link> = OnceLock::new();

pub(crate) fn find(id: u32) -> Option<&'static Known> {
    let mut link = FIRST.get();
    while let Some(here) = link {
        if here.id == id {
            return Some(&here.known);
        }
        link = here.next.get();
    }
    None
}

/// Makes records readable that were written for `topic` with this schema. False: it was known already.
pub fn learn(id: u32, topic: &str, text: &str) -> Result<bool, LearnError> {
    let not_a_schema = |source| LearnError::NotASchema { id, source };
    let schema = Schema::parse_str(text).map_err(|e| not_a_schema(Box::new(e)))?;
    let spec = topic::by_name(topic).ok_or_else(|| LearnError::NoTopic { id, topic: topic.to_owned() })?;
    if let Some(known) = known::find(id) {
        return same(id, known, topic, &schema).map(|()| false);
    }
    let unfit = |why| LearnError::Unfit { id, why };
    fits(&schema, spec.schema).map_err(unfit)?;
    let known = Known::new(spec, schema).map_err(not_a_schema)?;
    let link: &'static Link = Box::leak(Box::new(Link { id, known, next: OnceLock::new() }));
    let mut place = &FIRST;
    for _ in 0..MOST {
        match place.set(link) {
            Ok(()) => return Ok(true),
            Err(_) => {
                let taken = place.get().expect("a place that cannot be set is taken");
                if taken.id == id {
                    // Somebody learned it at the same time.
                    return same(id, &taken.known, topic, link.known.schema).map(|()| false);
                }
                place = &taken.next;
            }
        }
    }
    Err(unfit(format!("{MOST} schemas were learned already")))
}

fn same(id: u32, known: &Known, topic: &str, schema: &Schema) -> Result<(), LearnError> {
    let equal = known.topic.name == topic && known.schema.canonical_form() == schema.canonical_form();
    if equal { Ok(()) } else { Err(LearnError::Mismatch { id, topic: known.topic.name }) }
}

/// Whether a schema may be read into the type of the topic.
fn fits(schema: &Schema, ours: &str) -> Result<(), String> {
    let ours = Schema::parse_str(ours).expect("a test parses every schema");
    match (schema, &ours) {
        (Schema::Record(theirs), Schema::Record(ours)) if theirs.name == ours.name => {}
        _ => return Err(format!("not a record {}", ours.name().map_or_else(String::new, ToString::to_string))),
    }
    Walk::default().may_be_empty(schema).map(drop)
}

#[derive(Default)]
struct Walk<'a> {
    /// Records that the walk is in.
    open: Vec<&'a Name>,
    /// Named types that the walk has left, and whether a value of them can take no bytes.
    done: Vec<(&'a Name, bool)>,
}

impl<'a> Walk<'a> {
    /// Whether a value can take no bytes at all; an error when no bound could be given for reading one.
    fn may_be_empty(&mut self, schema: &'a Schema) -> Result<bool, String> {
        let repeated = |empty: bool| if empty { Err("a list of what takes no bytes".to_owned()) } else { Ok(false) };
        match schema {
            Schema::Null => Ok(true),
            Schema::Array(array) => repeated(self.may_be_empty(&array.items)?),
            Schema::Map(map) => self.may_be_empty(&map.types).map(|_| false),
            Schema::Union(union) => {
                union.variants().iter().try_for_each(|variant| self.may_be_empty(variant).map(drop))?;
                Ok(false)
            }
            Schema::Record(record) => {
                self.open.push(&record.name);
                let mut empty = true;
                for field in &record.fields {
                    empty &= self.may_be_empty(&field.schema)?;
                }
                self.open.pop();
                self.done.push((&record.name, empty));
                Ok(empty)
            }
            Schema::Fixed(fixed) => {
                self.done.push((&fixed.name, fixed.size == 0));
                Ok(fixed.size == 0)
            }
            Schema::Ref { name } if self.open.contains(&name) => Err(format!("{name} contains itself")),
            // Only an enum or a decimal is in neither list; both take bytes.
            Schema::Ref { name } => Ok(self.done.iter().any(|(known, empty)| *known == name && *empty)),
            _ => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(fields: &str) -> Result<(), String> {
        let text = format!(r#"{{"type":"record","name":"A","fields":[{fields}]}}"#);
        let parsed = Schema::parse_str(&text).unwrap();
        fits(&parsed, r#"{"type":"record","name":"A","fields":[]}"#)
    }

    #[test]
    fn what_has_no_bound_is_refused() {
        assert_eq!(fit(r#"{"name":"next","type":["null","A"]}"#), Err("A contains itself".to_owned()));
        let inner = r#"{"type":"record","name":"B","fields":[{"name":"n","type":"null"}]}"#;
        assert!(fit(&format!(r#"{{"name":"many","type":{{"type":"array","items":{inner}}}}}"#)).is_err());
        let twice = format!(r#"{{"name":"b","type":{inner}}},{{"name":"m","type":{{"type":"array","items":"B"}}}}"#);
        assert!(fit(&twice).is_err());
        assert!(fit(r#"{"name":"many","type":{"type":"array","items":"null"}}"#).is_err());
    }

    #[test]
    fn what_has_a_bound_is_taken() {
        let inner = r#"{"type":"record","name":"B","fields":[{"name":"n","type":"long"}]}"#;
        let twice = format!(r#"{{"name":"b","type":{inner}}},{{"name":"m","type":{{"type":"array","items":"B"}}}}"#);
        assert_eq!(fit(&twice), Ok(()));
        assert_eq!(fit(r#"{"name":"m","type":{"type":"map","values":["null","bytes"]}}"#), Ok(()));
    }

    #[test]
    fn another_record_is_refused() {
        let other = Schema::parse_str(r#"{"type":"record","name":"Other","fields":[]}"#).unwrap();
        assert_eq!(fits(&other, crate::dead_letter::TOPIC.schema), Err("not a record trunkline.DeadLetter".to_owned()));
    }
}
