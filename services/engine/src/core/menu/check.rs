//! What a menu must not be: a place that nobody reaches, or one that nobody leaves.

use std::collections::BTreeSet;

use super::model::{Choice, Kind, Menu, NodeIndex};

/// One line per flaw; empty for a menu that may be run.
pub(super) fn flaws(menu: &Menu) -> Vec<String> {
    let mut flaws = Vec::new();
    let reached = reachable(menu);
    for (index, node) in menu.nodes.iter().enumerate() {
        if !reached.contains(&index) {
            flaws.push(format!("nodes.{}: no caller can ever come here", node.id));
        }
        if let Some(circle) = silent_circle(menu, index) {
            flaws.push(format!("nodes.{}: a caller who does nothing goes in a circle ({circle})", node.id));
        }
    }
    flaws
}

/// Where a caller can go from a node, whatever he does.
fn exits(kind: &Kind) -> Vec<NodeIndex> {
    match kind {
        Kind::Menu(question) => question
            .options
            .values()
            .filter_map(|choice| match choice {
                Choice::Goto(target) => Some(*target),
                Choice::Back => None,
            })
            .chain([question.no_input, question.invalid])
            .collect(),
        Kind::Playback { next, .. } => vec![*next],
        Kind::Bridge { failed, .. } => vec![*failed],
        Kind::Hangup { .. } => Vec::new(),
    }
}

fn reachable(menu: &Menu) -> BTreeSet<NodeIndex> {
    let mut reached = BTreeSet::new();
    let mut open = vec![menu.start];
    while let Some(index) = open.pop() {
        if reached.insert(index) {
            open.extend(exits(&menu.nodes[index].kind));
        }
    }
    reached
}

/// Where a node leads without a right key: silence, wrong keys, a bridge that fails. Both ways out of a question are followed.
fn without_help(kind: &Kind) -> Vec<NodeIndex> {
    match kind {
        Kind::Menu(question) => vec![question.no_input, question.invalid],
        other => exits(other),
    }
}

/// The names along a circle that starts and ends at `from`, if silence or wrong keys lead there.
fn silent_circle(menu: &Menu, from: NodeIndex) -> Option<String> {
    let mut seen = BTreeSet::new();
    let mut open = without_help(&menu.nodes[from].kind);
    while let Some(index) = open.pop() {
        if index == from {
            let via: Vec<&str> = seen.iter().map(|i: &NodeIndex| menu.nodes[*i].id.as_str()).collect();
            return Some(if via.is_empty() { "to itself".into() } else { format!("by way of {}", via.join(", ")) });
        }
        if seen.insert(index) {
            open.extend(without_help(&menu.nodes[index].kind));
        }
    }
    None
}
