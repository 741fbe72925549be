//! Events as JSON, for people and tools that do not know the type beforehand.

use serde_json::Value;

use crate::{
    codec::{DecodeError, decode, topic_of},
    event::Event,
    topic::TopicSpec,
};

/// Decodes a frame of any topic.
pub fn to_json(frame: &[u8]) -> Result<(&'static TopicSpec, Value), DecodeError> {
    let topic = topic_of(frame)?;
    let (_, read) =
        READERS.iter().find(|(name, _)| *name == topic.name).expect("a test finds a reader for every topic");
    read(frame).map(|value| (topic, value))
}

type Reader = (&'static str, fn(&[u8]) -> Result<Value, DecodeError>);

const fn reader<E: Event>() -> Reader {
    (E::TOPIC.name, read::<E>)
}

fn read<E: Event>(frame: &[u8]) -> Result<Value, DecodeError> {
    let event: E = decode(frame)?;
    Ok(serde_json::to_value(event).expect("an event has text keys only, so it has a JSON form"))
}

static READERS: &[Reader] = &[
    reader::<crate::SipTransaction>(),
    reader::<crate::SipRejections>(),
    reader::<crate::ChannelEvent>(),
    reader::<crate::IvrDecision>(),
    reader::<crate::NodeHealth>(),
    reader::<crate::CallReconciled>(),
    reader::<crate::CdrLeg>(),
    reader::<crate::CdrCall>(),
    reader::<crate::FraudAlert>(),
    reader::<crate::ControlBlock>(),
    reader::<crate::ControlWeight>(),
    reader::<crate::ControlRoute>(),
    reader::<crate::ControlNode>(),
    reader::<crate::ControlAck>(),
    reader::<crate::ControlAudit>(),
    reader::<crate::StreamManifest>(),
    reader::<crate::StreamSchema>(),
    reader::<crate::DeadLetter>(),
];
