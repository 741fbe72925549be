//! Other settings while calls go on: who stays keeps its place, who left is heard until its last call has ended.

use std::collections::{HashMap, HashSet};

use super::{
    Carried, GONE_S, Listener, Node, Peer, PoolSpec, Route, Routes, Topology, Trunk, UNKNOWN, digest, numbers,
};
use crate::config::{Config, NextHop, NodeConfig, NodeState, ProbeConfig, Source, TrunkConfig};
use crate::core::admission::{Limits, Methods, Sources};
use crate::core::control::Wanted;
use crate::core::dispatch::{Algorithm, Failover, HashBy, key_of};
use crate::core::policy::TrunkPolicy;

impl Topology {
    /// The tables for other settings with the same listeners. Who is in both keeps the place; who is gone keeps it too, so that
    /// what is under way goes on; who is new is appended, or gets the place of somebody who has been gone for longer than any
    /// call lasts. So nothing that remembers a peer by its place ever has to be told.
    #[must_use]
    pub fn succeed(&self, config: &Config, now_mono_us: u64) -> Topology {
        let longest = (config.timers.max_call_s + GONE_S).saturating_mul(1_000_000);
        let free = |gone: Option<u64>| gone.is_some_and(|since| now_mono_us.saturating_sub(since) > longest);
        let old = self.trunks.iter().map(|t| (&t.id, free(t.gone)));
        let trunk_places = places(old, config.trunks.iter().map(|t| &t.id));
        let old = self.nodes.iter().map(|n| (&n.id, free(n.gone)));
        let node_places = places(old, config.nodes.iter().map(|n| &n.id));
        let pools = self.pools_after(config, &node_places);
        let listener_place = |id: &String| self.listeners.iter().position(|l| &l.id == id);
        let trunk_place = |id: &String| config.trunks.iter().position(|t| &t.id == id).map(|at| trunk_places[at]);
        let node_place = |id: &String| config.nodes.iter().position(|n| &n.id == id).map(|at| node_places[at]);
        let pool_place = |id: &String| pools.iter().position(|p| &p.id == id).unwrap_or_default();
        let trunk = |t: &TrunkConfig| {
            let emergency = config.emergency_of(t);
            Trunk {
                id: t.id.clone(),
                hash: domain::hash32(&t.id),
                address: t.address.as_ref().and_then(NextHop::address),
                name: t.address.as_ref().and_then(NextHop::name).cloned(),
                targets: Vec::new(),
                transports: t.transports.clone(),
                listener: t.listener.as_ref().and_then(listener_place),
                pool: t.pool.clone(),
                pool_at: pool_place(&t.pool),
                limits: Limits::of(t),
                limit_status: t.limit_status,
                methods: Methods::of(&t.methods),
                source_transports: t.source_transports.clone(),
                source_subject: t.source_subject.clone(),
                pinned: t.pinned,
                account: t.account.clone(),
                policy: TrunkPolicy::new(&t.policy, &emergency),
                emergency,
                late_2xx: t.late_2xx,
                probes: ProbeConfig::of_carrier(t.probe_s),
                gone: None,
            }
        };
        let node = |n: &NodeConfig| Node {
            id: n.id.clone(),
            hash: domain::hash32(&n.id),
            address: n.address.address().unwrap_or(UNKNOWN),
            name: n.address.name().cloned(),
            transports: n.transports.clone(),
            listener: n.listener.as_ref().and_then(listener_place),
            pool: n.pool.clone(),
            pool_at: pool_place(&n.pool),
            weight: n.weight,
            priority: n.priority,
            capacity: n.capacity,
            state: match n.state {
                NodeState::Active => Wanted::Active,
                NodeState::Draining => Wanted::Draining,
                NodeState::Disabled => Wanted::Disabled,
            },
            key: key_of(n.id.as_bytes()),
            registrar: n.registrar,
            recovers_to: n.recovers_to.as_ref().and_then(node_place),
            gone: None,
        };
        let trunks = placed(&self.trunks, config.trunks.iter().map(trunk), &trunk_places, |t| {
            t.gone.get_or_insert(now_mono_us);
        });
        let nodes = placed(&self.nodes, config.nodes.iter().map(node), &node_places, |n| {
            n.gone.get_or_insert(now_mono_us);
        });
        let routes = config
            .routes
            .iter()
            .map(|r| {
                let carried = |(at, id)| Some(Carried { trunk: trunk_place(id)?, share: r.shares.get(at).copied() });
                Route { prefix: r.prefix.clone(), carriers: r.trunks.iter().enumerate().filter_map(carried).collect() }
            })
            .collect();
        let of_listener = |l: &Listener| Listener {
            trunk: config.listeners.iter().find(|c| c.id == l.id).and_then(|c| trunk_place(c.trunk.as_ref()?)),
            ..l.clone()
        };
        let numbers = numbers(config, pool_place);
        let mut topology = Topology {
            edge_id: self.edge_id.clone(),
            listeners: self.listeners.iter().map(of_listener).collect(),
            trunks,
            nodes,
            pools,
            routes: Routes::new(routes),
            numbers,
            digest: digest(config),
            allowed: Sources::default(),
            sources: Vec::new(),
            left: Vec::new(),
            joins: config.join.rules.iter().flat_map(|rule| rule.sources.iter().copied()).collect(),
            heard: self.heard.clone(),
        };
        for (t, &place) in config.trunks.iter().zip(&trunk_places) {
            t.sources.iter().for_each(|&source| topology.admit(source, Peer::Trunk(place)));
        }
        for (n, &place) in config.nodes.iter().zip(&node_places) {
            n.address.address().iter().for_each(|&a| topology.admit(Source::Port(a), Peer::Node(place)));
            n.sources.iter().for_each(|&source| topology.admit(source, Peer::Node(place)));
        }
        // Where calls are sent, answers come from; a source that names the same address comes first.
        for (t, &place) in config.trunks.iter().zip(&trunk_places) {
            let address = t.address.as_ref().and_then(NextHop::address);
            address.iter().for_each(|&address| topology.admit(Source::Port(address), Peer::Trunk(place)));
        }
        topology.left = self.left_after(&topology, now_mono_us, longest);
        topology
    }

