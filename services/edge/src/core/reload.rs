//! Other settings while calls are up: everything that a call remembers keeps its place ([`Topology::succeed`]), so the swap is
//! one assignment and some tables that grow.

use std::sync::Arc;

use domain::Now;

use super::dispatch::{Carrier, Health, Pool, Standing};
use super::topology::Topology;
use crate::config::Config;
use crate::core::flow::keep_alive;
use crate::core::{Proxy, Times, TrunkState};

/// Settings that were read and checked, with their tables: made beside the calls, taken over between two packets.
#[derive(Debug)]
pub struct Fresh {
    pub config: Config,
    pub topology: Topology,
}

impl Fresh {
    /// `previous` are the tables that were made last. Listeners, id and journal of the settings are those of the start.
    #[must_use]
    pub fn after(previous: &Topology, config: Config, now_mono_us: u64) -> Fresh {
        let topology = previous.succeed(&config, now_mono_us);
        Fresh { config, topology }
    }
}

impl Proxy {
    pub(super) fn take_settings(&mut self, now: Now, fresh: Fresh) {
        let Fresh { config, topology } = fresh;
        let before = std::mem::replace(&mut self.topology, topology);
        let kept = std::mem::replace(&mut self.config, config);
        self.config.listeners = kept.listeners;
        self.config.journal_bytes = kept.journal_bytes;
        self.times = Times::new(&self.config);
        self.topology.keep_heard(&before);
        self.take_names(now, Arc::clone(&self.names));
        self.counters.reloads += 1;
        self.trunks_changed(now, &before);
        self.nodes_changed(now, &before);
        self.pools_changed(&before);
        self.routes_changed(&before);
        let trunks = &self.topology.trunks;
        self.keep_alives.follow(|t| trunks[t].gone.is_none() && trunks[t].policy.keep_alive_us > 0);
        keep_alive::keep_fixed(&self.topology, now, &mut self.keep_alives);
        self.refresh_wanted(now);
        self.arm_house();
    }

    fn trunks_changed(&mut self, now: Now, before: &Topology) {
        for (place, trunk) in self.topology.trunks.iter().enumerate() {
            let same = before.trunks.get(place).is_some_and(|t| t.id == trunk.id);
            match self.trunks.get_mut(place) {
                Some(state) if same => state.set(&self.config.admission, trunk),
                Some(state) => *state = TrunkState::new(&self.config.admission, trunk),
                None => self.trunks.push(TrunkState::new(&self.config.admission, trunk)),
            }
            let is_there = before.trunks.get(place).is_some_and(|t| same && t.address == trunk.address);
            match self.carriers.get_mut(place) {
                // What probes said is forgotten with them.
                Some(carrier) if is_there && trunk.probes.enabled => carrier.health.configure(&trunk.probes),
                Some(carrier) => *carrier = Carrier::new(now.mono_us, &trunk.probes),
                None => self.carriers.push(Carrier::new(now.mono_us, &trunk.probes)),
            }
            if trunk.gone.is_some() {
                self.carriers[place].health.retire();
            }
        }
        self.admission.follow(&self.config, &self.topology);
        self.watch_shares(now);
        for place in 0..self.topology.trunks.len() {
            if self.topology.trunks[place].gone.is_some() {
                self.registered.forget_trunk(place);
            }
        }
    }

    fn nodes_changed(&mut self, now: Now, before: &Topology) {
        self.watch.resize(self.topology.nodes.len());
        for place in 0..self.topology.nodes.len() {
            let node = &self.topology.nodes[place];
            let gone = node.gone.is_some();
            let old = before.nodes.get(place);
            let same = old.is_some_and(|old| old.id == node.id);
            let stays = old.is_some_and(|old| same && old.address == node.address && old.gone.is_some() == gone);
            if !same {
                // A place beyond the end, or one whose tenant has long gone.
                let (health, standing) = (Health::new(now.mono_us, &self.config.probe), Standing::default());
                if place < self.nodes.len() {
                    self.watch.forget(place);
                    self.journal.remove_later(self.nodes[place].kept.take());
                    (self.health[place], self.nodes[place]) = (health, standing);
                } else {
                    self.health.push(health);
                    self.nodes.push(standing);
                }
                self.join_in(now, place, "it is new in the settings");
            } else if stays {
                self.health[place].configure(&self.config.probe);
            } else if !gone {
                // Elsewhere, or back: what was known of it was of another place and time. Its counters run on.
                self.health[place] = Health::new(now.mono_us, &self.config.probe);
                self.join_in(now, place, "its settings have changed");
            }
            if gone {
                self.health[place].retire();
            }
        }
    }

    /// A node that was not here a moment ago: it is asked at once, but not with everything.
    fn join_in(&mut self, now: Now, node: usize, reason: &str) {
        self.nodes[node].ramp.begin(now.mono_us);
        self.nodes[node].told = "unknown";
        self.tell_state(now, node, reason);
    }

    fn pools_changed(&mut self, before: &Topology) {
        for (place, spec) in self.topology.pools.iter().enumerate() {
            match (self.pools.get_mut(place), before.pools.get(place)) {
                (Some(pool), Some(old)) => pool.follow(old, spec),
                _ => self.pools.push(Pool::new(spec, self.random.next())),
            }
        }
    }
}
