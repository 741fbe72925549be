//! SIP messages: parse, look into, change, print.
//!
//! Header names are kept in their long, canonical spelling whatever came in (compact forms, any case), values verbatim. Headers that
//! may be written as one comma-separated line (Via, Route, Record-Route, Contact) are split at parse, so that "the top Via" is always
//! one element. Content-Length is written by the printer from the body and never stored.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::SocketAddr;

use super::uri;

/// Why bytes are not a SIP message. Such a datagram is dropped and counted: nobody to answer can be named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("not text")]
    NotText,
    #[error("start line is neither a request nor a response")]
    StartLine,
    #[error("header line without a colon")]
    Header,
    #[error("body is shorter than its Content-Length")]
    Truncated,
    #[error("mandatory header {0} is missing or wrong")]
    Mandatory(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartLine {
    Request { method: String, uri: String },
    Response { code: u16, reason: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub name: Cow<'static, str>,
    pub value: String,
}

/// The parts of one Via element that routing of responses needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    pub sent_by: &'a str,
    pub branch: &'a str,
    pub rport: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub start: StartLine,
    pub headers: Vec<Header>,
    pub body: Vec<u8>,
}

/// Canonical spellings; the second element is the compact form.
const KNOWN: &[(&str, &str)] = &[
    ("Via", "v"),
    ("From", "f"),
    ("To", "t"),
    ("Call-ID", "i"),
    ("CSeq", ""),
    ("Contact", "m"),
    ("Max-Forwards", ""),
    ("Route", ""),
    ("Record-Route", ""),
    ("Content-Type", "c"),
    ("Content-Length", "l"),
    ("Content-Encoding", "e"),
    ("Supported", "k"),
    ("Subject", "s"),
    ("Event", "o"),
    ("Refer-To", "r"),
    ("Referred-By", "b"),
    ("Session-Expires", "x"),
    ("Allow", ""),
    ("Allow-Events", "u"),
    ("User-Agent", ""),
    ("Reason", ""),
    ("Require", ""),
    ("Authorization", ""),
    ("Proxy-Authorization", ""),
    ("WWW-Authenticate", ""),
    ("Proxy-Authenticate", ""),
    ("P-Asserted-Identity", ""),
    ("Remote-Party-ID", ""),
    ("X-Trunkline-Call", ""),
    ("Retry-After", ""),
    ("Warning", ""),
];

impl Message {
    #[must_use]
    pub fn request(method: &str, request_uri: &str) -> Self {
        Self {
            start: StartLine::Request { method: method.to_owned(), uri: request_uri.to_owned() },
            headers: Vec::with_capacity(12),
            body: Vec::new(),
        }
    }

    /// A response to `request` with what RFC 3261 §8.2.6 says to copy. `to_tag` is added when the request's To has none; give `None`
    /// for 100. Record-Route is copied, which a dialog-forming answer needs and another does not mind.
    #[must_use]
    pub fn response_to(request: &Message, code: u16, reason: &str, to_tag: Option<&str>) -> Self {
        let mut message = Self {
            start: StartLine::Response { code, reason: reason.to_owned() },
            headers: Vec::with_capacity(request.headers.len()),
            body: Vec::new(),
        };
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in request.all(name) {
                let value = match (name, to_tag) {
                    ("To", Some(tag)) if uri::header_param(value, "tag").is_none() => format!("{value};tag={tag}"),
                    _ => value.to_owned(),
                };
                message.headers.push(Header { name: canonical(name), value });
            }
        }
        message
    }

    /// # Errors
    /// The first thing that is wrong, see [`ParseError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let (head, body) = split_body(bytes);
        let head = std::str::from_utf8(head).map_err(|_| ParseError::NotText)?;
        let mut lines = head.lines();
        let start = parse_start(lines.next().ok_or(ParseError::StartLine)?)?;
        let mut message = Self { start, headers: Vec::with_capacity(16), body: Vec::new() };
        let mut length = None;
        for line in unfold(lines) {
            let (name, value) = line.split_once(':').ok_or(ParseError::Header)?;
            let name = canonical(name.trim());
            let value = value.trim();
            match name.as_ref() {
                "Content-Length" => length = Some(value.parse().map_err(|_| ParseError::Mandatory("Content-Length"))?),
                "Via" | "Route" | "Record-Route" | "Contact" => {
                    for element in split_elements(value) {
                        message.headers.push(Header { name: name.clone(), value: element.to_owned() });
                    }
                }
                _ => message.headers.push(Header { name, value: value.to_owned() }),
            }
        }
        let length = length.unwrap_or(body.len());
        message.body = body.get(..length).ok_or(ParseError::Truncated)?.to_vec();
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), ParseError> {
        self.call_id().ok_or(ParseError::Mandatory("Call-ID"))?;
        self.from_tag().ok_or(ParseError::Mandatory("From"))?;
        self.get("To").ok_or(ParseError::Mandatory("To"))?;
        self.top_via().ok_or(ParseError::Mandatory("Via"))?;
        let (_, cseq_method) = self.cseq().ok_or(ParseError::Mandatory("CSeq"))?;
        match self.method() {
            Some(method) if method != cseq_method => Err(ParseError::Mandatory("CSeq")),
            _ => Ok(()),
        }
    }

    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = String::with_capacity(1024);
        // Writing into a String cannot fail.
        let _ = match &self.start {
            StartLine::Request { method, uri } => write!(out, "{method} {uri} SIP/2.0\r\n"),
            StartLine::Response { code, reason } => write!(out, "SIP/2.0 {code} {reason}\r\n"),
        };
        for header in &self.headers {
            let _ = write!(out, "{}: {}\r\n", header.name, header.value);
        }
        let _ = write!(out, "Content-Length: {}\r\n\r\n", self.body.len());
        let mut bytes = out.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    #[must_use]
    pub fn method(&self) -> Option<&str> {
        match &self.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    #[must_use]
    pub fn request_uri(&self) -> Option<&str> {
        match &self.start {
            StartLine::Request { uri, .. } => Some(uri),
            StartLine::Response { .. } => None,
        }
    }

    /// Status of a response; 0 for a request.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self.start {
            StartLine::Response { code, .. } => code,
            StartLine::Request { .. } => 0,
        }
    }

    #[must_use]
    pub fn reason(&self) -> &str {
        match &self.start {
            StartLine::Response { reason, .. } => reason,
            StartLine::Request { .. } => "",
        }
    }

    /// First value of a header, by any spelling of its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub fn all<'a>(&'a self, name: &str) -> impl DoubleEndedIterator<Item = &'a str> + use<'a> {
        let name = canonical(name);
        self.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(&name)).map(|h| h.value.as_str())
    }

    pub fn add(&mut self, name: &str, value: impl Into<String>) {
        self.headers.push(Header { name: canonical(name), value: value.into() });
    }

    pub fn add_first(&mut self, name: &str, value: impl Into<String>) {
        self.headers.insert(0, Header { name: canonical(name), value: value.into() });
    }

    /// Replaces all headers of this name by one.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.add(name, value);
    }

    pub fn remove(&mut self, name: &str) {
        let name = canonical(name);
        self.headers.retain(|header| !header.name.eq_ignore_ascii_case(&name));
    }

    pub fn set_body(&mut self, content_type: &str, body: impl Into<Vec<u8>>) {
        self.set("Content-Type", content_type);
        self.body = body.into();
    }

    #[must_use]
    pub fn call_id(&self) -> Option<&str> {
        self.get("Call-ID")
    }

    #[must_use]
    pub fn from_tag(&self) -> Option<&str> {
        uri::header_param(self.get("From")?, "tag")
    }

    #[must_use]
    pub fn to_tag(&self) -> Option<&str> {
        uri::header_param(self.get("To")?, "tag")
    }

    #[must_use]
    pub fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.get("CSeq")?.split_once(char::is_whitespace)?;
        Some((number.parse().ok()?, method.trim()))
    }

    #[must_use]
    pub fn top_via(&self) -> Option<Via<'_>> {
        let value = self.get("Via")?;
        let (transport, _) = value.split_once(';')?;
        Some(Via {
            sent_by: transport.split_whitespace().last()?,
            branch: uri::param(value, "branch")?,
            rport: uri::param(value, "rport").is_some(),
        })
    }

    #[must_use]
    pub fn contact_uri(&self) -> Option<&str> {
        self.get("Contact").map(uri::uri_of)
    }

    /// User of the From URI: the caller's number.
    #[must_use]
    pub fn from_user(&self) -> Option<&str> {
        uri::user(uri::uri_of(self.get("From")?))
    }

    /// User of the request URI (of To for a response): the called number.
    #[must_use]
    pub fn called_user(&self) -> Option<&str> {
        match self.request_uri() {
            Some(target) => uri::user(target),
            None => uri::user(uri::uri_of(self.get("To")?)),
        }
    }

    /// Where the sender of this request says it lives: the Contact, else the last Via.
    #[must_use]
    pub fn origin(&self) -> Option<SocketAddr> {
        self.contact_uri().and_then(uri::address).or_else(|| {
            let last = self.all("Via").next_back()?;
            uri::parse_host_port(last.split(';').next()?.split_whitespace().last()?)
        })
    }
}

