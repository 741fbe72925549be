//! What a flood consists of.

use std::net::SocketAddrV4;

use crate::calls::{put, write_invite};
use crate::stream::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// A third each: no SIP at all, an INVITE that ends in the middle, one without what every message has.
    Garbage,
    Options,
    Register,
    /// Each another call, as the trunk's own, but none comes twice.
    Invite,
    /// The same, and half a second later once more, as whoever waits for an answer sends it.
    InviteTwice,
}

pub struct Packets {
    text: Text,
    to: SocketAddrV4,
    random: Random,
    /// Counts on; calls of the benchmark's own have lower numbers.
    number: u32,
}

impl Packets {
    pub fn new(text: Text, to: SocketAddrV4) -> Self {
        Self { text, to, random: Random::new(5061), number: 1 << 31 }
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.random.between(0, below)
    }

    /// Writes the next one, or that one again. Gives its number.
    pub fn write(&mut self, out: &mut Vec<u8>, from: SocketAddrV4, again: Option<u32>) -> u32 {
        let number = again.unwrap_or_else(|| {
            self.number = self.number.wrapping_add(1) | 1 << 31;
            self.number
        });
        match self.text {
            Text::Garbage => self.garbage(out, from, number),
            Text::Options => self.request(out, "OPTIONS", from, number),
            Text::Register => self.request(out, "REGISTER", from, number),
            Text::Invite | Text::InviteTwice => write_invite(out, number, from, self.to),
        }
        number
    }

    fn garbage(&mut self, out: &mut Vec<u8>, from: SocketAddrV4, number: u32) {
        match number % 3 {
            0 => {
                for _ in 0..self.random.between(4, 120) {
                    out.extend_from_slice(&self.random.next().to_le_bytes());
                }
            }
            1 => {
                write_invite(out, number, from, self.to);
                out.truncate(out.len() / 2);
            }
            _ => put(
                out,
                format_args!(
                    "INVITE sip:+4930123456@{} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKg{number:x}\r\n\
                     From: <sip:x@{from}>;tag=g\r\nCSeq: nonsense\r\nContent-Length: -1\r\n\r\n",
                    self.to
                ),
            ),
        }
    }

    fn request(&mut self, out: &mut Vec<u8>, method: &str, from: SocketAddrV4, number: u32) {
        let to = self.to;
        put(
            out,
            format_args!(
                "{method} sip:100@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKf{number:x};rport\r\n\
                 Max-Forwards: 70\r\nFrom: \"100\" <sip:100@{from}>;tag=f{number:x}\r\nTo: <sip:100@{to}>\r\n\
                 Call-ID: flood-{number:x}@load\r\nCSeq: 1 {method}\r\nContact: <sip:100@{from}>\r\n\
                 User-Agent: load/1\r\nContent-Length: 0\r\n\r\n"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Index;

    fn at() -> SocketAddrV4 {
        "127.0.0.1:5060".parse().unwrap()
    }

    #[test]
    fn requests_are_sip_and_garbage_is_not() {
        let mut index = Index::new();
        for (text, readable) in
            [(Text::Options, true), (Text::Register, true), (Text::Invite, true), (Text::Garbage, false)]
        {
            let mut packets = Packets::new(text, at());
            for _ in 0..30 {
                let mut out = Vec::new();
                packets.write(&mut out, at(), None);
                assert_eq!(index.parse(&out).is_ok(), readable, "{text:?} {}", String::from_utf8_lossy(&out));
            }
        }
    }

    #[test]
    fn what_comes_again_is_the_same_and_what_does_not_is_another_call() {
        let mut packets = Packets::new(Text::InviteTwice, at());
        let (mut first, mut second, mut other) = (Vec::new(), Vec::new(), Vec::new());
        let number = packets.write(&mut first, at(), None);
        packets.write(&mut second, at(), Some(number));
        packets.write(&mut other, at(), None);
        assert!(first == second && first != other);
    }
}
