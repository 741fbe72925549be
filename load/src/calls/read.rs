//! Just enough of a parser: whose call a message belongs to, what it is, and the few lines that have to come back in others.
//!
//! It reads what this client itself wrote, after a proxy changed lines of it; anything stranger is not its call.

use super::name::Name;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Options,
    Other,
}

impl Method {
    fn of(token: &[u8]) -> Self {
        match token {
            b"INVITE" => Self::Invite,
            b"ACK" => Self::Ack,
            b"BYE" => Self::Bye,
            b"OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Request(Method),
    Response(u16),
}

#[derive(Debug)]
pub struct Read<'a> {
    pub start: Start,
    /// None when it is no call of ours.
    pub call: Option<Name>,
    /// Of CSeq: what a response answers.
    pub method: Method,
    head: &'a [u8],
}

/// The lines of a head, without their ends.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// The value of a line when it has this name.
fn value<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (before, rest) = line.split_at_checked(name.len())?;
    if !before.eq_ignore_ascii_case(name.as_bytes()) {
        return None;
    }
    Some(rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii())
}

impl<'a> Read<'a> {
    pub fn message(bytes: &'a [u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
        let (first, head) = bytes[..end].split_at(bytes.iter().position(|&b| b == b'\n')?);
        let head = head.get(1..)?;
        let mut words = first.split(|&b| b == b' ');
        let word = words.next()?;
        let start = if word == b"SIP/2.0" {
            Start::Response(std::str::from_utf8(words.next()?).ok()?.parse().ok()?)
        } else {
            Start::Request(Method::of(word))
        };
        let (mut call, mut method) = (None, Method::Other);
        for line in lines(head) {
            if let Some(id) = value(line, "Call-ID") {
                call = Name::parse(id);
            } else if let Some(cseq) = value(line, "CSeq") {
                method = Method::of(cseq.rsplit(|&b| b == b' ').next()?);
            }
        }
        Some(Self { start, call, method, head })
    }

    pub fn has(&self, name: &str) -> bool {
        lines(self.head).any(|line| value(line, name).is_some())
    }

    /// What a response repeats of its request, with a tag in To when there was none.
    pub fn copied(&self, tag: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.head.len() + 32);
        for line in lines(self.head) {
            let to = value(line, "To");
            let copied = ["Via", "Record-Route", "From", "Call-ID", "CSeq"];
            if to.is_none() && !copied.iter().any(|name| value(line, name).is_some()) {
                continue;
            }
            out.extend_from_slice(line);
            if to.is_some_and(|to| !to.windows(5).any(|w| w == b";tag=")) {
                out.extend_from_slice(b";tag=");
                out.extend_from_slice(tag.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    /// What the caller's further requests say: the far end's address, then the Routes, last recorded first, and To.
    pub fn dialog(&self) -> Option<Dialog> {
        let (mut target, mut to, mut routes) = (None, None, Vec::new());
        for line in lines(self.head) {
            if let Some(contact) = value(line, "Contact") {
                let open = contact.iter().position(|&b| b == b'<')? + 1;
                let close = contact.iter().position(|&b| b == b'>')?;
                target = contact.get(open..close);
            } else if let Some(route) = value(line, "Record-Route") {
                routes.push(route);
            } else if let Some(value) = value(line, "To") {
                to = Some(value);
            }
        }
        let mut lines = Vec::new();
        for route in routes.iter().rev() {
            for piece in [&b"Route: "[..], route, b"\r\n"] {
                lines.extend_from_slice(piece);
            }
        }
        for piece in [&b"To: "[..], to?, b"\r\n"] {
            lines.extend_from_slice(piece);
        }
        Some(Dialog { target: target.unwrap_or_default().into(), lines: lines.into() })
    }
}

#[derive(Debug)]
pub struct Dialog {
    /// Empty in an answer that refuses.
    pub target: Box<[u8]>,
    /// Routes and To.
    pub lines: Box<[u8]>,
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    const NAME: Name = Name { slot: 0xbeef, serial: 7 };

    #[test]
    fn what_we_write_is_read_back() {
        let at = "127.0.0.1:5060".parse().unwrap();
        let mut out = Vec::new();
        text::invite(&mut out, NAME, at, at);
        let read = Read::message(&out).unwrap();
        assert_eq!((read.start, read.method, read.call), (Start::Request(Method::Invite), Method::Invite, Some(NAME)));
        let mut answer = Vec::new();
        text::response(&mut answer, 200, &read.copied("n1"), at, true);
        let read = Read::message(&answer).unwrap();
        assert_eq!((read.start, read.method, read.call), (Start::Response(200), Method::Invite, Some(NAME)));
        let dialog = read.dialog().unwrap();
        assert_eq!(&dialog.target[..], b"sip:node@127.0.0.1:5060");
        assert!(dialog.lines.ends_with(b";tag=n1\r\n"));
    }

    #[test]
    fn routes_come_back_in_the_callers_order() {
        let text = b"SIP/2.0 200 OK\r\nRecord-Route: <sip:b;lr>\r\nRecord-Route: <sip:a;lr>\r\nTo: <sip:x>;tag=1\r\n\
            Contact: <sip:n>\r\nCall-ID: other\r\nCSeq: 1 INVITE\r\n\r\n";
        let read = Read::message(text).unwrap();
        assert_eq!(read.call, None);
        let lines = read.dialog().unwrap().lines;
        assert_eq!(&lines[..], b"Route: <sip:a;lr>\r\nRoute: <sip:b;lr>\r\nTo: <sip:x>;tag=1\r\n");
        assert!(Read::message(b"nonsense").is_none());
    }
}
