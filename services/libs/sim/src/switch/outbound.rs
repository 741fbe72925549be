//! The B leg: calls that the switch makes, for `bridge` and `originate`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Media;
use super::bus::Event;
use super::cause;
use super::channel::{CallState, Channel, ChannelId, Digit, Direction, OtherLeg, Profile, Role, SipLeg, State, Times};
use super::event::{Kind, place};
use super::inbound::{From, USER_AGENT, codec_vars, display_name, media_vars, uri_vars};
use super::node::{Node, Timer, tag};
use super::sdp::{self, Codec};
use super::vars::Vars;
use crate::sip::{ClientTx, Dialog, Message, uri};

/// One destination of a dial string: `{a=b}[c=d]sofia/gateway/edge/+491` or `sofia/core/user@host:port` or `error/CAUSE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub vars: Vec<(String, String)>,
    pub address: String,
}

impl Target {
    pub fn parse(text: &str) -> Self {
        let mut target = Self::default();
        let mut rest = text.trim();
        while let Some((open, close)) =
            [('{', '}'), ('[', ']'), ('<', '>')].into_iter().find(|(open, _)| rest.starts_with(*open))
        {
            let Some(end) = rest.find(close) else { break };
            for pair in rest[open.len_utf8()..end].split(',') {
                if let Some((name, value)) = pair.split_once('=') {
                    target.vars.push((name.trim().to_owned(), value.trim().trim_matches('\'').to_owned()));
                }
            }
            rest = rest[end + close.len_utf8()..].trim_start();
        }
        target.address = rest.to_owned();
        target
    }

    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Where a target is sent.
struct Route {
    user: String,
    /// `host:port` as it stands in URIs.
    host: String,
    to: SocketAddr,
    gateway: Option<String>,
}

impl Node {
    fn resolve(&self, address: &str) -> Result<Route, &'static str> {
        if let Some(name) = address.strip_prefix("error/") {
            return Err(cause::parse(name).unwrap_or("NORMAL_UNSPECIFIED"));
        }
        let rest = address.strip_prefix("sofia/").ok_or("CHAN_NOT_IMPLEMENTED")?;
        if let Some(rest) = rest.strip_prefix("gateway/") {
            let (name, user) = rest.split_once('/').ok_or("NO_ROUTE_DESTINATION")?;
            let to = self.config.gateway_edge.filter(|_| name == "edge").ok_or("INVALID_GATEWAY")?;
            return Ok(Route { user: user.to_owned(), host: to.to_string(), to, gateway: Some(name.to_owned()) });
        }
        let (profile, rest) = rest.split_once('/').ok_or("NO_ROUTE_DESTINATION")?;
        if !matches!(profile, "core" | "internal" | "external") {
            return Err("INVALID_PROFILE");
        }
        let (user, host) = rest.split_once('@').ok_or("NO_ROUTE_DESTINATION")?;
        let to = uri::parse_host_port(host).ok_or("NO_ROUTE_DESTINATION")?;
        Ok(Route { user: user.to_owned(), host: host.to_owned(), to, gateway: None })
    }

