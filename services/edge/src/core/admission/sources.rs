//! Whom an address belongs to: the allow-list, asked before a byte of a packet is read.
//!
//! A binary trie with its one-way paths left out, one per side and family, over 128 bits (IPv4 as `::ffff:a.b.c.d`), in two vectors
//! without pointers. A stranger usually leaves it after a few steps, at the first network that does not hold its address. The longest
//! prefix wins, an address with its port before all networks, and of two equal sources the one that was put in first.

use std::net::{IpAddr, SocketAddr};

use crate::config::{Side, Source};
use crate::core::Peer;

const NONE: u32 = u32::MAX;
const WIDTH: u8 = 128;
/// Bits before an IPv4 address.
const V4: u8 = 96;

#[derive(Clone, Copy, Debug)]
struct Branch {
    /// The bits that lead here; the rest is zero.
    prefix: u128,
    bits: u8,
    /// By the next bit.
    below: [u32; 2],
    /// Whoever has this whole network.
    peer: Option<Peer>,
    /// The first of those who have one port of this address.
    ports: u32,
}

#[derive(Clone, Copy, Debug)]
struct Port {
    port: u16,
    peer: Peer,
    next: u32,
}

/// The sources of one side.
#[derive(Clone, Debug, Default)]
struct Trie {
    branches: Vec<Branch>,
    ports: Vec<Port>,
}

/// Who is at an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Has that very address and port.
    pub exact: Option<Peer>,
    /// Has the smallest network around the address.
    pub network: Option<Peer>,
    /// The first that has any port of the address.
    pub at_ip: Option<Peer>,
}

impl Found {
    /// Who may send from there by packets.
    #[must_use]
    pub fn sender(self) -> Option<Peer> {
        self.exact.or(self.network)
    }
}

/// By side and family: no network of IPv6 holds an address of IPv4.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    tries: [[Trie; 2]; 2],
}

impl Sources {
    pub fn insert(&mut self, source: Source, peer: Peer) {
        let families = &mut self.tries[peer.side() as usize];
        match source {
            Source::Net { ip, bits } => {
                let (trie, bits) = if ip.is_ipv4() { (&mut families[0], bits + V4) } else { (&mut families[1], bits) };
                let at = trie.place(masked(key(ip), bits), bits);
                trie.branches[at].peer.get_or_insert(peer);
            }
            Source::Port(address) => families[family(address.ip())].insert_port(address, peer),
        }
    }

    #[must_use]
    pub fn find(&self, side: Side, from: SocketAddr) -> Found {
        self.tries[side as usize][family(from.ip())].find(from)
    }
}

impl Trie {
    fn find(&self, from: SocketAddr) -> Found {
        let (key, mut found) = (key(from.ip()), Found::default());
        let mut at = if self.branches.is_empty() { NONE } else { 0 };
        while let Some(branch) = self.branches.get(at as usize) {
            if masked(key, branch.bits) != branch.prefix {
                break;
            }
            found.network = branch.peer.or(found.network);
            if branch.bits == WIDTH {
                let mut ports = branch.ports;
                while let Some(entry) = self.ports.get(ports as usize) {
                    found.at_ip = found.at_ip.or(Some(entry.peer));
                    if entry.port == from.port() {
                        found.exact = Some(entry.peer);
                        break;
                    }
                    ports = entry.next;
                }
                break;
            }
            at = branch.below[bit(key, branch.bits)];
        }
        found
    }

    fn insert_port(&mut self, address: SocketAddr, peer: Peer) {
        let at = self.place(key(address.ip()), WIDTH);
        let new = self.ports.len() as u32;
        let mut last = self.branches[at].ports;
        if last == NONE {
            self.branches[at].ports = new;
        } else {
            loop {
                let entry = &mut self.ports[last as usize];
                if entry.port == address.port() {
                    return;
                }
                if entry.next == NONE {
                    entry.next = new;
                    break;
                }
                last = entry.next;
            }
        }
        self.ports.push(Port { port: address.port(), peer, next: NONE });
    }

