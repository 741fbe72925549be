//! What publishing adds to every event.
//!
//! Invariant: nothing in here says what happened, so the content hash of an event leaves it out, and two copies of
//! one event published by two processes are equal but for the envelope.

use serde::{Deserialize, Serialize};

/// What publishing adds to every event. Two copies of one event differ at most in here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Envelope {
    /// Version of this topic's schema that the writer was built with (number).
    pub schema_version: i32,
    /// Who published: service/instance.
    pub producer_id: String,
    /// Start of the producing process, which makes sequence numbers unambiguous (µs since 1970 UTC).
    pub producer_epoch: i64,
    /// Partition of the topic that the sequence number belongs to (number).
    pub partition: i32,
    /// Gap-free sequence number in (producer, epoch, topic, partition), counted from 0 (number).
    pub seq: i64,
    /// When the event was published, for people (µs since 1970 UTC).
    pub emitted_wall_us: i64,
    /// When the event was published, on the boot-time clock of the producer's machine (µs since boot).
    pub emitted_mono_us: i64,
    /// Boot that the monotonic times belong to (boot id as the kernel prints it).
    pub boot_id: Option<String>,
    /// Region or site of the producer (name).
    pub region: Option<String>,
    /// Tenant that the event belongs to (id).
    pub tenant_id: Option<String>,
    /// Trace that the event belongs to (32 hex digits, W3C trace context).
    pub trace_id: Option<String>,
}

impl Envelope {
    /// The event's identity in a topic: `producer/epoch/topic/partition/seq`. Not a field, because everything in it is.
    pub fn event_id(&self, topic: &str) -> String {
        format!("{}/{}/{topic}/{}/{}", self.producer_id, self.producer_epoch, self.partition, self.seq)
    }
}
