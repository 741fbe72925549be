//! The span parser: one pass over the bytes, one small record per header line.
//!
//! Invariants of a message that was accepted: every line ends in CRLF and is either a header or part of one; no control byte
//! stands outside an escaped pair in quotes; Via, From, To, Call-ID, CSeq exist, can be read, and (but for Via) exist once;
//! the CSeq method is the request's; the body is exactly what Content-Length says (bytes after it are cut off). An [`Index`]
//! is reused from message to message, so parsing allocates nothing once it is warm.

use crate::address::Parts;
use crate::class::{self, Cursor, TOKEN, URI};
use crate::controls::Controls;
use crate::header::{KNOWN, Name};
use crate::limits::{MAX_HEAD, MAX_HEADER, MAX_HEADERS, MAX_MESSAGE};
use crate::message::Message;
use crate::method::Method;
use crate::reject::Reject;
use crate::scan::{number, trim};
use crate::span::Span;
use crate::via::Via;

pub(crate) const NONE: u8 = u8::MAX;
/// Room for the headers of nearly every message; an index that met a longer one keeps what it grew to.
const USUAL_HEADERS: usize = 24;

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
    pub(crate) start_line: Span,
    pub(crate) headers: Vec<Header>,
    pub(crate) first: [u8; KNOWN],
    pub(crate) headers_end: usize,
    pub(crate) body: Span,
    pub(crate) via: Via,
    pub(crate) cseq: u32,
    pub(crate) cseq_method: Span,
    pub(crate) max_forwards: Option<u32>,
    pub(crate) from_tag: Span,
    pub(crate) to_tag: Span,
    /// Only of a salvaged message may this be untrue.
    pub(crate) to_is_readable: bool,
    /// The walk over the start line has looked at every byte of the URI.
    pub(crate) uri_is_clean: bool,
    /// A control byte stands in a header that an answer would copy.
    has_dirty_copy: bool,
}

impl Default for Index {
    fn default() -> Index {
        Index {
            start: Start::default(),
            start_line: Span::default(),
            headers: Vec::with_capacity(USUAL_HEADERS),
            first: [NONE; KNOWN],
            headers_end: 0,
            body: Span::default(),
            via: Via::default(),
            cseq: 0,
            cseq_method: Span::default(),
            max_forwards: None,
            from_tag: Span::default(),
            to_tag: Span::default(),
            to_is_readable: true,
            uri_is_clean: false,
            has_dirty_copy: false,
        }
    }
}

impl Index {
    #[must_use]
    pub fn new() -> Index {
        Index::default()
    }

