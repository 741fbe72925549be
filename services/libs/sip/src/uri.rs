//! URIs as slices: sip, sips and tel in parts, any other scheme as a whole.

use std::net::IpAddr;

use crate::class::{self, Cursor, DIGIT, HOST, URI};
use crate::host::{host_ip, is_v6};
use crate::span::Span;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    #[error("no scheme")]
    Scheme,
    #[error("no host")]
    Host,
    #[error("bad port")]
    Port,
    #[error("a tel URI without a number, or with something else in it")]
    Number,
    #[error("white space, a control byte or an angle bracket inside")]
    Byte,
}

/// Parts of a URI. `user` keeps everything before the `@` (also `user;par=x` and a password); nothing is unescaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    pub scheme: &'a [u8],
    pub user: Option<&'a [u8]>,
    /// With its brackets when it is IPv6. The whole rest for schemes that we do not know, the number for `tel`.
    pub host: &'a [u8],
    pub port: Option<u16>,
    /// After the host, without the first `;`.
    pub params: &'a [u8],
    /// After the `?`.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Uri<'a>, UriError> {
        if class::all(bytes, URI) { Uri::of_clean(bytes) } else { Err(UriError::Byte) }
    }

    /// Parses what is known to hold no byte that a URI may not hold.
    pub(crate) fn of_clean(bytes: &'a [u8]) -> Result<Uri<'a>, UriError> {
        if let Some((scheme, rest)) = bytes.split_at_checked(3)
            && let Some(rest) = rest.strip_prefix(b":")
            && scheme.eq_ignore_ascii_case(b"sip")
        {
            return Uri::sip(scheme, rest);
        }
        let colon = memchr::memchr(b':', bytes).ok_or(UriError::Scheme)?;
        let (scheme, rest) = (&bytes[..colon], &bytes[colon + 1..]);
        let good = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if !scheme.first().is_some_and(u8::is_ascii_alphabetic) || !scheme.iter().all(good) {
            return Err(UriError::Scheme);
        }
        if scheme.eq_ignore_ascii_case(b"sips") {
            return Uri::sip(scheme, rest);
        }
        if scheme.eq_ignore_ascii_case(b"tel") {
            let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
            if !is_telephone_number(&rest[..end]) {
                return Err(UriError::Number);
            }
            let params = rest.get(end + 1..).unwrap_or_default();
            return Ok(Uri { scheme, user: Some(&rest[..end]), host: b"", port: None, params, headers: b"" });
        }
        if rest.is_empty() {
            return Err(UriError::Host);
        }
        Ok(Uri { scheme, user: None, host: rest, port: None, params: b"", headers: b"" })
    }

    #[inline(always)]
    fn sip(scheme: &'a [u8], rest: &'a [u8]) -> Result<Uri<'a>, UriError> {
        // Neither host, parameters nor headers may hold an '@', so the first one ends the user part.
        let (user, rest) = match memchr::memchr(b'@', rest) {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        if user.is_some_and(<[u8]>::is_empty) {
            return Err(UriError::Host);
        }
        let mut cursor = Cursor::new(rest, Span::new(0, rest.len()));
        let host = host_at(&mut cursor, rest).ok_or(UriError::Host)?.of(rest);
        let port = port_at(&mut cursor, rest)?;
        let tail = &rest[cursor.at..];
        if tail.is_empty() {
            return Ok(Uri { scheme, user, host, port, params: b"", headers: b"" });
        }
        if !matches!(tail[0], b';' | b'?') || memchr::memchr(b'@', tail).is_some() {
            return Err(UriError::Host);
        }
        let question = memchr::memchr(b'?', tail).unwrap_or(tail.len());
        let params = tail[..question].strip_prefix(b";").unwrap_or(&tail[..question]);
        let headers = tail.get(question + 1..).unwrap_or_default();
        if headers.is_empty() && question < tail.len() {
            // Some take the question mark for a part of the host.
            return Err(UriError::Host);
        }
        Ok(Uri { scheme, user, host, port, params, headers })
    }

    #[must_use]
    pub fn is_sip(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"sip")
    }

    #[must_use]
    pub fn is_sips(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"sips")
    }

    /// `urn:service:sos` and what is more exact, like `urn:service:sos.police` (RFC 5031): a call for help, whatever the country dials.
    #[must_use]
    pub fn is_service_sos(&self) -> bool {
        const SOS: &[u8] = b"service:sos";
        self.scheme.eq_ignore_ascii_case(b"urn")
            && self.host.get(..SOS.len()).is_some_and(|s| s.eq_ignore_ascii_case(SOS))
            && matches!(self.host.get(SOS.len()), None | Some(b'.'))
    }

    #[must_use]
    pub fn is_tel(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"tel")
    }

    /// The dialled part: the user without its parameters and password.
    #[must_use]
    pub fn number(&self) -> &'a [u8] {
        let user = self.user.unwrap_or_default();
        let end = memchr::memchr2(b';', b':', user).unwrap_or(user.len());
        &user[..end]
    }

    /// The digits of a telephone number without the separators that only people need (RFC 3966 §5.1.1).
    #[must_use]
    pub fn digits(&self) -> Vec<u8> {
        self.number().iter().copied().filter(|b| !matches!(b, b'-' | b'.' | b'(' | b')')).collect()
    }

    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        host_ip(self.host)
    }

    /// The value of a URI parameter; empty when it stands without one.
    #[must_use]
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.params.split(|&b| b == b';').find_map(|param| {
            let eq = memchr::memchr(b'=', param).unwrap_or(param.len());
            param[..eq].eq_ignore_ascii_case(name).then(|| param.get(eq + 1..).unwrap_or_default())
        })
    }
}

