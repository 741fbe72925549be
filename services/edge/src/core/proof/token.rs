//! The flow token in our Path URI: over which way a registered client can be reached, and proof that we wrote it.
//!
//! A mark of the key (1), what follows (1), listener (4, hash of its id), address (6 or 18), for a connection also the
//! process's epoch (4) and the connection's number (8), MAC (8): 20 bytes as 27 characters over UDP and IPv4, 32 as 43 over
//! a connection. The MAC covers everything before it, so nobody can make a token for an address or connection that did not
//! register.
//!
//! Over UDP a flow is a pair of addresses; nothing of it ends with a process, so the token outlives a restart, as the
//! client's binding at its NAT does. A connection's number is worth nothing in another process: the epoch tells.

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use domain::identity::Keyring;

use crate::core::proof::cookie::mark;
use crate::core::proof::letters::LETTERS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Hash of the listener's id, which stays the same when the settings are put in another order.
    pub listener: u32,
    pub address: SocketAddr,
    /// Epoch of the process and number of the connection in it; none over UDP.
    pub connection: Option<(u32, u64)>,
}

const IPV6: u8 = 1;
const CONNECTION: u8 = 2;
const MAC: usize = 8;
/// The longest: a connection over IPv6.
const MOST: usize = 2 + 4 + 18 + 12 + MAC;

impl Token {
    #[must_use]
    pub fn seal(&self, keys: &Keyring) -> String {
        let mut bytes = Vec::with_capacity(MOST);
        let kind = if self.address.is_ipv6() { IPV6 } else { 0 };
        bytes.extend([mark(keys.signing_id()), kind | if self.connection.is_some() { CONNECTION } else { 0 }]);
        bytes.extend(self.listener.to_be_bytes());
        match self.address.ip() {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
        bytes.extend(self.address.port().to_be_bytes());
        if let Some((epoch, number)) = self.connection {
            bytes.extend(epoch.to_be_bytes());
            bytes.extend(number.to_be_bytes());
        }
        let (_, mac) = keys.mac8(&[b"flow", &bytes]);
        bytes.extend(mac);
        LETTERS.encode(bytes)
    }

    /// `None` for anything that we did not write.
    #[must_use]
    pub fn open(keys: &Keyring, text: &[u8]) -> Option<Token> {
        // The decoder wants room for whole groups of three.
        let mut buffer = [0u8; MOST + 4];
        let length = LETTERS.decode_slice(text, &mut buffer).ok()?;
        let (body, mac) = buffer[..length].split_at_checked(length.checked_sub(MAC)?)?;
        let signed =
            |kid: &str| mark(kid) == *body.first().unwrap_or(&0) && keys.verify_mac8(kid, &[b"flow", body], mac);
        if !keys.ids().any(signed) {
            return None;
        }
        let mut rest = body.get(1..)?;
        let [kind] = take(&mut rest)?;
        if kind & !(IPV6 | CONNECTION) != 0 {
            return None;
        }
        let listener = u32::from_be_bytes(take(&mut rest)?);
        let ip = match kind & IPV6 {
            0 => IpAddr::from(take::<4>(&mut rest)?),
            _ => IpAddr::from(take::<16>(&mut rest)?),
        };
        let address = SocketAddr::new(ip, u16::from_be_bytes(take(&mut rest)?));
        let connection = match kind & CONNECTION {
            0 => None,
            _ => Some((u32::from_be_bytes(take(&mut rest)?), u64::from_be_bytes(take(&mut rest)?))),
        };
        rest.is_empty().then_some(Token { listener, address, connection })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(ids: &[&str]) -> Keyring {
        let key = |id: &&str| ((*id).to_owned(), format!("{id}-secret-of-at-least-32-bytes-xxxxxxxx").into_bytes());
        Keyring::new(ids.iter().map(key).collect()).unwrap()
    }

    fn tokens() -> impl Strategy<Value = Token> {
        let v4 = any::<([u8; 4], u16)>().prop_map(|(ip, port)| SocketAddr::new(IpAddr::from(ip), port));
        let v6 = any::<([u8; 16], u16)>().prop_map(|(ip, port)| SocketAddr::new(IpAddr::from(ip), port));
        let connection = proptest::option::of(any::<(u32, u64)>());
        (any::<u32>(), prop_oneof![v4, v6], connection).prop_map(|(listener, address, connection)| Token {
            listener,
            address,
            connection,
        })
    }

    #[test]
    fn tokens_are_small() {
        let token = |address: &str, connection| {
            Token { listener: 7, address: address.parse().unwrap(), connection }.seal(&keys(&["k1"])).len()
        };
        assert_eq!(token("192.0.2.1:5060", None), 27);
        assert_eq!(token("192.0.2.1:5060", Some((1, 2))), 43);
        assert_eq!(token("[2001:db8::1]:5060", Some((1, 2))), 59);
    }

    proptest! {
        #[test]
        fn a_token_says_what_was_sealed_also_with_an_older_key(token in tokens()) {
            let text = token.seal(&keys(&["a"]));
            prop_assert_eq!(Token::open(&keys(&["a", "b"]), text.as_bytes()), Some(token));
            prop_assert_eq!(Token::open(&keys(&["b"]), text.as_bytes()), None);
        }

        #[test]
        fn an_altered_token_never_opens(token in tokens(), at in any::<prop::sample::Index>(), to in any::<u8>(), cut in 0..60usize) {
            let ring = keys(&["a"]);
            let mut text = token.seal(&ring).into_bytes();
            let at = at.index(text.len());
            if text[at] != to {
                text[at] = to;
                prop_assert_eq!(Token::open(&ring, &text), None);
            }
            let whole = token.seal(&ring);
            if cut < whole.len() {
                prop_assert_eq!(Token::open(&ring, &whole.as_bytes()[..cut]), None);
            }
            prop_assert_eq!(Token::open(&ring, format!("{whole}A").as_bytes()), None);
        }

        #[test]
        fn a_made_up_token_never_opens(text in prop::collection::vec(any::<u8>(), 0..100), letters in "[A-Za-z0-9_-]{0,90}") {
            prop_assert_eq!(Token::open(&keys(&["a"]), &text), None);
            prop_assert_eq!(Token::open(&keys(&["a"]), letters.as_bytes()), None);
        }
    }

    #[test]
    fn a_dialog_cookie_is_no_token() {
        use crate::core::proof::cookie::Cookie;
        let ring = keys(&["a"]);
        let cookie = Cookie { call: domain::CallId::new(1, [1; 10]), node: 1, trunk: 2 }.seal(&ring, b"c", b"t");
        assert_eq!(Token::open(&ring, cookie.as_bytes()), None);
        let token = Token { listener: 1, address: "192.0.2.1:1".parse().unwrap(), connection: Some((1, 1)) };
        assert!(Cookie::open(&ring, token.seal(&ring).as_bytes(), b"c", b"t", b"").is_none());
    }
}
