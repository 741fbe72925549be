//! What happens by the clock: what follows from a node's state, sweeps, and the reports of each second.

use domain::Now;
use schemas::{NodeHealth, NodePassive, NodeProbe};

use super::dispatch::State;
use super::slab::Slot;
use super::timers::Owner;
use super::topology::Peer;
use crate::core::set_up::invite::{End, Gone};
use crate::core::telling::story::ByeFacts;
use crate::core::{Action, Proxy};

const SECOND: u64 = 1_000_000;
const SUMMARY: u64 = 5 * SECOND;

impl Proxy {
    pub(super) fn arm_house(&mut self) {
        let at = self.next_probe().unwrap_or(u64::MAX).min(self.next_second).min(self.losing.next.unwrap_or(u64::MAX));
        self.timers.arm(&mut self.house, Owner::House, Some(at));
    }

    pub(super) fn keep_house(&mut self, now: Now) {
        self.tick_all_health(now);
        if self.losing.next.is_some_and(|at| now.mono_us >= at) {
            self.lose_some(now);
        }
        if now.mono_us < self.next_second {
            return;
        }
        self.watch_nodes(now);
        self.look_after_nodes(now);
        self.forget_silent_newcomers(now);
        self.next_second = now.mono_us + SECOND;
        let mut expired = Vec::new();
        // No BYE of ours takes that long: one from before a restart, whose answer never came.
        let max_bye = self.times.sip.give_up() + 8 * SECOND;
        self.dialogs.sweep(now.mono_us, self.times.max_call, max_bye, &mut expired);
        for (slot, reason) in expired {
            match self.dialogs.get(slot).and_then(|d| d.ending) {
                Some(ending) => self.end_dialog(now, slot, &ByeFacts::from(ending)),
                None => self.lose_dialog(now, slot, reason),
            }
        }
        self.forget_absorbed(now);
        self.keep_open(now);
        self.watch_trunks(now);
        self.watch_shares(now);
        self.report_rejections(now);
        if now.mono_us >= self.next_summary {
            self.next_summary = now.mono_us + SUMMARY;
            for node in 0..self.health.len() {
                if self.topology.nodes[node].gone.is_none() {
                    self.report_node(now, node, None);
                }
            }
        }
    }

    pub(super) fn node_changed(&mut self, now: Now, node: usize, before: State) {
        self.tell_state(now, node, self.health[node].reason);
        match self.health[node].state() {
            State::Down => self.node_down(now, node),
            State::Up => self.node_up(now, node, before),
            State::Suspect => {}
        }
    }

    /// The system refused a packet: a node is down at once, an INVITE to a trunk goes on to the next one.
    pub(super) fn unreachable(&mut self, now: Now, to: std::net::SocketAddr) {
        if let Some(node) = self.topology.nodes.iter().position(|n| n.address == to) {
            return self.peer_refused(now, Peer::Node(node));
        }
        let is_there =
            |t: &super::topology::Trunk| t.address == Some(to) || t.targets.iter().any(|target| target.address == to);
        let gone = self.topology.trunks.iter().enumerate().filter(|(_, t)| is_there(t)).map(|(t, _)| t);
        for trunk in gone.collect::<Vec<_>>() {
            if self.topology.trunks[trunk].probes.enabled && self.topology.trunks[trunk].address == Some(to) {
                self.peer_refused(now, Peer::Trunk(trunk));
            }
            // Behind a name there may be other addresses, which are none the worse.
            self.abandon(now, &Gone { peer: Peer::Trunk(trunk), at: Some(to) }, End::Unreachable);
        }
    }

    fn node_up(&mut self, now: Now, node: usize, before: State) {
        if before == State::Down {
            self.nodes[node].ramp.begin(now.mono_us);
        }
        for (pool, spec) in self.pools.iter_mut().zip(&self.topology.pools) {
            pool.reset(spec, node);
        }
    }

    fn node_down(&mut self, now: Now, node: usize) {
        self.abandon(now, &Gone { peer: Peer::Node(node), at: None }, End::NodeDown);
        self.release_byes(now, Peer::Node(node));
        self.move_registrations(now, Peer::Node(node));
    }

    /// Everything that waits for that peer goes on without it.
    fn abandon(&mut self, now: Now, gone: &Gone, end: End) {
        let waits = |slot: &Slot| {
            self.invites
                .get(*slot)
                .is_some_and(|i| i.finished.is_none() && i.branches.iter().any(|b| gone.is_of(b) && b.waits()))
        };
        let waiting: Vec<Slot> = self.invites.slots().filter(waits).collect();
        for slot in waiting {
            let Some(mut invite) = self.invites.take(slot) else { continue };
            self.abandon_target(now, slot, &mut invite, gone, end);
            self.put_invite(slot, invite);
        }
    }

    /// A change of state, or the summary of the last seconds.
    pub(super) fn report_node(&mut self, now: Now, node: usize, change: Option<(&str, &str)>) {
        let settings = &self.topology.nodes[node];
        let pool = &self.topology.pools[settings.pool_at];
        let weight = self.nodes[node].view(now.mono_us, settings, &self.health[node], pool, false).weight;
        let state = self.nodes[node].state(&self.health[node]);
        let core_uuid = self.watch.core(node).map(str::to_owned);
        let health = &mut self.health[node];
        let window = std::mem::take(&mut health.window);
        let (failures, successes) = health.streaks();
        let p95 = self.nodes[node].latency.take_p95_us();
        let stats = &self.nodes[node];
        let us = |v: u64| i64::try_from(v).unwrap_or(i64::MAX);
        let event = NodeHealth {
            event_type: "probe".to_owned(),
            node_id: settings.id.clone(),
            observer_kind: "edge".to_owned(),
            observer_id: self.topology.edge_id.clone(),
            observed_us: now.wall_us,
            observed_mono_us: us(now.mono_us),
            core_uuid,
            state: Some(state.to_owned()),
            state_before: Some(change.map_or(state, |(before, _)| before).to_owned()),
            reason: change.map(|(_, reason)| reason.to_owned()),
            probe: Some(NodeProbe {
                address: Some(settings.address.to_string()),
                transport: Some(
                    self.topology
                        .transports_of(Peer::Node(node))
                        .first()
                        .copied()
                        .unwrap_or_default()
                        .as_str()
                        .to_owned(),
                ),
                window_us: Some(us(SUMMARY)),
                sent: window.sent,
                answered: window.answered,
                lost: window.lost,
                last_status: health.last_status,
                rtt_us: health.rtt_us.map(us),
                rtt_max_us: (window.rtt_max_us > 0).then(|| us(window.rtt_max_us)),
                consecutive_failures: failures,
                consecutive_successes: successes,
            }),
            passive: Some(NodePassive {
                calls_open: i32::try_from(stats.calls_now).unwrap_or(0),
                calls_started_total: us(stats.attempts),
                calls_ended_total: us(stats.ended),
                answered_total: us(stats.answered),
                failed_5xx_total: us(stats.failed_5xx),
                timeouts_total: us(stats.timeouts),
                retransmits_total: us(stats.retransmits),
                first_response_p95_us: p95.map(us),
                weight: Some(weight),
            }),
            ..NodeHealth::default()
        };
        self.out.push_back(Action::Health(Box::new(event)));
    }
}
