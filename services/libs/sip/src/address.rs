//! `name-addr` and `addr-spec`: From, To, Contact, Route and their kin.

use crate::scan::{is_space, is_token, trim};

/// One address with its parts as slices. Quotes around the display name are kept away, escapes inside it are not undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameAddr<'a> {
    pub display: &'a [u8],
    pub uri: &'a [u8],
    /// Header parameters after the address, beginning with `;` or empty.
    pub params: &'a [u8],
}

impl<'a> NameAddr<'a> {
    /// `None` for what two parsers could read differently: an open quote, a bare comma in the display name, white space
    /// inside an address without angle brackets, text between `>` and the first parameter.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<NameAddr<'a>> {
        let value = trim(value);
        let (display, rest) = match value {
            [b'"', inner @ ..] => {
                let end = closing_quote(inner)?;
                (&inner[..end], trim(&inner[end + 1..]))
            }
            _ => (&value[..0], value),
        };
        let quoted = rest.len() != value.len();
        let Some(open) = memchr::memchr(b'<', rest) else {
            return if quoted { None } else { NameAddr::bare(value) };
        };
        let display = if quoted {
            if open != 0 {
                return None;
            }
            display
        } else {
            let words = trim(&rest[..open]);
            if !words.iter().all(|&b| is_token(b) || is_space(b) || b >= 0x80) {
                return None;
            }
            words
        };
        let close = open + memchr::memchr(b'>', &rest[open..])?;
        let uri = &rest[open + 1..close];
        let params = trim(&rest[close + 1..]);
        if uri.is_empty() || !(params.is_empty() || params[0] == b';') || uri.iter().any(|&b| is_space(b)) {
            return None;
        }
        Some(NameAddr { display, uri, params })
    }

    /// Without angle brackets everything after the first `;` belongs to the header, and the URI may have no headers.
    fn bare(value: &'a [u8]) -> Option<NameAddr<'a>> {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let uri = trim(&value[..end]);
        let bad = |b: &u8| is_space(*b) || matches!(b, b'?' | b',' | b'"' | b'>');
        if uri.is_empty() || uri.iter().any(bad) {
            return None;
        }
        Some(NameAddr { display: b"", uri, params: &value[end..] })
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
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', inner.get(at..)?)?;
        if inner[at] == b'"' {
            return Some(at);
        }
        at += 2;
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
            b"<sip:a@example.com",
            b"",
        ] {
            assert_eq!(NameAddr::parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }
}
