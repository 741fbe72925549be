//! A message that is about to leave, with the policies of its trunk applied to it.
//!
//! Works on what [`sip::edit`] wrote: our Via on top and the one below stamped, our Record-Routes on top. A message without
//! edits leaves as the same bytes.

use std::net::SocketAddr;

use domain::identity::{HEADER, Keyring};
use sip::{Index, Message, Method, Name, NameAddr, Uri};

use super::hiding::{Mask, may_be_masked};
use super::session_timer::Asked;
use super::splice::{Edits, span_in};
use super::{Description, Direction, Effect, TrunkPolicy, description, media, nat};
use crate::config::policy::{CallerScope, Party};

#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// An INVITE or another request without To-tag.
    Initial,
    InDialog {
        from_caller: bool,
    },
    /// The answer to a request, which stands here as it was received.
    Answer {
        request: &'a Message<'a>,
    },
    /// An answer whose request is not known any more: nothing of it can be restored that is not in the answer itself.
    LoneAnswer,
}

/// Where a message passes, and what is known about it.
#[derive(Clone, Copy)]
pub struct Passage<'a> {
    pub policy: &'a TrunkPolicy,
    pub direction: Direction,
    pub kind: Kind<'a>,
    /// Where the packet came from.
    pub source: SocketAddr,
    /// Our address on the trunk's side, and what a URI to it needs behind it.
    pub host: &'a str,
    pub tail: &'a str,
    /// The start of a Via of ours on that side: `SIP/2.0/UDP 192.0.2.1:5060`.
    pub via: &'a str,
    pub keys: &'a Keyring,
    /// Whether an address is one of the node side.
    pub is_inner: &'a dyn Fn(SocketAddr) -> bool,
}

/// What left, and what was done to it.
#[derive(Debug, Default)]
pub struct Passed {
    /// `None` when nothing changed.
    pub bytes: Option<Vec<u8>>,
    pub effects: Vec<Effect>,
    pub callee: Option<String>,
    pub caller: Option<String>,
    pub body_changed: bool,
    /// The session's interval after a 2xx, when this trunk's timers are watched.
    pub interval: Option<u32>,
}

impl Passed {
    fn note(&mut self, policy: &'static str, what: Option<String>) {
        self.effects.extend(what.map(|what| Effect { policy, what }));
    }
}

/// Applies the policies to a message that was written for the next hop.
#[must_use]
pub fn pass(passage: &Passage<'_>, bytes: &[u8], index: &mut Index) -> Passed {
    let mut passed = Passed::default();
    let Ok(m) = index.parse(bytes) else { return passed };
    let (policy, direction) = (passage.policy, passage.direction);
    let mut edits = Edits::default();
    if !policy.headers.is_idle(direction) {
        let gone = policy.headers.edit(direction, &m, HEADER, &mut edits);
        passed.note("headers", gone);
    }
    if policy.fixes_contact && direction == Direction::FromTrunk {
        let did = nat::edit_contact(&m, passage.source, &mut edits);
        passed.note("nat", did);
    }
    match passage.kind {
        Kind::Answer { request } => answer(passage, &m, request, &mut edits, &mut passed),
        Kind::LoneAnswer => {}
        kind => request(passage, &m, kind, &mut edits, &mut passed),
    }
    media_of(passage, &m, &mut edits, &mut passed);
    if policy.hides {
        match direction {
            Direction::ToTrunk => hide(passage, &m, &mut edits, &mut passed),
            Direction::FromTrunk => show(passage, &m, &mut edits),
        }
    }
    if !edits.is_empty() {
        passed.bytes = Some(edits.apply(bytes));
    }
    passed
}

fn request(passage: &Passage<'_>, m: &Message<'_>, kind: Kind<'_>, edits: &mut Edits, passed: &mut Passed) {
    if let Some(timer) = &passage.policy.session_timer
        && matches!(m.method(), Method::Invite | Method::Update)
    {
        let did = timer.edit_request(m, edits);
        passed.note("session_timer", did);
    }
    if passage.policy.numbers.is_none() {
        return;
    }
    let is_initial = matches!(kind, Kind::Initial);
    if is_initial && let Some((old, new)) = rewrite_user(passage, m.uri(), Party::Callee) {
        edits.replace_part(m.bytes(), old, new.as_str());
        passed.callee = Some(new);
        passed.note("numbers", Some("callee".to_owned()));
    }
    let scope = passage.policy.numbers.as_ref().map(super::Numbers::caller_scope).unwrap_or_default();
    if scope == CallerScope::Keep {
        return;
    }
    let mut did = false;
    if is_initial {
        for value in asserted(m) {
            did |= rewrite_caller(passage, m, value, edits, passed);
        }
    }
    // In a dialog the caller's own requests say From as its INVITE did when it arrived there; the callee's say their own.
    let by_caller = matches!(kind, Kind::Initial | Kind::InDialog { from_caller: true });
    if scope == CallerScope::From && by_caller {
        let from = m.header(Name::From).unwrap_or_default();
        did |= rewrite_caller(passage, m, from, edits, passed);
    }
    if did && is_initial {
        passed.note("numbers", Some("caller".to_owned()));
    }
}

