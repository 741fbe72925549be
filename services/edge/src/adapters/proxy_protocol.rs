//! PROXY protocol, version 2: what a balancer says about the connection that it passes on, before the first byte of its own.
//!
//! Pure: bytes in, one of three answers out. It is read only from sources that the settings list as balancers; whoever else
//! sends it has sent no SIP. Version 1 (a line of text) is not spoken: its length is not known in advance. The vectors behind
//! the addresses are skipped, but must fill the header exactly: a header whose parts disagree about its length is refused, so
//! that nothing of it can be taken for the beginning of a SIP message.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;
/// Addresses and vectors. Balancers send some hundred bytes (the longest vector is a certificate's name); more is waste.
const MAX_REST: usize = 2_048;

/// What the bytes are, as far as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes in all are needed before more can be said.
    Wants(usize),
    /// The header takes `length` bytes; what follows is the client's.
    Header { length: usize, claim: Claim },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The balancer speaks for itself (a health check): the connection's own addresses hold.
    Local,
    /// Who the client is and which address it called.
    Proxied { from: SocketAddr, to: SocketAddr },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("no PROXY protocol header of version 2")]
    Signature,
    #[error("version {0} of the PROXY protocol, not 2")]
    Version(u8),
    #[error("command {0} of the PROXY protocol is not known")]
    Command(u8),
    #[error("family {0:#04x} in a PROXY header is not TCP over IPv4 or IPv6")]
    Family(u8),
    #[error("a PROXY header of {0} bytes, more than {MAX_REST}")]
    TooLong(usize),
    #[error("a PROXY header whose parts do not fill its length")]
    Length,
}

/// Reads the beginning of a connection. Never asks for more bytes than one header has.
pub fn read(bytes: &[u8]) -> Result<Read, Broken> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(Broken::Signature);
    }
    let Some(&[version_command, family, high, low]) = bytes.get(SIGNATURE.len()..FIXED) else {
        return Ok(Read::Wants(FIXED));
    };
    if version_command >> 4 != 2 {
        return Err(Broken::Version(version_command >> 4));
    }
    let is_local = match version_command & 0x0f {
        0 => true,
        1 => false,
        other => return Err(Broken::Command(other)),
    };
    let rest = usize::from(u16::from_be_bytes([high, low]));
    if rest > MAX_REST {
        return Err(Broken::TooLong(rest));
    }
    let length = FIXED + rest;
    let Some(rest) = bytes.get(FIXED..length) else { return Ok(Read::Wants(length)) };
    // Of a local header everything but its length is to be ignored.
    let claim = if is_local { Claim::Local } else { proxied(family, rest)? };
    Ok(Read::Header { length, claim })
}

