//! The span parser: one pass over the bytes, one small record per header line, typed views of what routing needs.
//!
//! Invariants of a message that was accepted: every line ends in CRLF and is either a header or part of one; no control byte
//! stands outside an escaped pair; Via, From, To, Call-ID, CSeq exist, can be read, and (but for Via) exist once; the CSeq
//! method is the request's; the body is exactly what Content-Length says (bytes after it are cut off). An [`Index`] is
//! reused from message to message, so parsing allocates nothing once it is warm.

use crate::address::NameAddr;
use crate::header::{KNOWN, Name};
use crate::method::Method;
use crate::reject::Reject;
use crate::scan::{comma_values, is_token, number, trim};
use crate::span::Span;
use crate::uri::Uri;
use crate::via::Via;

/// Larger messages are refused: 413/513 territory for signalling, and far above any real INVITE.
pub const MAX_MESSAGE: usize = 32 * 1024;
pub const MAX_HEADERS: usize = 128;
const NONE: u8 = u8::MAX;

/// One header with all its folded lines.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub name: Name,
    /// From the first letter of the name to the end of the last CRLF.
    pub line: Span,
    pub label: Span,
    /// Without surrounding white space.
    pub value: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Request { method: Method, token: Span, uri: Span },
    Response { status: u16, reason: Span },
}

impl Default for Start {
    fn default() -> Start {
        Start::Response { status: 0, reason: Span::default() }
    }
}

/// Where everything is. Owns no bytes; belongs to the buffer it was made from.
#[derive(Clone, Debug)]
pub struct Index {
    pub(crate) start: Start,
    pub(crate) head: usize,
    pub(crate) start_line: Span,
    pub(crate) headers: Vec<Header>,
    first: [u8; KNOWN],
    pub(crate) headers_end: usize,
    body: Span,
    via: Via,
    cseq: u32,
    cseq_method: Span,
    max_forwards: Option<u32>,
    from_tag: Span,
    to_tag: Span,
}

impl Default for Index {
    fn default() -> Index {
        Index {
            start: Start::default(),
            head: 0,
            start_line: Span::default(),
            headers: Vec::with_capacity(32),
            first: [NONE; KNOWN],
            headers_end: 0,
            body: Span::default(),
            via: Via::default(),
            cseq: 0,
            cseq_method: Span::default(),
            max_forwards: None,
            from_tag: Span::default(),
            to_tag: Span::default(),
        }
    }
}

/// A parsed message: the bytes and where everything is in them.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) index: &'a Index,
}

impl Index {
    #[must_use]
    pub fn new() -> Index {
        Index::default()
    }

