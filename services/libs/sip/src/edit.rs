//! Building messages from received ones by edits: every byte that is not meant to change is copied as it came.
//!
//! Three things are put right on the way, because other parsers read them differently: white space before the colon of a
//! header and behind the value of one that may stand only once, white space around the parameters of From and To, and the IPv6 form of the old grammar in a request URI (RFC 5118 §4.10).
//!
//! Our own Via and Record-Route go directly after the start line, so they are on top whatever order the sender chose.

use std::borrow::Cow;
use std::io::Write;
use std::net::SocketAddr;

use crate::address::Parts;
use crate::header::Name;
use crate::host::{host_ip, writable_uri};
use crate::index::{Header, Start};
use crate::message::Message;
use crate::scan::{is_space, value_end};
use crate::via::Rport;

/// What a proxy changes in a request that it forwards.
#[derive(Clone, Debug)]
pub struct Forward<'a> {
    /// A new request URI.
    pub uri: Option<&'a [u8]>,
    /// The value of our Via; `None` keeps the stack as it is.
    pub via: Option<&'a [u8]>,
    /// Values of our Record-Routes, topmost first.
    pub record_routes: &'a [&'a [u8]],
    /// How many Route values are ours and go.
    pub pop_routes: usize,
    pub max_forwards: u32,
    /// Where the request came from, for `received` and `rport` of the Via below ours.
    pub source: Option<SocketAddr>,
    /// Headers to leave out, in any case, all of them; `X-Name-*` stands for every name that begins so.
    pub strip: &'a [&'a str],
    pub add: &'a [(&'a str, &'a [u8])],
}

/// Writes the forwarded request.
pub fn forward(message: &Message<'_>, edit: &Forward<'_>, out: &mut Vec<u8>) {
    let Start::Request { token, uri, .. } = message.start() else { return };
    out.extend_from_slice(token.of(message.bytes));
    out.push(b' ');
    out.extend_from_slice(&edit.uri.map_or_else(|| writable_uri(uri.of(message.bytes)), Cow::Borrowed));
    out.extend_from_slice(b" SIP/2.0\r\n");
    if let Some(via) = edit.via {
        line(out, "Via", via);
    }
    for value in edit.record_routes {
        line(out, "Record-Route", value);
    }
    let mut copy = Copier::after_start_line(message);
    let mut pop = edit.pop_routes;
    let mut first_via = true;
    for header in message.headers() {
        match header.name {
            Name::Via if first_via => {
                first_via = false;
                copy.tidy(header, out);
                if let Some(source) = edit.source {
                    stamp_via(message, source, &mut copy, out);
                }
            }
            Name::Route if pop > 0 => drop_values(message, header, &mut pop, &mut copy, out),
            Name::MaxForwards => {
                copy.tidy_name(header, out);
                copy.until(header.value.start, out);
                let _ = write!(out, "{}", edit.max_forwards);
                copy.skip_to(header.line.end - 2);
            }
            _ if is_stripped(message, header, edit.strip) => copy.drop_line(header, out),
            Name::From | Name::To => copy.tidy_address(header, out),
            _ => copy.tidy(header, out),
        }
    }
    copy.until(message.index.headers_end as u32, out);
    for (name, value) in edit.add {
        line(out, name, value);
    }
    if message.header(Name::MaxForwards).is_none() {
        let _ = write!(out, "Max-Forwards: {}\r\n", edit.max_forwards);
    }
    finish(message, out);
}

/// Writes a response without its topmost Via. `status` replaces the start line.
pub fn forward_response(message: &Message<'_>, status: Option<(u16, &str)>, strip: &[&str], out: &mut Vec<u8>) {
    match status {
        Some((code, reason)) => {
            let _ = write!(out, "SIP/2.0 {code} {reason}\r\n");
        }
        None => {
            out.extend_from_slice(message.index.start_line.of(message.bytes));
            out.extend_from_slice(b"\r\n");
        }
    }
    let mut copy = Copier::after_start_line(message);
    let mut pop = 1;
    for header in message.headers() {
        if header.name == Name::Via && pop > 0 {
            drop_values(message, header, &mut pop, &mut copy, out);
        } else if is_stripped(message, header, strip) {
            copy.drop_line(header, out);
        } else if matches!(header.name, Name::From | Name::To) {
            copy.tidy_address(header, out);
        } else {
            copy.tidy(header, out);
        }
    }
    copy.until(message.index.headers_end as u32, out);
    finish(message, out);
}

/// An answer of our own to a request.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    pub status: u16,
    pub reason: &'a str,
    /// Added to the To when it has no tag.
    pub to_tag: Option<&'a str>,
    pub source: Option<SocketAddr>,
    pub add: &'a [(&'a str, &'a [u8])],
}

