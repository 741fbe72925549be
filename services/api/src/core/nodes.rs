//! The FreeSWITCH nodes as their observers see them, and the weights that authors gave them.

use std::collections::BTreeMap;

use domain::Now;
use schemas::{ControlWeight, NodeHealth, NodeHeartbeat};
use serde::Serialize;

const MAX_NODES: usize = 2_000;
const MAX_OBSERVERS: usize = 32;
const MAX_AUTHORS: usize = 16;

/// Three heartbeats of FreeSWITCH (20 s each): nobody has said anything for longer, so nothing is known.
const SILENT_US: u64 = 60_000_000;

#[derive(Debug, Default)]
pub struct Nodes {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// By observer, `edge/<id>` or `engine/<id>`.
    observers: BTreeMap<String, Observed>,
    heartbeat: Option<(NodeHeartbeat, u64)>,
    core_uuid: Option<String>,
    /// By author.
    weights: BTreeMap<String, ControlWeight>,
    heard_mono_us: Option<u64>,
}

#[derive(Debug, Clone)]
struct Observed {
    state: String,
    reason: Option<String>,
    calls_open: Option<i32>,
    mono_us: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeView {
    pub id: String,
    /// up, suspect, down, draining, disabled or unknown.
    pub state: String,
    pub reason: Option<String>,
    /// Factor of the configured weight that is in force, 0 to 1.
    pub weight: f64,
    /// Who set it.
    pub weight_author: Option<String>,
    pub weight_reason: Option<String>,
    pub weights: Vec<WeightView>,
    pub sessions: Option<i32>,
    pub max_sessions: Option<i32>,
    pub idle_cpu_percent: Option<f64>,
    /// Over all edges.
    pub calls_open: Option<i32>,
    pub heartbeat_age_ms: Option<u64>,
    pub heard_age_ms: Option<u64>,
    pub core_uuid: Option<String>,
    pub observers: Vec<ObserverView>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeightView {
    pub author: String,
    pub weight: f64,
    pub state: String,
    pub rule: Option<String>,
    pub reason: Option<String>,
    pub made_us: i64,
    pub until_us: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ObserverView {
    pub id: String,
    pub state: String,
    pub reason: Option<String>,
    pub age_ms: u64,
}

impl Nodes {
    pub fn apply_health(&mut self, now: Now, event: NodeHealth) {
        let Some(node) = self.node(&event.node_id) else { return };
        node.heard_mono_us = Some(now.mono_us);
        if event.core_uuid.is_some() {
            node.core_uuid.clone_from(&event.core_uuid);
        }
        if let Some(beat) = event.heartbeat {
            node.heartbeat = Some((beat, now.mono_us));
        }
        let observer = format!("{}/{}", event.observer_kind, event.observer_id);
        let known = node.observers.get(&observer).cloned();
        if known.is_none() && node.observers.len() >= MAX_OBSERVERS {
            return;
        }
        let link = event.link.as_ref().map(|link| link.state.clone());
        let state = event.state.or(link).or_else(|| known.as_ref().map(|known| known.state.clone()));
        let calls_open = event.passive.map(|passive| passive.calls_open);
        let observed = Observed {
            state: state.unwrap_or_else(|| "up".to_owned()),
            reason: event.reason.or_else(|| event.link.and_then(|link| link.error)),
            calls_open: calls_open.or_else(|| known.and_then(|known| known.calls_open)),
            mono_us: now.mono_us,
        };
        node.observers.insert(observer, observed);
    }

    pub fn apply_weight(&mut self, event: ControlWeight) {
        let Some(node) = self.node(&event.node_id) else { return };
        if node.weights.len() < MAX_AUTHORS || node.weights.contains_key(&event.author) {
            node.weights.insert(event.author.clone(), event);
        }
    }

    /// The key is `<node>/<author>`; an author may itself hold a slash, a node's id does not.
    pub fn tombstone_weight(&mut self, key: &str) {
        let Some((id, author)) = key.split_once('/') else { return };
        if let Some(node) = self.nodes.get_mut(id) {
            node.weights.remove(author);
        }
    }

    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.nodes.contains_key(id)
    }

    #[must_use]
    pub fn ids(&self) -> Vec<&str> {
        self.nodes.keys().map(String::as_str).collect()
    }

    /// The record of one author, as it was last written.
    #[must_use]
    pub fn weight_of(&self, id: &str, author: &str) -> Option<&ControlWeight> {
        self.nodes.get(id)?.weights.get(author)
    }

    #[must_use]
    pub fn list(&self, now: Now) -> Vec<NodeView> {
        self.nodes.iter().map(|(id, node)| node.view(id, now)).collect()
    }

    /// Keys of this author's weights that ended an hour ago.
    #[must_use]
    pub fn ended(&self, now: Now, author: &str) -> Vec<String> {
        const HOUR_US: i64 = 3_600_000_000;
        let ended = |node: &Node| {
            node.weights.get(author).and_then(|w| w.until_us).is_some_and(|until| until + HOUR_US <= now.wall_us)
        };
        self.nodes.iter().filter(|(_, node)| ended(node)).map(|(id, _)| format!("{id}/{author}")).collect()
    }

    fn node(&mut self, id: &str) -> Option<&mut Node> {
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(id) {
            return None;
        }
        Some(self.nodes.entry(id.to_owned()).or_default())
    }
}

impl Node {
    fn view(&self, id: &str, now: Now) -> NodeView {
        let age = |mono_us: u64| now.mono_us.saturating_sub(mono_us);
        let weight = self.weight_in_force(now);
        let (seen, reason) = self.seen(now);
        let state = match weight.map(|weight| weight.state.as_str()) {
            Some(state @ ("draining" | "disabled")) => state.to_owned(),
            _ => seen,
        };
        let edges = self.observers.values().filter_map(|observed| observed.calls_open);
        NodeView {
            id: id.to_owned(),
            state,
            reason,
            weight: weight.map_or(1.0, |weight| weight.weight),
            weight_author: weight.map(|weight| weight.author.clone()),
            weight_reason: weight.and_then(|weight| weight.reason.clone().or_else(|| weight.rule.clone())),
            weights: self.weights.values().map(weight_view).collect(),
            sessions: self.heartbeat.as_ref().and_then(|(beat, _)| beat.sessions),
            max_sessions: self.heartbeat.as_ref().and_then(|(beat, _)| beat.max_sessions),
            idle_cpu_percent: self.heartbeat.as_ref().and_then(|(beat, _)| beat.idle_cpu_percent),
            calls_open: edges.reduce(|a, b| a.saturating_add(b)),
            heartbeat_age_ms: self.heartbeat.as_ref().map(|(_, at)| age(*at) / 1_000),
            heard_age_ms: self.heard_mono_us.map(|at| age(at) / 1_000),
            core_uuid: self.core_uuid.clone(),
            observers: self
                .observers
                .iter()
                .map(|(id, observed)| ObserverView {
                    id: id.clone(),
                    state: observed.state.clone(),
                    reason: observed.reason.clone(),
                    age_ms: age(observed.mono_us) / 1_000,
                })
                .collect(),
        }
    }

    /// The worst state that an edge reports: edges send the calls. Without one, the worst of the others.
    fn seen(&self, now: Now) -> (String, Option<String>) {
        let fresh = |observed: &&Observed| now.mono_us.saturating_sub(observed.mono_us) <= SILENT_US;
        let worst = |kind: Option<&str>| {
            self.observers
                .iter()
                .filter(|(id, _)| kind.is_none_or(|kind| id.starts_with(kind)))
                .map(|(_, observed)| observed)
                .filter(fresh)
                .max_by_key(|observed| badness(&observed.state))
        };
        match worst(Some("edge/")).or_else(|| worst(None)) {
            Some(observed) => (observed.state.clone(), observed.reason.clone()),
            None => ("unknown".to_owned(), Some("nobody has reported about it lately".to_owned())),
        }
    }

    /// A person beats a program; between persons the later wins; what has passed its `until` does not count.
    fn weight_in_force(&self, now: Now) -> Option<&ControlWeight> {
        self.weights
            .values()
            .filter(|weight| weight.until_us.is_none_or(|until| until > now.wall_us))
            .max_by_key(|weight| (weight.author != "capacity", weight.made_us))
    }
}

fn badness(state: &str) -> u8 {
    match state {
        "down" => 4,
        "suspect" => 3,
        "draining" => 2,
        "unknown" => 1,
        _ => 0,
    }
}

fn weight_view(weight: &ControlWeight) -> WeightView {
    WeightView {
        author: weight.author.clone(),
        weight: weight.weight,
        state: weight.state.clone(),
        rule: weight.rule.clone(),
        reason: weight.reason.clone(),
        made_us: weight.made_us,
        until_us: weight.until_us,
    }
}

#[cfg(test)]
mod tests {
    use schemas::NodePassive;

    use super::*;

    fn at(seconds: u64) -> Now {
        Now { wall_us: seconds as i64 * 1_000_000, mono_us: seconds * 1_000_000 }
    }

    fn health(kind: &str, state: &str) -> NodeHealth {
        NodeHealth {
            event_type: "probe".into(),
            node_id: "fs-1".into(),
            observer_kind: kind.into(),
            observer_id: "x".into(),
            state: Some(state.into()),
            passive: (kind == "edge").then(|| NodePassive { calls_open: 7, ..NodePassive::default() }),
            ..NodeHealth::default()
        }
    }

    fn weight(author: &str, weight: f64, made_s: i64, until_s: Option<i64>) -> ControlWeight {
        ControlWeight {
            node_id: "fs-1".into(),
            author: author.into(),
            weight,
            state: if weight == 0.0 { "draining".into() } else { "active".into() },
            made_us: made_s * 1_000_000,
            until_us: until_s.map(|s| s * 1_000_000),
            ..ControlWeight::default()
        }
    }

    fn only(nodes: &Nodes, now: Now) -> NodeView {
        nodes.list(now).remove(0)
    }

    #[test]
    fn the_edge_decides_what_state_is_shown_and_silence_makes_it_unknown() {
        let mut nodes = Nodes::default();
        nodes.apply_health(at(1), health("engine", "down"));
        assert_eq!(only(&nodes, at(2)).state, "down");
        nodes.apply_health(at(2), health("edge", "up"));
        let view = only(&nodes, at(3));
        assert_eq!((view.state.as_str(), view.calls_open), ("up", Some(7)));
        assert_eq!(only(&nodes, at(70)).state, "unknown");
    }

    #[test]
    fn a_persons_weight_beats_capacity_until_it_ends_or_is_taken_back() {
        let mut nodes = Nodes::default();
        nodes.apply_health(at(1), health("edge", "up"));
        assert_eq!(only(&nodes, at(1)).weight, 1.0, "nobody said anything: the configured weight");
        nodes.apply_weight(weight("capacity", 0.5, 9, None));
        assert_eq!(only(&nodes, at(10)).weight, 0.5);
        nodes.apply_weight(weight("operator", 0.0, 5, Some(20)));
        let view = only(&nodes, at(10));
        assert_eq!((view.state.as_str(), view.weight_author.as_deref()), ("draining", Some("operator")));
        nodes.apply_weight(weight("edge/e1", 0.2, 6, None));
        assert_eq!(only(&nodes, at(10)).weight, 0.2, "between persons the later wins");
        nodes.tombstone_weight("fs-1/edge/e1");
        assert_eq!(only(&nodes, at(21)).weight, 0.5, "the operator's has passed its end");
        assert!(nodes.ended(at(20 + 3_599), "operator").is_empty());
        assert_eq!(nodes.ended(at(20 + 3_600), "operator"), ["fs-1/operator"]);
    }
}
