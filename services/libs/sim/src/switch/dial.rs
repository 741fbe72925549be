//! Making a B leg: from a dial string to the INVITE on its way.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::cause;
use super::channel::{CallState, Channel, ChannelId, Direction, OtherLeg, Profile, Role, SipLeg, State, Times};
use super::event::{Kind, place};
use super::inbound::USER_AGENT;
use super::node::{Node, Timer, tag};
use super::sdp::{self, Codec};
use super::vars::Vars;
use crate::sip::{Message, uri};

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

impl Route {
    fn channel_name(&self) -> String {
        match self.gateway {
            Some(_) => format!("sofia/core/{}", self.user),
            None => format!("sofia/core/{}@{}", self.user, self.host),
        }
    }
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
        let name: Box<str> = route.channel_name().into();
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
        let vars = self.outbound_vars(target, for_leg, &route, &uuid, &body, port);
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
        self.books.lock().stats.outbound += 1;
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

    fn outbound_vars(
        &mut self,
        target: &Target,
        for_leg: Option<ChannelId>,
        route: &Route,
        uuid: &str,
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
        vars.set("channel_name", route.channel_name());
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
