//! One call as a ladder: a lane per party, a line per thing that was said, oldest first.
//!
//! Built from the call's own events, so it shows what both witnesses saw. Numbers are masked unless asked for.

use std::collections::HashMap;
use std::fmt::Write as _;

use schemas::{CallReconciled, ChannelEvent, IvrDecision, SipTransaction};

/// Everything that the topics hold about one call.
#[derive(Debug, Default, Clone)]
pub struct Story {
    pub transactions: Vec<SipTransaction>,
    pub channels: Vec<ChannelEvent>,
    pub decisions: Vec<IvrDecision>,
    pub reconciled: Vec<CallReconciled>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    at_us: i64,
    from: String,
    to: String,
    text: String,
}

const LANE: usize = 28;

impl Story {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty() && self.channels.is_empty() && self.decisions.is_empty()
    }

    /// The picture as lines of text.
    #[must_use]
    pub fn ladder(&self, show_numbers: bool) -> String {
        let steps = self.steps(show_numbers);
        let lanes = lanes(&steps);
        let mut out = String::new();
        let _ = write!(out, "{:>10}  ", "");
        for lane in &lanes {
            let _ = write!(out, "{lane:^LANE$}");
        }
        out.push('\n');
        let begin = steps.first().map_or(0, |s| s.at_us);
        for step in &steps {
            let seconds = (step.at_us - begin) as f64 / 1e6;
            let _ = writeln!(out, "{seconds:>9.3}s  {}", row(step, &lanes));
        }
        out
    }

    fn steps(&self, show_numbers: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        // The end of a call does not repeat where it went: the attempt of the same leg says it.
        let targets: HashMap<&str, &str> = self
            .transactions
            .iter()
            .flat_map(|t| &t.branches)
            .map(|b| (b.leg_id.as_str(), b.target_id.as_str()))
            .collect();
        for t in &self.transactions {
            let target = targets.get(t.leg_id.as_str()).copied().unwrap_or_default();
            transaction_steps(t, target, show_numbers, &mut steps);
        }
        for c in &self.channels {
            if let Some(text) = channel_text(c) {
                steps.push(step(c.received_us, &c.node_id, "engine", text));
            }
        }
        for d in &self.decisions {
            steps.push(step(d.occurred_us, "engine", &d.node_id, decision_text(d)));
        }
        for r in &self.reconciled {
            steps.push(step(r.decided_us, "edge", "edge", format!("reconciled: {}", r.event_type)));
        }
        steps.sort_by_key(|step| step.at_us);
        steps
    }
}

fn step(at_us: i64, from: &str, to: &str, text: String) -> Step {
    Step { at_us, from: from.to_owned(), to: to.to_owned(), text }
}

fn transaction_steps(t: &SipTransaction, leg_target: &str, show_numbers: bool, steps: &mut Vec<Step>) {
    let source = t.source_id.as_str();
    let target = t.branches.last().map_or(leg_target, |b| b.target_id.as_str());
    let status = t.outcome.as_ref().and_then(|o| o.status).map(|s| s.to_string()).unwrap_or_default();
    let received = t.timing.as_ref().and_then(|x| x.received_us).unwrap_or(t.occurred_us);
    match t.event_type.as_str() {
        "attempt" => {
            let callee = t.parties.as_ref().and_then(|p| p.callee_raw.clone()).unwrap_or_default();
            let callee = if show_numbers { callee } else { domain::mask_number(&callee) };
            if t.attempt <= 1 {
                steps.push(step(received, source, "edge", format!("INVITE {callee}")));
            }
            let why = t.decision.as_ref().and_then(|d| d.failover_reason.clone());
            let text = why.map_or_else(|| "INVITE".to_owned(), |why| format!("INVITE again: {why}"));
            steps.push(step(t.occurred_us, "edge", target, text));
        }
        "answered" | "late_answer" => {
            steps.push(step(t.occurred_us, target, "edge", format!("{status} {}", t.event_type)));
            steps.push(step(t.occurred_us, "edge", source, status));
        }
        "final" => {
            if t.outcome.as_ref().and_then(|o| o.produced_by.as_deref()).is_some_and(|by| by == "upstream") {
                steps.push(step(t.occurred_us, target, "edge", status.clone()));
            }
            let challenge = if t.outcome.as_ref().is_some_and(|o| o.challenge) { " (challenge)" } else { "" };
            steps.push(step(t.occurred_us, "edge", source, format!("{status}{challenge}")));
        }
        "refused" => {
            let why = t.decision.as_ref().and_then(|d| d.reason.clone()).unwrap_or_default();
            steps.push(step(received, source, "edge", "INVITE".to_owned()));
            steps.push(step(t.occurred_us, "edge", source, format!("{status} {why}")));
        }
        "ended" | "lost" => {
            let by = t.dialog.as_ref().and_then(|d| d.released_by.clone()).unwrap_or_default();
            let (from, to) = if by == "callee" { (target, source) } else { (source, target) };
            let talk = t.dialog.as_ref().and_then(|d| d.talk_us).unwrap_or(0) as f64 / 1e6;
            let verb = if t.event_type == "lost" { "lost" } else { "BYE" };
            steps.push(step(t.occurred_us, from, to, format!("{verb} after {talk:.1} s")));
        }
        _ => steps.push(step(t.occurred_us, source, target, format!("{} {status}", t.identity.method))),
    }
}

