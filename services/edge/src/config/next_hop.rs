//! Where a node or trunk is reached: an address, or a name that is looked up in the background.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::{Transport, as_text};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextHop {
    Address(SocketAddr),
    Name(SipName),
}

/// `sip:name`, `sip:name:port`, `sip:name;transport=tcp`, `sips:name`: what RFC 3263 starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipName {
    pub host: String,
    pub port: Option<u16>,
    pub transport: Option<Transport>,
    /// `sips`: over TLS or not at all.
    pub secure: bool,
}

impl NextHop {
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            NextHop::Address(address) => Some(*address),
            NextHop::Name(_) => None,
        }
    }

    /// The port that it listens on, as far as the settings say.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            NextHop::Address(address) => address.port(),
            NextHop::Name(name) => name.port.unwrap_or(if name.secure { 5_061 } else { 5_060 }),
        }
    }

    #[must_use]
    pub fn name(&self) -> Option<&SipName> {
        match self {
            NextHop::Address(_) => None,
            NextHop::Name(name) => Some(name),
        }
    }
}

impl From<SocketAddr> for NextHop {
    fn from(address: SocketAddr) -> NextHop {
        NextHop::Address(address)
    }
}

impl PartialEq<SocketAddr> for NextHop {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.address() == Some(*other)
    }
}

impl FromStr for NextHop {
    type Err = String;

    fn from_str(text: &str) -> Result<NextHop, String> {
        match text.parse() {
            Ok(address) => Ok(NextHop::Address(address)),
            Err(_) if text.contains(':') => text.parse().map(NextHop::Name),
            Err(_) => Err(format!("{text:?} is no address with port; a name that DNS knows is written sip:{text}")),
        }
    }
}

impl FromStr for SipName {
    type Err = String;

    fn from_str(text: &str) -> Result<SipName, String> {
        let wrong = |why: &str| {
            format!("{text:?}: {why}; write 192.0.2.1:5060, sip:name, sip:name:5060 or sip:name;transport=tcp")
        };
        let (scheme, rest) = text.split_once(':').ok_or_else(|| wrong("no scheme"))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "sip" => false,
            "sips" => true,
            _ => return Err(wrong("the scheme is sip or sips")),
        };
        let (place, params) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = match place.split_once(':') {
            Some((host, port)) => {
                let port =
                    port.parse().ok().filter(|&p: &u16| p != 0).ok_or_else(|| wrong("the port is 1 to 65535"))?;
                (host, Some(port))
            }
            None => (place, None),
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        let label = |l: &str| {
            let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            !l.is_empty() && l.len() <= 63 && l.bytes().all(good)
        };
        if host.len() > 253 || !host.split('.').all(label) {
            return Err(wrong("not a host name"));
        }
        if host.parse::<std::net::Ipv4Addr>().is_ok() {
            return Err(wrong("an address stands alone, with its port"));
        }
        let transport = match params {
            "" => None,
            _ => Some(match params.to_ascii_lowercase().strip_prefix("transport=") {
                Some("udp") => Transport::Udp,
                Some("tcp") => Transport::Tcp,
                Some("tls") => Transport::Tls,
                _ => return Err(wrong("the only parameter is transport, with udp, tcp or tls")),
            }),
        };
        if secure && transport.is_some_and(|t| t != Transport::Tls) {
            return Err(wrong("sips goes over TLS"));
        }
        Ok(SipName { host: host.to_owned(), port, transport, secure })
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NextHop::Address(address) => address.fmt(f),
            NextHop::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for SipName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", if self.secure { "sips" } else { "sip" }, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match self.transport {
            Some(transport) => write!(f, ";transport={}", transport.as_str()),
            None => Ok(()),
        }
    }
}

as_text!(NextHop);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_name_are_told_apart_and_printed_as_they_were_written() {
        for text in ["192.0.2.1:5060", "[2001:db8::1]:5061", "sip:a.example", "sip:a.example:5070", "sips:a.example"] {
            assert_eq!(text.parse::<NextHop>().unwrap().to_string(), text);
        }
        let name: SipName = "SIP:fs-1.voice_net.example.;transport=TCP".parse().unwrap();
        assert_eq!(name.to_string(), "sip:fs-1.voice_net.example;transport=tcp");
        assert_eq!("192.0.2.1:5060".parse::<NextHop>().unwrap().address(), "192.0.2.1:5060".parse().ok());
    }

    #[test]
    fn what_is_neither_is_refused_with_the_fix() {
        for text in [
            "carrier.example",
            "192.0.2.1",
            "sip:192.0.2.1",
            "sip:a..b",
            "sip:",
            "sip:a.example:0",
            "sip:a.example;lr",
            "sip:a@b.example",
            "sips:a.example;transport=udp",
            "http:a.example",
        ] {
            let error = text.parse::<NextHop>().expect_err(text);
            assert!(error.contains("sip:"), "{error}");
        }
    }
}
