//! A part of the address space, as the settings name it.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::as_text;

/// A part of the address space: a network, or one address with one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    Net { ip: IpAddr, bits: u8 },
    Port(SocketAddr),
}

impl Source {
    #[must_use]
    pub fn contains(self, addr: SocketAddr) -> bool {
        let ip = addr.ip().to_canonical();
        match self {
            Source::Port(exact) => exact.port() == addr.port() && exact.ip().to_canonical() == ip,
            Source::Net { ip: net, bits } => match (net, ip) {
                (IpAddr::V4(a), IpAddr::V4(b)) => {
                    same_prefix(u128::from(a.to_bits()), u128::from(b.to_bits()), 32, bits)
                }
                (IpAddr::V6(a), IpAddr::V6(b)) => same_prefix(a.to_bits(), b.to_bits(), 128, bits),
                _ => false,
            },
        }
    }

    /// Of a network: the length of its prefix.
    #[must_use]
    pub fn bits(self) -> Option<u8> {
        match self {
            Source::Port(_) => None,
            Source::Net { bits, .. } => Some(bits),
        }
    }

    /// The greater the more specific, over both families.
    #[must_use]
    pub fn rank(self) -> u16 {
        match self {
            Source::Port(_) => 1_000,
            Source::Net { ip: IpAddr::V4(_), bits } => u16::from(bits) + 96,
            Source::Net { bits, .. } => u16::from(bits),
        }
    }
}

fn same_prefix(a: u128, b: u128, width: u32, bits: u8) -> bool {
    let drop = width - u32::from(bits).min(width);
    drop >= 128 || (a >> drop) == (b >> drop)
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Source, String> {
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Ok(Source::Port(addr));
        }
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| {
            format!("{text:?} is no address, network or address with port; who may speak is not left to DNS, so names stand in `address` only")
        })?;
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) => {
                bits.parse().ok().filter(|&b| b <= width).ok_or(format!("{text:?}: a prefix has 0 to {width} bits"))?
            }
        };
        Ok(Source::Net { ip, bits })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Port(addr) => write!(f, "{addr}"),
            Source::Net { ip, bits } => write!(f, "{ip}/{bits}"),
        }
    }
}

as_text!(Source);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_ranked() {
        let s = |t: &str| t.parse::<Source>().unwrap();
        let addr = |t: &str| t.parse::<SocketAddr>().unwrap();
        assert!(s("192.0.2.0/24").contains(addr("192.0.2.9:5060")));
        assert!(!s("192.0.2.0/24").contains(addr("192.0.3.9:5060")));
        assert!(s("0.0.0.0/0").contains(addr("203.0.113.1:1")));
        assert!(s("192.0.2.9:15060").contains(addr("192.0.2.9:15060")));
        assert!(!s("192.0.2.9:15060").contains(addr("192.0.2.9:15061")));
        assert!(s("192.0.2.9").contains(addr("[::ffff:192.0.2.9]:7")));
        assert!(s("2001:db8::/32").contains(addr("[2001:db8::7]:5060")));
        assert!(s("192.0.2.9:1").rank() > s("192.0.2.9").rank() && s("192.0.2.9").rank() > s("192.0.0.0/16").rank());
        assert!("192.0.2.0/33".parse::<Source>().is_err() && "host".parse::<Source>().is_err());
    }
}
