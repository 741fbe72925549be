//! An event is an index over the received body: where each header's name and value stand.
//!
//! Reading costs one pass and no allocation (the index is reused); looking a header up compares small keys and then the name,
//! case-insensitively; a value is decoded (percent signs of the plain format, escapes of JSON) only when it is asked for, and
//! borrowed when there is nothing to decode. An odd event is never an error worth losing the connection: what cannot be read as a
//! header is left out, and the event says how many lines that were.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

mod json;

/// More headers than any event has; beyond it the rest is dropped and counted in [`Event::unread`].
const MAX_HEADERS: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Plain,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error("event is longer than 4 GiB")]
    TooLong,
    #[error("event is not a JSON object of headers (at byte {0})")]
    NotAnObject(usize),
    #[error("event has no name")]
    NoName,
}

/// Where one header stands in the body. `key` is a digest of the name that most other names do not share.
#[derive(Debug, Clone, Copy)]
struct Span {
    key: u64,
    name: u32,
    value: u32,
    name_len: u16,
    value_len: u32,
}

/// The reusable memory of the index: one per connection.
#[derive(Debug, Default)]
pub struct Index {
    spans: Vec<Span>,
}

impl Index {
    pub fn new() -> Self {
        Self { spans: Vec::with_capacity(256) }
    }

    /// Indexes one event. The result lives as long as body and index are left alone.
    pub fn read<'a>(&'a mut self, body: &'a [u8], format: Format) -> Result<Event<'a>, EventError> {
        self.spans.clear();
        if u32::try_from(body.len()).is_err() {
            return Err(EventError::TooLong);
        }
        let (inner, unread) = match format {
            Format::Plain => self.read_plain(body),
            Format::Json => json::read(body, |name, value| push(&mut self.spans, body, name, value))?,
        };
        let event = Event { body, spans: &self.spans, format, inner, unread };
        match event.raw(crate::fields::EVENT_NAME) {
            Some(_) => Ok(event),
            None => Err(EventError::NoName),
        }
    }

    fn read_plain<'a>(&mut self, body: &'a [u8]) -> (&'a [u8], usize) {
        let (mut at, mut unread) = (0, 0);
        while at < body.len() {
            let end = memchr(b'\n', &body[at..]).map_or(body.len(), |n| at + n);
            let mut line = &body[at..end];
            line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                at = end + 1;
                break;
            }
            let separator = memchr(b':', line).filter(|&n| n > 0);
            let taken = separator.is_some_and(|colon| {
                let value = line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..]);
                let value_at = at + line.len() - value.len();
                push(&mut self.spans, body, (at, at + colon), (value_at, value_at + value.len()))
            });
            unread += usize::from(!taken);
            at = end + 1;
        }
        (body.get(at..).unwrap_or_default(), unread)
    }
}

fn push(spans: &mut Vec<Span>, body: &[u8], name: (usize, usize), value: (usize, usize)) -> bool {
    let Ok(name_len) = u16::try_from(name.1 - name.0) else { return false };
    if spans.len() >= MAX_HEADERS {
        return false;
    }
    // The body's length was checked to fit 32 bits, so every offset in it does.
    spans.push(Span {
        key: key_of(&body[name.0..name.1]),
        name: name.0 as u32,
        value: value.0 as u32,
        name_len,
        value_len: (value.1 - value.0) as u32,
    });
    true
}

/// Digest of a name without regard to case: its last eight bytes, folded with its length and one byte of its middle.
fn key_of(name: &[u8]) -> u64 {
    let mut tail = [0u8; 8];
    let n = name.len().min(8);
    tail[..n].copy_from_slice(&name[name.len() - n..]);
    let middle = name.get(name.len() / 2).copied().unwrap_or(0) | 0x20;
    (u64::from_le_bytes(tail) | 0x2020_2020_2020_2020)
        ^ (name.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ (u64::from(middle) << 40)
}

/// One event, read lazily.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    body: &'a [u8],
    spans: &'a [Span],
    format: Format,
    inner: &'a [u8],
    unread: usize,
}

impl<'a> Event<'a> {
    /// The event's name; always present, an event without one is refused when it is read.
    pub fn name(&self) -> &'a str {
        self.raw(crate::fields::EVENT_NAME).and_then(|raw| std::str::from_utf8(raw).ok()).unwrap_or("")
    }

    /// The value as it stands on the wire. The first header of that name counts.
    pub fn raw(&self, name: &str) -> Option<&'a [u8]> {
        let wanted = name.as_bytes();
        let key = key_of(wanted);
        self.spans
            .iter()
            .find(|span| span.key == key && self.name_of(span).eq_ignore_ascii_case(wanted))
            .map(|s| self.value_of(s))
    }

    /// The value decoded; borrowed when there was nothing to decode. Bytes that are no UTF-8 become the replacement character.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.raw(name).map(|raw| self.decode(raw))
    }

    /// A number, when the value is nothing but one.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        std::str::from_utf8(self.raw(name)?).ok()?.parse().ok()
    }

    /// All headers in the order of the wire, decoded.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> + use<'a> {
        let this = *self;
        this.spans.iter().filter_map(move |span| {
            std::str::from_utf8(this.name_of(span)).ok().map(|name| (name, this.decode(this.value_of(span))))
        })
    }

    /// What follows the headers of a plain event (the result of a background job, for one); in JSON the value of `_body`.
    pub fn inner_body(&self) -> Cow<'a, str> {
        match self.format {
            Format::Plain => String::from_utf8_lossy(self.inner),
            Format::Json => self.get("_body").unwrap_or_default(),
        }
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Lines or members that could not be read as a header.
    pub fn unread(&self) -> usize {
        self.unread
    }

    fn name_of(&self, span: &Span) -> &'a [u8] {
        &self.body[span.name as usize..span.name as usize + usize::from(span.name_len)]
    }

    fn value_of(&self, span: &Span) -> &'a [u8] {
        &self.body[span.value as usize..span.value as usize + span.value_len as usize]
    }

    fn decode(&self, raw: &'a [u8]) -> Cow<'a, str> {
        match self.format {
            Format::Plain => percent_decoded(raw),
            Format::Json => json::unescaped(raw),
        }
    }
}

/// Undoes FreeSWITCH's URL encoding. A percent sign without two hex digits behind it stands for itself.
pub fn percent_decoded(raw: &[u8]) -> Cow<'_, str> {
    let Some(first) = memchr(b'%', raw) else { return String::from_utf8_lossy(raw) };
    let mut out = Vec::with_capacity(raw.len());
    out.extend_from_slice(&raw[..first]);
    let mut rest = &raw[first..];
    while let Some(&byte) = rest.first() {
        if byte == b'%'
            && let Some(decoded) = rest.get(1..3).and_then(hex_pair)
        {
            out.push(decoded);
            rest = &rest[3..];
        } else {
            let plain = memchr(b'%', &rest[1..]).map_or(rest.len(), |n| n + 1);
            out.extend_from_slice(&rest[..plain]);
            rest = &rest[plain..];
        }
    }
    Cow::Owned(String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn hex_pair(two: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    Some((digit(two[0])? * 16 + digit(two[1])?) as u8)
}

/// Where the next of two bytes stands; shared with the JSON reader.
fn next_of(a: u8, b: u8, bytes: &[u8]) -> Option<usize> {
    memchr2(a, b, bytes)
}

#[cfg(test)]
mod tests;
