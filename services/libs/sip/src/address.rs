//! `name-addr` and `addr-spec`: From, To, Contact, Route and their kin.

use crate::class::{self, BARE, Cursor, DISPLAY, TOKEN, URI};
use crate::scan::trim;
use crate::span::Span;

/// One address with its parts as slices. Quotes around the display name are kept away, escapes inside it are not undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameAddr<'a> {
    pub display: &'a [u8],
    pub uri: &'a [u8],
    /// Header parameters after the address, beginning with `;` or empty.
    pub params: &'a [u8],
}

/// Where the parts of an address stand in the message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    pub display: Span,
    pub uri: Span,
    pub params: Span,
    /// Empty when there is no tag.
    pub tag: Span,
}

impl Parts {
    /// Reads the whole of `value`. `None` for what two parsers could read differently: an open quote, a bare comma in the
    /// display name, white space inside an address without angle brackets, text between `>` and the first parameter, a
    /// second, an empty or a quoted tag, or one that is no token.
    pub(crate) fn read(message: &[u8], value: Span) -> Option<Parts> {
        let mut cursor = Cursor::new(message, value);
        let mut parts = Parts::default();
        let is_name_addr = match cursor.peek()? {
            b'<' => true,
            b'"' => {
                parts.display = cursor.quoted()?;
                cursor.skip_space();
                if cursor.peek() != Some(b'<') {
                    return None;
                }
                true
            }
            _ => {
                let mut words = cursor;
                let display = words.take(DISPLAY);
                let found = words.peek() == Some(b'<');
                if found {
                    parts.display = Span::within(message, trim(display.of(message)));
                    cursor = words;
                }
                found
            }
        };
        if is_name_addr {
            cursor.at += 1;
            parts.uri = cursor.take(URI);
            if !cursor.eat(b'>') {
                return None;
            }
        } else {
            // Without angle brackets everything after the first `;` belongs to the header, and the URI may have no headers.
            parts.uri = cursor.take(BARE);
        }
        if parts.uri.is_empty() {
            return None;
        }
        cursor.skip_space();
        parts.params = Span::new(cursor.at, value.end as usize);
        while cursor.eat(b';') {
            let param = cursor.param()?;
            if param.name.len() == 3 && param.name.of(message).eq_ignore_ascii_case(b"tag") {
                let tag = param.value.filter(|v| !v.is_empty() && !param.is_quoted && parts.tag.is_empty())?;
                if !class::all(tag.of(message), TOKEN) {
                    return None;
                }
                parts.tag = tag;
            }
            cursor.skip_space();
        }
        cursor.is_done().then_some(parts)
    }
}

impl<'a> NameAddr<'a> {
    /// Reads one address; `None` when it is not well-formed.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<NameAddr<'a>> {
        let value = trim(value);
        let parts = Parts::read(value, Span::new(0, value.len()))?;
        Some(NameAddr { display: parts.display.of(value), uri: parts.uri.of(value), params: parts.params.of(value) })
    }

    #[must_use]
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        Params::new(self.params).find(name)
    }

    #[must_use]
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.param(b"tag").filter(|tag| !tag.is_empty())
    }
}

/// Where the quote closes that was opened before `inner`; a backslash takes the next byte with it.
pub(crate) fn closing_quote(inner: &[u8]) -> Option<usize> {
    // Display names are short: a plain loop beats a vectorised search here.
    let mut at = 0;
    loop {
        match *inner.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// `;name=value;name;name="quoted"` as pairs. A malformed one ends the walk.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    rest: &'a [u8],
}

impl<'a> Params<'a> {
    #[must_use]
    pub fn new(params: &'a [u8]) -> Params<'a> {
        Params { rest: params }
    }

    /// Whether every byte was part of a well-formed parameter.
    #[must_use]
    pub fn is_done(&self) -> bool {
        trim(self.rest).is_empty()
    }

    #[must_use]
    pub fn find(mut self, name: &[u8]) -> Option<&'a [u8]> {
        self.by_ref().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = trim(self.rest);
        let rest = rest.strip_prefix(b";")?;
        let (mut end, mut eq) = (0, None);
        while let Some(&byte) = rest.get(end) {
            match byte {
                b';' => break,
                b'"' => end += 1 + closing_quote(&rest[end + 1..])?,
                b'=' if eq.is_none() => eq = Some(end),
                _ => {}
            }
            end += 1;
        }
        let (param, after) = rest.split_at(end.min(rest.len()));
        self.rest = after;
        let eq = eq.unwrap_or(param.len());
        Some((trim(&param[..eq]), trim(param.get(eq + 1..).unwrap_or_default())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_forms_are_split_from_the_address() {
        let a = NameAddr::parse(b"\"J Rosenberg \\\\\\\"\" <sip:j@example.com> ;\r\n tag = 98asjd8").unwrap();
        assert_eq!((a.display, a.uri), (&b"J Rosenberg \\\\\\\""[..], &b"sip:j@example.com"[..]));
        assert_eq!(a.tag(), Some(&b"98asjd8"[..]));
        let a = NameAddr::parse(b"caller<sip:caller@example.com>;tag=323").unwrap();
        assert_eq!(a.display, b"caller");
        let a = NameAddr::parse(b"sip:j@example.com;tag=1;x=\"a;b\"").unwrap();
        assert_eq!(
            (a.uri, a.tag(), a.param(b"X")),
            (&b"sip:j@example.com"[..], Some(&b"1"[..]), Some(&b"\"a;b\""[..]))
        );
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for bad in [
            &b"\"Mr. J. User <sip:j.user@example.com>"[..],
            b"Bell, Alexander <sip:a@example.com>",
            b"\"x\" sip:a@example.com",
            b"< sip:a@example.com >",
            b"<sip:a@example.com>x;tag=1",
            b"sip:a b@example.com",
            b"sip:a@example.com?Route=x",
            b"<sip:a@example.com>;tag=1;tag=2",
            b"<sip:a@example.com>;tag=",
            b"<sip:a@example.com>;tag=\"1\"",
            b"<sip:a@example.com>;;;;",
            b"\"",
            b"<",
            b"<>",
            b"<sip:a@example.com",
            b"",
        ] {
            assert_eq!(NameAddr::parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }
}