/// The canonical spelling of a header name; an unknown name stays as it came.
fn canonical(name: &str) -> Cow<'static, str> {
    let known = KNOWN.iter().find(|(long, short)| {
        name.eq_ignore_ascii_case(long) || (!short.is_empty() && name.eq_ignore_ascii_case(short))
    });
    known.map_or_else(|| Cow::Owned(name.to_owned()), |(long, _)| Cow::Borrowed(*long))
}

fn split_body(bytes: &[u8]) -> (&[u8], &[u8]) {
    for (at, window) in bytes.windows(2).enumerate() {
        if window == b"\n\n" {
            return (&bytes[..at], &bytes[at + 2..]);
        }
        if window == b"\r\n" && bytes[at + 2..].starts_with(b"\r\n") {
            return (&bytes[..at], &bytes[at + 4..]);
        }
    }
    (bytes, &[])
}

fn parse_start(line: &str) -> Result<StartLine, ParseError> {
    let mut parts = line.splitn(3, ' ');
    let (first, second, third) = (parts.next(), parts.next(), parts.next());
    let (Some(first), Some(second)) = (first, second) else { return Err(ParseError::StartLine) };
    if first == "SIP/2.0" {
        let code = second.parse().ok().filter(|code| (100..700).contains(code)).ok_or(ParseError::StartLine)?;
        return Ok(StartLine::Response { code, reason: third.unwrap_or_default().to_owned() });
    }
    match third {
        Some("SIP/2.0") if !second.is_empty() => {
            Ok(StartLine::Request { method: first.to_owned(), uri: second.to_owned() })
        }
        _ => Err(ParseError::StartLine),
    }
}

