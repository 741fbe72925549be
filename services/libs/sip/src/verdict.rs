//! What a proxy has to do with a message before it looks at its own tables: pass it on, answer it, or say nothing.
//!
//! The parser decides what can be read ([`Reject`]); this decides what may be forwarded. Both end in one [`Verdict`], so that
//! the edge and the torture tests act on the same word. The order is that of RFC 3261 §16.3: what is wrong in itself, then
//! scheme, hops and extensions.

use crate::address::NameAddr;
use crate::edit::unfold;
use crate::header::Name;
use crate::host::host_ip;
use crate::index::Index;
use crate::limits::{MAX_ROUTES, MAX_SDP, MAX_VIAS};
use crate::message::Message;
use crate::method::Method;
use crate::reject::Reject;
use crate::scan::value_end;
use crate::span::Span;
use crate::uri::Uri;
use crate::via::Via;
use std::net::IpAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing stands against it. A response goes on if it belongs to somebody.
    Forward,
    /// One final answer, without state; nothing goes on.
    Answer { status: u16, why: &'static str },
    /// No answer: a response, an ACK, or something that could not be answered safely.
    Drop { why: &'static str },
    /// Line ends only.
    KeepAlive,
}

/// A message as far as it could be read, and what to do with it.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// There whenever the verdict is to forward or to answer.
    pub message: Option<Message<'a>>,
    pub verdict: Verdict,
    pub reject: Option<Reject>,
}

/// Reads one whole message and decides. On a stream a reject that [breaks framing](Reject::breaks_framing) also ends the
/// connection.
#[must_use]
pub fn judge<'a>(index: &'a mut Index, bytes: &'a [u8]) -> Judged<'a> {
    match index.read(bytes) {
        Ok(()) => {
            let message = Message { bytes, index };
            Judged { message: Some(message), verdict: inspect(&message), reject: None }
        }
        Err(Reject::KeepAlive) => {
            Judged { message: None, verdict: Verdict::KeepAlive, reject: Some(Reject::KeepAlive) }
        }
        Err(reject) => {
            let message = index.salvage(bytes).filter(|m| m.method() != Method::Ack);
            let why = reject.label();
            let verdict = match (reject.status(), message) {
                (Some(status), Some(_)) => Verdict::Answer { status, why },
                _ => Verdict::Drop { why },
            };
            Judged { message, verdict, reject: Some(reject) }
        }
    }
}

/// What to say to the head of a message that broke the framing of its stream, before the stream is closed.
#[must_use]
pub fn judge_broken<'a>(index: &'a mut Index, head: &'a [u8], reject: Reject) -> Judged<'a> {
    // The parser may find another fault first, or none; the one of the framing counts.
    let _ = index.read(head);
    let message = index.salvage(head).filter(|m| m.method() != Method::Ack);
    let why = reject.label();
    let verdict = match (reject.status(), message) {
        (Some(status), Some(_)) => Verdict::Answer { status, why },
        _ => Verdict::Drop { why },
    };
    Judged { message, verdict, reject: Some(reject) }
}

/// Decides about a message that was read without fault.
#[must_use]
pub fn inspect(m: &Message<'_>) -> Verdict {
    if !m.is_request() {
        return response_fault(m).map_or(Verdict::Forward, |why| Verdict::Drop { why });
    }
    match request_fault(m) {
        None => Verdict::Forward,
        // An ACK is never answered.
        Some((_, why)) if m.method() == Method::Ack => Verdict::Drop { why },
        Some((status, why)) => Verdict::Answer { status, why },
    }
}

/// The value of the `Unsupported` header that goes with a 420: this proxy knows no extension that a request could require of
/// it.
#[must_use]
pub fn unsupported(m: &Message<'_>) -> String {
    m.values(Name::ProxyRequire).map(unfold).collect::<Vec<_>>().join(", ")
}

