//! Which transactions use which way over streams: whoever must hear that a connection ended, or that none could be made.
//!
//! Thousands of connections may end at once, and each must find its own few transactions without looking at all the others. A
//! transaction stands in here as long as it is remembered, so transactions bound this table. Datagrams have no entry at all.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use crate::core::flow::hop::{Flow, Hop};
use crate::core::slab::Slot;

/// A connection, or whatever connection leads to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    Flow(Flow),
    Address(u16, SocketAddr),
}

impl Way {
    #[must_use]
    pub fn of(hop: Hop) -> Way {
        hop.flow.map_or(Way::Address(hop.listener, hop.addr), Way::Flow)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    Invite(Slot),
    Relay(Slot),
}

#[derive(Debug, Default)]
pub struct Users {
    by_way: HashMap<Way, BTreeSet<User>>,
}

impl Users {
    /// `ways` are those that this user stands at already.
    pub fn note(&mut self, user: User, way: Way, ways: &mut Vec<Way>) {
        if !ways.contains(&way) {
            ways.push(way);
            self.by_way.entry(way).or_default().insert(user);
        }
    }

    pub fn forget(&mut self, user: User, ways: &[Way]) {
        for way in ways {
            if let Some(users) = self.by_way.get_mut(way) {
                users.remove(&user);
                if users.is_empty() {
                    self.by_way.remove(way);
                }
            }
        }
    }

    pub fn of(&self, way: Way) -> impl Iterator<Item = User> + '_ {
        self.by_way.get(&way).into_iter().flatten().copied()
    }

    /// Ways that somebody uses.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_way.len()
    }
}
