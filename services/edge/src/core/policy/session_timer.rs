//! Session timers in the role of a proxy (RFC 4028 §8).
//!
//! A proxy may put an interval into a request that has none, may shorten one (never below Min-SE, never touching `refresher`)
//! and may refuse one that is too short, but only when the sender says that it knows session timers; otherwise it makes it
//! longer. When the callee knows nothing of them and the caller does, the proxy writes the interval into the 2xx and makes the
//! caller refresh. The parties refresh and hang up; the edge only watches, and gives up a dialog whose interval has passed.

use sip::{Message, Name, Params};

use super::splice::Edits;
use crate::config::policy::SessionTimerConfig;

#[derive(Clone, Copy, Debug)]
pub struct SessionTimer {
    expires: Option<u32>,
    min: u32,
    max: Option<u32>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub expires: Option<u32>,
    pub min: Option<u32>,
    /// The sender knows session timers.
    pub supported: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 422 with this Min-SE.
    TooSmall(u32),
    Forward {
        expires: Option<u32>,
        min: Option<u32>,
    },
}

/// The number at the front of a value; parameters follow it.
fn seconds(value: &[u8]) -> Option<u32> {
    let end = value.iter().position(|b| !b.is_ascii_digit()).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).ok()?.parse().ok()
}

fn lists_timer(m: &Message<'_>, name: Name) -> bool {
    m.values(name).any(|v| v.eq_ignore_ascii_case(b"timer"))
}

impl Asked {
    #[must_use]
    pub fn read(m: &Message<'_>) -> Asked {
        Asked {
            expires: m.header(Name::SessionExpires).and_then(seconds),
            min: m.header(Name::MinSe).and_then(seconds),
            supported: lists_timer(m, Name::Supported) || lists_timer(m, Name::Require),
        }
    }
}

impl SessionTimer {
    #[must_use]
    pub fn new(config: &SessionTimerConfig) -> SessionTimer {
        let some = |value: u32| (value > 0).then_some(value);
        SessionTimer { expires: some(config.expires_s), min: config.min_s, max: some(config.max_s) }
    }

    /// RFC 4028 §8.1.
    #[must_use]
    pub fn request(&self, asked: Asked) -> Verdict {
        let floor = asked.min.unwrap_or(0);
        let Some(wanted) = asked.expires else {
            // Put in only within what the sender can bear.
            return Verdict::Forward { expires: self.expires.map(|e| e.max(floor)), min: asked.min };
        };
        if wanted < self.min {
            if asked.supported {
                return Verdict::TooSmall(self.min);
            }
            let min = self.min.max(floor);
            return Verdict::Forward { expires: Some(min), min: Some(min) };
        }
        let lowered = self.max.map_or(wanted, |max| wanted.min(max)).max(floor.min(wanted));
        Verdict::Forward { expires: Some(lowered), min: asked.min }
    }

    /// Writes the interval into a request.
    pub fn edit_request(&self, m: &Message<'_>, edits: &mut Edits) -> Option<String> {
        let asked = Asked::read(m);
        let Verdict::Forward { expires, min } = self.request(asked) else { return None };
        if let (Some(min), true) = (min, min != asked.min) {
            write_seconds(m, Name::MinSe, "Min-SE", min, edits);
        }
        if expires == asked.expires {
            return None;
        }
        let seconds = expires?;
        write_seconds(m, Name::SessionExpires, "Session-Expires", seconds, edits);
        let did = if asked.expires.is_none() { "inserted" } else { "changed to" };
        Some(format!("{did} {seconds}"))
    }

    /// RFC 4028 §8.2: the interval of the session after this 2xx, and what is written into it when the callee was silent about it
    /// and the caller is not. `asked` is what the request said when it came in.
    pub fn edit_success(&self, asked: Asked, m: &Message<'_>, edits: &mut Edits) -> (Option<u32>, Option<String>) {
        if let Some(agreed) = m.header(Name::SessionExpires).and_then(seconds) {
            return (Some(agreed), None);
        }
        let sent = match self.request(asked) {
            Verdict::Forward { expires: Some(expires), .. } if asked.supported => expires,
            _ => return (None, None),
        };
        edits.add_header(m, "Session-Expires", &format!("{sent};refresher=uac"));
        if !lists_timer(m, Name::Require) {
            edits.add_header(m, "Require", "timer");
        }
        (Some(sent), Some(format!("answered {sent} for the callee")))
    }

