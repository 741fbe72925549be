//! The variables that mod_sofia sets from what SIP said, under its names.

use std::net::SocketAddr;

use super::node::Node;
use super::sdp::{Audio, Codec};
use super::vars::Vars;
use crate::sip::{Message, uri};

impl Node {
    pub fn caller_vars(
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
}

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