    /// Makes a channel and sends its INVITE.
    ///
    /// # Errors
    /// The cause when there is nowhere to send it; no channel was made then.
    pub fn place_call(&mut self, target: &Target, for_leg: Option<ChannelId>) -> Result<ChannelId, &'static str> {
        let route = self.resolve(&target.address)?;
        let now = self.wall_us();
        self.next_id += 1;
        let id = self.next_id;
        let uuid: Box<str> = match target.var("origination_uuid") {
            Some(given) if self.by_uuid.contains_key(given) => return Err("DESTINATION_OUT_OF_ORDER"),
            Some(given) => given.into(),
            None => self.uuid().into(),
        };
        let name: Box<str> = match route.gateway {
            Some(_) => format!("sofia/core/{}", route.user).into(),
            None => format!("sofia/core/{}@{}", route.user, route.host).into(),
        };
        let caller = for_leg.and_then(|leg| self.channels.get(&leg));
        let profile =
            outbound_profile(target, caller.and_then(|leg| leg.profile.as_deref()), &route, &uuid, &name, now);
        let other = caller.and_then(|leg| leg.profile.as_deref()).map(|original| {
            let profile = Profile { created: 0, times: Times::default(), ..original.clone() };
            Box::new(OtherLeg { kind: "originator", profile })
        });
        let call_uuid = caller.map_or_else(|| uuid.clone(), |leg| leg.call_uuid.clone());
        let codecs = match caller.and_then(|leg| leg.codec) {
            Some(codec) => vec![codec],
            None => vec![Codec::Pcmu, Codec::Pcma],
        };
        let (port, session) = (self.rtp_port(), self.rng.below(1 << 31));
        let body = sdp::local(session, self.sip.local().ip(), port, &codecs, true);
        let from_tag = tag(&mut self.rng);
        let vars = self.outbound_vars(target, for_leg, &route, &uuid, &name, &body, port);
        let invite = self.outbound_invite(target, for_leg, &route, &profile, &from_tag, &body);
        self.by_tag.insert(from_tag.clone().into(), id);
        let role = for_leg.map_or(Role::Originated, |for_leg| Role::Bridged { for_leg });
        let own_uuid = uuid.clone();
        let channel = Channel {
            id,
            uuid,
            name,
            call_uuid: own_uuid,
            direction: Direction::Outbound,
            role,
            hit_dialplan: false,
            state: State::None,
            next_state: State::Init,
            call_state: CallState::Down,
            answered: false,
            cause: None,
            profile: Some(Box::new(profile)),
            other,
            vars,
            codec: None,
            remote: None,
            local_port: port,
            sip: SipLeg { local_tag: from_tag.into(), ..SipLeg::default() },
            stack: Vec::new(),
            plan: VecDeque::new(),
            commands: VecDeque::new(),
            digits: VecDeque::new(),
            dialed: String::new(),
            last_app: None,
            wait: 0,
            peer: for_leg,
            bridged: false,
            quiet_command: false,
            transfer: None,
            media_since: None,
            media_in: false,
            played_ms: 0,
            socket: None,
            hold_until: None,
        };
        self.insert(channel);
        self.stats.lock().outbound += 1;
        self.announce_call(id, call_uuid);
        let tx = self.sip.send_request(invite.clone(), route.to);
        self.by_client.insert(tx, id);
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.sip.client = Some(tx);
            channel.sip.invite = Some(Box::new(invite));
            channel.vars.shrink();
        }
        let patience = ["leg_timeout", "originate_timeout", "call_timeout"]
            .iter()
            .find_map(|name| target.var(name).and_then(|value| value.parse().ok()))
            .or_else(|| for_leg.and_then(|leg| self.channels.get(&leg)?.vars.get("call_timeout")?.parse().ok()))
            .map_or(self.config.ring_timeout, Duration::from_secs);
        self.timers.arm(Instant::now() + patience, Timer::RingTimeout { id });
        Ok(id)
    }

    /// The events of a channel that is being made.
    fn announce_call(&mut self, id: ChannelId, call_uuid: Box<str>) {
        self.fire(id, Kind::ChannelOutgoing, place::OUTGOING);
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.call_uuid = call_uuid;
        }
        self.enter(id, State::Init);
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.next_state = State::Routing;
        }
        self.fire(id, Kind::ChannelCreate, place::CREATE);
        self.fire(id, Kind::ChannelOriginate, place::ORIGINATE);
        self.enter(id, State::Routing);
        self.enter(id, State::ConsumeMedia);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one list of facts for one list of variables; a struct would repeat it"
    )]
    fn outbound_vars(
        &mut self,
        target: &Target,
        for_leg: Option<ChannelId>,
        route: &Route,
        uuid: &str,
        name: &str,
        body: &str,
        port: u16,
    ) -> Vars {
        let mut vars = Vars::default();
        let local = self.sip.local();
        vars.set("direction", "outbound");
        vars.set("is_outbound", "true");
        vars.set("uuid", uuid.to_owned());
        vars.set_number("session_id", self.pulse.sessions + 1);
        vars.set("sip_gateway_name", route.gateway.clone().unwrap_or_default());
        vars.set("sip_local_network_addr", local.ip().to_string());
        vars.set("sip_profile_name", if route.gateway.is_some() { "gateway" } else { "core" });
        vars.set("text_media_flow", "disabled");
        vars.set("channel_name", name.to_owned());
        vars.set("sip_destination_url", format!("sip:{}@{}", route.user, route.host));
        for (name, value) in &target.vars {
            vars.set(name.clone(), value.clone());
        }
        let caller = for_leg.and_then(|leg| self.channels.get(&leg));
        match caller {
            Some(leg) => {
                let hops: u32 = leg.vars.get("max_forwards").and_then(|value| value.parse().ok()).unwrap_or(70);
                let codec = leg.codec.unwrap_or(Codec::Pcmu).name();
                vars.set_number("max_forwards", hops.saturating_sub(1));
                for (name, value) in leg.vars.iter().filter(|(name, _)| name.starts_with("sip_h_")) {
                    vars.set(name.to_owned(), value.to_owned());
                }
                vars.set("originator_codec", format!("{codec}@8000h@20i"));
                vars.set("originator", leg.uuid.to_string());
                vars.set("signal_bond", leg.uuid.to_string());
                vars.set("switch_m_sdp", leg.vars.get("switch_r_sdp").unwrap_or_default().to_owned());
                vars.set("call_uuid", leg.call_uuid.to_string());
                vars.set("originate_early_media", "true");
                vars.set("originating_leg_uuid", leg.uuid.to_string());
                vars.set("rtp_use_codec_string", format!("{codec}@8000h@20i"));
            }
            None => {
                vars.set("call_uuid", uuid.to_owned());
                vars.set("originate_early_media", (target.var("ignore_early_media") != Some("true")).to_string());
                vars.set("rtp_use_codec_string", "PCMU,PCMA");
            }
        }
        vars.set("originate_endpoint", "sofia");
        vars.set("local_media_ip", local.ip().to_string());
        vars.set_number("local_media_port", port);
        vars.set("advertised_media_ip", local.ip().to_string());
        vars.set("audio_media_flow", "sendrecv");
        vars.set("video_media_flow", "inactive");
        vars.set("rtp_local_sdp_str", body.to_owned());
        vars.set("sip_outgoing_contact_uri", self.contact());
        vars.set("sip_req_uri", format!("{}@{}", route.user, route.host));
        vars.set("sip_to_host", route.host.clone());
        vars.set("sip_from_host", local.ip().to_string());
        self.profile_vars(&mut vars);
        vars
    }

    fn outbound_invite(
        &mut self,
        target: &Target,
        for_leg: Option<ChannelId>,
        route: &Route,
        profile: &Profile,
        from_tag: &str,
        body: &str,
    ) -> Message {
        let local = self.sip.local();
        let mut invite = Message::request("INVITE", &format!("sip:{}@{}", route.user, route.host));
        let caller = for_leg.and_then(|leg| self.channels.get(&leg));
        let hops: u32 = caller.and_then(|leg| leg.vars.get("max_forwards")?.parse().ok()).unwrap_or(71);
        invite.add("Max-Forwards", hops.saturating_sub(1).to_string());
        let display = profile.caller_name.as_deref().map_or_else(String::new, |name| format!("\"{name}\" "));
        invite.add("From", format!("{display}<sip:{}@{}>;tag={from_tag}", profile.caller_number, local.ip()));
        invite.add("To", format!("<sip:{}@{}>", route.user, route.host));
        let call_id = self.uuid();
        invite.add("Call-ID", call_id);
        invite.add("CSeq", format!("{} INVITE", 123_000_000 + self.rng.below(1_000_000)));
        invite.add("Contact", self.contact());
        invite.add("User-Agent", USER_AGENT);
        invite.add("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, UPDATE");
        invite.add("Supported", "timer, path, replaces");
        invite.add("Allow-Events", "talk, hold, conference, refer");
        // FreeSWITCH copies the A leg's own headers to the B leg; those of the dial string win.
        let caller = for_leg.and_then(|leg| self.channels.get(&leg));
        let copied = caller.into_iter().flat_map(|leg| leg.vars.iter());
        let given = target.vars.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in copied.chain(given) {
            if let Some(header) = name.strip_prefix("sip_h_") {
                invite.set(header, value);
            }
        }
        invite.add("X-FS-Support", "update_display,send_info");
        invite.add(
            "Remote-Party-ID",
            format!("{display}<sip:{}@{}>;party=calling;screen=yes;privacy=off", profile.caller_number, local.ip()),
        );
        invite.set_body("application/sdp", body);
        invite
    }

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

