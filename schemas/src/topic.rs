//! What the platform promises about a topic. The same facts stand in `<topic>/topic.toml` for operators and tools; a
//! test keeps the two equal.

/// How long records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// For this many days.
    Days(u32),
    /// Until a newer record of the same key or a tombstone replaces them.
    Forever,
}

/// What goes first when there is room for less than everything: the last class first, `Life` last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Opens, answers and closes calls, and everything that a record is made of.
    Life,
    /// Changes what edges and engines do. Never shed before `Life`.
    Control,
    /// Keys and media detail.
    Detail,
    /// Heartbeats and probes: the next one says it again.
    Health,
    /// Counts that nobody bills.
    Metrics,
}

impl Class {
    /// All of them, the last to be shed first.
    pub const ALL: [Self; 5] = [Self::Life, Self::Control, Self::Detail, Self::Health, Self::Metrics];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Life => "life",
            Self::Control => "control",
            Self::Detail => "detail",
            Self::Health => "health",
            Self::Metrics => "metrics",
        }
    }
}

/// One topic.
#[derive(Debug)]
pub struct TopicSpec {
    pub name: &'static str,
    /// A topic on the broker that differs is refused at start: the key of a call would move.
    pub partitions: i32,
    pub retention: Retention,
    /// Whether only the newest record of each key is kept.
    pub compacted: bool,
    /// Version of the schema that this build writes.
    pub version: i32,
    /// Id of that schema in the frame: pinned, private, never used for another schema.
    pub schema_id: u32,
    /// The schema itself, as it stands in `<topic>/v<version>.avsc`.
    pub schema: &'static str,
    /// Older schemas that stay decodable: (id, schema).
    pub retired: &'static [(u32, &'static str)],
    pub class: Class,
}

impl TopicSpec {
    /// Every schema that its records may be written with, oldest first: (id, schema). Its place here, counted from 1, is its
    /// version in a registry.
    pub fn schemas(&self) -> impl Iterator<Item = (u32, &'static str)> + use<> {
        self.retired.iter().copied().chain([(self.schema_id, self.schema)])
    }
}

impl PartialEq for TopicSpec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for TopicSpec {}

/// Every topic that something here writes or reads.
pub fn all_topics() -> &'static [&'static TopicSpec] {
    ALL
}

/// The topic of that name.
pub fn by_name(name: &str) -> Option<&'static TopicSpec> {
    ALL.iter().copied().find(|t| t.name == name)
}

static ALL: &[&TopicSpec] = &[
    &crate::sip_transaction::TOPIC,
    &crate::sip_rejections::TOPIC,
    &crate::channel_event::TOPIC,
    &crate::ivr_decision::TOPIC,
    &crate::node_health::TOPIC,
    &crate::call_reconciled::TOPIC,
    &crate::cdr_leg::TOPIC,
    &crate::cdr_call::TOPIC,
    &crate::fraud_alert::TOPIC,
    &crate::control_block::TOPIC,
    &crate::control_weight::TOPIC,
    &crate::control_route::TOPIC,
    &crate::control_node::TOPIC,
    &crate::control_ack::TOPIC,
    &crate::control_audit::TOPIC,
    &crate::stream_manifest::TOPIC,
    &crate::stream_schema::TOPIC,
    &crate::dead_letter::TOPIC,
];