fn request_fault(m: &Message<'_>) -> Option<(u16, &'static str)> {
    if m.branch() == b"z9hG4bK" {
        // A cookie and nothing behind it: two requests of one sender could not be told apart.
        return Some((400, "bad_branch"));
    }
    let Ok(uri) = Uri::parse(m.uri()) else { return Some((400, "request_uri")) };
    if !uri.headers.is_empty() {
        // Somebody further on might make headers of it, a Route for instance.
        return Some((400, "request_uri"));
    }
    if m.method() == Method::Cancel {
        // Hop by hop: it goes where its INVITE went, whatever it says.
        return None;
    }
    if !vias_are_readable(m) {
        return Some((400, "via"));
    }
    if let Some(why) = address_fault(m) {
        return Some((400, why));
    }
    if m.body().len() > MAX_SDP && m.header(Name::ContentType).is_some_and(is_sdp) {
        return Some((413, "body_too_large"));
    }
    if !(uri.is_sip() || uri.is_sips() || uri.is_tel() || uri.is_service_sos()) {
        return Some((416, "scheme"));
    }
    if m.max_forwards() == Some(0) {
        return Some((483, "max_forwards"));
    }
    if m.values(Name::ProxyRequire).next().is_some() && m.method() != Method::Ack {
        return Some((420, "unsupported"));
    }
    None
}

fn is_sdp(content_type: &[u8]) -> bool {
    content_type.get(..15).is_some_and(|start| start.eq_ignore_ascii_case(b"application/sdp"))
}

/// Contacts and routes: each is an address with a URI, and there are not too many of them.
fn address_fault(m: &Message<'_>) -> Option<&'static str> {
    let is_good = |value: &[u8]| NameAddr::parse(value).is_some_and(|a| Uri::parse(a.uri).is_ok());
    let is_star = |value: &[u8]| value == b"*" && m.method() == Method::Register;
    if !m.values(Name::Contact).all(|value| is_star(value) || is_good(value)) {
        return Some("contact");
    }
    for (name, why) in [(Name::Route, "route"), (Name::RecordRoute, "record_route")] {
        let mut left = MAX_ROUTES;
        for value in m.values(name) {
            if left == 0 || !value.contains(&b'<') || !is_good(value) {
                return Some(why);
            }
            left -= 1;
        }
    }
    None
}

/// Every Via, not only the first: the answer goes back along them, and the next hop reads them too.
fn vias_are_readable(m: &Message<'_>) -> bool {
    let mut vias = vias(m);
    vias.by_ref().take(MAX_VIAS).all(|via| via.is_some()) && vias.next().is_none()
}

/// The Vias in order; `None` for one that cannot be read.
fn vias<'a>(m: &Message<'a>) -> impl Iterator<Item = Option<Via>> + use<'a> {
    let (bytes, headers) = (m.bytes(), m.headers());
    headers.iter().filter(|h| h.name == Name::Via).flat_map(move |header| {
        let mut rest = Some(header.value);
        std::iter::from_fn(move || {
            let here = rest?;
            let end = value_end(here.of(bytes));
            let after = here.start as usize + end + 1;
            rest = (after <= here.end as usize).then(|| Span::new(after, here.end as usize));
            let skipped = here.of(bytes).iter().take_while(|&&b| crate::scan::is_space(b)).count();
            let value = Span::new(here.start as usize + skipped, here.start as usize + end);
            Some(Via::parse(bytes, value))
        })
    })
}

/// The next hop of a response is in its second Via (RFC 3261 §16.7 step 3).
fn response_fault(m: &Message<'_>) -> Option<&'static str> {
    let mut vias = vias(m).skip(1);
    if let Some(next) = vias.next() {
        let Some(next) = next else { return Some("via") };
        // A response to everybody would be an amplifier.
        let place = next.received.unwrap_or(next.host).of(m.bytes());
        match host_ip(place) {
            Some(IpAddr::V4(ip)) if ip.is_broadcast() || ip.is_multicast() || ip.is_unspecified() => {
                return Some("broadcast");
            }
            Some(IpAddr::V6(ip)) if ip.is_multicast() || ip.is_unspecified() => return Some("broadcast"),
            _ => {}
        }
    }
    let is_too_much = vias.take(MAX_VIAS).count() >= MAX_VIAS - 1;
    is_too_much.then_some("via")
}
