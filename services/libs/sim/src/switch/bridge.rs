//! `bridge`: the far legs of a caller, from dialling to the end of the call of both.
//!
//! Targets are tried one after another (`|` and `,` alike). What a bridge does to its caller afterwards is FreeSWITCH's rule: after a
//! failure it is hung up with the cause unless `continue_on_fail`; after a call it goes on unless `hangup_after_bridge`.

use std::collections::VecDeque;

use super::answer::FRAME;
use super::channel::{ChannelId, Direction, OtherLeg, Role, State};
use super::dial::Target;
use super::event::{Kind, place};
use super::exec::{App, Running};
use super::node::Node;
use super::outbound::bridge_event;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Dialling,
    /// The far leg answered, the caller was answered; its ACK or the next frame starts the media.
    Joining,
    Joined,
}

#[derive(Debug)]
pub(super) struct Bridge {
    targets: VecDeque<Target>,
    pub leg: Option<ChannelId>,
    stage: Stage,
}

impl Bridge {
    pub fn parse(data: &str) -> Self {
        let mut targets = VecDeque::new();
        // Commas and bars inside braces belong to variables.
        let (mut depth, mut start) = (0_i32, 0);
        for (at, c) in data.char_indices() {
            match c {
                '{' | '[' => depth += 1,
                '}' | ']' => depth -= 1,
                ',' | '|' if depth == 0 => {
                    targets.push_back(Target::parse(&data[start..at]));
                    start = at + 1;
                }
                _ => {}
            }
        }
        targets.push_back(Target::parse(&data[start..]));
        Self { targets, leg: None, stage: Stage::Dialling }
    }
}

impl Node {
    fn bridge(&mut self, id: ChannelId) -> Option<&mut Bridge> {
        self.channels.get_mut(&id)?.stack.iter_mut().rev().find_map(|running| match running {
            Running { kind: App::Bridge(bridge), .. } => Some(bridge.as_mut()),
            _ => None,
        })
    }

