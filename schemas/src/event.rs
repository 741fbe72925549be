//! What every event can do.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    check::Invalid,
    envelope::Envelope,
    topic::{Class, TopicSpec},
};

pub trait Event: Serialize + DeserializeOwned + Default + Clone + Send + Sync + 'static {
    const TOPIC: &'static TopicSpec;

    fn envelope(&self) -> &Envelope;

    fn envelope_mut(&mut self) -> &mut Envelope;

    /// Partition key; with [`Event::logical_id`] it recognises copies.
    fn key(&self) -> String;

    fn event_type(&self) -> &str;

    /// What makes two copies one, within a key. Never taken alone: an event that names two calls is published once
    /// under each call's key with one logical id.
    fn logical_id(&self) -> [u8; 16];

    /// What goes first when there is room for less than everything.
    fn class(&self) -> Class {
        Self::TOPIC.class
    }

    /// What must hold beyond the schema. Writers assert it in tests; a consumer may refuse what breaks it.
    fn check(&self) -> Result<(), Invalid>;
}
