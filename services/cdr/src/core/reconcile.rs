//! Closes what no witness will close: calls of a dead node, and legs whose other half has long ended.
//!
//! A time-out is an *event* (`call.reconciled`), made here once and read back by the fold like any other fact. Nothing in the
//! fold looks at a clock, and a replay runs no reconciler, so the same topics give the same rows.
//!
//! Invariants:
//! * A verdict is only given while the consumer has caught up: silence in an old part of the log says nothing about now.
//! * Silence is measured on our own monotonic clock from the moment of hearing; the interval in the event is wall time of the
//!   witnesses.
//! * A node that was never heard is never declared dead.
//! * Losing the ESL link is not losing the node: while the edge's probes answer, the calls are left alone.
//! * A verdict can be wrong (a hung node comes back). It is then superseded by what the witness says, never undone here.

use std::collections::{BTreeSet, HashMap, VecDeque};

use domain::{CallId, Now};

mod words;

pub use words::{Input, Kind, Limits, OpenCall, OpenLeg, Verdict};

#[derive(Debug, Clone)]
pub struct NodeSeen {
    pub core_uuid: Option<String>,
    pub last_proof_us: i64,
    pub heartbeat_us: Option<u64>,
    heard_mono: u64,
    last_beat_mono: Option<u64>,
    link_down_mono: Option<u64>,
    probe_up_mono: Option<u64>,
    lost: Option<&'static str>,
    /// Calls of an older boot have still to be closed.
    epoch_changed_us: Option<i64>,
}

struct Watched {
    call: OpenCall,
    heard_mono: u64,
    first_mono: u64,
    deadline: u64,
}

pub struct Reconciler {
    limits: Limits,
    nodes: HashMap<String, NodeSeen>,
    calls: HashMap<CallId, Watched>,
    by_node: HashMap<String, BTreeSet<CallId>>,
    by_deadline: BTreeSet<(u64, CallId)>,
    out: VecDeque<Verdict>,
}

impl Reconciler {
    #[must_use]
    pub fn new(limits: Limits) -> Reconciler {
        Reconciler {
            limits,
            nodes: HashMap::new(),
            calls: HashMap::new(),
            by_node: HashMap::new(),
            by_deadline: BTreeSet::new(),
            out: VecDeque::new(),
        }
    }

