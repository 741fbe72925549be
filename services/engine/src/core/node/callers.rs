//! Events of channels, and what they mean for the callers that are led through a menu.

use domain::Now;
use esl::command::Uuid;
use esl::{Event, fields as f};
use schemas::IvrDecision;

use super::{Action, Caller, Node, Sent};
use crate::core::act;
use crate::core::channel::{Skipped, key_of};
use crate::core::menu::{self, Do, Run};

impl Node {
    pub(super) fn channel_event(&mut self, now: Now, event: &Event<'_>) {
        let taken = self.table.take(event, &self.setup.keys, now);
        match taken {
            Ok(mut read) => {
                self.tally.published += 1;
                read.node_id.clone_from(&self.setup.observer.node_id);
                read.engine_id.clone_from(&self.setup.observer.engine_id);
                let (name, cause) = (read.event_type.clone(), read.hangup.as_ref().and_then(|h| h.cause.clone()));
                let duration_us = read.application.as_ref().and_then(|a| a.duration_us);
                let key = read.dtmf.as_ref().and_then(|d| Some((key_of(d)?, d.source.clone())));
                let uuid = read.leg_id.clone();
                self.actions.push_back(Action::Channel(Box::new(read)));
                self.follow(now, event, &uuid, &name, cause, duration_us, key);
            }
            Err(Skipped::Sensitive) => {
                self.tally.keys_withheld += 1;
                let key = event.get(f::DTMF_DIGIT).and_then(|d| d.chars().next()).map(|key| (key, None));
                if let (Some(uuid), Some(key)) = (event.get(f::UNIQUE_ID), key) {
                    self.follow(now, event, &uuid, "DTMF", None, None, Some(key));
                }
            }
            Err(Skipped::Unattributed) => self.tally.events_unattributed += 1,
            Err(Skipped::NoChannel | Skipped::NoSequence) => self.tally.events_ignored += 1,
        }
    }

    /// What an event of a channel means for its caller.
    #[expect(clippy::too_many_arguments, reason = "the few facts of one event, read once by the caller")]
    fn follow(
        &mut self,
        now: Now,
        event: &Event<'_>,
        uuid: &str,
        name: &str,
        cause: Option<String>,
        duration_us: Option<i64>,
        key: Option<(char, Option<String>)>,
    ) {
        if name == "CHANNEL_PARK" {
            return self.parked(now, event, uuid);
        }
        if !self.callers.contains_key(uuid) {
            return;
        }
        let input = match name {
            "DTMF" => key.map(|(key, source)| menu::Input::Key { key, source: source.map(|s| act::key_source(&s)) }),
            "PLAYBACK_START" => Some(menu::Input::PlaybackStarted),
            "PLAYBACK_STOP" => Some(menu::Input::PlaybackStopped { duration_us }),
            "CHANNEL_EXECUTE_COMPLETE" => act::done(event),
            "CHANNEL_BRIDGE" => Some(menu::Input::Bridged),
            "CHANNEL_HANGUP" | "CHANNEL_DESTROY" => Some(menu::Input::HungUp { cause }),
            _ => None,
        };
        if let Some(input) = input {
            self.tell_caller(now, uuid, input);
        }
    }

    /// The one place where the engine takes a channel under its control.
    fn parked(&mut self, now: Now, event: &Event<'_>, uuid: &str) {
        let Some(menu) = self.setup.menu.clone() else { return };
        if event.raw(f::TRUNKLINE_CONTROL) != Some(b"own") || self.callers.contains_key(uuid) {
            return;
        }
        let Ok(checked) = Uuid::new(uuid) else {
            self.tally.channels_refused += 1;
            return;
        };
        let mut out = Vec::new();
        let run = Run::start(menu, now, &mut out);
        let call = self.table.get(uuid).map(|channel| channel.call_text.clone()).unwrap_or_default();
        self.callers.insert(uuid.to_owned(), Caller { uuid: checked, call, run });
        self.perform(uuid, out);
    }

    pub(super) fn tell_caller(&mut self, now: Now, uuid: &str, input: menu::Input) {
        let Some(caller) = self.callers.get_mut(uuid) else { return };
        let mut out = Vec::new();
        caller.run.handle(now, input, &mut out);
        let finished = caller.run.finished();
        self.perform(uuid, out);
        if finished {
            self.callers.remove(uuid);
        }
    }

    fn perform(&mut self, uuid: &str, todo: Vec<Do>) {
        let Some((channel, call)) = self.callers.get(uuid).map(|caller| (caller.uuid.clone(), caller.call.clone()))
        else {
            return;
        };
        for action in todo {
            match action {
                Do::Decide(mut decision) => {
                    decision.call_root_id.clone_from(&call);
                    self.complete(&mut decision, uuid);
                    self.tally.decisions += 1;
                    self.actions.push_back(Action::Decision(decision));
                }
                Do::Sensitive(on) => {
                    if let Some(channel) = self.table.get_mut(uuid) {
                        channel.sensitive = on;
                    }
                }
                command => match act::command(&channel, &command) {
                    Ok(command) => {
                        self.tally.commands += 1;
                        self.send(Sent::Channel(uuid.to_owned()), command);
                    }
                    // A checked menu cannot make one; the caller's deadline ends the call.
                    Err(_) => self.tally.commands_refused += 1,
                },
            }
        }
    }

    /// Adds to a decision which channel it is about and who decided.
    fn complete(&self, decision: &mut IvrDecision, uuid: &str) {
        decision.leg_id = uuid.to_owned();
        decision.channel_uuid = uuid.to_owned();
        decision.node_id.clone_from(&self.setup.observer.node_id);
        decision.engine_id.clone_from(&self.setup.observer.engine_id);
        decision.core_uuid = self.core_uuid.clone().unwrap_or_default();
    }

    /// Reminds callers whose time is up.
    pub(super) fn sweep(&mut self, now: Now) {
        let late: Vec<String> = self
            .callers
            .iter()
            .filter(|(_, caller)| caller.run.deadline().is_some_and(|due| due <= now.mono_us))
            .map(|(uuid, _)| uuid.clone())
            .collect();
        for uuid in late {
            self.tell_caller(now, &uuid, menu::Input::Late);
        }
    }
}
