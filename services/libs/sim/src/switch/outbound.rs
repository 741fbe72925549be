//! The B leg: calls that the switch makes, for `bridge` and `originate`.

use std::net::SocketAddr;
use std::time::Instant;

use super::Media;
use super::bus::Event;
use super::cause;
use super::channel::{CallState, Channel, ChannelId, Digit, Direction, Role};
use super::event::{Kind, place};
use super::inbound::USER_AGENT;
use super::node::Node;
use super::sdp::{self, Codec};
use super::sip_vars::{From, codec_vars, display_name, media_vars, uri_vars};
use crate::sip::{ClientTx, Dialog, Message, uri};

impl Node {
    pub fn response(&mut self, tx: ClientTx, message: Message, from: SocketAddr) {
        if let Some(invite) = self.orphans.get(&tx) {
            if message.code() >= 200 {
                if message.code() < 300 {
                    // Answered in the moment of giving up: take the call and end it.
                    let mut dialog = Dialog::caller(invite, &message, from);
                    let cseq = invite.cseq().map_or(1, |(number, _)| number);
                    self.sip.ack(tx, dialog.ack(cseq), dialog.next_hop());
                    let bye = dialog.request("BYE");
                    let hop = dialog.next_hop();
                    self.sip.send_request(bye, hop);
                }
                self.orphans.remove(&tx);
            }
            return;
        }
        let Some(id) = self.by_client.get(&tx).copied() else { return };
        let is_invite = self.channels.get(&id).is_some_and(|channel| channel.sip.client == Some(tx));
        if !is_invite {
            return;
        }
        match message.code() {
            100 => {}
            code @ 101..=199 => self.progress(id, code, &message, from),
            200..=299 => self.answered(id, tx, &message, from),
            code => self.refused(id, code, &message, from),
        }
    }

    fn progress(&mut self, id: ChannelId, code: u16, message: &Message, from: SocketAddr) {
        let now = self.wall_us();
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if channel.answered || !channel.is_up() {
            return;
        }
        let early = !message.body.is_empty();
        let seen = std::mem::replace(&mut channel.sip.provisional, if early { 183 } else { code });
        if seen == 183 || (seen != 0 && !early) {
            return;
        }
        self.reply_vars(id, message, from);
        if early && !self.take_description(id, message) {
            self.hangup(id, "INCOMPATIBLE_DESTINATION");
            return;
        }
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let caller = channel.peer;
        for profile in channel
            .profile
            .iter_mut()
            .map(|p| &mut p.times)
            .chain(channel.other.iter_mut().map(|o| &mut o.profile.times))
        {
            if early {
                profile.progress_media = now;
            } else {
                profile.progress = now;
            }
        }
        if early {
            channel.vars.set("endpoint_disposition", "EARLY MEDIA");
            self.fire(id, Kind::ChannelProgressMedia, place::PRE_ANSWER);
            self.call_state(id, CallState::Early);
        } else {
            self.fire(id, Kind::ChannelProgress, place::PROGRESS);
            self.call_state(id, CallState::Ringing);
        }
        if let Some(caller) = caller {
            self.far_leg_rings(caller, id, early);
        }
    }