    /// Puts back what a former run knew of a node. It counts as heard now, so it gets its full silence again.
    pub fn restore_node(
        &mut self,
        now: Now,
        node: String,
        core: Option<String>,
        last_proof_us: i64,
        beat: Option<u64>,
    ) {
        let seen = self.nodes.entry(node).or_insert_with(|| NodeSeen::new(now));
        seen.core_uuid = core;
        seen.last_proof_us = last_proof_us;
        seen.heartbeat_us = beat;
    }

    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Open(id, call) => self.open(now, id, call),
            Input::Ended(id) => self.forget(&id),
            Input::Heartbeat { node, core_uuid, at_us, every_us } => {
                let seen = self.alive(now, node, core_uuid, at_us);
                seen.link_down_mono = None;
                let last = seen.last_beat_mono.replace(now.mono_us);
                if every_us.is_some() {
                    seen.heartbeat_us = every_us;
                } else if let Some(last) = last {
                    let gap = now.mono_us.saturating_sub(last);
                    // Beats read in one batch say nothing about the period; the smallest real gap does.
                    if gap > 200_000 {
                        seen.heartbeat_us = Some(seen.heartbeat_us.map_or(gap, |known| known.min(gap).max(gap / 2)));
                    }
                }
            }
            Input::Channel { node, core_uuid, at_us } => {
                self.alive(now, node, core_uuid, at_us);
            }
            Input::Link { node, up, at_us } => {
                if up {
                    self.alive(now, node, None, at_us).link_down_mono = None;
                } else if let Some(seen) = self.nodes.get_mut(&node) {
                    seen.link_down_mono.get_or_insert(now.mono_us);
                }
            }
            Input::Probe { node, up, at_us } => {
                if up {
                    let seen = self.alive_by_probe(now, node, at_us);
                    seen.probe_up_mono = Some(now.mono_us);
                } else if let Some(seen) = self.nodes.get_mut(&node) {
                    seen.probe_up_mono = None;
                }
            }
            Input::Tick { fresh } => {
                if fresh {
                    self.look(now);
                }
            }
        }
    }

    pub fn poll(&mut self) -> Option<Verdict> {
        self.out.pop_front()
    }

    /// When the next `Tick` can change something.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let node = self.nodes.values().filter(|n| n.lost.is_none()).map(|n| self.node_deadline(n)).min();
        let call = self.by_deadline.first().map(|(at, _)| *at);
        node.into_iter().chain(call).min()
    }

    #[must_use]
    pub fn open_calls(&self) -> usize {
        self.calls.len()
    }

    pub fn nodes(&self) -> impl Iterator<Item = (&String, &NodeSeen)> {
        self.nodes.iter()
    }

    fn alive(&mut self, now: Now, node: String, core: Option<String>, at_us: i64) -> &mut NodeSeen {
        let seen = self.nodes.entry(node).or_insert_with(|| NodeSeen::new(now));
        seen.heard_mono = now.mono_us;
        seen.lost = None;
        if let Some(core) = core.filter(|c| !c.is_empty()) {
            // An event of an older boot that arrives late proves nothing about the new one.
            let newer = at_us >= seen.last_proof_us;
            match &seen.core_uuid {
                Some(known) if *known != core && newer => {
                    seen.epoch_changed_us = Some(at_us);
                    seen.core_uuid = Some(core);
                    seen.heartbeat_us = None;
                    seen.last_beat_mono = None;
                }
                Some(_) => {}
                None => seen.core_uuid = Some(core),
            }
        }
        seen.last_proof_us = seen.last_proof_us.max(at_us);
        seen
    }

    fn alive_by_probe(&mut self, now: Now, node: String, at_us: i64) -> &mut NodeSeen {
        // An answer to OPTIONS does not cure heartbeat silence by itself; it only outweighs it for a while.
        let seen = self.nodes.entry(node).or_insert_with(|| NodeSeen::new(now));
        seen.lost = None;
        seen.last_proof_us = seen.last_proof_us.max(at_us);
        seen
    }

    fn node_deadline(&self, seen: &NodeSeen) -> u64 {
        let silence = match seen.heartbeat_us {
            Some(beat) => self.limits.silence_us.max(beat.saturating_mul(5) / 2),
            None => self.limits.unknown_silence_us,
        };
        let silent_at = seen.heard_mono.saturating_add(silence);
        let by_link = seen.link_down_mono.map(|at| at.max(seen.heard_mono).saturating_add(self.limits.silence_us));
        let suspected = by_link.map_or(silent_at, |link| link.min(silent_at));
        let trusted = seen.probe_up_mono.map_or(0, |at| at.saturating_add(self.limits.probe_trust_us));
        suspected.max(trusted)
    }

    fn look(&mut self, now: Now) {
        self.close_old_epochs(now);
        let due: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, seen)| now.mono_us > self.node_deadline(seen))
            .map(|(node, _)| node.clone())
            .collect();
        for node in due {
            self.node_is_lost(now, &node);
        }
        while let Some((at, id)) = self.by_deadline.first().copied() {
            if at > now.mono_us {
                break;
            }
            self.by_deadline.remove(&(at, id));
            self.orphan(now, id);
        }
    }

    /// A new boot of the same node ends every call of the boot before, however fast the restart was.
    fn close_old_epochs(&mut self, now: Now) {
        let changed: Vec<(String, Option<String>, i64)> = self
            .nodes
            .iter_mut()
            .filter_map(|(node, seen)| {
                seen.epoch_changed_us.take().map(|at| (node.clone(), seen.core_uuid.clone(), at))
            })
            .collect();
        for (node, core, at_us) in changed {
            for id in self.by_node.get(&node).cloned().unwrap_or_default() {
                self.close_legs(now, id, &node, "new_epoch", |call, leg| match (&leg.core_uuid, &core) {
                    (Some(old), Some(new)) => old != new,
                    _ => call.started_us < at_us && call.last_fact_us < at_us,
                });
            }
        }
    }

    fn node_is_lost(&mut self, now: Now, node: &str) {
        let Some(seen) = self.nodes.get_mut(node) else { return };
        let reason =
            *seen.lost.get_or_insert(if seen.link_down_mono.is_some() { "link_down" } else { "heartbeat_silence" });
        let quiet = self.limits.silence_us;
        for id in self.by_node.get(node).cloned().unwrap_or_default() {
            // A call that was heard of just now may be an attempt that the edge is still moving elsewhere.
            let heard = self.calls.get(&id).map_or(now.mono_us, |w| w.heard_mono);
            if now.mono_us.saturating_sub(heard) >= quiet {
                self.close_legs(now, id, node, reason, |_, _| true);
            }
        }
    }

    fn close_legs(
        &mut self,
        now: Now,
        id: CallId,
        node: &str,
        reason: &'static str,
        which: impl Fn(&OpenCall, &OpenLeg) -> bool,
    ) {
        let Some(watched) = self.calls.get_mut(&id) else { return };
        let call = &watched.call;
        let mut cores: Vec<Option<String>> = Vec::new();
        for leg in call.legs.iter().filter(|leg| leg.node.as_deref() == Some(node) && which(call, leg)) {
            if !cores.contains(&leg.core_uuid) {
                cores.push(leg.core_uuid.clone());
            }
        }
        let proof = self.nodes.get(node).map_or(i64::MIN, |seen| seen.last_proof_us);
        for core in cores {
            let said = (node.to_owned(), core.clone());
            if watched.call.reconciled.contains(&said) {
                continue;
            }
            let legs =
                watched.call.legs.iter().filter(|leg| leg.node.as_deref() == Some(node) && leg.core_uuid == core);
            // After a fast restart the node's own proof is of the new boot: the call's last fact is what we have.
            let alive = if reason == "new_epoch" { i64::MIN } else { proof };
            self.out.push_back(Verdict {
                call: id,
                kind: Kind::NodeLost,
                node: Some(node.to_owned()),
                core_uuid: core.clone(),
                legs: legs.map(|leg| leg.leg.clone()).collect(),
                from_us: watched.call.last_fact_us.max(alive).min(now.wall_us),
                to_us: now.wall_us,
                reason,
            });
            watched.call.reconciled.push(said);
        }
    }

    fn open(&mut self, now: Now, id: CallId, mut call: OpenCall) {
        let former = self.calls.remove(&id);
        let first_mono = former.as_ref().map_or(now.mono_us, |w| w.first_mono);
        if let Some(old) = former {
            self.unindex(&id, &old);
            for said in old.call.reconciled {
                if !call.reconciled.contains(&said) {
                    call.reconciled.push(said);
                }
            }
        }
        for node in call.legs.iter().filter_map(|leg| leg.node.as_ref()) {
            self.by_node.entry(node.clone()).or_default().insert(id);
        }
        let deadline = self.call_deadline(&call, now.mono_us, first_mono);
        self.by_deadline.insert((deadline, id));
        self.calls.insert(id, Watched { call, heard_mono: now.mono_us, first_mono, deadline });
    }

    fn call_deadline(&self, call: &OpenCall, heard: u64, first: u64) -> u64 {
        let l = &self.limits;
        let mut at = first.saturating_add(l.longest_call_us);
        if call.settling || call.challenged_only {
            at = at.min(heard.saturating_add(l.challenge_after_us));
        } else if !call.legs.iter().any(|leg| leg.channel) {
            if call.channels_ended {
                at = at.min(heard.saturating_add(l.orphan_after_us));
            } else if !call.legs.iter().any(|leg| leg.answered) {
                at = at.min(heard.saturating_add(l.setup_after_us));
            }
        }
        at
    }

    fn orphan(&mut self, now: Now, id: CallId) {
        if self.calls.get(&id).is_some_and(|w| w.call.settling) {
            return self.forget(&id);
        }
        let Some(watched) = self.calls.get_mut(&id) else { return };
        let call = &watched.call;
        let reason = if call.challenged_only {
            "challenge_not_answered"
        } else if now.mono_us.saturating_sub(watched.first_mono) >= self.limits.longest_call_us {
            "longest_call_reached"
        } else if call.channels_ended {
            "edge_never_reported"
        } else {
            "setup_never_ended"
        };
        self.out.push_back(Verdict {
            call: id,
            kind: Kind::OrphanClosed,
            node: None,
            core_uuid: None,
            legs: call.legs.iter().map(|leg| leg.leg.clone()).collect(),
            from_us: call.last_fact_us.min(now.wall_us),
            to_us: now.wall_us,
            reason,
        });
        // Spoken once; the fact that comes back ends the call, and anything else that arrives sets a new deadline.
        watched.deadline = u64::MAX;
    }

    fn forget(&mut self, id: &CallId) {
        if let Some(old) = self.calls.remove(id) {
            self.unindex(id, &old);
        }
    }

    fn unindex(&mut self, id: &CallId, old: &Watched) {
        self.by_deadline.remove(&(old.deadline, *id));
        for node in old.call.legs.iter().filter_map(|leg| leg.node.as_ref()) {
            if let Some(calls) = self.by_node.get_mut(node) {
                calls.remove(id);
                if calls.is_empty() {
                    self.by_node.remove(node);
                }
            }
        }
    }
}

impl NodeSeen {
    fn new(now: Now) -> NodeSeen {
        NodeSeen {
            core_uuid: None,
            last_proof_us: 0,
            heartbeat_us: None,
            heard_mono: now.mono_us,
            last_beat_mono: None,
            link_down_mono: None,
            probe_up_mono: None,
            lost: None,
            epoch_changed_us: None,
        }
    }
}

#[cfg(test)]
mod tests;
