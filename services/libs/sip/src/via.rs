//! One Via value as spans into the message.

use crate::class::{Cursor, Param, TOKEN};
use crate::scan::number;
use crate::span::Span;
use crate::uri::host_at;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Rport {
    #[default]
    Absent,
    /// Asked for: the value goes to this offset in the message (RFC 3581).
    Asked(u32),
    Value(u16),
}

/// The parts of a Via that routing and matching need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Via {
    pub transport: Span,
    pub host: Span,
    pub port: Option<u16>,
    pub branch: Option<Span>,
    pub received: Option<Span>,
    pub rport: Rport,
    /// `SIP/2.0`, which it is in every message that was accepted.
    pub is_version_2: bool,
    /// The whole value, without surrounding white space.
    pub value: Span,
}

impl Via {
    /// Reads the first value of a header that stands alone; the spans are those of `value`.
    #[must_use]
    pub fn of(value: &[u8]) -> Option<Via> {
        Via::parse(value, Span::new(0, value.len()))
    }

    /// Reads the first value of a Via header whose value is `header` inside `message`. White space may stand around every
    /// separator. `None` for anything that is not well-formed to its end, and for a branch, received or rport that
    /// stands twice or is empty.
    pub(crate) fn parse(message: &[u8], header: Span) -> Option<Via> {
        let mut cursor = Cursor::new(message, header);
        let mut via = Via { is_version_2: true, ..Via::default() };
        // The form that every stack sends, then every other.
        if message.get(cursor.at..cursor.at + 8) == Some(b"SIP/2.0/") && header.len() > 8 {
            cursor.at += 8;
        } else {
            via.is_version_2 = protocol(&mut cursor, message)?;
        }
        via.transport = cursor.take(TOKEN);
        let before_host = cursor.at;
        cursor.skip_space();
        if via.transport.is_empty() || cursor.at == before_host {
            return None;
        }
        via.host = host_at(&mut cursor, message)?;
        let mut end = cursor.at;
        cursor.skip_space();
        if cursor.eat(b':') {
            cursor.skip_space();
            let digits = cursor.take(crate::class::DIGIT).of(message);
            via.port = Some(number(digits).and_then(|n| u16::try_from(n).ok()).filter(|&p| p != 0)?);
            end = cursor.at;
            cursor.skip_space();
        }
        while cursor.eat(b';') {
            let param = cursor.param()?;
            via.note(message, &param)?;
            end = cursor.at;
            cursor.skip_space();
        }
        via.value = Span::new(header.start as usize, end);
        (cursor.is_done() || cursor.peek() == Some(b',')).then_some(via)
    }

    fn note(&mut self, message: &[u8], param: &Param) -> Option<()> {
        let name = param.name.of(message);
        match name.len() {
            6 if name.eq_ignore_ascii_case(b"branch") => {
                let branch = param.value.filter(|v| !v.is_empty() && !param.is_quoted && self.branch.is_none())?;
                self.branch = Some(branch);
            }
            8 if name.eq_ignore_ascii_case(b"received") => {
                let received = param.value.filter(|v| !v.is_empty() && !param.is_quoted && self.received.is_none())?;
                self.received = Some(received);
            }
            5 if name.eq_ignore_ascii_case(b"rport") => {
                let once = self.rport == Rport::Absent;
                self.rport = match param.value {
                    _ if !once => return None,
                    None => Rport::Asked(param.name.end),
                    // `rport=` without a value is neither a question nor an answer.
                    Some(value) => Rport::Value(number(value.of(message)).and_then(|n| u16::try_from(n).ok())?),
                };
            }
            _ => {}
        }
        Some(())
    }
}

/// `SIP / 2.0 /` with white space wherever it likes; says whether the version is ours. The name must be SIP.
fn protocol(cursor: &mut Cursor<'_>, message: &[u8]) -> Option<bool> {
    let name = cursor.take(TOKEN);
    cursor.skip_space();
    if !name.of(message).eq_ignore_ascii_case(b"SIP") || !cursor.eat(b'/') {
        return None;
    }
    cursor.skip_space();
    let version = cursor.take(TOKEN);
    cursor.skip_space();
    if !cursor.eat(b'/') {
        return None;
    }
    cursor.skip_space();
    Some(version.of(message) == b"2.0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(text: &str) -> Option<Via> {
        Via::of(text.as_bytes())
    }

    #[test]
    fn plain_and_odd_forms_are_read() {
        let text = "SIP/2.0/UDP 192.0.2.1:5061;rport;branch=z9hG4bKabc, SIP/2.0/TCP host;branch=z9hG4bKold";
        let v = via(text).unwrap();
        assert_eq!(v.host.of(text.as_bytes()), b"192.0.2.1");
        assert_eq!((v.port, v.branch.unwrap().of(text.as_bytes())), (Some(5061), &b"z9hG4bKabc"[..]));
        assert_eq!(v.rport, Rport::Asked(text.find("rport").unwrap() as u32 + 5));
        assert_eq!(v.value.end as usize, text.find(',').unwrap());
        let odd = "SIP  / 2.0\r\n /UDP\r\n    192.0.2.2 ; branch = 390skdjuw";
        let v = via(odd).unwrap();
        assert_eq!(v.branch.unwrap().of(odd.as_bytes()), b"390skdjuw");
        let seven = via("SIP/7.0/UDP c.example.com;branch=z9hG4bKx").unwrap();
        assert!(!seven.is_version_2);
        let six = "SIP/2.0/UDP [2001:db8::9:255] : 5070;received=[2001:db8::1];rport=33";
        let v = via(six).unwrap();
        assert_eq!((v.port, v.rport), (Some(5070), Rport::Value(33)));
    }

    #[test]
    fn unusable_vias_are_refused() {
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ;branch=x",
            "SIP/2.0/UDP a b",
            "SIP/2.0/UDP a;;,;",
            "SIP/2.0/UDP a;rport=x",
            "SIP/2.0/UDP a;rport=;branch=x",
            "SIP/2.0/UDP a;rport;rport=1",
            "SIP/2.0/UDP a;branch=x;branch=y",
            "SIP/2.0/UDP a;branch=",
            "SIP/2.0/UDP a;branch=\"x\"",
            "SIP/2.0/UDP a:0",
            "SIP/2.0/UDP a:70000",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/UDP 2001:db8::1",
            "SIP/2.0/",
            "HTTP/2.0/UDP a",
        ] {
            assert_eq!(via(bad), None, "{bad}");
        }
    }
}
