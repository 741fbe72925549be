//! Nodes that announce themselves: who spoke up, from where, and what became of it.
//!
//! A rule of the settings says from which networks announcements are heard at all and whether such a node is taken at once.
//! The book only says what should happen; a node is a node when it is in the settings. Bounded by `most` of each rule.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::config::{JoinRule, NodeConfig, Transport};

/// An OPTIONS does not say for how long it is meant; FreeSWITCH sends one every half minute.
pub const OPTIONS_S: u32 = 300;

/// What a newcomer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub id: String,
    pub address: SocketAddr,
    pub transport: Transport,
    pub expires_s: u32,
}

/// What is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Told for the first time, or from another place than before.
    New { taken: bool },
    /// As before.
    Known { taken: bool },
    /// It takes itself back.
    Leaves,
    /// Its name belongs to a node that lives elsewhere.
    Clash,
    /// The rule has as many as it may.
    Full,
}

#[derive(Clone, Debug)]
struct Entry {
    node: NodeConfig,
    rule: usize,
    taken: bool,
    first: u64,
    last: u64,
    until: u64,
}

/// For the admin pages.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct AnnouncedView {
    /// As it would stand in the settings.
    pub node: NodeConfig,
    /// member or pending.
    pub state: &'static str,
    pub heard_s_ago: u64,
    pub since_s: u64,
}

#[derive(Debug, Default)]
pub struct Announced {
    entries: BTreeMap<String, Entry>,
}

impl Announced {
    /// `settled` says where the settings have a node of that id.
    pub fn hear(
        &mut self,
        now: u64,
        (rule, at): (&JoinRule, usize),
        said: &Announcement,
        settled: Option<SocketAddr>,
    ) -> Reply {
        let until = now + u64::from(said.expires_s) * 1_000_000;
        if let Some(entry) = self.entries.get_mut(&said.id) {
            let same = entry.node.address == said.address;
            if said.expires_s == 0 {
                if same {
                    entry.until = now;
                }
                return if same { Reply::Leaves } else { Reply::Clash };
            }
            // It may have moved, but not while it still speaks from where it was.
            if !same && now < entry.until {
                return Reply::Clash;
            }
            (entry.last, entry.until) = (now, until);
            if same {
                return Reply::Known { taken: entry.taken };
            }
            entry.node.address = said.address.into();
            return Reply::New { taken: entry.taken };
        }
        if settled.is_some_and(|address| address != said.address) {
            return Reply::Clash;
        }
        if said.expires_s == 0 {
            return Reply::Leaves;
        }
        if self.entries.values().filter(|e| e.rule == at).count() >= rule.most {
            return Reply::Full;
        }
        let node = NodeConfig {
            id: said.id.clone(),
            address: said.address.into(),
            transports: vec![said.transport],
            pool: rule.pool.clone(),
            weight: rule.weight,
            priority: rule.priority,
            capacity: rule.capacity,
            ..NodeConfig::default()
        };
        let entry = Entry { node, rule: at, taken: rule.take, first: now, last: now, until };
        self.entries.insert(said.id.clone(), entry);
        Reply::New { taken: rule.take }
    }

    /// A node of the settings spoke up again.
    pub fn refresh(&mut self, now: u64, id: &str, expires_s: u32) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.last = now;
            entry.until = now + u64::from(expires_s) * 1_000_000;
        }
    }

    #[must_use]
    pub fn node(&self, id: &str) -> Option<&NodeConfig> {
        self.entries.get(id).map(|e| &e.node)
    }

    /// Who announced itself from there.
    #[must_use]
    pub fn id_at(&self, address: SocketAddr) -> Option<&str> {
        self.entries.values().find(|e| e.node.address == address).map(|e| e.node.id.as_str())
    }

    /// Those whose time has run out and that `is_idle`: forgotten here, and named when they were taken by their rule.
    pub fn expire(&mut self, now: u64, is_idle: impl Fn(&str) -> bool) -> Vec<String> {
        let mut departed = Vec::new();
        self.entries.retain(|id, entry| {
            let stays = now < entry.until || (entry.taken && !is_idle(id));
            if !stays && entry.taken {
                departed.push(id.clone());
            }
            stays
        });
        departed
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[must_use]
    pub fn views(&self, now: u64, is_member: impl Fn(&str) -> bool) -> Vec<AnnouncedView> {
        let seconds = |at: u64| now.saturating_sub(at) / 1_000_000;
        let view = |e: &Entry| AnnouncedView {
            node: e.node.clone(),
            state: if is_member(&e.node.id) { "member" } else { "pending" },
            heard_s_ago: seconds(e.last),
            since_s: seconds(e.first),
        };
        self.entries.values().map(view).collect()
    }
}

