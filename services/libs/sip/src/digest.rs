//! What an event may say about authentication: that it happened, for which realm and which user. Never the response hash.

/// A challenge in `WWW-Authenticate` or `Proxy-Authenticate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    pub scheme: &'a [u8],
    pub realm: Option<&'a [u8]>,
}

/// Credentials in `Authorization` or `Proxy-Authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    pub scheme: &'a [u8],
    pub realm: Option<&'a [u8]>,
    pub username: Option<&'a [u8]>,
}

impl<'a> Challenge<'a> {
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Challenge<'a> {
        let (scheme, rest) = scheme(value);
        Challenge { scheme, realm: find(rest, b"realm") }
    }
}

impl<'a> Credentials<'a> {
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Credentials<'a> {
        let (scheme, rest) = scheme(value);
        Credentials { scheme, realm: find(rest, b"realm"), username: find(rest, b"username") }
    }
}

fn scheme(value: &[u8]) -> (&[u8], &[u8]) {
    let end = value.iter().position(|&b| crate::scan::is_space(b)).unwrap_or(value.len());
    value.split_at(end)
}

fn find<'a>(list: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    crate::scan::comma_values(list).find_map(|pair| {
        let eq = memchr::memchr(b'=', pair)?;
        let (key, value) = (crate::scan::trim(&pair[..eq]), crate::scan::trim(&pair[eq + 1..]));
        let value = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realm_and_user_are_found_and_nothing_else_is_kept() {
        let c = Credentials::parse(
            b"Digest username=\"bo,b\", realm=\"node-1\", nonce=\"n\", uri=\"sip:x\", response=\"r\"",
        );
        assert_eq!((c.username, c.realm), (Some(&b"bo,b"[..]), Some(&b"node-1"[..])));
        let c = Challenge::parse(b"NoOneKnowsThisScheme opaque-data=here");
        assert_eq!((c.scheme, c.realm), (&b"NoOneKnowsThisScheme"[..], None));
    }
}
