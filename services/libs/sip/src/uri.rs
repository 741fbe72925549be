//! URIs as slices: sip, sips and tel in parts, any other scheme as a whole.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    #[error("no scheme")]
    Scheme,
    #[error("no host")]
    Host,
    #[error("bad port")]
    Port,
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
        if bytes.iter().any(|&b| b <= b' ' || b == 0x7f || matches!(b, b'<' | b'>' | b'"')) {
            return Err(UriError::Byte);
        }
        let colon = memchr::memchr(b':', bytes).ok_or(UriError::Scheme)?;
        let (scheme, rest) = (&bytes[..colon], &bytes[colon + 1..]);
        let good = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if !scheme.first().is_some_and(u8::is_ascii_alphabetic) || !scheme.iter().all(good) {
            return Err(UriError::Scheme);
        }
        if scheme.eq_ignore_ascii_case(b"sip") || scheme.eq_ignore_ascii_case(b"sips") {
            return Uri::sip(scheme, rest);
        }
        if scheme.eq_ignore_ascii_case(b"tel") {
            let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
            if end == 0 {
                return Err(UriError::Host);
            }
            let params = rest.get(end + 1..).unwrap_or_default();
            return Ok(Uri { scheme, user: Some(&rest[..end]), host: b"", port: None, params, headers: b"" });
        }
        if rest.is_empty() {
            return Err(UriError::Host);
        }
        Ok(Uri { scheme, user: None, host: rest, port: None, params: b"", headers: b"" })
    }

    fn sip(scheme: &'a [u8], rest: &'a [u8]) -> Result<Uri<'a>, UriError> {
        // Neither host, parameters nor headers may hold an '@', so the first one ends the user part.
        let (user, rest) = match memchr::memchr(b'@', rest) {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        if user.is_some_and(<[u8]>::is_empty) || memchr::memchr(b'@', rest).is_some() {
            return Err(UriError::Host);
        }
        let end = memchr::memchr2(b';', b'?', rest).unwrap_or(rest.len());
        let (host, port) = host_port(&rest[..end])?;
        let tail = &rest[end..];
        let question = memchr::memchr(b'?', tail).unwrap_or(tail.len());
        let params = tail[..question].strip_prefix(b";").unwrap_or(&tail[..question]);
        let headers = tail.get(question + 1..).unwrap_or_default();
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

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
pub(crate) fn host_port(bytes: &[u8]) -> Result<(&[u8], Option<u16>), UriError> {
    let host_end = match bytes.first() {
        Some(b'[') => memchr::memchr(b']', bytes).ok_or(UriError::Host)? + 1,
        Some(_) => memchr::memchr(b':', bytes).unwrap_or(bytes.len()),
        None => return Err(UriError::Host),
    };
    let (host, rest) = bytes.split_at(host_end);
    if !valid_host(host) {
        return Err(UriError::Host);
    }
    let port = match rest {
        [] => None,
        [b':', digits @ ..] => {
            let value = crate::scan::number(digits).and_then(|n| u16::try_from(n).ok());
            Some(value.filter(|&p| p != 0).ok_or(UriError::Port)?)
        }
        _ => return Err(UriError::Port),
    };
    Ok((host, port))
}

fn valid_host(host: &[u8]) -> bool {
    match host {
        [b'[', inner @ .., b']'] => std::str::from_utf8(inner).is_ok_and(|t| t.parse::<Ipv6Addr>().is_ok()),
        _ => !host.is_empty() && host.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')),
    }
}

/// The address that a host names as a literal, brackets or not; an IPv4-mapped IPv6 address counts as IPv4.
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
    let ip: Ipv6Addr = std::str::from_utf8(inner).ok()?.parse().ok()?;
    Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4))
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
        assert_eq!(host_ip(b"[::ffff:192.0.2.10]"), "192.0.2.10".parse().ok());
    }

    #[test]
    fn odd_uris_are_refused_or_kept_whole() {
        assert!(Uri::parse(b"<sip:a@b>").is_err());
        assert!(Uri::parse(b"sip:a@b; lr").is_err());
        assert!(Uri::parse(b"sip:").is_err());
        assert!(Uri::parse(b"sip:a@b:0").is_err());
        assert!(Uri::parse(b"sip:a@b:99999").is_err());
        assert!(Uri::parse(b"sip:a@b@c").is_err());
        assert_eq!(Uri::parse(b"tel:+1-201-555-0123;x=y").unwrap().number(), b"+1-201-555-0123");
        assert_eq!(Uri::parse(b"soap.beep://192.0.2.103:3002").unwrap().scheme, b"soap.beep");
        assert_eq!(host_ip(b"192.0.2.010"), None);
        assert_eq!(host_ip(b"1.2.3"), None);
    }
}