/// Header values in which one network tells another who calls.
fn asserted<'a>(m: &Message<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let preferred = m.named("P-Preferred-Identity");
    m.values(Name::PAssertedIdentity).chain(m.values(Name::RemotePartyId)).chain(preferred)
}

fn rewrite_caller(
    passage: &Passage<'_>,
    m: &Message<'_>,
    value: &[u8],
    edits: &mut Edits,
    passed: &mut Passed,
) -> bool {
    let Some(address) = NameAddr::parse(value) else { return false };
    let Some((old, new)) = rewrite_user(passage, address.uri, Party::Caller) else { return false };
    edits.replace_part(m.bytes(), old, new.as_str());
    passed.caller = Some(new);
    true
}

/// The number in a URI and how it is written on the other side.
fn rewrite_user<'a>(passage: &Passage<'_>, uri: &'a [u8], party: Party) -> Option<(&'a [u8], String)> {
    let numbers = passage.policy.numbers.as_ref()?;
    let parsed = Uri::parse(uri).ok()?;
    let old = parsed.number();
    let raw = std::str::from_utf8(old).ok()?;
    let new = match passage.direction {
        Direction::ToTrunk => numbers.for_trunk(raw, party),
        Direction::FromTrunk => numbers.for_node(raw, party),
    }?;
    Some((old, new))
}

fn answer(passage: &Passage<'_>, m: &Message<'_>, request: &Message<'_>, edits: &mut Edits, passed: &mut Passed) {
    let restores =
        passage.policy.hides || passage.policy.numbers.as_ref().is_some_and(|n| n.caller_scope() == CallerScope::From);
    if restores
        && let (Some(sent), Some(back)) = (request.header(Name::From), m.header(Name::From))
        && sent != back
        && m.from_tag() == request.from_tag()
    {
        // The sender compares it with its own.
        edits.replace_part(m.bytes(), back, sent);
    }
    if passage.policy.hides && request.to().uri != m.to().uri && !m.to().uri.is_empty() {
        edits.replace_part(m.bytes(), m.to().uri, request.to().uri);
    }
    if let Some(timer) = &passage.policy.session_timer
        && matches!(request.method(), Method::Invite | Method::Update)
        && (200..300).contains(&m.status())
    {
        let (interval, did) = timer.edit_success(Asked::read(request), m, edits);
        passed.interval = interval;
        passed.note("session_timer", did);
    }
}

fn media_of(passage: &Passage<'_>, m: &Message<'_>, edits: &mut Edits, passed: &mut Passed) {
    if passage.policy.media.is_idle() {
        return;
    }
    let Description::Session(body) = description(m) else { return };
    let is_offer = m.is_request() && matches!(m.method(), Method::Invite | Method::Update);
    if let media::Verdict::Changed { body, effect } = passage.policy.media.judge(body, is_offer) {
        edits.body(m, body);
        passed.body_changed = true;
        passed.note("codecs", Some(effect));
    }
}

/// Towards the trunk: everything that names the node side.
fn hide(passage: &Passage<'_>, m: &Message<'_>, edits: &mut Edits, passed: &mut Passed) {
    let mask = Mask { keys: passage.keys, call_id: m.call_id() };
    let mut hidden = m.is_request() && hide_vias(passage, m, &mask, edits);
    // A redirection is an address to try, not one of this dialog: it must lead to us without a token.
    let is_redirection = (300..400).contains(&m.status());
    for name in [Name::Contact, Name::RecordRoute] {
        let tail = if name == Name::RecordRoute { format!("{};lr", passage.tail) } else { passage.tail.to_owned() };
        for value in m.values(name) {
            let Some(uri) = NameAddr::parse(value).map(|a| a.uri).filter(|uri| leads_inside(passage, uri)) else {
                continue;
            };
            if is_redirection {
                hidden |= hide_host(passage, m, uri, edits);
            } else if let Some(masked) = mask.uri(uri, passage.host, &tail) {
                edits.replace_part(m.bytes(), uri, masked);
                hidden = true;
            }
        }
    }
    // Who calls, who is called, who was called before: only the host says where, and nothing is routed by it.
    let ends = [Name::From, Name::To].into_iter().filter(|_| m.is_request()).filter_map(|name| m.header(name));
    let parties = asserted(m)
        .chain(m.values(Name::Diversion))
        .chain(m.values(Name::HistoryInfo))
        .chain(m.values(Name::ReferredBy))
        .chain(ends);
    for value in parties {
        if let Some(address) = NameAddr::parse(value) {
            hidden |= hide_host(passage, m, address.uri, edits);
        }
    }
    for header in m.headers().iter().filter(|h| h.name == Name::Warning) {
        if warns_from_inside(passage, &String::from_utf8_lossy(header.value.of(m.bytes()))) {
            edits.remove(header.line);
            hidden = true;
        }
    }
    if hidden {
        passed.note("hiding", Some("node side".to_owned()));
    }
}

