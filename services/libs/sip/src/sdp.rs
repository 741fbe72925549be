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

/// More payload types than this on one line are not read.
const MOST_FORMATS: usize = 32;
/// A codec's name, rate and channels; what is longer is cut.
const LONGEST_CODEC: usize = 32;

impl Summary {
    /// `None` when this is no session description.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Summary> {
        if !body.starts_with(b"v=") {
            return None;
        }
        let mut reader = Reader::default();
        // The stream that is being read counts, unless one that is audio was found before.
        let (mut counts, mut is_audio, mut streams) = (true, false, 0u16);
        let mut session = None;
        for line in body.split(|&b| b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l)) {
            let [kind, b'=', value @ ..] = line else { continue };
            match kind {
                b'm' => {
                    // What stands above the first stream is true for every stream.
                    let session = session.get_or_insert_with(|| reader.clone());
                    let begins_audio = value.starts_with(b"audio ");
                    counts = streams == 0 || (begins_audio && !is_audio);
                    streams = streams.saturating_add(1);
                    if counts {
                        reader.clone_from(session);
                        reader.media_line(value);
                        is_audio = begins_audio;
                    }
                }
                b'c' if counts => reader.found.media_ip = connection(value).or(reader.found.media_ip),
                b'a' if counts => reader.attribute(value),
                _ => {}
            }
        }
        reader.found.streams = streams;
        Some(reader.finish())
    }
}

/// One stream while it is read.
#[derive(Clone)]
struct Reader<'a> {
    found: Summary,
    /// Payload types in the order offered, each with the name that an rtpmap gave it.
    formats: [(u8, Option<&'a [u8]>); MOST_FORMATS],
    count: usize,
}

impl Default for Reader<'_> {
    fn default() -> Self {
        let found = Summary { direction: "sendrecv", ..Summary::default() };
        Reader { found, formats: [(0, None); MOST_FORMATS], count: 0 }
    }
}

impl<'a> Reader<'a> {
    fn media_line(&mut self, value: &[u8]) {
        let mut words = value.split(|&b| b == b' ').filter(|w| !w.is_empty());
        let _media = words.next();
        self.found.media_port = words.next().and_then(|w| text(w.split(|&b| b == b'/').next()?)?.parse().ok());
        let profile = words.next().unwrap_or_default();
        self.found.srtp |= profile.windows(4).any(|w| w == b"SAVP");
        self.found.dtls |= profile.windows(7).any(|w| w == b"TLS/RTP");
        for format in words.filter_map(|w| text(w)?.parse().ok()).take(MOST_FORMATS) {
            self.formats[self.count] = (format, None);
            self.count += 1;
        }
    }

    fn attribute(&mut self, value: &'a [u8]) {
        let found = &mut self.found;
        if let Some(map) = value.strip_prefix(b"rtpmap:") {
            let Some(space) = memchr::memchr(b' ', map) else { return };
            let Some(number) = text(&map[..space]).and_then(|t| t.parse::<u8>().ok()) else { return };
            // A name for a payload type that is not offered means nothing.
            if let Some(slot) = self.formats[..self.count].iter_mut().find(|(format, _)| *format == number) {
                slot.1 = Some(&map[space + 1..]);
            }
        } else if let Some(ms) = value.strip_prefix(b"ptime:") {
            found.ptime_ms = text(ms).and_then(|t| t.trim().parse().ok());
        } else if value.starts_with(b"fingerprint:") {
            found.dtls = true;
        } else if value.starts_with(b"crypto:") {
            found.srtp = true;
        } else if value.starts_with(b"ice-ufrag:") {
            found.ice = true;
        } else {
            found.direction = match value {
                b"sendrecv" => "sendrecv",
                b"sendonly" => "sendonly",
                b"recvonly" => "recvonly",
                b"inactive" => "inactive",
                _ => found.direction,
            };
        }
    }

    fn finish(mut self) -> Summary {
        for &(format, name) in &self.formats[..self.count] {
            let is_dtmf = |name: &[u8]| name.get(..15).is_some_and(|n| n.eq_ignore_ascii_case(b"telephone-event"));
            match name {
                Some(name) if is_dtmf(name) => self.found.dtmf = Some("rfc2833"),
                Some(name) => {
                    let name = &name[..name.len().min(LONGEST_CODEC)];
                    self.found.codecs.push(String::from_utf8_lossy(name).into_owned());
                }
                // A static type needs no rtpmap.
                None => self.found.codecs.extend(static_codec(format).map(str::to_owned)),
            }
        }
        self.found
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
        assert_eq!(s.codecs, ["PCMU/8000", "PCMA/8000"]);
        assert_eq!((s.ptime_ms, s.dtmf, s.direction), (Some(20), Some("rfc2833"), "sendonly"));
        assert_eq!((s.media_ip, s.media_port, s.streams), ("192.0.2.9".parse().ok(), Some(4000), 2));
        assert!(!s.srtp && !s.dtls && !s.ice);
    }

    #[test]
    fn audio_behind_video_is_found_and_what_the_session_says_is_true_for_it() {
        let s = Summary::parse(
            b"v=0\r\nc=IN IP6 2001:db8::9\r\na=recvonly\r\na=fingerprint:sha-256 x\r\nm=video 5000 RTP/AVP 96\r\n\
              a=rtpmap:96 H264/90000\r\na=sendonly\r\nm=audio 4000 RTP/AVP 0\r\nm=audio 4002 RTP/AVP 8\r\na=inactive\r\n",
        )
        .unwrap();
        assert_eq!((&s.codecs[..], s.media_port, s.streams), (&["PCMU/8000".to_owned()][..], Some(4000), 3));
        assert_eq!((s.direction, s.dtls, s.media_ip), ("recvonly", true, "2001:db8::9".parse().ok()));
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
