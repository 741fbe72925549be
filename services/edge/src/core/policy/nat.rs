//! Peers behind NAT: their Contact says an address that leads nowhere, and the way to them closes when nothing passes.
//!
//! `rport` and `received` are filled in for everybody, and answers go to where the request came from; that needs no policy.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use sip::{Message, Name, NameAddr, Uri};

use super::splice::Edits;
use crate::core::Hop;

/// Replaces host and port of every Contact that is not where the packet came from. A name is left alone: it resolves to
/// something; `.invalid` (RFC 7118, clients that cannot know their address) does not.
pub fn edit_contact(m: &Message<'_>, source: SocketAddr, edits: &mut Edits) -> Option<String> {
    let ip = source.ip().to_canonical();
    let mut changed = false;
    for value in m.values(Name::Contact) {
        let Some(uri) = NameAddr::parse(value).map(|a| a.uri) else { continue };
        let Ok(parsed) = Uri::parse(uri) else { continue };
        if !(parsed.is_sip() || parsed.is_sips()) {
            continue;
        }
        let is_there = parsed.ip() == Some(ip) && parsed.port.unwrap_or(5060) == source.port();
        let is_name = parsed.ip().is_none() && !parsed.host.to_ascii_lowercase().ends_with(b".invalid");
        if is_there || is_name {
            continue;
        }
        let source = SocketAddr::new(ip, source.port());
        edits.replace(super::pass::host_and_port(m, parsed.host), source.to_string());
        changed = true;
    }
    changed.then(|| "contact to source".to_owned())
}

/// Addresses that are kept open. One entry per address; the oldest goes when it is full.
#[derive(Debug, Default)]
pub struct KeepAlives {
    known: HashMap<Hop, Kept>,
    /// In the order of their next turn; entries that were overtaken are skipped.
    queue: VecDeque<(u64, Hop)>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    trunk: usize,
    seen: u64,
    /// From the settings: kept open whether or not it says anything.
    fixed: bool,
}

/// A registered phone may say nothing for an hour; after that its router has forgotten it whatever we send.
const FORGET_US: u64 = 3_600_000_000;
/// 10,000 phones and some; 48 bytes each.
const CAPACITY: usize = 16_384;

impl KeepAlives {
    /// Something came from there, or (`fixed`) the settings name it.
    pub fn seen(&mut self, now: u64, trunk: usize, hop: Hop, interval: u64, fixed: bool) {
        if hop.flow.is_some() {
            // On a connection the client keeps its own way open (RFC 5626).
            return;
        }
        if let Some(kept) = self.known.get_mut(&hop) {
            kept.seen = now;
            return;
        }
        if self.known.len() >= CAPACITY {
            return;
        }
        self.known.insert(hop, Kept { trunk, seen: now, fixed });
        self.queue.push_back((now + interval, hop));
    }

    /// Under other settings: those whose trunk still wants it; what the settings name has to be said again.
    pub fn follow(&mut self, wants: impl Fn(usize) -> bool) {
        self.known.retain(|_, kept| !kept.fixed && wants(kept.trunk));
        self.queue.retain(|(_, hop)| self.known.contains_key(hop));
    }

    /// Who is to be written to now, and for which trunk.
    pub fn due(&mut self, now: u64, interval: impl Fn(usize) -> u64, out: &mut Vec<(usize, Hop)>) {
        // Intervals differ by trunk, so the queue is only nearly sorted: one turn looks at every entry at most once.
        for _ in 0..self.queue.len() {
            let Some((at, hop)) = self.queue.pop_front() else { return };
            let Some(kept) = self.known.get(&hop).copied() else { continue };
            if !kept.fixed && kept.seen + FORGET_US <= now {
                self.known.remove(&hop);
                continue;
            }
            if at > now {
                self.queue.push_back((at, hop));
                continue;
            }
            out.push((kept.trunk, hop));
            self.queue.push_back((now + interval(kept.trunk), hop));
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip::Index;

    fn fixed(contact: &str, source: &str) -> (String, bool) {
        let text = format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContact: {contact}\r\n\r\n"
        );
        let mut index = Index::new();
        let m = index.parse(text.as_bytes()).unwrap();
        let mut edits = Edits::default();
        let effect = edit_contact(&m, source.parse().unwrap(), &mut edits);
        let out = String::from_utf8(edits.apply(text.as_bytes())).unwrap();
        let line = out.lines().find_map(|l| l.strip_prefix("Contact: ")).unwrap().to_owned();
        assert_eq!(out.len() - line.len(), text.len() - contact.len(), "nothing else changed");
        (line, effect.is_some())
    }

    #[test]
    fn the_host_of_contact_becomes_the_source_and_everything_around_it_stays() {
        let table = [
            (
                "\"A\" <sip:a@192.168.1.9:5062;ob>;q=1",
                "203.0.113.7:40000",
                "\"A\" <sip:a@203.0.113.7:40000;ob>;q=1",
                true,
            ),
            ("<sip:a@192.168.1.9;transport=udp>", "203.0.113.7:5060", "<sip:a@203.0.113.7:5060;transport=udp>", true),
            ("sip:a@192.168.1.9", "203.0.113.7:5060", "sip:a@203.0.113.7:5060", true),
            ("<sip:a@203.0.113.7>", "203.0.113.7:5060", "<sip:a@203.0.113.7>", false),
            ("<sip:a@pbx.example.com>", "203.0.113.7:5060", "<sip:a@pbx.example.com>", false),
            ("<sip:a@df7jal.invalid;transport=ws>", "203.0.113.7:9", "<sip:a@203.0.113.7:9;transport=ws>", true),
            ("<sip:a@[fd00::1]:5060>", "[2001:db8::7]:6000", "<sip:a@[2001:db8::7]:6000>", true),
            (
                "<sip:a@10.0.0.1>, <sip:b@10.0.0.2:7>",
                "203.0.113.7:8",
                "<sip:a@203.0.113.7:8>, <sip:b@203.0.113.7:8>",
                true,
            ),
            ("<tel:+4930>", "203.0.113.7:8", "<tel:+4930>", false),
        ];
        for (contact, source, want, changed) in table {
            assert_eq!(fixed(contact, source), (want.to_owned(), changed), "{contact}");
        }
    }

    #[test]
    fn an_address_is_kept_open_in_its_own_time_and_forgotten_when_it_is_silent() {
        let hop = |port: u16| Hop::to(0, SocketAddr::from(([203, 0, 113, 7], port)));
        let interval = |trunk: usize| if trunk == 0 { 30_000_000 } else { 10_000_000 };
        let mut table = KeepAlives::default();
        table.seen(0, 0, hop(1), 30_000_000, false);
        table.seen(0, 1, hop(2), 10_000_000, true);
        table.seen(5, 0, hop(1), 30_000_000, false);
        let mut count = HashMap::<Hop, u32>::new();
        for second in 1..=4_000 {
            let mut out = Vec::new();
            table.due(second * 1_000_000, interval, &mut out);
            for (_, hop) in out {
                *count.entry(hop).or_default() += 1;
            }
        }
        assert_eq!(count[&hop(2)], 400);
        assert!((118..=120).contains(&count[&hop(1)]), "{count:?}");
        assert_eq!(table.len(), 1, "only what the settings name is left");
    }
}