fn proxied(family: u8, rest: &[u8]) -> Result<Claim, Broken> {
    let (from, to, vectors) = match family {
        0x11 => {
            let (addresses, vectors) = rest.split_first_chunk::<12>().ok_or(Broken::Length)?;
            let ip = |at: usize| IpAddr::V4(Ipv4Addr::from(part::<4>(addresses, at)));
            (pair(ip(0), addresses, 8), pair(ip(4), addresses, 10), vectors)
        }
        0x21 => {
            let (addresses, vectors) = rest.split_first_chunk::<36>().ok_or(Broken::Length)?;
            let ip = |at: usize| IpAddr::V6(Ipv6Addr::from(part::<16>(addresses, at)));
            (pair(ip(0), addresses, 32), pair(ip(16), addresses, 34), vectors)
        }
        other => return Err(Broken::Family(other)),
    };
    let mut vectors = vectors;
    while !vectors.is_empty() {
        let (head, behind) = vectors.split_first_chunk::<3>().ok_or(Broken::Length)?;
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        vectors = behind.get(length..).ok_or(Broken::Length)?;
    }
    Ok(Claim::Proxied { from, to })
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// An IPv4 address in IPv6 clothes is the IPv4 address: sources are matched by it.
fn pair(ip: IpAddr, addresses: &[u8], port_at: usize) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), u16::from_be_bytes(part::<2>(addresses, port_at)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut out = SIGNATURE.to_vec();
        out.extend([version_command, family]);
        out.extend((rest.len() as u16).to_be_bytes());
        out.extend(rest);
        out
    }

    fn v4() -> Vec<u8> {
        vec![198, 51, 100, 7, 192, 0, 2, 1, 0xc3, 0x50, 0x13, 0xc5]
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn both_families_are_read_with_vectors_skipped_and_what_follows_left_alone() {
        let mut rest = v4();
        rest.extend([0x05, 0, 3, b'a', b'b', b'c', 0x04, 0, 0]);
        let mut bytes = header(0x21, 0x11, &rest);
        let length = bytes.len();
        bytes.extend(b"OPTIONS sip:x SIP/2.0\r\n");
        let claim = Claim::Proxied { from: addr("198.51.100.7:50000"), to: addr("192.0.2.1:5061") };
        assert_eq!(read(&bytes), Ok(Read::Header { length, claim }));

        let mut rest = Vec::new();
        rest.extend("2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        rest.extend("::ffff:192.0.2.1".parse::<Ipv6Addr>().unwrap().octets());
        rest.extend([0xc3, 0x50, 0x13, 0xc4]);
        let claim = Claim::Proxied { from: addr("[2001:db8::7]:50000"), to: addr("192.0.2.1:5060") };
        assert_eq!(read(&header(0x21, 0x21, &rest)), Ok(Read::Header { length: 52, claim }));
    }

    #[test]
    fn a_balancers_own_connection_keeps_its_address() {
        let claim = Claim::Local;
        assert_eq!(read(&header(0x20, 0, &[])), Ok(Read::Header { length: 16, claim }));
        assert_eq!(read(&header(0x20, 0x31, &[9; 40])), Ok(Read::Header { length: 56, claim }));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(read(b"PROXY TCP4 198.51.100.7 192.0.2.1 1 2\r\n"), Err(Broken::Signature));
        assert_eq!(read(b"\r\n\r\nOPTIONS sip:x SIP/2.0\r\n"), Err(Broken::Signature));
        assert_eq!(read(&header(0x11, 0x11, &v4())), Err(Broken::Version(1)));
        assert_eq!(read(&header(0x22, 0x11, &v4())), Err(Broken::Command(2)));
        assert_eq!(read(&header(0x21, 0x12, &v4())), Err(Broken::Family(0x12)));
        assert_eq!(read(&header(0x21, 0x00, &[])), Err(Broken::Family(0)));
        assert_eq!(read(&header(0x21, 0x11, &v4()[..11])), Err(Broken::Length));
        assert_eq!(read(&header(0x21, 0x21, &v4())), Err(Broken::Length));
        let mut cut = v4();
        cut.extend([0x05, 0, 4, b'a']);
        assert_eq!(read(&header(0x21, 0x11, &cut)), Err(Broken::Length));
        assert_eq!(read(&header(0x21, 0x11, &vec![0; 2_049])), Err(Broken::TooLong(2_049)));
    }

    #[test]
    fn every_beginning_of_a_header_waits_for_more_and_never_for_too_much() {
        let whole = header(0x21, 0x11, &v4());
        for cut in 0..whole.len() {
            let Ok(Read::Wants(wanted)) = read(&whole[..cut]) else { panic!("{cut}") };
            assert!(wanted > cut && wanted <= whole.len(), "{cut}: {wanted}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_claim_more_than_there_is(tail in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..220) {
            let mut bytes = SIGNATURE.to_vec();
            bytes.extend(tail);
            bytes.truncate(cut);
            match read(&bytes) {
                Ok(Read::Header { length, .. }) => prop_assert!(length <= bytes.len() && length >= FIXED),
                Ok(Read::Wants(wanted)) => prop_assert!(wanted > bytes.len() && wanted <= FIXED + MAX_REST),
                Err(_) => {}
            }
        }
    }
}
