//! How a run ends: as the menu says, because the caller left, by force, or not yet because the link was away.

use std::sync::Arc;

use domain::Now;
use esl::command::Cause;

use super::super::model::Kind;
use super::{Awaiting, Do, GRACE_US, REFUSED_US, Run};

impl Run {
    /// Ends the call as the node says, or normally.
    pub(super) fn end(&mut self, now: Now, out: &mut Vec<Do>) {
        let (cause, rule) = match &self.menu.nodes[self.node].kind {
            Kind::Hangup { cause, .. } => (cause.as_str().to_owned(), "node"),
            _ => ("NORMAL_CLEARING".to_owned(), "agent_left"),
        };
        self.end_by(now, &cause, rule, out);
    }

    pub(super) fn end_by(&mut self, now: Now, cause: &str, rule: &str, out: &mut Vec<Do>) {
        self.tell_end(now, cause, rule, out);
        let token = self.expect(Awaiting::End, GRACE_US, now);
        out.push(Do::Hangup { token, cause: checked(cause) });
    }

    /// Most refusals mean that the caller has just left and the event that says so is on its way.
    pub(super) fn refused(&mut self, now: Now) {
        if self.awaiting == Awaiting::ForcedEnd {
            self.finished = true;
            return;
        }
        self.refused = true;
        let soon = now.mono_us + REFUSED_US;
        self.deadline = Some(self.deadline.map_or(soon, |due| due.min(soon)));
    }

    /// Ends the call past whatever the channel is doing.
    pub(super) fn force_end(&mut self, now: Now, cause: &str, rule: &str, out: &mut Vec<Do>) {
        match self.awaiting {
            Awaiting::ForcedEnd => self.finished = true,
            was => {
                if was != Awaiting::End {
                    self.tell_end(now, cause, rule, out);
                }
                self.expect(Awaiting::ForcedEnd, GRACE_US, now);
                out.push(Do::Kill { cause: checked(cause) });
            }
        }
    }

    pub(super) fn tell_end(&mut self, now: Now, cause: &str, rule: &str, out: &mut Vec<Do>) {
        let mut decision = self.decide("completed", "", now);
        decision.action = Some("hangup".to_owned());
        decision.rule = Some(rule.to_owned());
        decision.rule_kind = Some("default".to_owned());
        decision.hangup_cause = Some(cause.to_owned());
        out.push(Do::Decide(Box::new(decision)));
    }

    pub(super) fn hung_up(&mut self, now: Now, cause: Option<String>, out: &mut Vec<Do>) {
        self.finished = true;
        let mut decision = match self.awaiting {
            // We did it, and said so.
            Awaiting::End | Awaiting::ForcedEnd => return,
            Awaiting::Talk => self.decide("completed", "", now),
            Awaiting::Keys => self.decide("hangup", "hangup_in_prompt", now),
            Awaiting::Prompt | Awaiting::LastPrompt | Awaiting::Bridge => self.decide("hangup", "", now),
        };
        if self.awaiting == Awaiting::Keys {
            self.tell_input(&mut decision, None);
        }
        decision.hangup_cause = cause;
        out.push(Do::Decide(Box::new(decision)));
    }

    pub(super) fn late(&mut self, now: Now, out: &mut Vec<Do>) {
        if self.deadline().is_none_or(|due| now.mono_us < due) {
            return;
        }
        let over = now.mono_us >= self.limit && !matches!(self.awaiting, Awaiting::End | Awaiting::ForcedEnd);
        if self.refused {
            self.force_end(now, "NORMAL_TEMPORARY_FAILURE", "refused", out);
        } else if over {
            self.force_end(now, "NORMAL_CLEARING", "limit:max_seconds", out);
        } else {
            self.force_end(now, "NORMAL_TEMPORARY_FAILURE", "lost", out);
        }
    }

    /// The answer that was awaited may have come while the link was away, so the step is done again.
    pub(super) fn resume(&mut self, now: Now, application: &str, out: &mut Vec<Do>) {
        let menu = Arc::clone(&self.menu);
        match (self.awaiting, &menu.nodes[self.node].kind) {
            (Awaiting::Keys, _) => self.ask(now, out),
            (Awaiting::Prompt, Kind::Playback { prompt, .. }) => self.play(now, prompt, Awaiting::Prompt, out),
            (Awaiting::LastPrompt, _) => self.end(now, out),
            (Awaiting::Bridge, Kind::Bridge { failed, .. }) if application == "park" => {
                self.enter(*failed, "error", now, out)
            }
            (Awaiting::Talk, _) if application == "park" => self.end(now, out),
            (Awaiting::End | Awaiting::ForcedEnd, _) => {
                self.expect(Awaiting::ForcedEnd, GRACE_US, now);
                out.push(Do::Kill { cause: checked("NORMAL_CLEARING") });
            }
            _ => {}
        }
    }
}

fn checked(cause: &str) -> Cause {
    Cause::new(cause).expect("causes come from a checked menu or stand in this file")
}
