//! What a consumer implements, and how it says what went wrong.

use async_trait::async_trait;
use schemas::{DecodeError, Event};

use crate::Record;

/// A consumer's work. One task owns it, so it needs no locks.
#[async_trait]
pub trait Handler: Send {
    /// Handles the batch and makes its effect durable; only then are its offsets committed. Names the records that can never be
    /// handled: they become dead letters and the rest goes on. The same records may come again: effects must be idempotent.
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure>;

    /// Called every `tick_every`, also while there is nothing to read, never during `handle`.
    async fn tick(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// Called once: everything that was in the topics at the start has been handled.
    fn caught_up(&mut self) {}
}

/// A record that can never be handled.
#[derive(Debug, Clone)]
pub struct Poison {
    /// Place in the batch.
    pub index: usize,
    /// Short and from a closed set, such as `not_framed`.
    pub class: &'static str,
    pub error: String,
}

#[derive(Debug)]
pub enum Failure {
    /// May pass (database away, unknown schema): the whole batch is tried again after a pause.
    Transient(anyhow::Error),
    /// Cannot pass: the pump ends.
    Fatal(anyhow::Error),
}

/// What is wrong with one record.
#[derive(Debug)]
pub enum Bad {
    Poison(Poison),
    /// Written with a schema that this build does not know. Never a dead letter: the batch waits (and with it the partitions that this
    /// pump reads) until a newer build, or the schema, is there.
    Wait(anyhow::Error),
}

/// Decodes record `index` of a batch. A tombstone is poison here: check `value` first where tombstones are expected.
pub fn decode<E: Event>(index: usize, record: &Record) -> Result<E, Bad> {
    let Some(value) = &record.value else {
        return Err(Bad::Poison(Poison { index, class: "tombstone", error: "a value was expected".to_owned() }));
    };
    schemas::decode::<E>(value).map_err(|error| {
        let class = match &error {
            DecodeError::UnknownSchema(_) => {
                return Bad::Wait(
                    anyhow::Error::new(error)
                        .context(format!("{}/{} offset {}", record.topic.name, record.partition, record.offset)),
                );
            }
            DecodeError::NotFramed => "not_framed",
            DecodeError::WrongTopic { .. } => "wrong_topic",
            DecodeError::TooLong(_) => "too_long",
            DecodeError::Trailing(_) => "trailing_bytes",
            DecodeError::Avro(_) => "avro",
        };
        Bad::Poison(Poison { index, class, error: error.to_string() })
    })
}
