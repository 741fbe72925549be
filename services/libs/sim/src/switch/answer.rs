//! How a caller is answered: ringing, early media, the answer, its ACK.
//!
//! A session reads SIP where it reads media: what the ACK brings (`sip_cseq`, the new Via) shows in events only from the next frame on.
//! That is why the ACK is kept in the channel until then.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Media;
use super::cause;
use super::channel::{AckSeen, CallState, ChannelId, Role};
use super::event::{Kind, place};
use super::inbound::USER_AGENT;
use super::node::{Node, Timer};
use super::sdp::{self, Codec};
use crate::sip::{Dialog, Message, ServerTx};

/// One frame of a phone call.
pub(super) const FRAME: Duration = Duration::from_millis(20);

impl Node {
    /// 180: the caller hears ringing.
    pub fn ring_ready(&mut self, id: ChannelId) {
        let now = self.wall_us();
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if channel.answered || channel.sip.provisional != 0 || channel.role != Role::Caller {
            return;
        }
        channel.sip.provisional = 180;
        self.provisional(id, 180, None);
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let tag = channel.sip.local_tag.to_string();
        channel.vars.set("sip_to_tag", tag);
        if let Some(profile) = &mut channel.profile {
            profile.times.progress = now;
        }
        self.fire(id, Kind::ChannelProgress, place::PROGRESS);
    }

    /// 183 with a description: the caller hears early media.
    pub fn pre_answer(&mut self, id: ChannelId) {
        let now = self.wall_us();
        let Some(channel) = self.channels.get(&id) else { return };
        if channel.answered || channel.sip.provisional == 183 || channel.role != Role::Caller {
            return;
        }
        let body = self.local_description(id);
        self.provisional(id, 183, Some(body));
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.sip.provisional = 183;
        let tag = channel.sip.local_tag.to_string();
        channel.vars.set("sip_to_tag", tag);
        channel.vars.set("endpoint_disposition", "EARLY MEDIA");
        if let Some(profile) = &mut channel.profile {
            profile.times.progress_media = now;
        }
        self.fire(id, Kind::ChannelProgressMedia, place::PRE_ANSWER);
        self.call_state(id, CallState::Early);
    }

    fn provisional(&mut self, id: ChannelId, code: u16, body: Option<String>) {
        let contact = self.contact();
        let Some(channel) = self.channels.get(&id) else { return };
        let (Some(invite), Some(tx)) = (&channel.sip.invite, channel.sip.server) else { return };
        let mut answer = Message::response_to(invite, code, cause::phrase(code), Some(&channel.sip.local_tag));
        answer.add("Contact", contact);
        answer.add("User-Agent", USER_AGENT);
        if let Some(body) = body {
            answer.set_body("application/sdp", body);
        }
        self.sip.respond(tx, &answer);
    }

    /// Chooses our port once and writes our side of the session into the variables.
    pub fn local_description(&mut self, id: ChannelId) -> String {
        let ip = self.sip.local().ip();
        if let Some(body) = self.channels.get(&id).and_then(|channel| channel.vars.get("rtp_local_sdp_str")) {
            return body.to_owned();
        }
        let port = self.rtp_port();
        let (session, ssrc) = (self.rng.below(1 << 31), self.rng.below(1 << 32));
        let Some(channel) = self.channels.get_mut(&id) else { return String::new() };
        let codec = channel.codec.unwrap_or(Codec::Pcmu);
        channel.local_port = port;
        let event = channel.remote.as_ref().is_some_and(|audio| audio.telephone_event);
        let body = sdp::local(session, ip, port, &[codec], event);
        channel.vars.set("rtp_local_sdp_str", body.clone());
        channel.vars.set("local_media_ip", ip.to_string());
        channel.vars.set_number("local_media_port", port);
        channel.vars.set("advertised_media_ip", ip.to_string());
        channel.vars.set("rtp_use_timer_name", "soft");
        channel.vars.set_number("rtp_use_pt", codec.payload());
        channel.vars.set_number("rtp_use_ssrc", ssrc);
        body
    }