/// A name as a node may have it: what it says when that is plain, else its address.
#[must_use]
pub fn id_from(said: &[u8], address: SocketAddr) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    match std::str::from_utf8(said) {
        Ok(text) if (1..=64).contains(&text.len()) && said.iter().all(plain) => text.to_owned(),
        _ => address.to_string().replace(['[', ']'], "").replace(':', "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn rule(take: bool, most: usize) -> JoinRule {
        JoinRule {
            sources: vec!["10.0.0.0/24".parse().unwrap()],
            pool: "inbound".into(),
            weight: 2.0,
            capacity: 100,
            priority: 1,
            take,
            most,
        }
    }

    fn said(id: &str, address: &str, expires_s: u32) -> Announcement {
        Announcement { id: id.into(), address: address.parse().unwrap(), transport: Transport::Udp, expires_s }
    }

    #[test]
    fn a_newcomer_is_told_once_and_gone_when_its_time_is_over() {
        let (mut book, rule) = (Announced::default(), rule(true, 2));
        let one = said("fs-9", "10.0.0.9:5080", 60);
        assert_eq!(book.hear(0, (&rule, 0), &one, None), Reply::New { taken: true });
        assert_eq!(book.hear(30 * S, (&rule, 0), &one, Some(one.address)), Reply::Known { taken: true });
        let node = book.node("fs-9").unwrap();
        assert_eq!((node.weight, node.capacity, node.priority), (2.0, 100, 1));
        assert!(book.expire(89 * S, |_| true).is_empty());
        assert!(book.expire(91 * S, |_| false).is_empty(), "it has calls or answers probes");
        book.refresh(92 * S, "fs-9", 60);
        assert!(book.expire(93 * S, |_| true).is_empty());
        assert_eq!(book.expire(152 * S, |_| true), ["fs-9"]);
        assert!(book.is_empty());
    }

    #[test]
    fn nobody_takes_the_name_of_a_node_that_lives_elsewhere() {
        let (mut book, rule) = (Announced::default(), rule(false, 2));
        let here = Some("10.0.0.1:5080".parse().unwrap());
        assert_eq!(book.hear(0, (&rule, 0), &said("fs-1", "10.0.0.66:5080", 60), here), Reply::Clash);
        assert_eq!(book.hear(0, (&rule, 0), &said("a", "10.0.0.2:5080", 60), None), Reply::New { taken: false });
        assert_eq!(book.hear(S, (&rule, 0), &said("a", "10.0.0.3:5080", 60), None), Reply::Clash);
        assert_eq!(book.hear(S, (&rule, 0), &said("a", "10.0.0.3:5080", 0), None), Reply::Clash);
        assert_eq!(book.hear(61 * S, (&rule, 0), &said("a", "10.0.0.3:5080", 60), None), Reply::New { taken: false });
        assert_eq!(book.hear(62 * S, (&rule, 0), &said("b", "10.0.0.4:5080", 60), None), Reply::New { taken: false });
        assert_eq!(book.hear(62 * S, (&rule, 0), &said("c", "10.0.0.5:5080", 60), None), Reply::Full);
        assert_eq!(book.hear(63 * S, (&rule, 0), &said("b", "10.0.0.4:5080", 0), None), Reply::Leaves);
        assert!(book.expire(63 * S, |_| true).is_empty(), "one that was never taken departs unsaid");
        assert_eq!(book.views(63 * S, |_| false).len(), 1);
    }

    #[test]
    fn an_id_is_a_plain_word_or_the_address() {
        let at = "10.0.0.9:5080".parse().unwrap();
        assert_eq!(id_from(b"fs-9.a_b", at), "fs-9.a_b");
        for odd in [&b""[..], b"a/b", b"a b", b"\xff", &[b'a'; 65]] {
            assert_eq!(id_from(odd, at), "10.0.0.9-5080");
        }
        assert_eq!(id_from(b"", "[fd00::9]:5080".parse().unwrap()), "fd00--9-5080");
    }
}