    /// Parses one datagram. On a rejection the index still holds what could be split, so that [`Index::salvage`] can build
    /// an answer from it.
    pub fn parse<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Message<'a>, Reject> {
        self.read(bytes)?;
        Ok(Message { bytes, index: self })
    }

    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), Reject> {
        self.split(bytes)?;
        self.check(bytes)
    }

    /// The message as far as it was split, for a stateless answer to a request that was rejected. `None` unless it is a
    /// request whose Via can be read and what an answer copies is clean; From, To and Call-ID may be missing.
    #[must_use]
    pub fn salvage<'a>(&'a mut self, bytes: &'a [u8]) -> Option<Message<'a>> {
        if self.has_dirty_copy || !matches!(self.start, Start::Request { .. }) {
            return None;
        }
        self.via = Via::parse(bytes, self.value(Name::Via)?)?;
        match self.value(Name::To).map(|to| Parts::read(bytes, to)) {
            Some(Some(to)) => self.to_tag = to.tag,
            Some(None) => self.to_is_readable = false,
            None => {}
        }
        Some(Message { bytes, index: self })
    }

    fn reset(&mut self) {
        self.headers.clear();
        self.first = [NONE; KNOWN];
        self.via = Via::default();
        self.max_forwards = None;
        (self.from_tag, self.to_tag, self.body) = (Span::default(), Span::default(), Span::default());
        (self.to_is_readable, self.uri_is_clean, self.has_dirty_copy) = (true, false, false);
        self.start = Start::default();
    }

    /// Finds the lines. What is wrong with one header does not stop the walk, so that the sender can be answered and a
    /// stream knows where the message ends; the first fault is told, unless another makes that end uncertain.
    pub(crate) fn split(&mut self, bytes: &[u8]) -> Result<(), Reject> {
        self.reset();
        let begin = skip_line_ends(bytes);
        if bytes[begin..].iter().all(|&b| b == 0 || b.is_ascii_whitespace()) {
            return Err(Reject::KeepAlive);
        }
        if bytes.len() - begin < 20 {
            return Err(Reject::TooShort);
        }
        let mut fault = (bytes.len() > MAX_MESSAGE).then_some(Reject::TooLarge);
        let mut lines = Lines { bytes, controls: Controls::new(bytes, begin), has_other: false };
        let end = lines.next_end()?;
        self.start_line = Span::new(begin, end);
        let start = match (lines.has_other, self.read_start_line(bytes, begin, end)) {
            (true, _) => Err(Reject::ControlInStartLine),
            (false, start) => start,
        };
        let mut at = end + 2;
        loop {
            match bytes.get(at) {
                Some(b'\r') if bytes.get(at + 1) == Some(&b'\n') => break,
                None => return Err(start.err().unwrap_or(Reject::Unterminated)),
                Some(_) => {}
            }
            let line = at;
            lines.has_other = false;
            let mut end = lines.next_end()?;
            while matches!(bytes.get(end + 2), Some(b' ' | b'\t')) {
                end = lines.next_end()?;
            }
            if end - begin > MAX_HEAD {
                return Err(Reject::HeadTooLarge);
            }
            if self.headers.len() >= MAX_HEADERS {
                return Err(Reject::TooManyHeaders);
            }
            let slot = self.headers.len();
            let mut pushed = self.push(bytes, line, end);
            if lines.has_other && !controls_are_quoted(&bytes[line..end]) {
                let name = self.headers.get(slot).map_or(Name::Other, |header| header.name);
                self.has_dirty_copy |= name.is_copied_to_answers();
                pushed = Err(Reject::ControlByte);
            }
            if let Err(reject) = pushed
                && fault.is_none_or(|first| reject.breaks_framing() && !first.breaks_framing())
            {
                fault = Some(reject);
            }
            at = end + 2;
        }
        self.headers_end = at;
        self.body = Span::new(at + 2, bytes.len());
        if let Some(reject) = fault.filter(|f| f.breaks_framing()) {
            return Err(reject);
        }
        start?;
        fault.map_or(Ok(()), Err)
    }

    fn read_start_line(&mut self, bytes: &[u8], at: usize, end: usize) -> Result<(), Reject> {
        let mut cursor = Cursor::new(bytes, Span::new(at, end));
        let token = cursor.take(TOKEN);
        let is_request = cursor.eat(b' ') && !token.is_empty();
        let uri = cursor.take(URI);
        if is_request && !uri.is_empty() && bytes.get(cursor.at..end) == Some(b" SIP/2.0") {
            self.start = Start::Request { method: Method::of(token.of(bytes)), token, uri };
            self.uri_is_clean = true;
            return Ok(());
        }
        self.read_other_start_line(bytes, at, end)
    }

    /// Responses, and requests that are odd enough to look at them slowly.
    fn read_other_start_line(&mut self, bytes: &[u8], at: usize, end: usize) -> Result<(), Reject> {
        let line = &bytes[at..end];
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
        if token.is_empty() || !class::all(token, TOKEN) {
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

    #[inline]
    fn push(&mut self, bytes: &[u8], begin: usize, end: usize) -> Result<(), Reject> {
        let colon = Name::colon(bytes, begin, end).ok_or(Reject::HeaderName)?;
        let mut label_end = colon;
        while label_end > begin && matches!(bytes[label_end - 1], b' ' | b'\t') {
            label_end -= 1;
        }
        let name = Name::at(bytes, begin, label_end);
        if name == Name::Other && (label_end == begin || !class::all(&bytes[begin..label_end], TOKEN)) {
            return Err(Reject::HeaderName);
        }
        let value = trimmed(bytes, colon + 1, end);
        let slot = self.headers.len() as u8;
        let header = Header { name, line: Span::new(begin, end + 2), label: Span::new(begin, label_end), value };
        self.headers.push(header);
        if let Some(first) = self.first.get_mut(name as usize) {
            if *first == NONE {
                *first = slot;
            } else if name.is_single() {
                return Err(Reject::Duplicate(name));
            }
        }
        if end - begin > MAX_HEADER { Err(Reject::HeaderTooLarge) } else { Ok(()) }
    }

    #[inline]
    pub(crate) fn value(&self, name: Name) -> Option<Span> {
        let slot = *self.first.get(name as usize)?;
        self.headers.get(slot as usize).map(|header| header.value)
    }
}

/// The value between `from` and `end` without white space around it.
#[inline]
fn trimmed(bytes: &[u8], from: usize, end: usize) -> Span {
    // The form that nearly every header has: one space before, none behind.
    if end > from + 1 && bytes[from] == b' ' && bytes[from + 1] > b' ' && bytes[end - 1] > b' ' {
        return Span::new(from + 1, end);
    }
    let value = trim(&bytes[from..end]);
    if value.is_empty() { Span::new(end, end) } else { Span::within(bytes, value) }
}

/// Where the first line begins: line ends before it are keep-alives (RFC 3261 §7.5).
pub(crate) fn skip_line_ends(bytes: &[u8]) -> usize {
    let mut at = 0;
    while bytes.get(at..at + 2) == Some(b"\r\n") {
        at += 2;
    }
    at
}

/// The ends of the lines of a message, in order.
struct Lines<'a> {
    bytes: &'a [u8],
    controls: Controls<'a>,
    /// A control byte was passed that is neither a tab nor part of a line end.
    has_other: bool,
}

impl Lines<'_> {
    /// The position of the CR that ends the next line.
    #[inline(always)]
    fn next_end(&mut self) -> Result<usize, Reject> {
        loop {
            let at = self.controls.next().ok_or(Reject::Unterminated)?;
            match self.bytes[at] {
                b'\r' if self.bytes.get(at + 1) == Some(&b'\n') => {
                    self.controls.skip_one();
                    return Ok(at);
                }
                b'\r' if at + 1 == self.bytes.len() => return Err(Reject::Unterminated),
                b'\r' | b'\n' => return Err(Reject::BareLineEnd),
                b'\t' => {}
                _ => self.has_other = true,
            }
        }
    }
}

/// Whether each control byte of a header is the second half of an escaped pair inside quotes, where the grammar allows it.
fn controls_are_quoted(line: &[u8]) -> bool {
    let (mut is_quoted, mut at) = (false, 0);
    while let Some(&byte) = line.get(at) {
        match byte {
            b'\\' if is_quoted => at += 1,
            b'"' => is_quoted = !is_quoted,
            b'\t' | b'\r' | b'\n' => {}
            0..0x20 | 0x7f => return false,
            _ => {}
        }
        at += 1;
    }
    true
}
