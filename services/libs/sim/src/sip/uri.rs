//! What the simulation needs of SIP URIs and name-addresses: the user, where to send, a tag.
//!
//! Hosts are IP literals: the simulation runs on addresses it was given and never asks DNS.

use std::net::{IpAddr, SocketAddr};

/// The URI inside a name-address: between `<` and `>`, else up to the first parameter.
#[must_use]
pub fn uri_of(name_addr: &str) -> &str {
    let text = name_addr.trim();
    match find_outside_quotes(text, '<') {
        Some(open) => {
            let inner = &text[open + 1..];
            inner.split('>').next().unwrap_or(inner).trim()
        }
        None => text.split(';').next().unwrap_or(text).trim(),
    }
}

/// A parameter of the header (not of the URI inside `<>`): `tag` of From and To, `expires` of Contact.
#[must_use]
pub fn header_param<'a>(name_addr: &'a str, name: &str) -> Option<&'a str> {
    let start = find_outside_quotes(name_addr, '<')
        .and_then(|open| name_addr[open..].find('>').map(|close| open + close + 1))
        .unwrap_or(0);
    param(&name_addr[start..], name)
}

/// The parameter `name` in a `;a=b;c` list (what stands before the first `;` is skipped); a flag gives `""`.
#[must_use]
pub fn param<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The user part, without password and parameters: `sip:+4930;x=1@h` gives `+4930`.
#[must_use]
pub fn user(uri: &str) -> Option<&str> {
    let rest = without_scheme(uri);
    let (user, _) = rest.rsplit_once('@')?;
    let user = user.split([':', ';']).next().unwrap_or(user);
    (!user.is_empty()).then_some(user)
}

/// `host:port` as it stands, without user, parameters and headers.
#[must_use]
pub fn host_port(uri: &str) -> &str {
    let rest = without_scheme(uri);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    rest.split([';', '?']).next().unwrap_or(rest)
}

/// The socket address that a URI with an IP literal names; port 5060 when it names none.
#[must_use]
pub fn address(uri: &str) -> Option<SocketAddr> {
    parse_host_port(host_port(uri))
}

/// `192.0.2.1`, `192.0.2.1:5070`, `[2001:db8::1]:5070`.
#[must_use]
pub fn parse_host_port(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 5060))
}

fn without_scheme(uri: &str) -> &str {
    ["sip:", "sips:", "tel:"]
        .into_iter()
        .find_map(|scheme| {
            let head = uri.get(..scheme.len())?;
            head.eq_ignore_ascii_case(scheme).then(|| &uri[scheme.len()..])
        })
        .unwrap_or(uri)
}

fn find_outside_quotes(text: &str, wanted: char) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == wanted && !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_name_address_are_found_despite_quotes_and_parameters() {
        let value = r#""Ann <;tag=no> \" B" <sip:+4930@127.0.0.1:5070;user=phone>;tag=abc;x"#;
        assert_eq!(uri_of(value), "sip:+4930@127.0.0.1:5070;user=phone");
        assert_eq!(header_param(value, "TAG"), Some("abc"));
        assert_eq!(header_param(value, "x"), Some(""));
        assert_eq!(header_param(value, "user"), None);
        assert_eq!(user(uri_of(value)), Some("+4930"));
        assert_eq!(address(uri_of(value)), "127.0.0.1:5070".parse().ok());
    }

    #[test]
    fn addresses_without_port_or_user_are_read() {
        assert_eq!(address("sip:192.0.2.1"), "192.0.2.1:5060".parse().ok());
        assert_eq!(address("sip:[2001:db8::1];lr"), "[2001:db8::1]:5060".parse().ok());
        assert_eq!(user("sip:192.0.2.1"), None);
        assert_eq!(uri_of("sip:a@h;tag=1"), "sip:a@h");
        assert_eq!(header_param("sip:a@h;tag=1", "tag"), Some("1"));
        assert_eq!(address("sip:example.org"), None);
    }
}
