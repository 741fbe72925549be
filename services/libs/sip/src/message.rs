//! Typed views of a parsed message: slices of the bytes as they came.

use crate::address::NameAddr;
use crate::header::Name;
use crate::index::{Header, Index, NONE, Start};
use crate::method::Method;
use crate::scan::comma_values;
use crate::via::Via;

/// A parsed message: the bytes and where everything is in them.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) index: &'a Index,
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
