//! As much of SDP as a call without media needs: which codec, where, which DTMF.

use std::net::IpAddr;

/// What an offer or answer says about its first audio stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Audio {
    pub ip: String,
    pub port: u16,
    pub payload: u8,
    pub codec: Codec,
    pub telephone_event: bool,
    pub direction: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Pcmu,
    Pcma,
}

impl Codec {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    pub fn payload(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }
}

/// The first stream that both sides can speak; nothing when there is none (FreeSWITCH: INCOMPATIBLE_DESTINATION).
pub(super) fn audio(body: &[u8], only: Option<Codec>) -> Option<Audio> {
    let text = std::str::from_utf8(body).ok()?;
    let (mut ip, mut media, mut telephone_event, mut direction) = (None, None, false, "sendrecv");
    for line in text.lines() {
        if let Some(address) = line.strip_prefix("c=IN IP4 ").or_else(|| line.strip_prefix("c=IN IP6 ")) {
            ip = Some(address.split('/').next().unwrap_or(address).trim().to_owned());
        } else if let Some(rest) = line.strip_prefix("m=audio ") {
            let mut words = rest.split_whitespace();
            let port: u16 = words.next()?.parse().ok()?;
            let codec = words.skip(1).find_map(|payload| match payload {
                "0" if only.is_none_or(|c| c == Codec::Pcmu) => Some(Codec::Pcmu),
                "8" if only.is_none_or(|c| c == Codec::Pcma) => Some(Codec::Pcma),
                _ => None,
            })?;
            media = Some((port, codec));
        } else if line.contains("telephone-event") {
            telephone_event = true;
        } else if let Some(found) =
            ["sendonly", "recvonly", "inactive"].into_iter().find(|d| line.trim() == format!("a={d}"))
        {
            direction = found;
        }
    }
    let (port, codec) = media?;
    Some(Audio { ip: ip?, port, payload: codec.payload(), codec, telephone_event, direction })
}

/// A FreeSWITCH-like description of our own stream. `extras` adds telephone-event and comfort noise, as in its offers.
pub(super) fn local(session: u64, ip: IpAddr, port: u16, codecs: &[Codec], extras: bool) -> String {
    let family = if ip.is_ipv6() { "IP6" } else { "IP4" };
    let mut payloads: Vec<String> = codecs.iter().map(|codec| codec.payload().to_string()).collect();
    let mut lines: Vec<String> =
        codecs.iter().map(|codec| format!("a=rtpmap:{} {}/8000\r\n", codec.payload(), codec.name())).collect();
    if extras {
        payloads.extend(["101".to_owned(), "13".to_owned()]);
        lines.push("a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtpmap:13 CN/8000\r\n".to_owned());
    }
    format!(
        "v=0\r\no=FreeSWITCH {session} {} IN {family} {ip}\r\ns=FreeSWITCH\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {}\r\n{}a=ptime:20\r\na=sendrecv\r\n",
        session + 1,
        payloads.join(" "),
        lines.concat(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_common_codec_is_taken_and_our_own_description_reads_back() {
        let offer = b"v=0\r\nc=IN IP4 192.0.2.7\r\nm=audio 6000 RTP/AVP 18 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendonly\r\n";
        let audio_of = audio(offer, None).unwrap();
        assert_eq!((audio_of.ip.as_str(), audio_of.port, audio_of.payload), ("192.0.2.7", 6000, 8));
        assert!(audio_of.telephone_event);
        assert_eq!(audio_of.direction, "sendonly");
        assert_eq!(audio(offer, Some(Codec::Pcmu)).unwrap().codec, Codec::Pcmu);
        assert_eq!(audio(b"v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 6000 RTP/AVP 18\r\n", None), None);
        let ours = local(7, "127.0.0.1".parse().unwrap(), 20000, &[Codec::Pcmu], false);
        assert_eq!(audio(ours.as_bytes(), None).unwrap().port, 20000);
    }
}