/// Joins folded header lines (a line that begins with white space continues the one before).
fn unfold<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Cow<'a, str>> {
    let mut out: Vec<Cow<'a, str>> = Vec::with_capacity(16);
    for line in lines.filter(|line| !line.is_empty()) {
        match out.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => {
                let joined = last.to_mut();
                joined.push(' ');
                joined.push_str(line.trim());
            }
            _ => out.push(Cow::Borrowed(line)),
        }
    }
    out
}

/// Splits at commas that stand neither in quotes nor in `<>`.
fn split_elements(value: &str) -> Vec<&str> {
    let (mut quoted, mut angle, mut escaped, mut start) = (false, false, false, 0);
    let mut out = Vec::with_capacity(1);
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => angle = true,
            '>' if !quoted => angle = false,
            ',' if !quoted && !angle => {
                out.push(value[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(value[start..].trim());
    out.retain(|element| !element.is_empty());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:+49221@192.0.2.9 SIP/2.0\r\n\
        v: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa;rport, SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKb\r\n\
        f: \"A, B\" <sip:+4930@192.0.2.1>;tag=f1\r\n\
        T: <sip:+49221@192.0.2.9>\r\n\
        i: one@two\r\n\
        cseq: 7 INVITE\r\n\
        RECORD-ROUTE: <sip:192.0.2.3;lr;c=a,b>,\r\n <sip:192.0.2.4;lr>\r\n\
        m: <sip:a@192.0.2.1:5070>\r\n\
        X-Own: kept as is\r\n\
        l: 4\r\n\r\nbodyGARBAGE";

    #[test]
    fn compact_forms_folding_and_lists_are_read_and_the_body_ends_at_its_length() {
        let message = Message::parse(INVITE.as_bytes()).unwrap();
        assert_eq!(message.method(), Some("INVITE"));
        assert_eq!(message.call_id(), Some("one@two"));
        assert_eq!(message.from_tag(), Some("f1"));
        assert_eq!(message.to_tag(), None);
        assert_eq!(message.cseq(), Some((7, "INVITE")));
        assert_eq!(message.all("via").count(), 2);
        let via = message.top_via().unwrap();
        assert_eq!((via.sent_by, via.branch, via.rport), ("192.0.2.1:5070", "z9hG4bKa", true));
        let routes: Vec<_> = message.all("Record-Route").collect();
        assert_eq!(routes, ["<sip:192.0.2.3;lr;c=a,b>", "<sip:192.0.2.4;lr>"]);
        assert_eq!(message.contact_uri(), Some("sip:a@192.0.2.1:5070"));
        assert_eq!(message.get("x-own"), Some("kept as is"));
        assert_eq!(message.body, b"body");
        assert_eq!((message.from_user(), message.called_user()), (Some("+4930"), Some("+49221")));
        assert_eq!(message.origin(), "192.0.2.1:5070".parse().ok());
    }

    #[test]
    fn printing_and_parsing_again_changes_nothing() {
        let message = Message::parse(INVITE.as_bytes()).unwrap();
        assert_eq!(Message::parse(&message.to_bytes()).unwrap(), message);
        let mut answer = Message::response_to(&message, 200, "OK", Some("t1"));
        answer.set_body("application/sdp", "v=0\r\n");
        assert_eq!(answer.to_tag(), Some("t1"));
        assert_eq!(answer.all("Record-Route").count(), 2);
        let again = Message::parse(&answer.to_bytes()).unwrap();
        assert_eq!(again, answer);
        assert_eq!((again.code(), again.reason()), (200, "OK"));
    }

    #[test]
    fn what_is_not_sip_is_refused_with_its_reason() {
        assert_eq!(Message::parse(b"\xff\xfe"), Err(ParseError::NotText));
        assert_eq!(Message::parse(b"hello"), Err(ParseError::StartLine));
        assert_eq!(Message::parse(b"SIP/2.0 99 No\r\n\r\n"), Err(ParseError::StartLine));
        let no_tag = INVITE.replace(";tag=f1", "");
        assert_eq!(Message::parse(no_tag.as_bytes()), Err(ParseError::Mandatory("From")));
        let short = INVITE.replace("l: 4", "l: 400");
        assert_eq!(Message::parse(short.as_bytes()), Err(ParseError::Truncated));
        let other = INVITE.replace("7 INVITE", "7 BYE");
        assert_eq!(Message::parse(other.as_bytes()), Err(ParseError::Mandatory("CSeq")));
    }
}
