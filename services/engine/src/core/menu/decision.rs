//! What a run decided, in the words of `ivr.decisions`.
//!
//! Filled here: menu, node, input, outcome, rule, alternatives, times. Whose call it is, the owner of the run adds.

use std::time::Duration;

use domain::Now;
use schemas::{IvrDecision, IvrInput, IvrKey, IvrPrompt};

use super::machine::Run;
use super::model::{Choice, Kind, NodeIndex};

/// A key and when it came, counted from entering the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub key: char,
    pub after: Duration,
    pub source: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Played {
    pub prompt: String,
    pub duration_us: Option<i64>,
}

impl Run {
    pub(super) fn decide(&mut self, event_type: &str, outcome: &str, now: Now) -> IvrDecision {
        self.step += 1;
        let node = &self.menu.nodes[self.node];
        let mut decision = IvrDecision {
            event_type: event_type.to_owned(),
            step: self.step,
            occurred_us: now.wall_us,
            occurred_mono_us: i64::try_from(now.mono_us).unwrap_or(i64::MAX),
            menu_id: self.menu.id.clone(),
            menu_version: self.menu.version,
            publish_id: self.menu.publish_id.clone(),
            menu_node: node.id.clone(),
            menu_node_type: Some(node.kind.name().to_owned()),
            entry_reason: Some(self.entry.to_owned()),
            prompts: self.played.iter().map(|played| self.prompt(played)).collect(),
            outcome: outcome.to_owned(),
            elapsed_us: micros(now.since(self.entered)),
            ..IvrDecision::default()
        };
        if let Kind::Menu(question) = &node.kind {
            decision.attempt = self.attempt.into();
            decision.max_attempts = question.tries.into();
            decision.alternatives =
                question.options.iter().map(|(keys, choice)| format!("{keys}={}", self.name_of(*choice))).collect();
        }
        decision
    }

    fn prompt(&self, played: &Played) -> IvrPrompt {
        IvrPrompt {
            prompt_id: played.prompt.clone(),
            language: self.menu.language.clone(),
            cached: None,
            duration_us: played.duration_us,
        }
    }

    fn name_of(&self, choice: Choice) -> &str {
        match choice {
            Choice::Goto(target) => &self.menu.nodes[target].id,
            Choice::Back => "back",
        }
    }

    /// What was asked and what came. `digits` as the switch collected them; without them the keys that were heard.
    pub(super) fn tell_input(&self, decision: &mut IvrDecision, digits: Option<&str>) {
        let Kind::Menu(question) = &self.menu.nodes[self.node].kind else { return };
        let heard: String = self.keys.iter().map(|k| k.key).collect();
        let digits = digits.map(str::to_owned).or((!heard.is_empty()).then_some(heard));
        let count = digits.as_ref().map_or(0, |d| d.chars().count()).max(self.keys.len());
        let keys = self.keys.iter().map(|k| IvrKey {
            digit: k.key.to_string(),
            t_us: micros(k.after),
            source: k.source.clone(),
        });
        decision.input = Some(IvrInput {
            min_digits: question.min_digits.into(),
            max_digits: question.max_digits.into(),
            terminators: question.terminators.as_ref().map(ToString::to_string),
            digits: digits.filter(|_| !question.sensitive),
            sensitive: question.sensitive,
            digit_count: i32::try_from(count).unwrap_or(i32::MAX),
            keys: if question.sensitive { Vec::new() } else { keys.collect() },
            no_input_timeout_us: Some(i64::from(question.timeout_ms) * 1000),
            inter_digit_timeout_us: Some(i64::from(question.inter_digit_ms) * 1000),
            barge_in: self.barge_in,
        });
    }

    /// Where it goes from here, and which rule says so.
    pub(super) fn tell_way(&self, decision: &mut IvrDecision, target: NodeIndex, rule: String, rule_kind: &str) {
        let node = &self.menu.nodes[target];
        let (action, place) = match &node.kind {
            Kind::Menu(_) => ("goto", node.id.clone()),
            Kind::Playback { prompt, .. } => ("playback", prompt.to_string()),
            Kind::Bridge { target, .. } => ("bridge", target.to_string()),
            Kind::Hangup { cause, .. } => ("hangup", cause.to_string()),
        };
        decision.action = Some(action.to_owned());
        decision.action_target = Some(place);
        decision.next_node = Some(node.id.clone());
        decision.rule = Some(rule);
        decision.rule_kind = Some(rule_kind.to_owned());
        decision.escalated = matches!(node.kind, Kind::Bridge { .. });
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