/// What of a channel's life is worth a line.
fn channel_text(c: &ChannelEvent) -> Option<String> {
    match c.event_type.as_str() {
        "CHANNEL_CREATE" | "CHANNEL_PARK" | "CHANNEL_ANSWER" | "CHANNEL_BRIDGE" | "CHANNEL_UNBRIDGE" => {
            Some(c.event_type.trim_start_matches("CHANNEL_").to_lowercase())
        }
        "DTMF" => Some(format!("key {}", c.dtmf.as_ref().map(|d| d.digit.clone()).unwrap_or_default())),
        "CHANNEL_HANGUP_COMPLETE" => {
            let cause = c.hangup.as_ref().and_then(|h| h.cause.clone()).unwrap_or_default();
            Some(format!("hangup {cause}"))
        }
        _ => None,
    }
}

fn decision_text(d: &IvrDecision) -> String {
    let next = d.next_node.clone().or_else(|| d.action.clone()).unwrap_or_default();
    match d.event_type.as_str() {
        "menu_entered" => format!("menu {}", d.menu_node),
        kind if d.outcome.is_empty() => kind.to_owned(),
        _ if next.is_empty() => d.outcome.clone(),
        _ => format!("{} → {next}", d.outcome),
    }
}

/// The parties in the order in which they first take part; the edge stands second, where every call passes.
fn lanes(steps: &[Step]) -> Vec<String> {
    let mut lanes: Vec<String> = Vec::new();
    for name in steps.iter().flat_map(|s| [&s.from, &s.to]) {
        if !name.is_empty() && !lanes.contains(name) {
            lanes.push(name.clone());
        }
    }
    lanes
}

fn row(step: &Step, lanes: &[String]) -> String {
    let at = |name: &str| lanes.iter().position(|l| l == name);
    let middle = |lane: usize| lane * LANE + LANE / 2;
    let mut line: Vec<char> = vec![' '; lanes.len() * LANE];
    for lane in 0..lanes.len() {
        line[middle(lane)] = '│';
    }
    let text: Vec<char> = step.text.chars().collect();
    match (at(&step.from), at(&step.to)) {
        (Some(a), Some(b)) if a != b => {
            let (left, right) = (middle(a.min(b)), middle(a.max(b)));
            for cell in &mut line[left + 1..right] {
                *cell = '─';
            }
            if a < b {
                line[right - 1] = '▶'
            } else {
                line[left + 1] = '◀'
            }
            let room = right - left - 5;
            let shown: Vec<char> = text.into_iter().take(room).collect();
            let begin = left + 3 + (room - shown.len()) / 2;
            for (offset, c) in std::iter::once(' ').chain(shown).chain([' ']).enumerate() {
                line[begin + offset - 1] = c;
            }
        }
        (Some(a), _) | (_, Some(a)) => {
            for (offset, c) in text.into_iter().enumerate() {
                match line.get_mut(middle(a) + 2 + offset) {
                    Some(cell) => *cell = c,
                    None => line.push(c),
                }
            }
        }
        (None, None) => {}
    }
    line.into_iter().collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{SipBranch, SipIdentity, SipOutcome, SipParties};

    fn event(kind: &str, at: i64, status: Option<u16>) -> SipTransaction {
        SipTransaction {
            event_type: kind.to_owned(),
            occurred_us: at,
            source_id: "north".to_owned(),
            attempt: 1,
            identity: SipIdentity { method: "INVITE".to_owned(), ..Default::default() },
            parties: Some(SipParties { callee_raw: Some("+442079460018".to_owned()), ..Default::default() }),
            branches: vec![SipBranch { target_id: "fs-1".to_owned(), ..Default::default() }],
            outcome: status.map(|s| SipOutcome {
                status: Some(s),
                produced_by: Some("upstream".to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_busy_call_reads_from_left_to_right_and_back_with_the_number_masked() {
        let story = Story {
            transactions: vec![event("final", 300_000, Some(486)), event("attempt", 0, None)],
            ..Default::default()
        };
        let text = story.ladder(false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("north") && lines[0].contains("edge") && lines[0].contains("fs-1"), "{text}");
        assert!(lines[1].contains("INVITE +44") && lines[1].contains('▶'), "{text}");
        assert!(!text.contains("442079460018"), "{text}");
        assert!(lines[3].contains("486") && lines[3].contains('◀'), "{text}");
        assert!(story.ladder(true).contains("2079460018") || story.ladder(true).contains("+44207"), "{text}");
    }

    #[test]
    fn a_text_longer_than_its_lane_is_cut_and_nothing_panics() {
        let mut long = event("refused", 1, Some(403));
        long.decision = Some(schemas::SipDecision { reason: Some("x".repeat(400)), ..Default::default() });
        let story = Story { transactions: vec![long], ..Default::default() };
        assert!(story.ladder(false).contains("403 xxx"));
    }
}
