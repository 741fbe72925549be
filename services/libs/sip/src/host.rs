//! Hosts that are addresses: IPv4 strictly, IPv6 with or without brackets.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address that a host names as a literal, brackets or not; an IPv4-mapped IPv6 address counts as IPv4, so that a rule
/// about an IPv4 prefix is true for it too.
#[must_use]
pub fn host_ip(host: &[u8]) -> Option<IpAddr> {
    if let Some(ip) = ipv4(host) {
        return Some(IpAddr::V4(ip));
    }
    let inner = match host {
        [b'[', inner @ .., b']'] => inner,
        _ if memchr::memchr(b':', host).is_some() => host,
        _ => return None,
    };
    let ip = ipv6(inner)?;
    Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4))
}

pub(crate) fn is_v6(inner: &[u8]) -> bool {
    ipv6(inner).is_some()
}

/// The grammar of RFC 3261 let three colons stand before an embedded IPv4 address; RFC 5118 §4.10 asks to read that form
/// and to write the right one. A zone means nothing on another machine and is refused.
fn ipv6(inner: &[u8]) -> Option<Ipv6Addr> {
    let text = std::str::from_utf8(inner).ok()?;
    text.parse().ok().or_else(|| corrected(text).and_then(|t| t.parse().ok()))
}

/// `2001:db8:::192.0.2.1` without its colon too many; `None` when nothing is wrong in this way.
fn corrected(text: &str) -> Option<String> {
    let (head, tail) = text.split_once(":::")?;
    tail.contains('.').then(|| format!("{head}::{tail}"))
}

/// A URI as it may be written: with the IPv6 form of the old grammar put right, everything else as it came.
pub(crate) fn writable_uri(uri: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memmem::find(uri, b":::").is_none() {
        return Cow::Borrowed(uri);
    }
    let found = crate::uri::Uri::parse(uri).ok().and_then(|parsed| {
        let inner = parsed.host.strip_prefix(b"[")?.strip_suffix(b"]")?;
        let better = corrected(std::str::from_utf8(inner).ok()?)?;
        let at = (inner.as_ptr() as usize).checked_sub(uri.as_ptr() as usize)?;
        Some([&uri[..at], better.as_bytes(), &uri[at + inner.len()..]].concat())
    });
    found.map_or(Cow::Borrowed(uri), Cow::Owned)
}

/// Strict dotted decimal: four numbers, no leading zeros beyond one digit.
fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    if !(7..=15).contains(&bytes.len()) {
        return None;
    }
    let (mut octets, mut part, mut value, mut digits) = ([0u8; 4], 0, 0u32, 0);
    for &byte in bytes {
        match byte {
            b'0'..=b'9' if digits < 3 && !(digits > 0 && value == 0) => {
                value = value * 10 + u32::from(byte - b'0');
                digits += 1;
            }
            b'.' if digits > 0 && part < 3 => {
                octets[part] = u8::try_from(value).ok()?;
                (part, value, digits) = (part + 1, 0, 0);
            }
            _ => return None,
        }
    }
    if part != 3 || digits == 0 {
        return None;
    }
    octets[3] = u8::try_from(value).ok()?;
    Some(Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_address_are_one_address() {
        assert_eq!(host_ip(b"[::ffff:192.0.2.10]"), "192.0.2.10".parse().ok());
        assert_eq!(host_ip(b"[2001:DB8:0:0::1]"), host_ip(b"2001:db8::1"));
        assert_eq!(host_ip(b"192.0.2.010"), None);
        assert_eq!(host_ip(b"1.2.3"), None);
        assert_eq!(host_ip(b"[fe80::1%25eth0]"), None);
        assert_eq!(host_ip(b"example.com"), None);
    }

    #[test]
    fn a_colon_too_many_is_read_and_not_written() {
        assert_eq!(host_ip(b"[2001:db8:::192.0.2.1]"), host_ip(b"[2001:db8::192.0.2.1]"));
        assert_eq!(
            &*writable_uri(b"sip:user@[2001:db8:::192.0.2.1]:5070;lr"),
            b"sip:user@[2001:db8::192.0.2.1]:5070;lr"
        );
        assert_eq!(&*writable_uri(b"sip:a:::b@example.com"), b"sip:a:::b@example.com");
        assert_eq!(host_ip(b"[2001:db8:::1]"), None, "only before an embedded IPv4 address");
    }
}