    fn answered(&mut self, id: ChannelId, tx: ClientTx, message: &Message, from: SocketAddr) {
        let now = self.wall_us();
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let Some(invite) = channel.sip.invite.as_deref() else { return };
        let dialog = Dialog::caller(invite, message, from);
        let cseq = invite.cseq().map_or(1, |(number, _)| number);
        self.sip.ack(tx, dialog.ack(cseq), dialog.next_hop());
        if channel.answered {
            // A second 2xx is another far end (a fork): one call is enough.
            if channel.sip.dialog.as_ref().is_some_and(|own| own.remote_tag() != dialog.remote_tag()) {
                let mut other = dialog;
                let bye = other.request("BYE");
                self.sip.send_request(bye, other.next_hop());
            }
            return;
        }
        channel.sip.dialog = Some(Box::new(dialog));
        self.reply_vars(id, message, from);
        if !self.take_description(id, message) {
            self.hangup(id, "INCOMPATIBLE_DESTINATION");
            return;
        }
        let ssrc = self.rng.below(1 << 32);
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.answered = true;
        channel.media_since = Some(Instant::now());
        channel.media_in = self.config.media != Media::Silent;
        let codec = channel.codec.unwrap_or(Codec::Pcmu);
        channel.vars.set("rtp_use_timer_name", "soft");
        channel.vars.set_number("rtp_use_pt", codec.payload());
        channel.vars.set_number("rtp_use_ssrc", ssrc);
        if let Some(audio) = &channel.remote {
            let (ip, port) = (audio.ip.clone(), audio.port);
            channel.vars.set("remote_media_ip", ip);
            channel.vars.set_number("remote_media_port", port);
        }
        if let Some(profile) = &mut channel.profile {
            profile.times.answered = now;
        }
        self.fire(id, Kind::ChannelAnswer, place::ANSWER);
        self.call_state(id, CallState::Active);
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.vars.set("endpoint_disposition", "ANSWER");
        }
        match self.channels.get(&id).map(|channel| (channel.role, channel.peer)) {
            Some((Role::Bridged { .. }, Some(caller))) => self.far_leg_answers(caller, id),
            Some((Role::Originated, _)) => self.originate_answered(id),
            _ => {}
        }
    }

    fn refused(&mut self, id: ChannelId, code: u16, message: &Message, from: SocketAddr) {
        self.reply_vars(id, message, from);
        self.call_failed(id, code, message.reason());
    }

    /// No answer at all: as if the profile had answered 408.
    pub fn no_response(&mut self, tx: ClientTx) {
        self.orphans.remove(&tx);
        let Some(id) = self.by_client.get(&tx).copied() else { return };
        if self.channels.get(&id).is_some_and(|channel| channel.sip.client == Some(tx) && !channel.answered) {
            self.call_failed(id, 408, "Request Timeout");
        }
    }

    fn call_failed(&mut self, id: ChannelId, code: u16, phrase: &str) {
        let why = cause::from_sip(code);
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if !channel.is_up() {
            return;
        }
        channel.sip.ended = true;
        channel.vars.set("sip_hangup_disposition", "recv_refuse");
        channel.vars.set_number("sip_invite_failure_status", code);
        channel.vars.set("sip_invite_failure_phrase", phrase.to_owned());
        channel.vars.set_number("sip_term_status", code);
        channel.vars.set("proto_specific_hangup_cause", format!("sip:{code}"));
        channel.vars.set_number("sip_term_cause", cause::q850(why));
        self.hangup(id, why);
    }

    pub fn ring_timeout(&mut self, id: ChannelId) {
        if self.channels.get(&id).is_some_and(|channel| !channel.answered && channel.is_up()) {
            self.hangup(id, "NO_ANSWER");
        }
    }

    /// Reads the far end's description; false when no codec is left.
    fn take_description(&mut self, id: ChannelId, message: &Message) -> bool {
        let Some(channel) = self.channels.get_mut(&id) else { return false };
        if message.body.is_empty() {
            return channel.codec.is_some();
        }
        let only = channel.peer.and_then(|peer| self.channels.get(&peer)?.codec);
        let audio = sdp::audio(&message.body, only);
        let loose = audio.clone().or_else(|| sdp::audio(&message.body, None));
        let Some(channel) = self.channels.get_mut(&id) else { return false };
        channel.vars.set("switch_r_sdp", String::from_utf8_lossy(&message.body).into_owned());
        if let Some(described) = &loose {
            let used = channel.vars.get("rtp_use_codec_string").unwrap_or("PCMU,PCMA").to_owned();
            media_vars(&mut channel.vars, described, &used);
            channel.vars.set("dtmf_type", if described.telephone_event { "rfc2833" } else { "info" });
        }
        let Some(audio) = audio else {
            channel.vars.set("endpoint_disposition", "NO CODECS");
            return false;
        };
        codec_vars(&mut channel.vars, audio.codec);
        let codec = audio.codec;
        channel.remote = Some(Box::new(audio));
        if channel.codec.is_none() {
            self.set_codec(id, codec);
        }
        true
    }

    /// What a response says about the dialog.
    fn reply_vars(&mut self, id: ChannelId, message: &Message, from: SocketAddr) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let vars = &mut channel.vars;
        let from_value = message.get("From").unwrap_or_default();
        let to_value = message.get("To").unwrap_or_default();
        vars.set("sip_reply_host", from.ip().to_string());
        vars.set_number("sip_reply_port", from.port());
        vars.set("sip_network_ip", from.ip().to_string());
        vars.set_number("sip_network_port", from.port());
        vars.set("sip_recover_contact", message.get("Contact").unwrap_or_default().to_owned());
        let via = message.get("Via").unwrap_or_default();
        vars.set("sip_full_via", via.to_owned());
        vars.set("sip_recover_via", via.to_owned());
        vars.set("sip_from_display", display_name(from_value).unwrap_or_default().to_owned());
        vars.set("sip_full_from", from_value.to_owned());
        vars.set("sip_full_to", to_value.to_owned());
        uri_vars(vars, From::FROM, uri::uri_of(from_value));
        uri_vars(vars, From::TO, uri::uri_of(to_value));
        if let Some(contact) = message.contact_uri() {
            uri_vars(vars, From::CONTACT, contact);
        }
        vars.set("sip_user_agent", message.get("User-Agent").or(message.get("Server")).unwrap_or_default().to_owned());
        vars.set("sip_reason", message.get("Reason").unwrap_or_default().to_owned());
        vars.set("sip_to_tag", message.to_tag().unwrap_or_default().to_owned());
        vars.set("sip_from_tag", message.from_tag().unwrap_or_default().to_owned());
        vars.set("sip_cseq", message.cseq().map_or_else(String::new, |(number, _)| number.to_string()));
        vars.set("sip_call_id", message.call_id().unwrap_or_default().to_owned());
        if channel.profile.as_ref().is_some_and(|profile| profile.network_addr.is_none())
            && let Some(profile) = &mut channel.profile
        {
            profile.network_addr = Some(from.ip().to_string().into());
        }
    }

    /// Sends a digit to the far end of this leg, as INFO: there is no RTP to carry it.
    pub fn relay_digit(&mut self, id: ChannelId, digit: &Digit) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let Some(dialog) = channel.sip.dialog.as_mut().filter(|_| !channel.sip.ended) else { return };
        let mut info = dialog.request("INFO");
        info.set_body(
            "application/dtmf-relay",
            format!("Signal={}\r\nDuration={}\r\n", digit.digit, digit.duration / 8),
        );
        let hop = dialog.next_hop();
        self.sip.send_request(info, hop);
    }

    /// The far end is told that the call is over, in the way that fits how far it got.
    pub fn end_dialog(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let why = channel.cause.unwrap_or("NORMAL_CLEARING");
        let disposition = match (channel.sip.ended, channel.direction, channel.answered || channel.sip.dialog.is_some())
        {
            (true, ..) => return,
            (false, _, true) => "send_bye",
            (false, Direction::Inbound, false) => "send_refuse",
            (false, Direction::Outbound, false) => "send_cancel",
        };
        channel.sip.ended = true;
        channel.vars.set("sip_hangup_disposition", disposition);
        let reason = format!("Q.850;cause={};text=\"{why}\"", cause::q850(why));
        match disposition {
            "send_bye" => {
                if let Some(dialog) = &mut channel.sip.dialog {
                    let mut bye = dialog.request("BYE");
                    bye.add("Reason", reason);
                    bye.add("User-Agent", USER_AGENT);
                    let hop = dialog.next_hop();
                    self.sip.send_request(bye, hop);
                }
            }
            "send_refuse" => {
                // The far leg's own status is passed on when there was one.
                let passed = channel.vars.get("last_bridge_proto_specific_hangup_cause");
                let code = passed
                    .and_then(|value| value.strip_prefix("sip:")?.parse().ok())
                    .filter(|code: &u16| *code >= 400)
                    .unwrap_or_else(|| cause::to_sip(why));
                if let (Some(invite), Some(tx)) = (&channel.sip.invite, channel.sip.server) {
                    let mut answer =
                        Message::response_to(invite, code, cause::phrase(code), Some(&channel.sip.local_tag));
                    answer.add("Reason", reason);
                    answer.add("User-Agent", USER_AGENT);
                    self.sip.respond(tx, &answer);
                }
            }
            _ => {
                channel.vars.set("sip_invite_failure_status", "487");
                channel.vars.set("sip_invite_failure_phrase", "CANCEL");
                if let (Some(tx), Some(invite)) = (channel.sip.client, channel.sip.invite.take()) {
                    self.sip.cancel(tx);
                    self.orphans.insert(tx, invite);
                }
            }
        }
    }
}

/// An event about a bridge: both ids come first.
pub(super) fn bridge_event<'a>(
    kind: Kind,
    place: super::event::Place,
    channel: &'a Channel,
    head: &'a [(&'a str, &'a str)],
) -> Event<'a> {
    Event { head, ..Event::of(kind, place, channel) }
}