/// Writes the answer: all Via, From, To, Call-ID and CSeq lines of the request as they came, no body.
pub fn answer(request: &Message<'_>, answer: &Answer<'_>, out: &mut Vec<u8>) {
    let _ = write!(out, "SIP/2.0 {} {}\r\n", answer.status, answer.reason);
    let mut first_via = true;
    let mut seen = [false; 4];
    for header in request.headers() {
        // Of a header that wrongly stands twice, the first is taken.
        let single = [Name::From, Name::To, Name::CallId, Name::CSeq].iter().position(|n| *n == header.name);
        if single.is_some_and(|at| std::mem::replace(&mut seen[at], true)) {
            continue;
        }
        match header.name {
            Name::Via => {
                let mut copy = Copier::at(request, header);
                copy.tidy(header, out);
                if std::mem::take(&mut first_via)
                    && let Some(source) = answer.source
                {
                    stamp_via(request, source, &mut copy, out);
                }
                copy.until(header.line.end, out);
            }
            Name::From | Name::CallId | Name::CSeq => {
                let mut copy = Copier::at(request, header);
                copy.tidy(header, out);
                copy.until(header.line.end, out);
            }
            Name::To => {
                let takes_tag = request.to_tag().is_empty() && request.index.to_is_readable;
                let mut copy = Copier::at(request, header);
                copy.tidy(header, out);
                copy.until(header.value.end, out);
                if let (true, Some(tag)) = (takes_tag, answer.to_tag) {
                    let _ = write!(out, ";tag={tag}");
                }
                out.extend_from_slice(b"\r\n");
            }
            _ => {}
        }
    }
    for (name, value) in answer.add {
        line(out, name, value);
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// The ACK for a non-2xx final response, hop by hop (RFC 3261 §17.1.1.3). `sent` is the request as we sent it.
pub fn ack_non_2xx(sent: &Message<'_>, response: &Message<'_>, out: &mut Vec<u8>) {
    derived(sent, "ACK", response.header(Name::To), out);
}

/// The CANCEL for a request as we sent it (RFC 3261 §9.1).
pub fn cancel(sent: &Message<'_>, out: &mut Vec<u8>) {
    derived(sent, "CANCEL", None, out);
}

fn derived(sent: &Message<'_>, method: &str, to: Option<&[u8]>, out: &mut Vec<u8>) {
    let via = sent.via().value.of(sent.bytes);
    let request = Request {
        method,
        uri: sent.uri(),
        via,
        from: sent.header(Name::From).unwrap_or_default(),
        to: to.or_else(|| sent.header(Name::To)).unwrap_or_default(),
        call_id: sent.call_id(),
        cseq: sent.cseq(),
        max_forwards: 70,
        add: &[],
    };
    request.write_start(out);
    for header in sent.headers().iter().filter(|h| h.name == Name::Route) {
        out.extend_from_slice(header.line.of(sent.bytes));
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// A request of our own: a probe, or the ACK and BYE for an answer that nobody waits for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    pub uri: &'a [u8],
    pub via: &'a [u8],
    pub from: &'a [u8],
    pub to: &'a [u8],
    pub call_id: &'a [u8],
    pub cseq: u32,
    pub max_forwards: u32,
    pub add: &'a [(&'a str, &'a [u8])],
}

impl Request<'_> {
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_start(out);
        for (name, value) in self.add {
            line(out, name, value);
        }
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    }

    fn write_start(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.uri);
        out.extend_from_slice(b" SIP/2.0\r\n");
        line(out, "Via", self.via);
        let _ = write!(out, "Max-Forwards: {}\r\n", self.max_forwards);
        line(out, "From", self.from);
        line(out, "To", self.to);
        line(out, "Call-ID", self.call_id);
        let _ = write!(out, "CSeq: {} {}\r\n", self.cseq, self.method);
    }
}

/// The standard phrase of a status that we send ourselves.
#[must_use]
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        422 => "Session Interval Too Small",
        429 => "Too Many Requests",
        430 => "Flow Failed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        _ if status < 200 => "Progress",
        _ if status < 300 => "OK",
        _ => "Failed",
    }
}

