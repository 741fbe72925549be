//! The A leg: calls that arrive, and what their far end does inside the dialog.
//!
//! A session reads SIP where it reads media: what the ACK brings (`sip_cseq`, the new Via) shows in events only from the next frame on.
//! That is why the ACK is kept in the channel until then.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::bus::Event;
use super::cause;
use super::channel::{AckSeen, CallState, Channel, ChannelId, Digit, Direction, Profile, Role, SipLeg, State, Times};
use super::event::{Kind, place};
use super::node::{Node, Timer, tag};
use super::sdp::{self, Audio, Codec};
use super::vars::Vars;
use super::{Media, Overload};
use crate::sip::{Challenge, Credentials, Dialog, Message, ServerTx, digest, uri};

/// One frame of a phone call.
pub(super) const FRAME: Duration = Duration::from_millis(20);

/// Nonces given out and not forgotten: more than can be in use at once.
const NONCES: usize = 20_000;

#[derive(Debug, Default)]
pub(super) struct Nonces {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl Nonces {
    fn add(&mut self, nonce: String) {
        if self.order.len() >= NONCES
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.known.insert(nonce.clone());
        self.order.push_back(nonce);
    }
}

impl Node {
    pub fn request(&mut self, tx: ServerTx, message: Message, from: SocketAddr) {
        let in_dialog = message.to_tag().and_then(|tag| self.by_tag.get(tag)).copied();
        match (message.method().unwrap_or_default(), in_dialog) {
            ("INVITE", Some(id)) => self.re_invite(id, tx, &message),
            ("INVITE", None) if message.to_tag().is_none() => self.invite(tx, message, from),
            ("OPTIONS", _) => {
                let mut answer = Message::response_to(&message, 200, "OK", Some(&tag(&mut self.rng)));
                answer.add("Accept", "application/sdp");
                answer.add("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, UPDATE");
                self.sip.respond(tx, &answer);
            }
            ("BYE", Some(id)) => {
                self.respond(tx, &message, 200);
                self.far_end_hung_up(id, message.get("Reason"));
            }
            ("INFO", Some(id)) => {
                self.respond(tx, &message, 200);
                self.info(id, &message);
            }
            ("UPDATE" | "MESSAGE" | "PRACK" | "NOTIFY", Some(_)) => self.respond(tx, &message, 200),
            ("REFER", Some(id)) => self.refer(id, tx, &message),
            (_, None) if message.to_tag().is_some() => self.respond(tx, &message, 481),
            _ => self.respond(tx, &message, 501),
        }
    }

    fn respond(&mut self, tx: ServerTx, request: &Message, code: u16) {
        let tag = tag(&mut self.rng);
        let answer = Message::response_to(request, code, cause::phrase(code), Some(&tag));
        self.sip.respond(tx, &answer);
    }

    fn invite(&mut self, tx: ServerTx, message: Message, from: SocketAddr) {
        {
            let mut stats = self.stats.lock();
            *stats.invites.entry(message.call_id().unwrap_or_default().to_owned()).or_default() += 1;
        }
        let full = self.channels.len() >= self.config.max_sessions as usize
            || self.pulse.this_second() >= self.config.max_per_second;
        if self.draining || full || self.overload == Overload::Refuse {
            self.stats.lock().refused += 1;
            self.respond(tx, &message, 503);
            return;
        }
        if let Overload::Slow(delay) = self.overload {
            let invite = Box::new((tx, message, from));
            self.timers.arm(Instant::now() + delay, Timer::LateInvite { invite });
            return;
        }
        self.new_call(tx, message, from);
    }

    pub fn new_call(&mut self, tx: ServerTx, message: Message, from: SocketAddr) {
        let called = message.called_user().unwrap_or_default().to_owned();
        let challenged = self.config.dialplan.find(&called).is_some_and(|extension| extension.challenge);
        if challenged && !self.credentials_hold(&message) {
            self.challenge(tx, &message);
            return;
        }
        let id = self.create_caller(tx, message, from);
        self.start_caller(id, &called);
        self.ready.push_back(id);
    }

