//! What `<topic>/topic.toml` says beyond the [`TopicSpec`]: for people and tools, never for decisions.
//!
//! The files are ours and a test reads them with a real TOML parser and compares, so the lines are read here by hand.

use crate::topic::TopicSpec;

/// Facts about a topic that no program acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The service that answers for the topic.
    pub owner: &'static str,
    /// What the key of a record is.
    pub key: &'static str,
    pub producers: Vec<&'static str>,
    pub consumers: Vec<&'static str>,
    /// Empty where the set is open.
    pub event_types: Vec<&'static str>,
}

impl Facts {
    /// Whether all records of a call stand under its id.
    #[must_use]
    pub fn keyed_by_call(&self) -> bool {
        self.key.starts_with("call id")
    }
}

/// The facts of one of our topics; empty for a topic that is not.
#[must_use]
pub fn facts(topic: &TopicSpec) -> Facts {
    let text = FILES.iter().find(|(name, _)| *name == topic.name).map_or("", |(_, text)| text);
    Facts {
        owner: value(text, "owner").trim_matches('"'),
        key: value(text, "key").trim_matches('"'),
        producers: list(text, "producers"),
        consumers: list(text, "consumers"),
        event_types: list(text, "event_types"),
    }
}

fn value(text: &'static str, wanted: &str) -> &'static str {
    let mut lines = text.lines().filter_map(|line| line.split_once(" = "));
    lines.find(|(name, _)| *name == wanted).map_or("", |(_, value)| value)
}

fn list(text: &'static str, wanted: &str) -> Vec<&'static str> {
    let inner = value(text, wanted).trim_matches(['[', ']']);
    inner.split(", ").map(|item| item.trim_matches('"')).filter(|item| !item.is_empty()).collect()
}

static FILES: &[(&str, &str)] = &[
    ("sip.transactions", include_str!("../sip.transactions/topic.toml")),
    ("sip.rejections", include_str!("../sip.rejections/topic.toml")),
    ("channel.events", include_str!("../channel.events/topic.toml")),
    ("ivr.decisions", include_str!("../ivr.decisions/topic.toml")),
    ("node.health", include_str!("../node.health/topic.toml")),
    ("call.reconciled", include_str!("../call.reconciled/topic.toml")),
    ("cdr.legs", include_str!("../cdr.legs/topic.toml")),
    ("cdr.calls", include_str!("../cdr.calls/topic.toml")),
    ("fraud.alerts", include_str!("../fraud.alerts/topic.toml")),
    ("control.blocks", include_str!("../control.blocks/topic.toml")),
    ("control.weights", include_str!("../control.weights/topic.toml")),
    ("control.routes", include_str!("../control.routes/topic.toml")),
    ("control.nodes", include_str!("../control.nodes/topic.toml")),
    ("control.acks", include_str!("../control.acks/topic.toml")),
    ("control.audit", include_str!("../control.audit/topic.toml")),
    ("stream.manifests", include_str!("../stream.manifests/topic.toml")),
    ("stream.schemas", include_str!("../stream.schemas/topic.toml")),
    ("dead.letters", include_str!("../dead.letters/topic.toml")),
];
