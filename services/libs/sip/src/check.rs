//! What every message must have before anybody looks at its meaning: the five headers, readable, and a length that is true.

use crate::address::Parts;
use crate::class::{self, DIGIT, TOKEN};
use crate::header::Name;
use crate::index::{Index, Start};
use crate::limits::MAX_URI;
use crate::method::Method;
use crate::reject::Reject;
use crate::scan::{number, trim};
use crate::span::Span;
use crate::uri::Uri;
use crate::via::Via;

impl Index {
    pub(crate) fn check(&mut self, bytes: &[u8]) -> Result<(), Reject> {
        let via = self.need(Name::Via)?;
        self.via = Via::parse(bytes, via).filter(|v| v.is_version_2).ok_or(Reject::Malformed(Name::Via))?;
        self.from_tag = self.tag_of(bytes, Name::From)?;
        self.to_tag = self.tag_of(bytes, Name::To)?;
        let call_id = self.need(Name::CallId)?.of(bytes);
        // Without an early end, so that the compiler compares many bytes at once.
        if !call_id.iter().fold(true, |clean, &b| clean & (b > b' ') & (b < 0x7f)) {
            return Err(Reject::Malformed(Name::CallId));
        }
        self.check_cseq(bytes)?;
        self.check_length(bytes)?;
        if let Some(span) = self.value(Name::MaxForwards) {
            let value = number(span.of(bytes)).filter(|&n| n <= 255).ok_or(Reject::Malformed(Name::MaxForwards))?;
            self.max_forwards = Some(value as u32);
        }
        if let Start::Request { uri, .. } = self.start {
            if uri.len() > MAX_URI {
                return Err(Reject::UriTooLong);
            }
            let parsed = if self.uri_is_clean { Uri::of_clean(uri.of(bytes)) } else { Uri::parse(uri.of(bytes)) };
            parsed.map_err(|_| Reject::RequestUri)?;
        }
        Ok(())
    }

    fn need(&self, name: Name) -> Result<Span, Reject> {
        self.value(name).filter(|span| !span.is_empty()).ok_or(Reject::Missing(name))
    }

    fn tag_of(&self, bytes: &[u8], name: Name) -> Result<Span, Reject> {
        Ok(Parts::read(bytes, self.need(name)?).ok_or(Reject::Malformed(name))?.tag)
    }

    fn check_cseq(&mut self, bytes: &[u8]) -> Result<(), Reject> {
        let span = self.need(Name::CSeq)?;
        let text = span.of(bytes);
        let bad = Reject::Malformed(Name::CSeq);
        let digits = text.iter().position(|&b| !class::is(b, DIGIT)).ok_or(bad)?;
        let value = number(&text[..digits]).filter(|&n| n < 1 << 31).ok_or(bad)?;
        let method = trim(&text[digits..]);
        if method.is_empty() || method.len() + digits == text.len() || !class::all(method, TOKEN) {
            return Err(bad);
        }
        self.cseq = value as u32;
        self.cseq_method = Span::within(bytes, method);
        match self.start {
            Start::Request { method: Method::Other, token, .. } if token.of(bytes) != method => {
                Err(Reject::UnknownMethod)
            }
            Start::Request { token, .. } if token.of(bytes) != method => Err(Reject::MethodMismatch),
            _ => Ok(()),
        }
    }

    fn check_length(&mut self, bytes: &[u8]) -> Result<(), Reject> {
        if let Some(length) = self.content_length(bytes)? {
            if length > self.body.len() as u64 {
                return Err(Reject::ContentLength);
            }
            self.body.end = self.body.start + length as u32;
        }
        Ok(())
    }

    /// What Content-Length says; an error when it says nothing that a machine can rely on.
    pub(crate) fn content_length(&self, bytes: &[u8]) -> Result<Option<u64>, Reject> {
        let Some(span) = self.value(Name::ContentLength) else { return Ok(None) };
        number(span.of(bytes)).map(Some).ok_or(Reject::Malformed(Name::ContentLength))
    }
}