/// Puts our address in the place of one of the node side.
fn hide_host(passage: &Passage<'_>, m: &Message<'_>, uri: &[u8], edits: &mut Edits) -> bool {
    let Some(parsed) = Uri::parse(uri).ok().filter(|_| leads_inside(passage, uri)) else { return false };
    edits.replace(host_and_port(m, parsed.host), passage.host);
    true
}

/// The place of a host together with the port behind it.
pub(super) fn host_and_port(m: &Message<'_>, host: &[u8]) -> sip::Span {
    let span = span_in(m.bytes(), host);
    let port = match m.bytes()[span.end as usize..].strip_prefix(b":") {
        Some(digits) => 1 + digits.iter().take_while(|b| b.is_ascii_digit()).count(),
        None => 0,
    };
    sip::Span::new(span.start as usize, span.end as usize + port)
}

/// A Warning names the host that gives it.
fn warns_from_inside(passage: &Passage<'_>, warning: &str) -> bool {
    let agent = warning.split_ascii_whitespace().nth(1).unwrap_or_default();
    let with_port = || agent.parse::<SocketAddr>().ok();
    let alone = || agent.parse().ok().map(|ip| SocketAddr::new(ip, 5060));
    with_port().or_else(alone).is_some_and(passage.is_inner)
}

fn leads_inside(passage: &Passage<'_>, uri: &[u8]) -> bool {
    let address = |u: Uri<'_>| Some(SocketAddr::new(u.ip()?, u.port.unwrap_or(5060)));
    Uri::parse(uri).ok().and_then(address).is_some_and(passage.is_inner)
}

/// All Vias below ours become one of ours.
fn hide_vias(passage: &Passage<'_>, m: &Message<'_>, mask: &Mask<'_>, edits: &mut Edits) -> bool {
    let below: Vec<&[u8]> = m.values(Name::Via).skip(1).collect();
    let Some(masked) = (!below.is_empty()).then(|| mask.vias(&below.join(&b", "[..]), passage.via)).flatten() else {
        return false;
    };
    // Ours has a line of its own, so each further line holds only theirs.
    let mut lines = m.headers().iter().filter(|h| h.name == Name::Via).skip(1);
    if let Some(first) = lines.next() {
        edits.replace(first.value, masked);
    }
    lines.for_each(|line| edits.remove(line.line));
    true
}

/// From the trunk: what was hidden is shown again to those who wrote it.
fn show(passage: &Passage<'_>, m: &Message<'_>, edits: &mut Edits) {
    let mask = Mask { keys: passage.keys, call_id: m.call_id() };
    if !m.is_request()
        && let Some(header) = m.headers().iter().find(|h| h.name == Name::Via)
        && let Some(stack) = mask.open_vias(m.branch())
    {
        edits.replace(header.value, stack);
    }
    open_target(m, &mask, edits);
    open_uris(m, &mask, &[Name::RecordRoute, Name::ReferTo], edits);
}

fn open_target(m: &Message<'_>, mask: &Mask<'_>, edits: &mut Edits) {
    if may_be_masked(m.uri())
        && let Some(inner) = mask.open_uri(m.uri())
    {
        edits.replace_part(m.bytes(), m.uri(), inner);
    }
}

fn open_uris(m: &Message<'_>, mask: &Mask<'_>, names: &[Name], edits: &mut Edits) {
    for value in names.iter().flat_map(|&name| m.values(name)) {
        let Some(uri) = NameAddr::parse(value).map(|a| a.uri).filter(|uri| may_be_masked(uri)) else { continue };
        if let Some(inner) = mask.open_uri(uri) {
            edits.replace_part(m.bytes(), uri, inner);
        }
    }
}

/// A request inside a dialog from a trunk that things are hidden from, with its target and routes as the node side wrote them.
/// `None` when nothing in it is masked. Without any Route its target is left for [`pass`]: that it leads to us is all that
/// routes it then.
#[must_use]
pub fn open_request(keys: &Keyring, m: &Message<'_>) -> Option<Vec<u8>> {
    m.values(Name::Route).next()?;
    let mask = Mask { keys, call_id: m.call_id() };
    let mut edits = Edits::default();
    open_target(m, &mask, &mut edits);
    open_uris(m, &mask, &[Name::Route], &mut edits);
    (!edits.is_empty()).then(|| edits.apply(m.bytes()))
}