    /// Parses one datagram. On a rejection the index still holds what could be split, so that [`Index::salvage`] can build
    /// an answer from it.
    pub fn parse<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Message<'a>, Reject> {
        self.split(bytes)?;
        self.check(bytes)?;
        Ok(Message { bytes, index: self })
    }

    /// The message as far as it was split, for a stateless answer to a request that was rejected. `None` unless the
    /// headers that an answer copies all stand once and the Via can be read.
    #[must_use]
    pub fn salvage<'a>(&'a mut self, bytes: &'a [u8]) -> Option<Message<'a>> {
        let one = |name: Name| self.first[name as usize] != NONE;
        let all = [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq].into_iter().all(one);
        if !all || !matches!(self.start, Start::Request { .. }) || bytes.is_empty() {
            return None;
        }
        if self.via.value.is_empty() {
            let via = self.headers[self.first[Name::Via as usize] as usize].value;
            self.via = Via::parse(bytes, via)?;
        }
        Some(Message { bytes, index: self })
    }

    fn reset(&mut self) {
        self.headers.clear();
        self.first = [NONE; KNOWN];
        self.via = Via::default();
        self.max_forwards = None;
        (self.from_tag, self.to_tag, self.body) = (Span::default(), Span::default(), Span::default());
        self.start = Start::default();
    }

    fn split(&mut self, bytes: &[u8]) -> Result<(), Reject> {
        self.reset();
        let mut at = 0;
        while bytes.get(at..at + 2) == Some(b"\r\n") {
            at += 2;
        }
        if at == bytes.len() || bytes[at..].iter().all(|&b| b == 0 || b.is_ascii_whitespace()) {
            return Err(Reject::KeepAlive);
        }
        if bytes.len() - at < 20 {
            return Err(Reject::TooShort);
        }
        if bytes.len() > MAX_MESSAGE {
            return Err(Reject::TooLarge);
        }
        self.head = at;
        // One walk over the line ends instead of a search per line.
        let mut ends = LineEnds { bytes, walk: memchr::memchr_iter(b'\n', &bytes[at..]), base: at };
        let end = ends.next_end(at)?;
        self.start_line = Span::new(at, end);
        let start = self.read_start_line(bytes, at, end);
        at = end + 2;
        let mut lines = 1;
        let mut fault = None;
        loop {
            match bytes.get(at..at + 2) {
                Some(b"\r\n") => break,
                None => return Err(start.err().unwrap_or(Reject::Unterminated)),
                Some(_) => {}
            }
            let begin = at;
            let mut end = ends.next_end(at)?;
            lines += 1;
            while matches!(bytes.get(end + 2), Some(b' ' | b'\t')) {
                end = ends.next_end(end + 2)?;
                lines += 1;
            }
            match self.push(bytes, begin, end) {
                // The rest is still split, so that a request with a header too many can be answered.
                Err(twice @ Reject::Duplicate(_)) => fault = fault.or(Some(twice)),
                other => other?,
            }
            at = end + 2;
        }
        self.headers_end = at;
        self.body = Span::new(at + 2, bytes.len());
        start?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        no_control_bytes(&bytes[self.head..at], lines)
    }

    fn read_start_line(&mut self, bytes: &[u8], at: usize, end: usize) -> Result<(), Reject> {
        let line = &bytes[at..end];
        if line.iter().any(|&b| b < b' ' || b == 0x7f) {
            return Err(Reject::ControlInStartLine);
        }
        if line.len() > 8 && line[..4].eq_ignore_ascii_case(b"SIP/") {
            if !line[..8].eq_ignore_ascii_case(b"SIP/2.0 ") {
                return Err(Reject::Version);
            }
            let code = line.get(8..11).ok_or(Reject::Status)?;
            let status = number(code).ok_or(Reject::Status)? as u16;
            if !(100..700).contains(&status) || !matches!(line.get(11), None | Some(b' ')) {
                return Err(Reject::Status);
            }
            self.start = Start::Response { status, reason: Span::new((at + 12).min(end), end) };
            return Ok(());
        }
        let space = memchr::memchr(b' ', line).ok_or(Reject::StartLine)?;
        let (token, rest) = (&line[..space], &line[space + 1..]);
        if token.is_empty() || !token.iter().all(|&b| is_token(b)) {
            return Err(Reject::StartLine);
        }
        let space2 = memchr::memchr(b' ', rest).ok_or(Reject::StartLine)?;
        let (uri, version) = (&rest[..space2], &rest[space2 + 1..]);
        let uri_at = at + space + 1;
        self.start = Start::Request {
            method: Method::of(token),
            token: Span::new(at, at + space),
            uri: Span::new(uri_at, uri_at + uri.len()),
        };
        if uri.is_empty() || version.contains(&b' ') {
            return Err(Reject::StartLine);
        }
        if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            let other = version.len() > 4 && version[..4].eq_ignore_ascii_case(b"SIP/");
            return Err(if other { Reject::Version } else { Reject::StartLine });
        }
        Ok(())
    }

    fn push(&mut self, bytes: &[u8], begin: usize, end: usize) -> Result<(), Reject> {
        let line = &bytes[begin..end];
        // Names are short: a plain loop beats a vectorised search here.
        let colon = line.iter().position(|&b| b == b':').ok_or(Reject::HeaderName)?;
        let mut label = &line[..colon];
        while let [rest @ .., b' ' | b'\t'] = label {
            label = rest;
        }
        let name = Name::of(label);
        if name == Name::Other && (label.is_empty() || !label.iter().all(|&b| is_token(b))) {
            return Err(Reject::HeaderName);
        }
        if self.headers.len() >= MAX_HEADERS {
            return Err(Reject::TooManyHeaders);
        }
        let value = trim(&line[colon + 1..]);
        let value = if value.is_empty() { Span::new(end, end) } else { Span::within(bytes, value) };
        if name != Name::Other {
            let slot = &mut self.first[name as usize];
            if *slot == NONE {
                *slot = self.headers.len() as u8;
            } else if name.is_single() {
                return Err(Reject::Duplicate(name));
            }
        }
        let label = Span::new(begin, begin + label.len());
        self.headers.push(Header { name, line: Span::new(begin, end + 2), label, value });
        Ok(())
    }

    fn value(&self, name: Name) -> Option<Span> {
        let slot = *self.first.get(name as usize)?;
        (slot != NONE).then(|| self.headers[slot as usize].value)
    }

    fn need(&self, name: Name) -> Result<Span, Reject> {
        self.value(name).filter(|span| !span.is_empty()).ok_or(Reject::Missing(name))
    }

    fn check(&mut self, bytes: &[u8]) -> Result<(), Reject> {
        let via = self.need(Name::Via)?;
        self.via = Via::parse(bytes, via).ok_or(Reject::Malformed(Name::Via))?;
        let (from, to) = (self.need(Name::From)?, self.need(Name::To)?);
        self.from_tag = tag_span(bytes, from).ok_or(Reject::Malformed(Name::From))?;
        self.to_tag = tag_span(bytes, to).ok_or(Reject::Malformed(Name::To))?;
        let call_id = self.need(Name::CallId)?.of(bytes);
        if call_id.iter().any(|&b| b <= b' ') {
            return Err(Reject::Malformed(Name::CallId));
        }
        self.check_cseq(bytes)?;
        self.check_length(bytes)?;
        if let Some(span) = self.value(Name::MaxForwards) {
            let value = number(span.of(bytes)).filter(|&n| n <= 255).ok_or(Reject::Malformed(Name::MaxForwards))?;
            self.max_forwards = Some(value as u32);
        }
        if let Start::Request { uri, .. } = self.start {
            Uri::parse(uri.of(bytes)).map_err(|_| Reject::RequestUri)?;
        }
        Ok(())
    }

    fn check_cseq(&mut self, bytes: &[u8]) -> Result<(), Reject> {
        let span = self.need(Name::CSeq)?;
        let text = span.of(bytes);
        let bad = Reject::Malformed(Name::CSeq);
        let digits = text.iter().position(|b| !b.is_ascii_digit()).ok_or(bad)?;
        let value = number(&text[..digits]).filter(|&n| n < 1 << 31).ok_or(bad)?;
        let method = trim(&text[digits..]);
        if method.is_empty() || method.len() + digits == text.len() || !method.iter().all(|&b| is_token(b)) {
            return Err(bad);
        }
        self.cseq = value as u32;
        self.cseq_method = Span::within(bytes, method);
        match self.start {
            Start::Request { token, .. } if token.of(bytes) != method => Err(Reject::MethodMismatch),
            _ => Ok(()),
        }
    }

    fn check_length(&mut self, bytes: &[u8]) -> Result<(), Reject> {
        if let Some(span) = self.value(Name::ContentLength) {
            let length = number(span.of(bytes)).ok_or(Reject::Malformed(Name::ContentLength))?;
            if length > self.body.len() as u64 {
                return Err(Reject::ContentLength);
            }
            self.body.end = self.body.start + length as u32;
        }
        Ok(())
    }
}