/// A value as one line of text: folds become one space, bytes that are not UTF-8 the replacement character.
#[must_use]
pub fn unfold(value: &[u8]) -> String {
    if memchr::memchr(b'\r', value).is_none() {
        return String::from_utf8_lossy(value).into_owned();
    }
    let mut text = Vec::with_capacity(value.len());
    for &byte in value {
        match byte {
            b'\r' | b'\n' => {}
            b' ' | b'\t' if text.last() == Some(&b' ') => {}
            b'\t' => text.push(b' '),
            b => text.push(b),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Copies the message piece by piece; what lies between two edits goes out untouched.
struct Copier<'a> {
    bytes: &'a [u8],
    copied: usize,
}

impl<'a> Copier<'a> {
    fn after_start_line(message: &Message<'a>) -> Copier<'a> {
        Copier { bytes: message.bytes, copied: message.index.start_line.end as usize + 2 }
    }

    fn at(message: &Message<'a>, header: &Header) -> Copier<'a> {
        Copier { bytes: message.bytes, copied: header.line.start as usize }
    }

    /// White space before the colon goes: legal, but a parser that does not know that misses the header, and with it maybe a
    /// Content-Length or a To.
    fn tidy_name(&mut self, header: &Header, out: &mut Vec<u8>) {
        let end = header.label.end;
        if self.bytes.get(end as usize) != Some(&b':') {
            self.until(end, out);
            let rest = &self.bytes[end as usize..];
            self.skip_to(end + memchr::memchr(b':', rest).unwrap_or_default() as u32);
        }
    }

    /// The name, and the white space behind a value that some parsers would take for a part of it.
    fn tidy(&mut self, header: &Header, out: &mut Vec<u8>) {
        self.tidy_name(header, out);
        let line_end = header.line.end - 2;
        if header.name.is_single() && header.value.end != line_end {
            self.until(header.value.end, out);
            self.skip_to(line_end);
        }
    }

    /// From and To: white space between the address and its tag goes too, for the same reason.
    fn tidy_address(&mut self, header: &Header, out: &mut Vec<u8>) {
        let line_end = header.line.end - 2;
        self.tidy_name(header, out);
        self.tidy_params(header, out);
        self.until(header.value.end, out);
        self.skip_to(line_end);
    }

    fn tidy_params(&mut self, header: &Header, out: &mut Vec<u8>) {
        if memchr::memchr3(b' ', b'\t', b'\r', header.value.of(self.bytes)).is_none() {
            return;
        }
        let Some(parts) = Parts::read(self.bytes, header.value) else { return };
        let closes = u32::from(self.bytes.get(parts.uri.end as usize) == Some(&b'>'));
        self.until(parts.uri.end + closes, out);
        self.skip_to(parts.params.start);
        let mut is_quoted = false;
        let mut is_escaped = false;
        for at in parts.params.start..parts.params.end {
            let byte = self.bytes[at as usize];
            if !is_quoted && is_space(byte) {
                self.until(at, out);
                self.skip_to(at + 1);
            }
            is_quoted ^= byte == b'"' && !is_escaped;
            is_escaped = is_quoted && byte == b'\\' && !is_escaped;
        }
    }

    fn until(&mut self, to: u32, out: &mut Vec<u8>) {
        let to = to as usize;
        if to > self.copied {
            out.extend_from_slice(&self.bytes[self.copied..to]);
            self.copied = to;
        }
    }

    fn skip_to(&mut self, to: u32) {
        self.copied = self.copied.max(to as usize);
    }

    fn drop_line(&mut self, header: &Header, out: &mut Vec<u8>) {
        self.until(header.line.start, out);
        self.skip_to(header.line.end);
    }
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn is_stripped(message: &Message<'_>, header: &Header, strip: &[&str]) -> bool {
    !strip.is_empty() && {
        let label = header.label.of(message.bytes);
        strip.iter().any(|name| match name.strip_suffix('*') {
            Some(start) => label.get(..start.len()).is_some_and(|l| l.eq_ignore_ascii_case(start.as_bytes())),
            None => label.eq_ignore_ascii_case(name.as_bytes()),
        })
    }
}

/// Adds `rport=` where it was asked for, and `received=` when the sent-by host is not the source (RFC 3581, RFC 3261 §18.2.1).
fn stamp_via(message: &Message<'_>, source: SocketAddr, copy: &mut Copier<'_>, out: &mut Vec<u8>) {
    let via = message.via();
    let ip = source.ip().to_canonical();
    if let Rport::Asked(at) = via.rport {
        copy.until(at, out);
        let _ = write!(out, "={}", source.port());
    }
    let asked = matches!(via.rport, Rport::Asked(_));
    let differs = host_ip(via.host.of(message.bytes)) != Some(ip);
    if via.received.is_none() && (asked || differs) {
        copy.until(via.value.end, out);
        let _ = write!(out, ";received={ip}");
    }
}

/// Leaves out the first `pop` values of a header line; the whole line when none is left.
fn drop_values(message: &Message<'_>, header: &Header, pop: &mut usize, copy: &mut Copier<'_>, out: &mut Vec<u8>) {
    let value = header.value.of(message.bytes);
    let mut at = 0;
    while *pop > 0 && at < value.len() {
        at = (at + value_end(&value[at..]) + 1).min(value.len());
        *pop -= 1;
        while value.get(at).is_some_and(|&b| is_space(b) || b == b',') {
            at += 1;
        }
    }
    if at >= value.len() {
        copy.drop_line(header, out);
    } else {
        copy.tidy(header, out);
        copy.until(header.value.start, out);
        copy.skip_to(header.value.start + at as u32);
    }
}

fn finish(message: &Message<'_>, out: &mut Vec<u8>) {
    if message.header(Name::ContentLength).is_none() {
        let _ = write!(out, "Content-Length: {}\r\n", message.body().len());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(message.body());
}