    pub fn start_bridge(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&id) {
            for name in ["originate_causes", "originate_failed_cause", "bridge_hangup_cause"] {
                channel.vars.remove(name);
            }
        }
        self.next_target(id);
    }

    fn next_target(&mut self, id: ChannelId) {
        let mut failed = "DESTINATION_OUT_OF_ORDER";
        while let Some(target) = self.bridge(id).and_then(|bridge| bridge.targets.pop_front()) {
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.vars.set("originate_disposition", "failure");
                channel.vars.set("DIALSTATUS", "INVALIDARGS");
            }
            match self.place_call(&target, Some(id)) {
                Ok(leg) => {
                    let (uuid, number) = match self.channels.get(&leg) {
                        Some(channel) => (
                            channel.uuid.to_string(),
                            channel.profile.as_ref().map_or("", |p| &p.destination).to_owned(),
                        ),
                        None => return,
                    };
                    let Some(channel) = self.channels.get_mut(&id) else { return };
                    channel.peer = Some(leg);
                    channel.vars.set("originate_signal_bond", uuid.clone());
                    channel.vars.set("originated_legs", format!("{uuid};Outbound Call;{number}"));
                    if let Some(bridge) = self.bridge(id) {
                        bridge.leg = Some(leg);
                        bridge.stage = Stage::Dialling;
                    }
                    return;
                }
                Err(cause) => failed = cause,
            }
        }
        self.bridge_failed(id, failed);
    }

    /// The far leg shows a sign of life: the caller hears it.
    pub fn far_leg_rings(&mut self, id: ChannelId, leg: ChannelId, early: bool) {
        self.name_callee(id, leg);
        let ignore = self.channels.get(&id).is_some_and(|channel| channel.vars.is_true("ignore_early_media"));
        if early && !ignore {
            self.pre_answer(id);
        } else {
            self.ring_ready(id);
        }
    }

    fn name_callee(&mut self, id: ChannelId, leg: ChannelId) {
        let callee = self.channels.get(&leg).and_then(|leg| leg.profile.as_ref()?.callee.clone());
        if let Some(profile) = self.channels.get_mut(&id).and_then(|channel| channel.profile.as_mut()) {
            profile.callee = callee;
        }
    }

    pub fn far_leg_answers(&mut self, id: ChannelId, leg: ChannelId) {
        self.name_callee(id, leg);
        let (description, was_answered) = (
            self.channels.get(&leg).and_then(|leg| leg.vars.get("switch_r_sdp")).unwrap_or_default().to_owned(),
            self.channels.get(&id).is_some_and(|channel| channel.answered),
        );
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.vars.set("switch_m_sdp", description);
            channel.vars.set("video_media_flow", "inactive");
            channel.vars.set("text_media_flow", "inactive");
        }
        self.answer(id);
        if let Some(bridge) = self.bridge(id) {
            bridge.stage = Stage::Joining;
        }
        if was_answered {
            self.join_bridge(id);
        } else {
            self.wait(id, FRAME);
        }
    }

    /// The caller's ACK is here: no need to wait for the next frame.
    pub fn ack_for_bridge(&mut self, id: ChannelId) {
        if self.bridge(id).is_some_and(|bridge| bridge.stage == Stage::Joining) {
            self.join_bridge(id);
        }
    }

    /// Both legs have media: from here on they talk.
    pub fn join_bridge(&mut self, id: ChannelId) {
        let now = self.wall_us();
        let Some(leg) = self.bridge(id).filter(|bridge| bridge.stage == Stage::Joining).and_then(|bridge| bridge.leg)
        else {
            return;
        };
        self.read_ack(id);
        let Some(far) = self.channels.get(&leg) else { return };
        let Some(mut far_profile) = far.profile.as_deref().cloned() else { return };
        let far_uuid = far.uuid.to_string();
        far_profile.logical = Direction::Inbound;
        if let Some(bridge) = self.bridge(id) {
            bridge.stage = Stage::Joined;
        }
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.next_wait();
        channel.bridged = true;
        channel.vars.set("originate_disposition", "SUCCESS");
        channel.vars.set("DIALSTATUS", "SUCCESS");
        channel.vars.set("originate_causes", format!("{far_uuid};NONE"));
        channel.vars.set("signal_bond", far_uuid.clone());
        channel.other = Some(Box::new(OtherLeg { kind: "originatee", profile: far_profile }));
        if let Some(profile) = &mut channel.profile {
            profile.times.bridged = now;
        }
        let head = [("Bridge-A-Unique-ID", channel.uuid.as_ref()), ("Bridge-B-Unique-ID", far_uuid.as_str())];
        self.bus.fire(bridge_event(Kind::ChannelBridge, place::BRIDGE, channel, &head));
        if let Some(far) = self.channels.get_mut(&leg) {
            far.bridged = true;
            if let Some(profile) = &mut far.profile {
                profile.times.bridged = now;
            }
        }
        self.enter(leg, State::ExchangeMedia);
        self.bridge_update(id, leg, "Outbound Call");
        self.bridge_update(leg, id, "");
    }

    /// One leg of a new bridge learns about the other.
    fn bridge_update(&mut self, id: ChannelId, other: ChannelId, name: &str) {
        let Some(far) = self.channels.get(&other) else { return };
        let (uuid, channel_name) = (far.uuid.to_string(), far.name.to_string());
        let number = far.profile.as_ref().map_or("", |profile| match far.role {
            Role::Caller => &profile.caller_number,
            _ => &profile.destination,
        });
        let number = number.to_owned();
        let name = if name.is_empty() {
            far.profile.as_ref().and_then(|profile| profile.caller_name.as_deref()).unwrap_or(&number).to_owned()
        } else {
            name.to_owned()
        };
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.vars.set("bridge_to", uuid.clone());
        channel.vars.set("last_bridge_to", uuid.clone());
        channel.vars.set("bridge_channel", channel_name);
        channel.vars.set("bridge_uuid", uuid.clone());
        channel.vars.set("signal_bond", uuid.clone());
        channel.vars.set("last_sent_callee_id_name", name.clone());
        channel.vars.set("last_sent_callee_id_number", number.clone());
        let head = [
            ("Direction", "SEND"),
            ("Sent-Callee-ID-Name", &name),
            ("Sent-Callee-ID-Number", &number),
            ("Bridged-To", &uuid),
        ];
        self.bus.fire(bridge_event(Kind::CallUpdate, place::UPDATE, channel, &head));
    }

    /// The far leg ended before or after it was joined; it still exists, its cause is set.
    pub fn far_leg_ended(&mut self, id: ChannelId, leg: ChannelId) {
        let joined = match self.bridge(id) {
            Some(bridge) if bridge.leg == Some(leg) => bridge.stage == Stage::Joined,
            _ => return,
        };
        let Some(far) = self.channels.get(&leg) else { return };
        let cause = far.cause.unwrap_or("NORMAL_CLEARING");
        let uuid = far.uuid.to_string();
        let proto = far.vars.get("proto_specific_hangup_cause").map(str::to_owned);
        let failure = far.vars.get("sip_invite_failure_status").map(str::to_owned);
        let phrase = far.vars.get("sip_invite_failure_phrase").map(str::to_owned);
        if let Some(bridge) = self.bridge(id) {
            bridge.leg = None;
        }
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.peer = None;
        if let Some(proto) = proto {
            if let (Some(status), Some(phrase)) = (failure, phrase) {
                channel.vars.set("sip_invite_failure_status", status);
                channel.vars.set("sip_invite_failure_phrase", phrase.clone());
                channel.vars.set("sip_hangup_phrase", phrase);
            } else {
                channel.vars.set("sip_hangup_phrase", "OK");
            }
            channel.vars.set("last_bridge_hangup_cause", cause);
            channel.vars.set("last_bridge_proto_specific_hangup_cause", proto);
        }
        if joined {
            self.unbridge(id, &uuid, cause);
            let ends = self.channels.get(&id).is_some_and(|channel| channel.vars.is_true("hangup_after_bridge"));
            if ends {
                self.hangup(id, cause);
            } else {
                self.finish(id);
            }
            self.ready.push_back(id);
            return;
        }
        if self.is_up(id) {
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.vars.set("originate_causes", format!("{uuid};{cause}"));
            }
            if self.bridge(id).is_some_and(|bridge| !bridge.targets.is_empty()) {
                self.next_target(id);
            } else {
                self.bridge_failed(id, cause);
            }
        }
    }

    /// No target is left.
    fn bridge_failed(&mut self, id: ChannelId, cause: &'static str) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.vars.set("originate_disposition", cause);
        channel.vars.set("DIALSTATUS", dial_status(cause));
        channel.vars.set("originate_failed_cause", cause);
        let go_on = channel
            .vars
            .get("continue_on_fail")
            .is_some_and(|list| list == "true" || list.split(',').any(|word| super::cause::parse(word) == Some(cause)));
        if go_on {
            self.finish(id);
        } else {
            self.hangup(id, cause);
        }
        self.ready.push_back(id);
    }

    /// The caller leaves (hangup or transfer): its far leg ends with it.
    pub fn leave_bridge(&mut self, id: ChannelId) {
        let Some((leg, stage)) = self.bridge(id).and_then(|bridge| Some((bridge.leg?, bridge.stage))) else { return };
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.peer = None;
        let own_cause = channel.cause;
        let proto = channel.vars.get("proto_specific_hangup_cause").map(str::to_owned);
        let uuid = match self.channels.get_mut(&leg) {
            Some(far) => {
                far.peer = None;
                if own_cause.is_some() {
                    if let Some(proto) = proto {
                        far.vars.set("sip_hangup_phrase", "OK");
                        far.vars.set("last_bridge_hangup_cause", own_cause.unwrap_or_default());
                        far.vars.set("last_bridge_proto_specific_hangup_cause", proto);
                    }
                } else {
                    far.vars.remove("signal_bond");
                }
                far.uuid.to_string()
            }
            None => return,
        };
        let cause = own_cause.unwrap_or("NORMAL_CLEARING");
        if stage == Stage::Joined {
            self.end_far_leg(leg, cause);
            self.unbridge(id, &uuid, cause);
        } else {
            self.end_far_leg(leg, "ORIGINATOR_CANCEL");
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.vars.set("originate_disposition", "ORIGINATOR_CANCEL");
                channel.vars.set("DIALSTATUS", "CANCEL");
                channel.vars.set("originate_causes", format!("{uuid};ORIGINATOR_CANCEL"));
                channel.vars.set("originate_failed_cause", "ORIGINATOR_CANCEL");
            }
        }
    }

    fn end_far_leg(&mut self, leg: ChannelId, cause: &'static str) {
        if let Some(far) = self.channels.get_mut(&leg) {
            far.vars.remove("bridge_to");
        }
        self.hangup(leg, cause);
        self.unwind(leg);
    }

    fn unbridge(&mut self, id: ChannelId, far_uuid: &str, cause: &'static str) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.bridged = false;
        channel.vars.remove("bridge_to");
        channel.vars.set("bridge_hangup_cause", cause);
        let head = [("Bridge-A-Unique-ID", channel.uuid.as_ref()), ("Bridge-B-Unique-ID", far_uuid)];
        self.bus.fire(bridge_event(Kind::ChannelUnbridge, place::UNBRIDGE, channel, &head));
    }
}

fn dial_status(cause: &'static str) -> &'static str {
    match cause {
        "USER_BUSY" => "BUSY",
        "NO_ANSWER" | "NO_USER_RESPONSE" => "NOANSWER",
        "ORIGINATOR_CANCEL" => "CANCEL",
        "UNALLOCATED_NUMBER" | "NO_ROUTE_DESTINATION" => "CHANUNAVAIL",
        other => other,
    }
}
