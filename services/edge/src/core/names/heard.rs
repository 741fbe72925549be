//! Addresses that only DNS connects with a peer. They are heard inside dialogs and as answers, never from the beginning.
//!
//! An address that DNS took back is heard for as long as a call may last: calls that went there are still going on.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::Target;
use crate::config::{Side, Transport};
use crate::core::topology::Peer;

/// Addresses that were taken back and are still heard. A name that changes faster than calls end loses its oldest ones.
const MOST_FORMER: usize = 1_024;

#[derive(Clone, Copy, Debug)]
struct At {
    peer: Peer,
    transport: Transport,
    /// It was taken back and is heard until then.
    until: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct Heard {
    by_address: HashMap<(Side, SocketAddr), Vec<At>>,
    by_ip: HashMap<(Side, IpAddr), Peer>,
}

impl Heard {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// What the names stand for now; what they stood for before is kept until `keep_until`.
    pub fn take<'a>(&mut self, now_us: u64, keep_until: u64, named: impl Iterator<Item = (Peer, &'a Target)>) {
        for at in self.by_address.values_mut().flatten() {
            at.until.get_or_insert(keep_until);
        }
        for (peer, target) in named {
            let all = self.by_address.entry((peer.side(), canonical(target.address))).or_default();
            let at = At { peer, transport: target.transport, until: None };
            match all.iter_mut().find(|known| known.peer == peer) {
                Some(known) => *known = at,
                None => all.push(at),
            }
        }
        let mut former: Vec<u64> = self.by_address.values().flatten().filter_map(|at| at.until).collect();
        former.sort_unstable();
        let oldest_kept = former.len().checked_sub(MOST_FORMER).map_or(0, |over| former[over]);
        self.by_address.retain(|_, all| {
            all.retain(|at| at.until.is_none_or(|until| until > now_us && until >= oldest_kept));
            // Whom DNS names now is meant before whom it named once.
            all.sort_by_key(|at| at.until.is_some());
            !all.is_empty()
        });
        self.by_ip = self.by_address.iter().map(|(&(side, at), all)| ((side, at.ip()), all[0].peer)).collect();
    }

    #[must_use]
    pub fn at(&self, side: Side, from: SocketAddr) -> Option<Peer> {
        self.by_address.get(&(side, canonical(from))).map(|all| all[0].peer)
    }

    /// By a stream a peer comes from any port.
    #[must_use]
    pub fn at_ip(&self, side: Side, from: IpAddr) -> Option<Peer> {
        self.by_ip.get(&(side, from.to_canonical())).copied()
    }

    /// By what a peer is spoken to there, when that address is its.
    #[must_use]
    pub fn transport(&self, peer: Peer, address: SocketAddr) -> Option<Transport> {
        let all = self.by_address.get(&(peer.side(), canonical(address)))?;
        all.iter().find(|at| at.peer == peer).map(|at| at.transport)
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(port: u16) -> Target {
        let address = SocketAddr::from(([192, 0, 2, 1], port));
        Target { address, transport: Transport::Tcp, rank: 0, priority: 0, weight: 0 }
    }

    #[test]
    fn an_address_that_was_taken_back_is_heard_until_its_calls_are_over() {
        let (one, two, peer) = (target(1), target(2), Peer::Trunk(3));
        let mut heard = Heard::default();
        heard.take(0, 100, [(peer, &one)].into_iter());
        heard.take(50, 150, [(peer, &two)].into_iter());
        for t in [one, two] {
            assert_eq!(heard.at(Side::Trunk, t.address), Some(peer));
            assert_eq!(heard.transport(peer, t.address), Some(Transport::Tcp));
        }
        assert_eq!(heard.at(Side::Node, one.address), None);
        heard.take(150, 250, [(peer, &two)].into_iter());
        assert_eq!(heard.at(Side::Trunk, one.address), None);
        assert_eq!(heard.at_ip(Side::Trunk, two.address.ip()), Some(peer));
    }

    #[test]
    fn the_newest_former_addresses_are_kept_when_a_name_changes_all_the_time() {
        let mut heard = Heard::default();
        for n in 0..2 * MOST_FORMER as u64 {
            heard.take(n, 1_000_000 + n, [(Peer::Trunk(0), &target(n as u16))].into_iter());
        }
        assert!(heard.by_address.len() <= MOST_FORMER + 1, "{}", heard.by_address.len());
        assert_eq!(heard.at(Side::Trunk, target(0).address), None);
        assert!(heard.at(Side::Trunk, target(2 * MOST_FORMER as u16 - 2).address).is_some());
    }
}
