//! A record that a handler could not take, as an event: byte for byte, with where it came from and what was wrong.

use schemas::{DeadHeader, DeadLetter};

use super::Poison;
use crate::Record;

/// Longest error text that is kept.
const MAX_ERROR: usize = 2000;
/// Longest value that is kept: a record of Kafka's default limit whole. A larger one is cut, and the header says how long it was; the
/// whole still stands at its place in the source topic.
pub const MAX_KEPT: usize = (1 << 20) + (64 << 10);
/// Header of a letter whose value was cut: the length of the whole.
pub const CUT_OF: &str = "dead-letter-cut-of";

pub fn dead_letter(
    record: &Record,
    poison: &Poison,
    consumer: &str,
    group: Option<&str>,
    attempts: u32,
    now_us: i64,
) -> DeadLetter {
    let schema_id = match record.value.as_deref() {
        Some([0, a, b, c, d, ..]) => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    };
    let mut headers: Vec<DeadHeader> = record
        .headers
        .iter()
        .map(|(name, value)| DeadHeader { name: name.clone().into_owned(), value: value.as_ref().into() })
        .collect();
    let kept = record.value.as_deref().map(|value| &value[..value.len().min(MAX_KEPT)]);
    if let Some(value) = record.value.as_deref().filter(|value| value.len() > MAX_KEPT) {
        headers.push(DeadHeader {
            name: CUT_OF.to_owned(),
            value: value.len().to_string().into_bytes().as_slice().into(),
        });
    }
    DeadLetter {
        event_type: "dead".to_owned(),
        source_topic: record.topic.name.to_owned(),
        source_partition: record.partition,
        source_offset: record.offset,
        source_timestamp_us: Some(record.timestamp_us),
        key: record.key.as_ref().into(),
        value: kept.map(Into::into),
        headers,
        schema_id,
        consumer: consumer.to_owned(),
        group: group.map(str::to_owned),
        error_class: poison.class.to_owned(),
        error: Some(poison.error.chars().take(MAX_ERROR).collect()),
        attempts: i32::try_from(attempts).unwrap_or(i32::MAX),
        died_us: now_us,
        ..DeadLetter::default()
    }
}