    /// 200 to the INVITE. Nothing happens on a channel that is answered or gone.
    pub fn answer(&mut self, id: ChannelId) {
        let now = self.wall_us();
        let contact = self.contact();
        let Some(channel) = self.channels.get(&id) else { return };
        if channel.answered || !channel.is_up() || channel.role != Role::Caller {
            return;
        }
        let body = self.local_description(id);
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let (Some(invite), Some(tx)) = (&channel.sip.invite, channel.sip.server) else { return };
        let mut answer = Message::response_to(invite, 200, "OK", Some(&channel.sip.local_tag));
        answer.add("Contact", contact.as_str());
        answer.add("User-Agent", USER_AGENT);
        answer.add("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, UPDATE");
        answer.set_body("application/sdp", body);
        let peer = invite.origin().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 5060)));
        channel.sip.dialog = Some(Box::new(Dialog::callee(invite, &channel.sip.local_tag, &contact, peer)));
        self.sip.respond(tx, &answer);
        self.books.lock().stats.answered += 1;
        let media = self.config.media;
        channel.answered = true;
        channel.media_since = Some(Instant::now());
        channel.media_in = media != Media::Silent;
        channel.hold_until = Some(Instant::now() + FRAME);
        if let Some(profile) = &mut channel.profile {
            profile.times.answered = now;
        }
        self.fire(id, Kind::ChannelAnswer, place::ANSWER);
        self.call_state(id, CallState::Active);
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.vars.set("endpoint_disposition", "ANSWER");
        }
        self.timers.arm(Instant::now() + FRAME, Timer::Frame { id });
        if media == Media::OtherPtime {
            self.timers.arm(Instant::now() + Duration::from_millis(320), Timer::Ptime { id });
        }
    }

    pub fn acknowledged(&mut self, tx: ServerTx, message: &Message) {
        let Some(id) = self.by_server.get(&tx).copied() else { return };
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.sip.acknowledged = true;
        channel.sip.ack = Some(Box::new(AckSeen {
            via: message.get("Via").unwrap_or_default().into(),
            to: message.get("To").unwrap_or_default().into(),
            cseq: message.cseq().map_or_else(String::new, |(number, _)| number.to_string()).into(),
        }));
        // A little more than a frame: a command that waits for the first frame reads it first.
        self.timers.arm(Instant::now() + FRAME + Duration::from_millis(5), Timer::Frame { id });
        self.ack_for_bridge(id);
    }

    pub fn ack_timeout(&mut self, tx: ServerTx) {
        if let Some(id) = self.by_server.get(&tx).copied() {
            self.hangup(id, "RECOVERY_ON_TIMER_EXPIRE");
        }
    }

    /// What the ACK brought becomes visible.
    pub fn read_ack(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let Some(ack) = channel.sip.ack.take() else { return };
        let tag = channel.sip.local_tag.to_string();
        channel.vars.set("sip_to_tag", tag);
        channel.vars.set("sip_cseq", ack.cseq.into_string());
        channel.vars.set("sip_full_via", ack.via.into_string());
        channel.vars.set("sip_full_to", ack.to.into_string());
    }

    /// A media frame has gone by.
    pub fn frame(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if channel.hold_until.is_some_and(|until| until <= Instant::now()) {
            channel.hold_until = None;
        }
        if channel.hold_until.is_none() {
            // Commands that waited for media come before what the ACK brought.
            let waiting = !channel.commands.is_empty();
            self.advance(id);
            if !waiting {
                self.read_ack(id);
            }
        }
    }

    pub fn other_ptime(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&id)
            && channel.is_up()
        {
            let codec = channel.codec.unwrap_or(Codec::Pcmu).name();
            channel.vars.set("rtp_h_X-Broken-PTIME", "Adv=20;Sent=30");
            channel.vars.set("rtp_use_codec_ptime", "30");
            channel.vars.set("rtp_last_audio_codec_string", format!("{codec}@8000h@30i@1c"));
            self.write_codec(id);
        }
    }
}