fn outbound_profile(
    target: &Target,
    caller: Option<&Profile>,
    route: &Route,
    uuid: &str,
    name: &str,
    now: i64,
) -> Profile {
    let number = target.var("origination_caller_id_number");
    let caller_name = target.var("origination_caller_id_name");
    Profile {
        direction: Direction::Outbound,
        logical: Direction::Outbound,
        username: caller.and_then(|profile| profile.username.clone()),
        dialplan: caller.and_then(|profile| profile.dialplan.clone()),
        caller_name: caller_name.map(Into::into).or_else(|| caller.and_then(|profile| profile.caller_name.clone())),
        caller_number: number
            .map(Into::into)
            .or_else(|| caller.map(|p| p.caller_number.clone()))
            .unwrap_or_else(|| "0000000000".into()),
        callee: Some(("Outbound Call".into(), route.user.as_str().into())),
        network_addr: caller.and_then(|profile| profile.network_addr.clone()),
        rdnis: caller.and_then(|profile| profile.rdnis.clone()),
        destination: route.user.as_str().into(),
        unique_id: uuid.into(),
        source: if caller.is_some() { "mod_sofia" } else { "src/switch_ivr_originate.c" },
        transfer_source: None,
        context: if caller.is_some() { "public" } else { "default" },
        channel_name: name.into(),
        index: 1,
        created: now,
        times: Times { created: now, ..Times::default() },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dial_strings_give_their_variables_and_address() {
        let target = Target::parse("{a=1,sip_h_X-Own='v w'}[leg_timeout=5]sofia/gateway/edge/+4930");
        assert_eq!(target.address, "sofia/gateway/edge/+4930");
        assert_eq!((target.var("leg_timeout"), target.var("sip_h_X-Own")), (Some("5"), Some("v w")));
    }
}
