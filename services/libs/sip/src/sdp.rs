//! A summary of a session description: what an event says about media. The body itself is never kept.

use std::net::IpAddr;

/// The first audio stream (or the first stream) of a description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// `PCMU/8000` and the like, in the order offered; telephone-event is told apart in `dtmf`.
    pub codecs: Vec<String>,
    pub ptime_ms: Option<u16>,
    /// `rfc2833` when telephone-event is offered.
    pub dtmf: Option<&'static str>,
    pub media_ip: Option<IpAddr>,
    pub media_port: Option<u16>,
    /// sendrecv, sendonly, recvonly or inactive.
    pub direction: &'static str,
    pub srtp: bool,
    pub dtls: bool,
    pub ice: bool,
    pub streams: u16,
}

impl Summary {
    /// `None` when this is no session description.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Summary> {
        if !body.starts_with(b"v=") {
            return None;
        }
        let mut found = Summary { direction: "sendrecv", ..Summary::default() };
        let mut formats: Vec<u8> = Vec::new();
        let (mut in_audio, mut any_media) = (false, false);
        for line in body.split(|&b| b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l)) {
            let [kind, b'=', value @ ..] = line else { continue };
            match kind {
                b'm' => {
                    found.streams = found.streams.saturating_add(1);
                    in_audio = !any_media;
                    any_media = true;
                    if in_audio {
                        found.media_line(value, &mut formats);
                    }
                }
                b'c' if !any_media || in_audio => found.media_ip = connection(value).or(found.media_ip),
                b'a' if !any_media || in_audio => found.attribute(value, &mut formats),
                _ => {}
            }
        }
        // Static types that had no rtpmap of their own.
        for format in formats {
            if let Some(name) = static_codec(format) {
                found.codecs.push(name.to_owned());
            }
        }
        Some(found)
    }

    fn media_line(&mut self, value: &[u8], formats: &mut Vec<u8>) {
        let mut words = value.split(|&b| b == b' ').filter(|w| !w.is_empty());
        let _media = words.next();
        self.media_port = words.next().and_then(|w| text(w.split(|&b| b == b'/').next()?)?.parse().ok());
        let profile = words.next().unwrap_or_default();
        self.srtp = profile.windows(4).any(|w| w == b"SAVP");
        self.dtls = profile.windows(7).any(|w| w == b"TLS/RTP");
        formats.extend(words.take(32).filter_map(|w| text(w)?.parse::<u8>().ok()));
    }

    fn attribute(&mut self, value: &[u8], formats: &mut Vec<u8>) {
        if let Some(map) = value.strip_prefix(b"rtpmap:") {
            let Some(space) = memchr::memchr(b' ', map) else { return };
            let Some(number) = text(&map[..space]).and_then(|t| t.parse::<u8>().ok()) else { return };
            formats.retain(|&f| f != number);
            let codec = &map[space + 1..];
            if codec.len() >= 15 && codec[..15].eq_ignore_ascii_case(b"telephone-event") {
                self.dtmf = Some("rfc2833");
            } else if self.codecs.len() < 16 {
                self.codecs.push(String::from_utf8_lossy(&codec[..codec.len().min(32)]).into_owned());
            }
        } else if let Some(ms) = value.strip_prefix(b"ptime:") {
            self.ptime_ms = text(ms).and_then(|t| t.trim().parse().ok());
        } else if value.starts_with(b"fingerprint:") {
            self.dtls = true;
        } else if value.starts_with(b"crypto:") {
            self.srtp = true;
        } else if value.starts_with(b"ice-ufrag:") {
            self.ice = true;
        } else {
            self.direction = match value {
                b"sendrecv" => "sendrecv",
                b"sendonly" => "sendonly",
                b"recvonly" => "recvonly",
                b"inactive" => "inactive",
                _ => self.direction,
            };
        }
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn connection(value: &[u8]) -> Option<IpAddr> {
    let last = value.split(|&b| b == b' ').nth(2)?;
    text(last.split(|&b| b == b'/').next()?)?.trim().parse().ok()
}

fn static_codec(format: u8) -> Option<&'static str> {
    Some(match format {
        0 => "PCMU/8000",
        3 => "GSM/8000",
        4 => "G723/8000",
        8 => "PCMA/8000",
        9 => "G722/8000",
        13 => "CN/8000",
        15 => "G728/8000",
        18 => "G729/8000",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &[u8] = b"v=0\r\no=t 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendonly\r\n\
        m=video 5000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=inactive\r\n";

    #[test]
    fn the_audio_stream_is_summed_up() {
        let s = Summary::parse(OFFER).unwrap();
        assert_eq!(s.codecs, ["PCMA/8000", "PCMU/8000"]);
        assert_eq!((s.ptime_ms, s.dtmf, s.direction), (Some(20), Some("rfc2833"), "sendonly"));
        assert_eq!((s.media_ip, s.media_port, s.streams), ("192.0.2.9".parse().ok(), Some(4000), 2));
        assert!(!s.srtp && !s.dtls && !s.ice);
    }

    #[test]
    fn encryption_and_rubbish_are_told_apart() {
        let s =
            Summary::parse(b"v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=fingerprint:sha-256 x\r\na=ice-ufrag:x\r\n")
                .unwrap();
        assert!(s.srtp && s.dtls && s.ice);
        assert_eq!(Summary::parse(b"<xml/>"), None);
        assert!(Summary::parse(b"v=0\r\nm=\r\nc=\r\na=rtpmap:\r\n").is_some());
    }
}
