//! The A leg: calls that arrive, and what their far end does inside the dialog.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use super::Overload;
use super::bus::Event;
use super::cause;
use super::channel::{CallState, Channel, ChannelId, Digit, Direction, Profile, Role, SipLeg, State, Times};
use super::event::{Kind, place};
use super::node::{Node, Timer, tag};
use super::sdp::{self, Codec};
use super::sip_vars::display_name;
use crate::sip::{Challenge, Credentials, Message, ServerTx, digest, uri};

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

    pub fn respond(&mut self, tx: ServerTx, request: &Message, code: u16) {
        let tag = tag(&mut self.rng);
        let answer = Message::response_to(request, code, cause::phrase(code), Some(&tag));
        self.sip.respond(tx, &answer);
    }

    fn invite(&mut self, tx: ServerTx, message: Message, from: SocketAddr) {
        self.books.lock().invite(message.call_id().unwrap_or_default());
        let full = self.channels.len() >= self.config.max_sessions as usize
            || self.pulse.this_second() >= self.config.max_per_second;
        if self.draining || full || self.overload == Overload::Refuse {
            self.books.lock().stats.refused += 1;
            self.respond(tx, &message, 503);
            return;
        }
        if let Overload::Slow(delay) = self.overload {
            self.late.insert(tx);
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
        self.books.lock().stats.challenged += 1;
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
        self.books.lock().stats.calls += 1;
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

    pub fn contact(&self) -> String {
        format!("<sip:mod_sofia@{}>", self.sip.local())
    }

    /// The caller gave up before the answer. As recorded: cause and status of a normal clearing, the caller is told 487.
    pub fn cancelled(&mut self, tx: ServerTx) {
        let Some(id) = self.by_server.get(&tx).copied() else {
            // A call put off is told when its time comes: the switch is slow.
            self.late.remove(&tx);
            return;
        };
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