/// The ends of the lines of a message, in order.
struct LineEnds<'a> {
    bytes: &'a [u8],
    walk: memchr::Memchr<'a>,
    base: usize,
}

impl LineEnds<'_> {
    /// The position of the CR that ends the line beginning at `from`.
    #[inline]
    fn next_end(&mut self, from: usize) -> Result<usize, Reject> {
        let lf = self.base + self.walk.next().ok_or(Reject::Unterminated)?;
        if lf <= from || self.bytes[lf - 1] != b'\r' { Err(Reject::BareLineEnd) } else { Ok(lf - 1) }
    }
}

/// Counts first (two per line is all that may be there); looks closer only when there are more.
fn no_control_bytes(head: &[u8], lines: usize) -> Result<(), Reject> {
    let control = |b: u8| b < b' ' && b != b'\t';
    let found: usize = head.chunks(128).map(|c| c.iter().map(|&b| u8::from(control(b))).sum::<u8>() as usize).sum();
    if found == 2 * lines {
        return Ok(());
    }
    for (at, &byte) in head.iter().enumerate() {
        let before = at.checked_sub(1).map(|i| head[i]);
        let fine = match byte {
            b'\r' => head.get(at + 1) == Some(&b'\n'),
            b'\n' => before == Some(b'\r'),
            b if control(b) => before == Some(b'\\'),
            _ => true,
        };
        if !fine {
            return Err(Reject::ControlByte);
        }
    }
    Ok(())
}

