//! Codecs and SRTP in session descriptions. A body is touched only under an explicit policy of a trunk, and only the audio
//! lines that the policy is about; everything else in it leaves byte for byte.
//!
//! Encryption is never taken away: a session without SRTP is refused where it is required, one with SRTP where it is
//! forbidden. What only helps speech along (telephone-event, comfort noise, redundancy) stays unless it is denied by name.

use crate::config::policy::{MediaConfig, SrtpPolicy};

#[derive(Clone, Debug)]
pub struct Media {
    allow: Vec<String>,
    deny: Vec<String>,
    order: Vec<String>,
    srtp: SrtpPolicy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Unchanged,
    Changed {
        body: Vec<u8>,
        effect: String,
    },
    /// 488; one word for the event.
    Refused(&'static str),
}

const HELPERS: &[&str] = &["telephone-event", "cn", "red", "ulpfec", "rtx"];

/// One `m=` line and its attributes, as places in the body.
#[derive(Debug)]
struct Stream<'a> {
    line: &'a [u8],
    attributes: Vec<&'a [u8]>,
}

impl Media {
    #[must_use]
    pub fn new(config: &MediaConfig) -> Media {
        let lower = |list: &[String]| list.iter().map(|c| c.to_ascii_lowercase()).collect();
        Media {
            allow: lower(&config.codecs_allow),
            deny: lower(&config.codecs_deny),
            order: lower(&config.codecs_order),
            srtp: config.srtp,
        }
    }

    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.filters_nothing() && self.order.is_empty() && self.srtp == SrtpPolicy::AsIs
    }

    fn filters_nothing(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Whether a session may be set up without a description of what is offered: with SRTP required nobody could say no to the
    /// offer that comes later, in an answer.
    #[must_use]
    pub fn allows_late_offer(&self) -> bool {
        self.srtp != SrtpPolicy::Require
    }

    /// Judges a description. In an answer the order means something and is kept, and what the policy would leave empty passes.
    #[must_use]
    pub fn judge(&self, body: &[u8], is_offer: bool) -> Verdict {
        let streams = streams(body);
        if is_offer && let Some(why) = self.srtp_fault(&streams) {
            return Verdict::Refused(why);
        }
        if self.filters_nothing() && (self.order.is_empty() || !is_offer) {
            return Verdict::Unchanged;
        }
        let mut edits: Vec<(&[u8], Vec<u8>)> = Vec::new();
        let mut gone: Vec<String> = Vec::new();
        let mut moved = false;
        for stream in streams.iter().filter(|s| s.line.starts_with(b"m=audio ") && s.is_active()) {
            let formats = stream.formats();
            let names: Vec<String> = formats.iter().map(|f| stream.codec(f)).collect();
            let mut kept: Vec<usize> = (0..formats.len()).filter(|&i| self.lets(&names[i])).collect();
            if !kept.iter().any(|&i| !is_helper(&names[i])) && names.iter().any(|n| !is_helper(n)) {
                if is_offer {
                    return Verdict::Refused("no_codec");
                }
                continue;
            }
            let gone_here: Vec<usize> = (0..formats.len()).filter(|i| !kept.contains(i)).collect();
            let before = kept.clone();
            if is_offer {
                kept.sort_by_key(|&i| self.place(&names[i]));
            }
            if gone_here.is_empty() && kept == before {
                continue;
            }
            moved |= kept != before;
            gone.extend(gone_here.iter().map(|&i| names[i].clone()));
            edits.push((stream.line, stream.with_formats(kept.iter().map(|&i| formats[i]))));
            for attribute in &stream.attributes {
                if gone_here.iter().any(|&i| is_about(attribute, formats[i])) {
                    edits.push((attribute, Vec::new()));
                }
            }
        }
        if edits.is_empty() {
            return Verdict::Unchanged;
        }
        let mut effect = if gone.is_empty() { String::new() } else { format!("without {}", gone.join(", ")) };
        if moved {
            effect.push_str(if effect.is_empty() { "reordered" } else { ", reordered" });
        }
        Verdict::Changed { body: rewrite(body, &edits), effect }
    }

    fn lets(&self, codec: &str) -> bool {
        if fits(&self.deny, codec) {
            return false;
        }
        self.allow.is_empty() || is_helper(codec) || fits(&self.allow, codec)
    }

    /// Where in the order; what is not listed stays behind, in its own order.
    fn place(&self, codec: &str) -> usize {
        self.order.iter().position(|o| is_codec(o, codec)).unwrap_or(self.order.len())
    }

    fn srtp_fault(&self, streams: &[Stream<'_>]) -> Option<&'static str> {
        let mut active = streams.iter().filter(|s| s.is_active() && s.is_rtp());
        match self.srtp {
            SrtpPolicy::AsIs => None,
            SrtpPolicy::Require => active.any(|s| !s.is_secure()).then_some("srtp_required"),
            SrtpPolicy::Forbid => active.any(|s| s.is_secure() || s.offers_keys()).then_some("srtp_forbidden"),
        }
    }
}

fn fits(list: &[String], codec: &str) -> bool {
    list.iter().any(|wanted| is_codec(wanted, codec))
}

/// `pcmu` fits `pcmu/8000`; `g722/16000` fits itself only.
fn is_codec(wanted: &str, codec: &str) -> bool {
    codec == wanted || codec.split('/').next() == Some(wanted)
}

fn is_helper(codec: &str) -> bool {
    HELPERS.iter().any(|helper| is_codec(helper, codec))
}

/// The lines of a body with their line ends.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split_inclusive(|&b| b == b'\n')
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn streams(body: &[u8]) -> Vec<Stream<'_>> {
    let mut found: Vec<Stream<'_>> = Vec::new();
    for line in lines(body) {
        if line.starts_with(b"m=") && found.len() < 16 {
            found.push(Stream { line, attributes: Vec::new() });
        } else if let (true, Some(stream)) = (line.starts_with(b"a="), found.last_mut()) {
            stream.attributes.push(line);
        }
    }
    found
}

impl<'a> Stream<'a> {
    fn words(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        without_end(self.line).split(|&b| b == b' ').filter(|w| !w.is_empty())
    }

    fn is_active(&self) -> bool {
        self.words().nth(1).is_some_and(|port| port != b"0")
    }

    fn profile(&self) -> &'a [u8] {
        self.words().nth(2).unwrap_or_default()
    }

    fn is_rtp(&self) -> bool {
        self.profile().windows(3).any(|w| w == b"RTP")
    }

    fn is_secure(&self) -> bool {
        self.profile().windows(4).any(|w| w == b"SAVP")
    }

    fn offers_keys(&self) -> bool {
        self.attributes.iter().any(|a| a.starts_with(b"a=crypto:"))
    }

    fn formats(&self) -> Vec<&'a [u8]> {
        self.words().skip(3).take(64).collect()
    }

    /// The name behind a payload type, in lower case.
    fn codec(&self, format: &[u8]) -> String {
        let map = self.attributes.iter().find_map(|a| {
            let rest = without_end(a).strip_prefix(b"a=rtpmap:")?.strip_prefix(format)?;
            rest.strip_prefix(b" ")
        });
        match map {
            Some(name) => String::from_utf8_lossy(&name[..name.len().min(48)]).trim().to_ascii_lowercase(),
            None => {
                static_codec(format).map_or_else(|| format!("type{}", String::from_utf8_lossy(format)), str::to_owned)
            }
        }
    }

    fn with_formats(&self, formats: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut line: Vec<u8> = Vec::with_capacity(self.line.len());
        for word in self.words().take(3).chain(formats) {
            if !line.is_empty() {
                line.push(b' ');
            }
            line.extend_from_slice(word);
        }
        line.extend_from_slice(&self.line[without_end(self.line).len()..]);
        line
    }
}