    fn credentials_hold(&self, message: &Message) -> bool {
        message.all("Proxy-Authorization").any(|value| {
            let known = |nonce: &str| self.nonces.known.contains(nonce);
            let realm = &self.config.id;
            let user = value.split("username=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
            let any = Credentials { user: user.to_owned(), password: self.config.auth_password.clone() };
            std::iter::once(&any)
                .chain(&self.config.auth_users)
                .any(|who| digest::verify(value, "INVITE", realm, who, known))
        })
    }

    fn challenge(&mut self, tx: ServerTx, message: &Message) {
        let nonce = self.uuid();
        self.nonces.add(nonce.clone());
        let challenge = Challenge { realm: self.config.id.clone(), nonce, opaque: None, qop_auth: true, proxy: true };
        let tag = tag(&mut self.rng);
        let mut answer = Message::response_to(message, 407, cause::phrase(407), Some(&tag));
        answer.add("Proxy-Authenticate", challenge.header_value());
        self.stats.lock().challenged += 1;
        self.sip.respond(tx, &answer);
    }

    fn create_caller(&mut self, tx: ServerTx, message: Message, from: SocketAddr) -> ChannelId {
        let now = self.wall_us();
        self.next_id += 1;
        let id = self.next_id;
        let uuid: Box<str> = self.uuid().into();
        let from_value = message.get("From").unwrap_or_default();
        let from_uri = uri::uri_of(from_value);
        let user = uri::user(from_uri).unwrap_or_default();
        let name: Box<str> = format!("sofia/core/{user}@{}", uri::host_port(from_uri)).into();
        let offer = if message.body.is_empty() { None } else { sdp::audio(&message.body, None) };
        let local_tag: Box<str> = tag(&mut self.rng).into();
        let mut profile = Profile {
            direction: Direction::Inbound,
            logical: Direction::Inbound,
            username: Some(user.into()),
            dialplan: Some("XML".into()),
            caller_name: Some(display_name(from_value).unwrap_or(user).into()),
            caller_number: user.into(),
            callee: None,
            network_addr: Some(from.ip().to_string().into()),
            rdnis: None,
            destination: message.called_user().unwrap_or_default().into(),
            unique_id: uuid.clone(),
            source: "mod_sofia",
            transfer_source: None,
            context: "public",
            channel_name: name.clone(),
            index: 1,
            created: now,
            times: Times { created: now, ..Times::default() },
        };
        profile.times.created = now;
        let vars = self.caller_vars(&message, from, &uuid, &name, offer.as_ref());
        self.by_tag.insert(local_tag.clone(), id);
        self.by_server.insert(tx, id);
        let sip = SipLeg { invite: Some(Box::new(message)), server: Some(tx), local_tag, ..SipLeg::default() };
        self.stats.lock().calls += 1;
        let channel = Channel {
            id,
            call_uuid: uuid.clone(),
            uuid,
            name,
            direction: Direction::Inbound,
            role: Role::Caller,
            hit_dialplan: true,
            state: State::New,
            next_state: State::New,
            call_state: CallState::Down,
            answered: false,
            cause: None,
            profile: Some(Box::new(profile)),
            other: None,
            vars,
            codec: None,
            remote: offer.map(Box::new),
            local_port: 0,
            sip,
            stack: Vec::new(),
            plan: VecDeque::new(),
            commands: VecDeque::new(),
            digits: VecDeque::new(),
            dialed: String::new(),
            last_app: None,
            wait: 0,
            peer: None,
            bridged: false,
            quiet_command: true,
            transfer: None,
            media_since: None,
            media_in: false,
            played_ms: 0,
            socket: None,
            hold_until: None,
        };
        self.insert(channel)
    }

    /// The events of a new session, up to the first application.
    fn start_caller(&mut self, id: ChannelId, called: &str) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let profile = channel.profile.take();
        self.bus.fire(Event::of(Kind::ChannelState, place::STATE, channel));
        channel.profile = profile;
        let offer = channel.remote.as_ref().map(|audio| audio.codec);
        let offerless = channel.sip.invite.as_ref().is_some_and(|invite| invite.body.is_empty());
        let codec = offer.or(offerless.then_some(Codec::Pcmu));
        if let Some(codec) = codec {
            self.set_codec(id, codec);
        }
        self.enter(id, State::Init);
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.next_state = State::Routing;
            channel.vars.shrink();
        }
        self.fire(id, Kind::ChannelCreate, place::CREATE);
        if codec.is_none() {
            self.hangup(id, "INCOMPATIBLE_DESTINATION");
            return;
        }
        self.route(id, called);
    }