    /// The interval after a 2xx, without writing anything.
    #[must_use]
    pub fn interval(&self, asked: Asked, m: &Message<'_>) -> Option<u32> {
        self.edit_success(asked, m, &mut Edits::default()).0
    }
}

fn write_seconds(m: &Message<'_>, name: Name, label: &str, value: u32, edits: &mut Edits) {
    match m.header(name) {
        Some(old) => {
            let end = old.iter().position(|b| !b.is_ascii_digit()).unwrap_or(old.len());
            edits.replace_part(m.bytes(), &old[..end], value.to_string());
        }
        None => edits.add_header(m, label, &value.to_string()),
    }
}

/// Who refreshes, as the header says; for tests and events.
#[must_use]
pub fn refresher<'a>(m: &Message<'a>) -> Option<&'a [u8]> {
    let value = m.header(Name::SessionExpires)?;
    let at = value.iter().position(|&b| b == b';')?;
    Params::new(&value[at..]).find(b"refresher")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Index;

    fn timer(expires_s: u32, min_s: u32, max_s: u32) -> SessionTimer {
        SessionTimer::new(&SessionTimerConfig { expires_s, min_s, max_s })
    }

    fn asked(expires: Option<u32>, min: Option<u32>, supported: bool) -> Asked {
        Asked { expires, min, supported }
    }

    #[test]
    fn a_proxy_inserts_shortens_lengthens_and_refuses_by_the_rules() {
        let t = timer(1_800, 300, 3_600);
        let go = |expires, min| Verdict::Forward { expires, min };
        let table = [
            (asked(None, None, true), go(Some(1_800), None)),
            (asked(None, Some(2_000), true), go(Some(2_000), Some(2_000))),
            (asked(Some(900), None, true), go(Some(900), None)),
            (asked(Some(200), None, true), Verdict::TooSmall(300)),
            (asked(Some(200), None, false), go(Some(300), Some(300))),
            (asked(Some(200), Some(120), false), go(Some(300), Some(300))),
            (asked(Some(7_200), None, true), go(Some(3_600), None)),
            (asked(Some(7_200), Some(5_000), true), go(Some(5_000), Some(5_000))),
        ];
        for (asked, want) in table {
            assert_eq!(t.request(asked), want, "{asked:?}");
        }
        let watch = timer(0, 90, 0);
        assert_eq!(watch.request(asked(None, None, true)), go(None, None));
        assert_eq!(watch.request(asked(Some(90), None, true)), go(Some(90), None));
    }

    fn request(extra: &str) -> String {
        format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n{extra}Content-Length: 0\r\n\r\n"
        )
    }

    #[test]
    fn the_refresher_is_never_touched() {
        let text = request("Supported: 100rel, timer\r\nx: 7200 ;refresher=uas\r\n");
        let mut index = Index::new();
        let m = index.parse(text.as_bytes()).unwrap();
        let mut edits = Edits::default();
        let effect = timer(0, 90, 1_800).edit_request(&m, &mut edits);
        assert_eq!(effect.as_deref(), Some("changed to 1800"));
        let out = edits.apply(text.as_bytes());
        assert_eq!(String::from_utf8_lossy(&out), text.replace("7200", "1800"));
        assert_eq!(refresher(&Index::new().parse(&out).unwrap()), Some(&b"uas"[..]));
    }

    fn answer(extra: &str) -> String {
        format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n{extra}Content-Length: 0\r\n\r\n"
        )
    }

    #[test]
    fn the_caller_refreshes_when_the_callee_knows_nothing_of_timers() {
        let t = timer(1_800, 90, 0);
        let text = answer("");
        let mut index = Index::new();
        let m = index.parse(text.as_bytes()).unwrap();
        let mut edits = Edits::default();
        let (interval, _) = t.edit_success(asked(None, None, true), &m, &mut edits);
        let out = String::from_utf8(edits.apply(text.as_bytes())).unwrap();
        assert_eq!(interval, Some(1_800));
        assert!(out.contains("Session-Expires: 1800;refresher=uac\r\n") && out.contains("Require: timer\r\n"), "{out}");
        // Neither knows them: there is no session timer.
        let mut edits = Edits::default();
        assert_eq!(t.edit_success(asked(None, None, false), &m, &mut edits), (None, None));
        assert!(edits.is_empty());
        // The callee decided.
        let text = answer("Session-Expires: 600;refresher=uas\r\n");
        let mut index = Index::new();
        let m = index.parse(text.as_bytes()).unwrap();
        assert_eq!(t.edit_success(asked(None, None, true), &m, &mut edits), (Some(600), None));
        assert!(edits.is_empty());
    }
}