    /// Addresses that peers no longer have: calls that began there end there.
    fn left_after(&self, next: &Topology, now_mono_us: u64, longest: u64) -> Vec<(Source, Peer, u64)> {
        let current: HashSet<(Source, Peer)> = next.sources.iter().copied().collect();
        let was =
            self.sources.iter().map(|&(source, peer)| (source, peer, now_mono_us)).chain(self.left.iter().copied());
        let stays = |&(source, peer, since): &(Source, Peer, u64)| {
            !current.contains(&(source, peer))
                && next.id_of(peer) == self.id_of(peer)
                && now_mono_us.saturating_sub(since) <= longest
        };
        was.filter(stays).collect()
    }

    /// Pools keep their places; a pool that nobody names any more stays, empty.
    fn pools_after(&self, config: &Config, node_places: &[usize]) -> Vec<PoolSpec> {
        let mut ids: Vec<&String> = self.pools.iter().map(|p| &p.id).collect();
        let registrar = crate::core::REGISTRAR.to_owned();
        let named = config.pools.iter().map(|p| &p.id).chain(config.nodes.iter().map(|n| &n.pool));
        let named = named.chain(config.trunks.iter().map(|t| &t.pool)).chain(config.join.rules.iter().map(|r| &r.pool));
        for id in named.chain([&registrar]) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let spec = |id: &String| {
            let pool = config.pool(id);
            let is_member = |n: &NodeConfig| n.pool == *id || (n.registrar && *id == registrar);
            let members = config.nodes.iter().zip(node_places).filter(|(n, _)| is_member(n));
            let mut members: Vec<usize> = members.map(|(_, &place)| place).collect();
            members.sort_unstable();
            // A registration lives on one node: whoever asks for it again must come there again.
            let keeps = *id == registrar;
            PoolSpec {
                id: id.clone(),
                algorithm: if keeps { Algorithm::Hash } else { pool.algorithm },
                failover: Failover::new(&pool, config.limits.attempts),
                hash_by: if keeps { HashBy::To } else { pool.hash_by },
                slow_start_us: if keeps { 0 } else { pool.slow_start_s.saturating_mul(1_000_000) },
                panic_percent: pool.panic_percent,
                members,
            }
        };
        ids.into_iter().map(spec).collect()
    }

    /// What the names stood for until now: these tables were made beside the calls, by somebody who does not know.
    pub fn keep_heard(&mut self, before: &Topology) {
        self.heard = before.heard.clone();
    }
}

/// The place of each new id: its old one, a free one, or one at the end.
fn places<'a>(old: impl Iterator<Item = (&'a String, bool)>, new: impl Iterator<Item = &'a String>) -> Vec<usize> {
    let old: Vec<(&String, bool)> = old.collect();
    let known: HashMap<&String, usize> = old.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
    let new: Vec<&String> = new.collect();
    let taken: HashSet<usize> = new.iter().filter_map(|id| known.get(id)).copied().collect();
    let mut free = (0..old.len()).filter(|at| old[*at].1 && !taken.contains(at)).chain(old.len()..);
    let place = |id: &String| known.get(id).copied().or_else(|| free.next()).unwrap_or_default();
    new.into_iter().map(place).collect()
}

fn placed<T: Clone>(old: &[T], new: impl Iterator<Item = T>, places: &[usize], retire: impl Fn(&mut T)) -> Vec<T> {
    let mut all: Vec<T> = old.to_vec();
    all.iter_mut().for_each(retire);
    // Places at the end come in ascending order.
    for (value, &place) in new.zip(places) {
        if place < all.len() { all[place] = value } else { all.push(value) }
    }
    all
}