    /// Looks up the dialplan and gets ready to execute it; also after a transfer.
    pub fn route(&mut self, id: ChannelId, called: &str) {
        let answered = self.channels.get(&id).is_some_and(|channel| channel.answered);
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.state = State::Routing;
            channel.next_state = State::Routing;
        }
        self.call_state(id, CallState::Ringing);
        self.enter(id, State::Routing);
        // The look-up takes an event number and sends nothing.
        self.bus.take_number();
        match self.config.dialplan.actions(called) {
            Some(actions) => {
                if let Some(channel) = self.channels.get_mut(&id) {
                    channel.plan = actions.into();
                    channel.state = State::Execute;
                    channel.next_state = State::Execute;
                }
                if answered {
                    self.call_state(id, CallState::Active);
                }
                self.enter(id, State::Execute);
            }
            None => self.hangup(id, "UNALLOCATED_NUMBER"),
        }
    }

    /// Sets both codecs, with the two events that FreeSWITCH makes of it.
    pub fn set_codec(&mut self, id: ChannelId, codec: Codec) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.codec = Some(codec);
        self.bus.fire(Event {
            tail: &[
                ("channel-read-codec-name", codec.name()),
                ("channel-read-codec-rate", "8000"),
                ("channel-read-codec-bit-rate", "64000"),
            ],
            ..Event::of(Kind::Codec, place::READ_CODEC, channel)
        });
        self.write_codec(id);
    }

    pub fn write_codec(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else { return };
        let name = channel.codec.unwrap_or(Codec::Pcmu).name();
        self.bus.fire(Event {
            tail: &[
                ("Channel-Write-Codec-Name", name),
                ("Channel-Write-Codec-Rate", "8000"),
                ("Channel-Write-codec-bit-rate", "64000"),
            ],
            ..Event::of(Kind::Codec, place::WRITE_CODEC, channel)
        });
    }

    fn caller_vars(
        &mut self,
        message: &Message,
        from: SocketAddr,
        uuid: &str,
        name: &str,
        offer: Option<&Audio>,
    ) -> Vars {
        let mut vars = Vars::default();
        let local = self.sip.local();
        let from_value = message.get("From").unwrap_or_default();
        let to_value = message.get("To").unwrap_or_default();
        vars.set("direction", "inbound");
        vars.set("uuid", uuid.to_owned());
        vars.set("call_uuid", uuid.to_owned());
        vars.set_number("session_id", self.pulse.sessions + 1);
        uri_vars(&mut vars, From::FROM, uri::uri_of(from_value));
        vars.set("video_media_flow", "disabled");
        vars.set("text_media_flow", "disabled");
        vars.set("channel_name", name.to_owned());
        vars.set("sip_call_id", message.call_id().unwrap_or_default().to_owned());
        vars.set("sip_local_network_addr", local.ip().to_string());
        vars.set("sip_network_ip", from.ip().to_string());
        vars.set_number("sip_network_port", from.port());
        vars.set_number("sip_invite_stamp", self.wall_us());
        vars.set("sip_received_ip", from.ip().to_string());
        vars.set_number("sip_received_port", from.port());
        vars.set("sip_via_protocol", "udp");
        let user = uri::user(uri::uri_of(from_value)).unwrap_or_default();
        vars.set("sip_from_user_stripped", user.trim_start_matches('+').to_owned());
        vars.set("sip_from_tag", message.from_tag().unwrap_or_default().to_owned());
        self.profile_vars(&mut vars);
        vars.set("sip_full_via", message.get("Via").unwrap_or_default().to_owned());
        vars.set("sip_from_display", display_name(from_value).unwrap_or_default().to_owned());
        vars.set("sip_full_from", from_value.to_owned());
        vars.set("sip_to_display", display_name(to_value).unwrap_or_default().to_owned());
        vars.set("sip_full_to", to_value.to_owned());
        uri_vars(&mut vars, From::REQ, message.request_uri().unwrap_or_default());
        uri_vars(&mut vars, From::TO, uri::uri_of(to_value));
        uri_vars(&mut vars, From::CONTACT, message.contact_uri().unwrap_or_default());
        for (header, name) in [
            ("User-Agent", "sip_user_agent"),
            ("Subject", "sip_subject"),
            ("P-Asserted-Identity", "sip_P-Asserted-Identity"),
            ("Remote-Party-ID", "sip_Remote-Party-ID"),
            ("Privacy", "sip_Privacy"),
            ("Diversion", "sip_h_Diversion"),
        ] {
            vars.set(name, message.get(header).unwrap_or_default().to_owned());
        }
        let via = message.all("Via").next_back().and_then(|via| via.split(';').next()?.split_whitespace().last());
        let (host, port) = via.map_or(("", ""), |sent_by| sent_by.rsplit_once(':').unwrap_or((sent_by, "5060")));
        vars.set("sip_via_host", host.to_owned());
        vars.set("sip_via_port", port.to_owned());
        vars.set("max_forwards", message.get("Max-Forwards").unwrap_or("70").to_owned());
        for header in &message.headers {
            if header.name.len() > 2 && header.name[..2].eq_ignore_ascii_case("x-") {
                vars.set(format!("sip_h_{}", header.name), header.value.clone());
            }
        }
        if let Some(audio) = offer {
            vars.set("switch_r_sdp", String::from_utf8_lossy(&message.body).into_owned());
            media_vars(&mut vars, audio, "PCMU,PCMA");
            vars.set("audio_media_flow", "sendrecv");
            vars.set("remote_media_ip", audio.ip.clone());
            vars.set_number("remote_media_port", audio.port);
            codec_vars(&mut vars, audio.codec);
            vars.set("dtmf_type", if audio.telephone_event { "rfc2833" } else { "info" });
        }
        vars.set("endpoint_disposition", "RECEIVED");
        vars
    }

    pub fn profile_vars(&self, vars: &mut Vars) {
        vars.set("sofia_profile_name", "core");
        vars.set("sofia_profile_url", format!("sip:mod_sofia@{}", self.sip.local()));
        vars.set("recovery_profile_name", "core");
    }

    pub fn contact(&self) -> String {
        format!("<sip:mod_sofia@{}>", self.sip.local())
    }

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
        self.stats.lock().answered += 1;
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

    /// The caller gave up before the answer. As recorded: cause and status of a normal clearing, the caller is told 487.
    pub fn cancelled(&mut self, tx: ServerTx) {
        let Some(id) = self.by_server.get(&tx).copied() else { return };
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.sip.ended = true;
        if let Some(invite) = &channel.sip.invite {
            let answer = Message::response_to(invite, 487, cause::phrase(487), Some(&channel.sip.local_tag));
            self.sip.respond(tx, &answer);
        }
        self.far_end_hung_up(id, None);
    }

    /// BYE (or CANCEL) of the far end.
    pub fn far_end_hung_up(&mut self, id: ChannelId, reason: Option<&str>) {
        self.read_ack(id);
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if !channel.is_up() {
            return;
        }
        channel.sip.ended = true;
        channel.vars.set("sip_reason", reason.unwrap_or_default().to_owned());
        channel.vars.set("sip_term_status", "200");
        channel.vars.set("proto_specific_hangup_cause", "sip:200");
        channel.vars.set("sip_term_cause", "16");
        if channel.bridged {
            let role = if channel.role == Role::Caller { "originator" } else { "originatee" };
            channel.vars.set("last_bridge_role", role);
            channel.vars.remove("bridge_to");
        }
        self.hangup(id, "NORMAL_CLEARING");
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.vars.set("sip_hangup_disposition", "recv_bye");
        }
    }

    fn re_invite(&mut self, id: ChannelId, tx: ServerTx, message: &Message) {
        let contact = self.contact();
        let body = self.local_description(id);
        let tag = tag(&mut self.rng);
        let mut answer = Message::response_to(message, 200, "OK", Some(&tag));
        answer.add("Contact", contact);
        answer.set_body("application/sdp", body);
        self.sip.respond(tx, &answer);
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if let Some(dialog) = &mut channel.sip.dialog {
            dialog.refresh_target(message);
        }
        let codec = channel.codec;
        let Some(audio) = sdp::audio(&message.body, codec) else { return };
        let was_held = channel.remote.as_ref().is_some_and(|old| old.direction != "sendrecv");
        let held = audio.direction != "sendrecv";
        channel.remote = Some(Box::new(audio));
        match (was_held, held) {
            (false, true) => self.fire(id, Kind::ChannelHold, place::HOLD),
            (true, false) => self.fire(id, Kind::ChannelUnhold, place::HOLD),
            _ => {}
        }
    }

    /// `application/dtmf-relay` (`Signal=5`, `Duration=160` ms) or `application/dtmf` (the digit alone).
    fn info(&mut self, id: ChannelId, message: &Message) {
        let kind = message.get("Content-Type").unwrap_or_default();
        let text = String::from_utf8_lossy(&message.body);
        let field = |name: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once('=')?;
                key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let signal =
            if kind.starts_with("application/dtmf-relay") { field("Signal") } else { Some(text.trim().to_owned()) };
        let Some(digit) = signal.as_deref().and_then(|signal| signal.chars().next()) else { return };
        if !kind.starts_with("application/dtmf") || !"0123456789*#ABCDabcd".contains(digit) {
            return;
        }
        let ms: u32 = field("Duration").and_then(|value| value.parse().ok()).unwrap_or(250);
        self.digit(id, Digit { digit, duration: ms.saturating_mul(8), source: "INFO" });
    }

    /// A blind transfer asked for by the far end.
    fn refer(&mut self, id: ChannelId, tx: ServerTx, message: &Message) {
        self.respond(tx, message, 202);
        let target = message.get("Refer-To").map(uri::uri_of).and_then(uri::user).map(str::to_owned);
        let who = match self.channels.get(&id).and_then(|channel| channel.peer) {
            Some(peer) => peer,
            None => id,
        };
        if let Some(target) = target {
            self.transfer(who, &target, "public");
        }
    }
}

