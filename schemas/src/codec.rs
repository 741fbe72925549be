//! Encoding and decoding: Confluent framing (a zero byte, the schema id as 4 big-endian bytes) around an Avro datum.
//!
//! Invariants:
//! * encoding walks the event alone (`datum`), decoding is apache-avro's schema-aware path; its generic `Value` costs eight times as much;
//! * decoding takes the *writer's* schema, found by the id in the frame, straight into today's type: a field that the
//!   writer did not know takes its default, one that we do not know is skipped. A reader schema is never set, because
//!   apache-avro 0.22 panics when it is;
//! * whatever the bytes, decoding returns an error and allocates no more than [`MAX_FRAME_BYTES`] for one value.

use std::marker::PhantomData;

use crate::{
    datum::{self, Unfit},
    event::Event,
    known,
    topic::TopicSpec,
};

/// Longest frame that is decoded. Kafka's own default limit for a record is 1 MiB; a dead letter holds one whole.
pub const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024;

/// Bytes before the datum.
pub const FRAME_HEADER_BYTES: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Our type and our schema disagree, or a text is not what its type promises: a bug here, never the caller's.
    #[error("event does not fit the schema of {topic}: {source}")]
    Schema { topic: &'static str, source: Unfit },
}

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no frame at all: dead letter.
    #[error("not a frame: it does not begin with a zero byte and a schema id")]
    NotFramed,
    /// Written with a schema that this process does not know yet: look it up in `stream.schemas`, [`crate::learn`] it and
    /// retry, then park; never a dead letter.
    #[error("schema id {0:#010x} is unknown here")]
    UnknownSchema(u32),
    /// A frame of another topic: dead letter.
    #[error("schema id {id:#010x} belongs to {actual}, not to {wanted}")]
    WrongTopic { id: u32, wanted: &'static str, actual: &'static str },
    /// Longer than anything we write: dead letter.
    #[error("frame of {0} bytes is longer than {MAX_FRAME_BYTES}")]
    TooLong(usize),
    /// Bytes are left after the datum: dead letter.
    #[error("{0} bytes are left after the datum")]
    Trailing(usize),
    /// The datum does not follow its schema: dead letter.
    #[error("datum does not follow its schema: {0}")]
    Avro(Box<apache_avro::Error>),
}

/// Encodes events of one type into one buffer, which is reused from event to event.
pub struct Encoder<E> {
    frame: Vec<u8>,
    event: PhantomData<fn(&E)>,
}

impl<E: Event> Encoder<E> {
    pub fn new() -> Self {
        Self { frame: Vec::with_capacity(2048), event: PhantomData }
    }

    /// The frame stays valid until the next call.
    pub fn encode(&mut self, event: &E) -> Result<&[u8], EncodeError> {
        self.frame.clear();
        self.frame.push(0);
        self.frame.extend_from_slice(&E::TOPIC.schema_id.to_be_bytes());
        write(event, &mut self.frame)?;
        Ok(&self.frame)
    }
}

impl<E: Event> Default for Encoder<E> {
    fn default() -> Self {
        Self::new()
    }
}

fn write<E: Event>(event: &E, into: &mut Vec<u8>) -> Result<(), EncodeError> {
    datum::write(into, event).map_err(|source| EncodeError::Schema { topic: E::TOPIC.name, source })
}

/// The datum without a frame.
pub(crate) fn encode_body<E: Event>(event: &E) -> Result<Vec<u8>, EncodeError> {
    let mut body = Vec::with_capacity(1024);
    write(event, &mut body)?;
    Ok(body)
}

/// Schema id and datum of a frame.
pub fn split_frame(frame: &[u8]) -> Result<(u32, &[u8]), DecodeError> {
    if frame.len() > MAX_FRAME_BYTES {
        return Err(DecodeError::TooLong(frame.len()));
    }
    match frame {
        [0, a, b, c, d, datum @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), datum)),
        _ => Err(DecodeError::NotFramed),
    }
}

/// Decodes one event.
pub fn decode<E: Event>(frame: &[u8]) -> Result<E, DecodeError> {
    let (id, mut datum) = split_frame(frame)?;
    let known = known::find(id).ok_or(DecodeError::UnknownSchema(id))?;
    if known.topic != E::TOPIC {
        return Err(DecodeError::WrongTopic { id, wanted: E::TOPIC.name, actual: known.topic.name });
    }
    let event = known.reader.read_deser(&mut datum).map_err(|e| DecodeError::Avro(Box::new(e)))?;
    if datum.is_empty() { Ok(event) } else { Err(DecodeError::Trailing(datum.len())) }
}

/// The topic that a frame was written for.
pub fn topic_of(frame: &[u8]) -> Result<&'static TopicSpec, DecodeError> {
    let (id, _) = split_frame(frame)?;
    known::find(id).map(|known| known.topic).ok_or(DecodeError::UnknownSchema(id))
}