/// RFC 3966 §3: a plus and digits, or local digits with the letters and signs of a keypad; separators for people anywhere. What
/// else stood there would go into the user part of a sip URI, where an '@' or a ':' means something.
fn is_telephone_number(text: &[u8]) -> bool {
    let (is_global, rest) = match text.strip_prefix(b"+") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let is_digit = |b: u8| b.is_ascii_digit() || (!is_global && (b.is_ascii_hexdigit() || matches!(b, b'*' | b'#')));
    let is_separator = |b: u8| matches!(b, b'-' | b'.' | b'(' | b')');
    rest.iter().all(|&b| is_digit(b) || is_separator(b)) && rest.iter().any(|&b| is_digit(b))
}

/// A name, an IPv4 address or an IPv6 address in brackets.
#[inline]
pub(crate) fn host_at(cursor: &mut Cursor<'_>, bytes: &[u8]) -> Option<Span> {
    if cursor.peek() != Some(b'[') {
        let host = cursor.take(HOST);
        return (!host.is_empty()).then_some(host);
    }
    let from = cursor.at;
    cursor.at += 1;
    let inner = cursor.take(class::VALUE);
    // The class holds brackets too: the address ends at the first closing one.
    let length = memchr::memchr(b']', inner.of(bytes))?;
    cursor.at = inner.start as usize + length + 1;
    is_v6(&inner.of(bytes)[..length]).then_some(Span::new(from, cursor.at))
}

#[inline]
fn port_at(cursor: &mut Cursor<'_>, bytes: &[u8]) -> Result<Option<u16>, UriError> {
    if !cursor.eat(b':') {
        return Ok(None);
    }
    let port = crate::scan::number(cursor.take(DIGIT).of(bytes)).and_then(|n| u16::try_from(n).ok());
    Ok(Some(port.filter(|&p| p != 0).ok_or(UriError::Port)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_part_may_hold_parameters_and_only_the_host_is_split() {
        let uri = Uri::parse(b"sip:user;par=u%40example.net@example.com:5070;transport=udp;lr?Subject=x").unwrap();
        assert_eq!(uri.user, Some(&b"user;par=u%40example.net"[..]));
        assert_eq!(uri.number(), b"user");
        assert_eq!((uri.host, uri.port), (&b"example.com"[..], Some(5070)));
        assert_eq!(uri.param(b"LR"), Some(&b""[..]));
        assert_eq!(uri.param(b"transport"), Some(&b"udp"[..]));
        assert_eq!(uri.headers, b"Subject=x");
    }

    #[test]
    fn ipv6_needs_its_brackets_and_a_port_outside_of_them() {
        assert_eq!(Uri::parse(b"sip:[2001:db8::10]:5070").unwrap().port, Some(5070));
        assert_eq!(Uri::parse(b"sip:[2001:db8::10:5070]").unwrap().port, None);
        assert!(Uri::parse(b"sip:2001:db8::10").is_err());
        assert!(Uri::parse(b"sip:[fe80::1%25eth0]").is_err());
    }

    #[test]
    fn odd_uris_are_refused_or_kept_whole() {
        assert!(Uri::parse(b"<sip:a@b>").is_err());
        assert!(Uri::parse(b"sip:a@b; lr").is_err());
        assert!(Uri::parse(b"sip:").is_err());
        assert!(Uri::parse(b"sip:a@b:0").is_err());
        assert!(Uri::parse(b"sip:a@b:99999").is_err());
        assert!(Uri::parse(b"sip:a@b@c").is_err());
        assert!(Uri::parse(b"sip:a@b?").is_err());
        assert!(Uri::parse(b"sip:a@b;lr?").is_err());
        assert_eq!(Uri::parse(b"tel:+1-201-555-0123;x=y").unwrap().number(), b"+1-201-555-0123");
        assert_eq!(Uri::parse(b"tel:*21#;phone-context=example.com").unwrap().number(), b"*21#");
        for bad in [
            &b"tel:"[..],
            b"tel:;x=y",
            b"tel:+",
            b"tel:-.-",
            b"tel:1@evil",
            b"tel:1:2",
            b"tel:+1a",
            b"tel:+1+2",
            b"tel:%31",
        ] {
            assert_eq!(Uri::parse(bad), Err(UriError::Number), "{}", String::from_utf8_lossy(bad));
        }
        assert_eq!(Uri::parse(b"soap.beep://192.0.2.103:3002").unwrap().scheme, b"soap.beep");
    }
}