pub(super) const USER_AGENT: &str = "FreeSWITCH-mod_sofia/1.11.2-dev (simulated)";

/// Which of the four families of URI variables.
pub(super) struct From;

impl From {
    pub const FROM: [&'static str; 4] = ["sip_from_user", "sip_from_port", "sip_from_uri", "sip_from_host"];
    pub const REQ: [&'static str; 4] = ["sip_req_user", "sip_req_port", "sip_req_uri", "sip_req_host"];
    pub const TO: [&'static str; 4] = ["sip_to_user", "sip_to_port", "sip_to_uri", "sip_to_host"];
    pub const CONTACT: [&'static str; 4] =
        ["sip_contact_user", "sip_contact_port", "sip_contact_uri", "sip_contact_host"];
}

/// User, port, whole and host of a URI. A port that is not written is not set.
pub(super) fn uri_vars(vars: &mut Vars, names: [&'static str; 4], text: &str) {
    let host_port = uri::host_port(text);
    let (host, port) = match host_port.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (host_port, ""),
    };
    let user = uri::user(text).unwrap_or_default();
    let [user_name, port_name, uri_name, host_name] = names;
    vars.set(user_name, user.to_owned());
    vars.set(port_name, port.to_owned());
    vars.set(uri_name, if user.is_empty() { host_port.to_owned() } else { format!("{user}@{host_port}") });
    vars.set(host_name, host.to_owned());
}

/// What the far end's description says, as mod_sofia notes it.
pub(super) fn media_vars(vars: &mut Vars, audio: &Audio, use_codecs: &str) {
    let codec = audio.codec.name();
    vars.set("ep_codec_string", format!("CORE_PCM_MODULE.{codec}@8000h@20i@64000b"));
    vars.set("rtp_use_codec_string", use_codecs.to_owned());
    vars.set("remote_video_media_flow", "inactive");
    vars.set("remote_text_media_flow", "inactive");
    vars.set("remote_audio_media_flow", audio.direction);
    vars.set_number("rtp_audio_recv_pt", audio.payload);
}

pub(super) fn codec_vars(vars: &mut Vars, codec: Codec) {
    vars.set("rtp_use_codec_name", codec.name());
    vars.set("rtp_use_codec_rate", "8000");
    vars.set("rtp_use_codec_ptime", "20");
    vars.set("rtp_use_codec_channels", "1");
    vars.set("rtp_last_audio_codec_string", format!("{}@8000h@20i@1c", codec.name()));
    for name in ["read_codec", "original_read_codec"] {
        vars.set(name, codec.name());
    }
    vars.set("read_rate", "8000");
    vars.set("original_read_rate", "8000");
    vars.set("write_codec", codec.name());
    vars.set("write_rate", "8000");
}

/// The display name of a name-address, without quotes.
pub(super) fn display_name(value: &str) -> Option<&str> {
    let name = value.split('<').next()?.trim().trim_matches('"').trim();
    (value.contains('<') && !name.is_empty()).then_some(name)
}