    /// The branch of exactly that prefix, made when there is none. The root is the first and stays it.
    fn place(&mut self, prefix: u128, bits: u8) -> usize {
        let branch = |prefix, bits| Branch { prefix, bits, below: [NONE; 2], peer: None, ports: NONE };
        if self.branches.is_empty() {
            self.branches.push(branch(0, 0));
        }
        let mut at = 0;
        loop {
            let here = self.branches[at];
            if here.bits == bits && here.prefix == prefix {
                return at;
            }
            let side = bit(prefix, here.bits);
            let below = here.below[side];
            if below == NONE {
                self.branches[at].below[side] = self.branches.len() as u32;
                self.branches.push(branch(prefix, bits));
                return self.branches.len() - 1;
            }
            let next = self.branches[below as usize];
            let shared = ((prefix ^ next.prefix).leading_zeros() as u8).min(bits).min(next.bits);
            if shared == next.bits {
                at = below as usize;
                continue;
            }
            // The paths part between the two: a branch where they do.
            let mut fork = branch(masked(prefix, shared), shared);
            fork.below[bit(next.prefix, shared)] = below;
            let place = self.branches.len();
            self.branches.push(fork);
            self.branches[at].below[side] = place as u32;
            at = place;
        }
    }
}

fn key(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn family(ip: IpAddr) -> usize {
    usize::from(ip.to_canonical().is_ipv6())
}

fn masked(key: u128, bits: u8) -> u128 {
    if bits == 0 { 0 } else { key & (u128::MAX << (WIDTH - bits)) }
}

/// The bit behind the first `bits`.
fn bit(key: u128, bits: u8) -> usize {
    ((key >> (WIDTH - 1 - bits)) & 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source(text: &str) -> Source {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_wins_and_a_port_before_all() {
        let mut sources = Sources::default();
        let list =
            ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "10.1.2.3:5060", "2001:db8::/32", "0.0.0.0/0", "10.1.0.0/16"];
        list.iter().enumerate().for_each(|(i, s)| sources.insert(source(s), Peer::Trunk(i)));
        let who = |from: &str| sources.find(Side::Trunk, from.parse().unwrap()).sender();
        assert_eq!(who("10.9.9.9:1"), Some(Peer::Trunk(0)));
        assert_eq!(who("10.1.9.9:1"), Some(Peer::Trunk(1)), "of two equal ones the first");
        assert_eq!(who("10.1.2.3:1"), Some(Peer::Trunk(2)));
        assert_eq!(who("10.1.2.3:5060"), Some(Peer::Trunk(3)));
        assert_eq!(who("[::ffff:10.1.2.3]:5060"), Some(Peer::Trunk(3)));
        assert_eq!(who("[2001:db8::1]:5060"), Some(Peer::Trunk(4)));
        assert_eq!(who("[2001:db9::1]:5060"), None, "0.0.0.0/0 is all of IPv4 and nothing else");
        assert_eq!(who("203.0.113.1:1"), Some(Peer::Trunk(5)));
        assert_eq!(sources.find(Side::Node, "10.1.2.3:5060".parse().unwrap()), Found::default());
    }

    #[test]
    fn it_says_what_a_list_searched_from_end_to_end_says() {
        let net =
            (any::<u32>(), 0u8..=32).prop_map(|(ip, bits)| Source::Net { ip: IpAddr::from(ip.to_be_bytes()), bits });
        let port =
            (0u32..64, 1u16..4).prop_map(|(ip, port)| Source::Port((IpAddr::from(ip.to_be_bytes()), port).into()));
        let small =
            (0u32..64, 24u8..=32).prop_map(|(ip, bits)| Source::Net { ip: IpAddr::from(ip.to_be_bytes()), bits });
        let wide =
            (any::<u128>(), 0u8..=128).prop_map(|(ip, bits)| Source::Net { ip: IpAddr::from(ip.to_be_bytes()), bits });
        let list = prop::collection::vec(prop_oneof![net, port, small, wide], 0..40);
        proptest!(|(list in list, near in 0u32..80, far in any::<u32>(), v6 in any::<u128>(), port in 1u16..4)| {
            let mut sources = Sources::default();
            list.iter().enumerate().for_each(|(i, &s)| sources.insert(s, Peer::Trunk(i)));
            for ip in [IpAddr::from(near.to_be_bytes()), IpAddr::from(far.to_be_bytes()), IpAddr::from(v6.to_be_bytes())] {
                let from = SocketAddr::new(ip, port);
                let fits = list.iter().enumerate().filter(|(_, s)| s.contains(from));
                // `max_by_key` gives the last of equals; the first is wanted.
                let want = fits.rev().max_by_key(|(_, s)| s.rank()).map(|(i, _)| Peer::Trunk(i));
                prop_assert_eq!(sources.find(Side::Trunk, from).sender(), want);
            }
        });
    }
}
