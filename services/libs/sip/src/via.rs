//! One Via value as spans into the message.

use crate::address::Params;
use crate::scan::{is_space, is_token, trim, value_end};
use crate::span::Span;
use crate::uri::host_port;

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
    /// The whole value, without surrounding white space.
    pub value: Span,
}

impl Via {
    /// Reads the first value of a Via header whose value is `header` inside `message`.
    pub(crate) fn parse(message: &[u8], header: Span) -> Option<Via> {
        let bytes = header.of(message);
        let base = header.start as usize;
        let value = trim(&bytes[..value_end(bytes)]);
        let (transport, after) = protocol(value)?;
        let (by, params) = match memchr::memchr(b';', after) {
            Some(at) => (trim(&after[..at]), &after[at..]),
            None => (trim(after), &after[after.len()..]),
        };
        let (host, port) = sent_by(by)?;
        let span = |part: &[u8]| {
            let inner = Span::within(bytes, part);
            Span::new(base + inner.start as usize, base + inner.end as usize)
        };
        let mut via = Via { transport: span(transport), host: span(host), port, value: span(value), ..Via::default() };
        let mut walk = Params::new(params);
        for (name, text) in walk.by_ref() {
            if name.is_empty() || !name.iter().all(|&b| is_token(b)) {
                return None;
            }
            if name.eq_ignore_ascii_case(b"branch") {
                via.branch = Some(span(text));
            } else if name.eq_ignore_ascii_case(b"received") {
                via.received = Some(span(text));
            } else if name.eq_ignore_ascii_case(b"rport") {
                via.rport = match crate::scan::number(text) {
                    Some(port) => Rport::Value(u16::try_from(port).ok()?),
                    // `rport=` without a value is neither a question nor an answer.
                    None if text.is_empty() => {
                        let end = span(name).end;
                        let next = message[end as usize..via.value.end as usize].iter().find(|&&b| !is_space(b));
                        if next == Some(&b'=') {
                            return None;
                        }
                        Rport::Asked(end)
                    }
                    None => return None,
                };
            }
        }
        // The walk ends at the first malformed parameter; a Via that leaves something over cannot be trusted.
        walk.is_done().then_some(via)
    }
}

/// `SIP / 2.0 / UDP` and what follows. Only version 2.0 of SIP, any transport token.
fn protocol(value: &[u8]) -> Option<(&[u8], &[u8])> {
    // The form that every stack sends.
    if let Some(rest) = value.strip_prefix(b"SIP/2.0/") {
        let end = rest.iter().position(|&b| !is_token(b))?;
        if end > 0 && is_space(rest[end]) {
            return Some((&rest[..end], &rest[end..]));
        }
    }
    let slash = memchr::memchr(b'/', value)?;
    let name = trim(&value[..slash]);
    let rest = &value[slash + 1..];
    let slash = memchr::memchr(b'/', rest)?;
    let version = trim(&rest[..slash]);
    let mut rest = &rest[slash + 1..];
    while rest.first().is_some_and(|&b| is_space(b)) {
        rest = &rest[1..];
    }
    let end = rest.iter().position(|&b| !is_token(b))?;
    let good = name.eq_ignore_ascii_case(b"SIP") && version == b"2.0" && end > 0 && is_space(rest[end]);
    good.then(|| (&rest[..end], &rest[end..]))
}

/// `host [: port]`; white space around the colon is legal.
fn sent_by(by: &[u8]) -> Option<(&[u8], Option<u16>)> {
    if let Ok(found) = host_port(by) {
        return Some(found);
    }
    let from = if by.first() == Some(&b'[') { memchr::memchr(b']', by)? } else { 0 };
    let colon = from + memchr::memchr(b':', &by[from..])?;
    let (host, _) = host_port(trim(&by[..colon])).ok()?;
    let port = crate::scan::number(trim(&by[colon + 1..])).and_then(|n| u16::try_from(n).ok())?;
    Some((host, Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(text: &str) -> Option<Via> {
        Via::parse(text.as_bytes(), Span::new(0, text.len()))
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
            "SIP/3.0/UDP a",
            "SIP/2.0/UDP a b",
            "SIP/2.0/UDP a;;,;",
            "SIP/2.0/UDP a;rport=x",
            "SIP/2.0/UDP a;rport=;branch=x",
        ] {
            assert_eq!(via(bad), None, "{bad}");
        }
    }
}
