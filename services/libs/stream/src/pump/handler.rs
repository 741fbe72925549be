//! What a consumer implements, and how it says what went wrong.

use async_trait::async_trait;
use schemas::{DecodeError, Event};

use super::Progress;
use crate::Record;

/// A consumer's work. One task owns it, so it needs no locks.
#[async_trait]
pub trait Handler: Send {
    /// Handles the batch and makes its effect durable; only then are its offsets committed. Names the records that can never be
    /// handled: they become dead letters and the rest goes on. The same records may come again: effects must be idempotent. With
    /// leased partitions the effect may wait for `commit`.
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure>;

    /// Leased partitions only: makes what `handle` did durable together with these positions, in one transaction. Called after each
    /// batch, when its dead letters are in the log; also without a batch before it, when a held dead letter was decided.
    /// `Transient`: the batch is handled again and then committed again.
    async fn commit(&mut self, _done: &[Progress]) -> Result<(), Failure> {
        Ok(())
    }

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
    /// Written with a schema that is not known here. Never a dead letter. A pump parks such a record before its handler sees it;
    /// where that is switched off, the whole batch waits.
    Wait(anyhow::Error),
}

/// Decodes record `index` of a batch. A tombstone is poison here: check `value` first where tombstones are expected.
pub fn decode<E: Event>(index: usize, record: &Record) -> Result<E, Bad> {
    let Some(value) = &record.value else {
        return Err(Bad::Poison(Poison { index, class: "tombstone", error: "a value was expected".to_owned() }));
    };
    let event = schemas::decode::<E>(value).map_err(|error| {
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
    })?;
    // Another key than its own: it stands in the wrong partition, or was written by somebody who does not know ours.
    if event.key().as_bytes() != record.key.as_ref() {
        return Err(Bad::Poison(Poison {
            index,
            class: "wrong_key",
            error: "the key is not that of the event".to_owned(),
        }));
    }
    Ok(event)
}
