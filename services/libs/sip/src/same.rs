//! When two URIs mean the same: RFC 3261 §19.1.4 for sip and sips, RFC 3966 §4 for tel, byte for byte for all others.
//!
//! A percent escape is undone once and never twice: `v%2541` is `v%41`, not `vA`. An escaped reserved character is not the
//! character itself.

use std::borrow::Cow;

use crate::uri::Uri;

/// Parameters that stand in one URI only and still make a difference.
const TELLING: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];
/// No URI that means well has more; two with more are not compared.
const MOST_PARAMS: usize = 32;

/// Undoes every percent escape, once. A percent sign without two hex digits stays as it is.
#[must_use]
pub fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', text).is_none() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(units(text).map(|unit| unit.byte).collect())
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Unit {
    byte: u8,
    /// Written as an escape and reserved: not equal to the same byte in clear.
    is_apart: bool,
}

impl Unit {
    fn folded(self) -> Unit {
        Unit { byte: self.byte.to_ascii_lowercase(), ..self }
    }
}

fn units(text: &[u8]) -> impl Iterator<Item = Unit> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *text.get(at)?;
        let digit = |offset: usize| (*text.get(at + offset)? as char).to_digit(16);
        if byte == b'%'
            && let (Some(high), Some(low)) = (digit(1), digit(2))
        {
            at += 3;
            let byte = (high * 16 + low) as u8;
            let is_apart = matches!(byte, b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b',');
            return Some(Unit { byte, is_apart });
        }
        at += 1;
        Some(Unit { byte, is_apart: false })
    })
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a == b || units(a).eq(units(b))
}

fn same_in_any_case(a: &[u8], b: &[u8]) -> bool {
    units(a).map(Unit::folded).eq(units(b).map(Unit::folded))
}

fn pairs(list: &[u8], separator: u8) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    list.split(move |&b| b == separator).filter(|pair| !pair.is_empty()).map(|pair| {
        let eq = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        (&pair[..eq], pair.get(eq + 1..).unwrap_or_default())
    })
}

/// Every pair of `a` is in `b` with the same value, or may be missing there.
fn covered(a: &[u8], b: &[u8], separator: u8, may_miss: fn(&[u8]) -> bool) -> bool {
    pairs(a, separator).all(|(name, value)| {
        match pairs(b, separator).find(|(other, _)| same_in_any_case(other, name)) {
            Some((_, other)) => same_in_any_case(other, value),
            None => may_miss(name),
        }
    })
}

impl Uri<'_> {
    /// Whether both mean the same. Not transitive: a parameter that only one of them has is mostly ignored.
    #[must_use]
    pub fn is_same(&self, other: &Uri<'_>) -> bool {
        let few = |uri: &Uri<'_>| {
            pairs(uri.params, b';').count() <= MOST_PARAMS && pairs(uri.headers, b'&').count() <= MOST_PARAMS
        };
        if self == other {
            return true;
        }
        if !self.scheme.eq_ignore_ascii_case(other.scheme) || !few(self) || !few(other) {
            return false;
        }
        if self.is_tel() {
            return self.digits().eq_ignore_ascii_case(&other.digits())
                && covered(self.params, other.params, b';', |_| false)
                && covered(other.params, self.params, b';', |_| false);
        }
        if !(self.is_sip() || self.is_sips()) {
            return self.host == other.host;
        }
        let hosts = match (self.ip(), other.ip()) {
            (Some(a), Some(b)) => a == b,
            _ => self.host.eq_ignore_ascii_case(other.host),
        };
        let users = match (self.user, other.user) {
            (Some(a), Some(b)) => same(a, b),
            (a, b) => a == b,
        };
        let may_miss = |name: &[u8]| !TELLING.iter().any(|telling| same_in_any_case(telling, name));
        users
            && hosts
            && self.port == other.port
            && covered(self.params, other.params, b';', may_miss)
            && covered(other.params, self.params, b';', may_miss)
            && covered(self.headers, other.headers, b'&', |_| false)
            && covered(other.headers, self.headers, b'&', |_| false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same_uris(a: &str, b: &str) -> bool {
        let (a, b) = (Uri::parse(a.as_bytes()).unwrap(), Uri::parse(b.as_bytes()).unwrap());
        assert_eq!(a.is_same(&b), b.is_same(&a), "it does not matter who asks");
        a.is_same(&b)
    }

    #[test]
    fn forms_of_one_uri_are_the_same() {
        for (a, b) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
            ("sip:a@[2001:DB8:0:0::1]", "sip:a@[2001:db8::1]"),
            ("tel:+1-201-555-0123", "tel:+12015550123"),
            ("urn:service:sos", "URN:service:sos"),
        ] {
            assert!(same_uris(a, b), "{a} and {b}");
        }
    }

    #[test]
    fn what_may_lead_elsewhere_is_not_the_same() {
        for (a, b) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sips:bob@biloxi.com"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:a%40b@c", "sip:a%2540b@c"),
            ("sip:%00@h", "sip:%00%00@h"),
            ("sip:a%3Bb@h", "sip:a;b@h"),
            ("sip:h", "sip:a@h"),
            ("sip:a@h;user=phone", "sip:a@h"),
            ("tel:7042;phone-context=a.com", "tel:7042;phone-context=b.com"),
        ] {
            assert!(!same_uris(a, b), "{a} and {b}");
        }
    }

    #[test]
    fn an_escape_is_undone_once() {
        assert_eq!(&*unescaped(b"v%61lue%25%34%31"), b"value%41");
        assert_eq!(&*unescaped(b"%"), b"%");
        assert_eq!(&*unescaped(b"%4"), b"%4");
        assert_eq!(&*unescaped(b"%zz%00"), b"%zz\0");
        assert!(matches!(unescaped(b"plain"), Cow::Borrowed(_)));
    }
}