/// The tag of a From or To; an empty span when there is none, `None` when the value cannot be read.
fn tag_span(bytes: &[u8], value: Span) -> Option<Span> {
    let address = NameAddr::parse(value.of(bytes))?;
    Some(address.tag().map_or(Span::default(), |tag| Span::within(bytes, tag)))
}

impl<'a> Message<'a> {
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    #[must_use]
    pub fn index(&self) -> &'a Index {
        self.index
    }

    #[must_use]
    pub fn start(&self) -> Start {
        self.index.start
    }

    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self.index.start, Start::Request { .. })
    }

    /// The method of a request, or the one that a response's CSeq names.
    #[must_use]
    pub fn method(&self) -> Method {
        match self.index.start {
            Start::Request { method, .. } => method,
            Start::Response { .. } => Method::of(self.index.cseq_method.of(self.bytes)),
        }
    }

    /// The method as it stood on the wire.
    #[must_use]
    pub fn method_token(&self) -> &'a [u8] {
        match self.index.start {
            Start::Request { token, .. } => token.of(self.bytes),
            Start::Response { .. } => self.index.cseq_method.of(self.bytes),
        }
    }

    /// Zero for a request.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.index.start {
            Start::Response { status, .. } => status,
            Start::Request { .. } => 0,
        }
    }

    #[must_use]
    pub fn reason_phrase(&self) -> &'a [u8] {
        match self.index.start {
            Start::Response { reason, .. } => reason.of(self.bytes),
            Start::Request { .. } => b"",
        }
    }

    #[must_use]
    pub fn uri(&self) -> &'a [u8] {
        match self.index.start {
            Start::Request { uri, .. } => uri.of(self.bytes),
            Start::Response { .. } => b"",
        }
    }

    #[must_use]
    pub fn headers(&self) -> &'a [Header] {
        &self.index.headers
    }

    /// The first value line of a known header, trimmed.
    #[must_use]
    pub fn header(&self, name: Name) -> Option<&'a [u8]> {
        self.index.value(name).map(|span| span.of(self.bytes))
    }

    /// The first header of that name, known or not.
    #[must_use]
    pub fn named(&self, label: &str) -> Option<&'a [u8]> {
        let found =
            self.index.headers.iter().find(|h| h.label.of(self.bytes).eq_ignore_ascii_case(label.as_bytes()))?;
        Some(found.value.of(self.bytes))
    }

    /// All values of a comma-separated header, over all its lines, in order.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        let first = self.index.first.get(name as usize).copied().unwrap_or(NONE);
        let headers = if first == NONE { &[][..] } else { &self.index.headers[first as usize..] };
        headers.iter().filter(move |h| h.name == name).flat_map(move |h| comma_values(h.value.of(bytes)))
    }

    #[must_use]
    pub fn via(&self) -> &'a Via {
        &self.index.via
    }

    #[must_use]
    pub fn branch(&self) -> &'a [u8] {
        self.index.via.branch.map(|span| span.of(self.bytes)).unwrap_or_default()
    }

    #[must_use]
    pub fn call_id(&self) -> &'a [u8] {
        self.header(Name::CallId).unwrap_or_default()
    }

    #[must_use]
    pub fn cseq(&self) -> u32 {
        self.index.cseq
    }

    /// Empty when there is none.
    #[must_use]
    pub fn from_tag(&self) -> &'a [u8] {
        self.index.from_tag.of(self.bytes)
    }

    /// Empty when there is none.
    #[must_use]
    pub fn to_tag(&self) -> &'a [u8] {
        self.index.to_tag.of(self.bytes)
    }

    #[must_use]
    pub fn from(&self) -> NameAddr<'a> {
        self.address(Name::From)
    }

    #[must_use]
    pub fn to(&self) -> NameAddr<'a> {
        self.address(Name::To)
    }

    /// The first Contact, when it can be read.
    #[must_use]
    pub fn contact(&self) -> Option<NameAddr<'a>> {
        self.values(Name::Contact).next().and_then(NameAddr::parse)
    }

    fn address(&self, name: Name) -> NameAddr<'a> {
        self.header(name).and_then(NameAddr::parse).unwrap_or_default()
    }

    #[must_use]
    pub fn max_forwards(&self) -> Option<u32> {
        self.index.max_forwards
    }

    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.index.body.of(self.bytes)
    }

    /// A header as text, with folds turned into one space; lossy where it is not UTF-8.
    #[must_use]
    pub fn text(&self, name: Name) -> Option<String> {
        self.header(name).map(crate::edit::unfold)
    }
}