/// Whether an attribute belongs to one payload type.
fn is_about(attribute: &[u8], format: &[u8]) -> bool {
    [&b"a=rtpmap:"[..], b"a=fmtp:", b"a=rtcp-fb:"].iter().any(|kind| {
        let rest = attribute.strip_prefix(*kind).and_then(|rest| rest.strip_prefix(format));
        rest.is_some_and(|rest| matches!(rest.first(), Some(b' ')))
    })
}

/// The names of RFC 3551 that need no rtpmap.
fn static_codec(format: &[u8]) -> Option<&'static str> {
    Some(match format {
        b"0" => "pcmu/8000",
        b"3" => "gsm/8000",
        b"4" => "g723/8000",
        b"5" | b"6" | b"16" | b"17" => "dvi4",
        b"7" => "lpc/8000",
        b"8" => "pcma/8000",
        b"9" => "g722/8000",
        b"10" | b"11" => "l16/44100",
        b"12" => "qcelp/8000",
        b"13" => "cn/8000",
        b"15" => "g728/8000",
        b"18" => "g729/8000",
        _ => return None,
    })
}

fn rewrite(body: &[u8], edits: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for line in lines(body) {
        // Lines are slices of the body: the same start is the same line.
        match edits.iter().find(|(old, _)| std::ptr::eq(old.as_ptr(), line.as_ptr())) {
            Some((_, new)) => out.extend_from_slice(new),
            None => out.extend_from_slice(line),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=x 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 9 0 8 18 101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\nm=video 5000 RTP/AVP 96 18\r\na=rtpmap:96 H264/90000\r\na=fmtp:18 untouched\r\n";

    fn media(allow: &[&str], deny: &[&str], order: &[&str], srtp: SrtpPolicy) -> Media {
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Media::new(&MediaConfig { codecs_allow: list(allow), codecs_deny: list(deny), codecs_order: list(order), srtp })
    }

    fn changed(verdict: Verdict) -> (String, String) {
        match verdict {
            Verdict::Changed { body, effect } => (String::from_utf8(body).unwrap(), effect),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn denied_codecs_go_with_their_attributes_from_the_audio_line_alone() {
        let (body, effect) =
            changed(media(&[], &["G729", "g722/8000"], &[], SrtpPolicy::AsIs).judge(OFFER.as_bytes(), true));
        let want = OFFER
            .replace("m=audio 4000 RTP/AVP 9 0 8 18 101", "m=audio 4000 RTP/AVP 0 8 101")
            .replace("a=rtpmap:9 G722/8000\r\n", "")
            .replace("a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\n", "");
        assert_eq!(body, want);
        assert_eq!(effect, "without g722/8000, g729/8000");
    }

    #[test]
    fn an_allow_list_keeps_key_presses_and_the_order_counts_in_offers_only() {
        let policy = media(&["PCMA", "PCMU"], &[], &["pcma"], SrtpPolicy::AsIs);
        let (body, effect) = changed(policy.judge(OFFER.as_bytes(), true));
        assert!(body.contains("m=audio 4000 RTP/AVP 8 0 101\r\n"), "{body}");
        assert_eq!(effect, "without g722/8000, g729/8000, reordered");
        let (body, _) = changed(policy.judge(OFFER.as_bytes(), false));
        assert!(body.contains("m=audio 4000 RTP/AVP 0 8 101\r\n"), "{body}");
        assert_eq!(policy.judge(body.as_bytes(), false), Verdict::Unchanged, "the policy is stable");
    }

    #[test]
    fn an_offer_without_any_codec_left_is_refused_and_an_answer_passes() {
        let policy = media(&["opus"], &[], &[], SrtpPolicy::AsIs);
        assert_eq!(policy.judge(OFFER.as_bytes(), true), Verdict::Refused("no_codec"));
        assert_eq!(policy.judge(OFFER.as_bytes(), false), Verdict::Unchanged);
    }

    #[test]
    fn encryption_is_required_or_forbidden_and_never_taken_away() {
        let secure = OFFER.replace("RTP/AVP", "RTP/SAVP");
        let dtls = OFFER.replace("RTP/AVP", "UDP/TLS/RTP/SAVPF");
        let half = OFFER.replace("m=audio 4000 RTP/AVP", "m=audio 4000 RTP/SAVP");
        let optional = OFFER.replace("a=sendrecv", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x");
        let closed = half.replace("m=video 5000", "m=video 0");
        let table = [
            (&secure[..], Verdict::Unchanged, Verdict::Refused("srtp_forbidden")),
            (&dtls, Verdict::Unchanged, Verdict::Refused("srtp_forbidden")),
            (&half, Verdict::Refused("srtp_required"), Verdict::Refused("srtp_forbidden")),
            (&closed, Verdict::Unchanged, Verdict::Refused("srtp_forbidden")),
            (&optional, Verdict::Refused("srtp_required"), Verdict::Refused("srtp_forbidden")),
            (OFFER, Verdict::Refused("srtp_required"), Verdict::Unchanged),
        ];
        for (body, required, forbidden) in table {
            assert_eq!(media(&[], &[], &[], SrtpPolicy::Require).judge(body.as_bytes(), true), required, "{body}");
            assert_eq!(media(&[], &[], &[], SrtpPolicy::Forbid).judge(body.as_bytes(), true), forbidden, "{body}");
        }
        let both = media(&["PCMU"], &[], &[], SrtpPolicy::Require);
        let (body, _) = changed(both.judge(secure.as_bytes(), true));
        assert!(body.contains("m=audio 4000 RTP/SAVP 0 101"), "{body}");
    }

    #[test]
    fn what_no_policy_names_leaves_byte_for_byte() {
        use proptest::prelude::*;
        let idle = media(&[], &[], &[], SrtpPolicy::AsIs);
        let strict = media(&["pcma"], &["pcmu"], &["pcma"], SrtpPolicy::AsIs);
        let line = prop::sample::select(vec![
            "v=0\r\n",
            "o=x 1 1 IN IP4 192.0.2.1\n",
            "m=audio 4000 RTP/AVP 0 8\r\n",
            "m=audio 4000 RTP/AVP 8\r\n",
            "m=video 1 RTP/AVP 0\r\n",
            "m=audio\r\n",
            "m=\r\n",
            "a=rtpmap:0 PCMU/8000\r\n",
            "a=rtpmap:8 PCMA/8000\r\n",
            "a=rtpmap:\r\n",
            "a=x",
            "\r\n",
            "a=ptime:20\r\n",
        ]);
        proptest!(|(text in prop::collection::vec(line, 0..12))| {
            let body = text.concat().into_bytes();
            prop_assert_eq!(idle.judge(&body, true), Verdict::Unchanged);
            if let Verdict::Changed { body: new, .. } = strict.judge(&body, true) {
                // Only audio lines and their attributes differ, and the judgement is stable.
                prop_assert_eq!(strict.judge(&new, true), Verdict::Unchanged);
                let others = |b: &[u8]| -> Vec<Vec<u8>> {
                    let kept = |l: &&[u8]| !l.starts_with(b"m=audio") && !l.starts_with(b"a=rtpmap:0 ");
                    lines(b).filter(kept).map(<[u8]>::to_vec).collect()
                };
                prop_assert_eq!(others(&new), others(&body));
            }
        });
    }
}
