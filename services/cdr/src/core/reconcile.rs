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

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A node is silent after this, or after 2.5 of its heartbeats when that is longer.
    pub silence_us: u64,
    /// How long an "up" from the edge's probes counts; its summaries come every 5 s.
    pub probe_trust_us: u64,
    /// Used while the heartbeat's period is not known yet.
    pub unknown_silence_us: u64,
    pub orphan_after_us: u64,
    pub challenge_after_us: u64,
    /// An INVITE that is not answered cannot live longer than Timer C and its transaction.
    pub setup_after_us: u64,
    pub longest_call_us: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const S: u64 = 1_000_000;
        Limits {
            silence_us: 3 * S,
            probe_trust_us: 6 * S,
            unknown_silence_us: 8 * S,
            orphan_after_us: 60 * S,
            challenge_after_us: 40 * S,
            setup_after_us: 240 * S,
            longest_call_us: 24 * 3600 * S,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLeg {
    pub leg: String,
    pub node: Option<String>,
    pub core_uuid: Option<String>,
    /// An engine sees a channel of this leg.
    pub channel: bool,
    pub answered: bool,
}

/// What the fold knows of a call that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCall {
    pub started_us: i64,
    pub last_fact_us: i64,
    pub legs: Vec<OpenLeg>,
    /// All that happened was a challenge: the caller may come back with credentials.
    pub challenged_only: bool,
    /// Channels were seen and all of them have ended.
    pub channels_ended: bool,
    /// The call is over: its node did not answer the BYE, and whether it was dead by then shows soon or never.
    pub settling: bool,
    /// The reconciler has spoken about these nodes (and boots) already.
    pub reconciled: Vec<(String, Option<String>)>,
}

#[derive(Debug, Clone)]
pub enum Input {
    /// A call is open in this form.
    Open(CallId, OpenCall),
    /// A call has ended.
    Ended(CallId),
    Heartbeat {
        node: String,
        core_uuid: Option<String>,
        at_us: i64,
        /// Time since the beat before, as the engine measured it.
        every_us: Option<u64>,
    },
    /// The engine's link to the node.
    Link { node: String, up: bool, at_us: i64 },
    /// The edge's opinion of the node.
    Probe { node: String, up: bool, at_us: i64 },
    /// Any event of a channel on the node.
    Channel { node: String, core_uuid: Option<String>, at_us: i64 },
    /// Look at the clock. `fresh`: the consumer has caught up with the log.
    Tick { fresh: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    NodeLost,
    OrphanClosed,
}

impl Kind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::NodeLost => "node_lost",
            Kind::OrphanClosed => "orphan_closed",
        }
    }
}

/// One event to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub call: CallId,
    pub kind: Kind,
    pub node: Option<String>,
    pub core_uuid: Option<String>,
    /// Legs that this closes.
    pub legs: Vec<String>,
    /// The call ended between these two: the last proof of life, and now.
    pub from_us: i64,
    pub to_us: i64,
    pub reason: &'static str,
}

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
        if call.settling {
            at = at.min(heard.saturating_add(l.challenge_after_us));
        } else if call.challenged_only {
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
mod tests {
    use super::*;

    const S: u64 = 1_000_000;
    const START: Now = Now { wall_us: 1_800_000_000_000_000, mono_us: 500 * S };

    fn at(s10: u64) -> Now {
        START.plus_us(s10 * S / 10)
    }

    fn call(n: u8) -> CallId {
        CallId::new(START.wall_us, [n; 10])
    }

    fn open_on(node: &str, core: Option<&str>, now: Now) -> OpenCall {
        OpenCall {
            started_us: now.wall_us,
            last_fact_us: now.wall_us,
            legs: vec![OpenLeg {
                leg: "l1".into(),
                node: Some(node.into()),
                core_uuid: core.map(Into::into),
                channel: core.is_some(),
                answered: true,
            }],
            challenged_only: false,
            channels_ended: false,
            settling: false,
            reconciled: vec![],
        }
    }

    fn beat(r: &mut Reconciler, node: &str, core: &str, now: Now) {
        r.handle(
            now,
            Input::Heartbeat { node: node.into(), core_uuid: Some(core.into()), at_us: now.wall_us, every_us: None },
        );
    }

    /// Beats every second up to `last`, one open call.
    fn running(last: u64) -> Reconciler {
        let mut r = Reconciler::new(Limits::default());
        for s in 0..=last {
            beat(&mut r, "fs1", "core-a", at(s * 10));
        }
        r.handle(at(last * 10), Input::Open(call(1), open_on("fs1", Some("core-a"), at(10))));
        r
    }

    fn verdicts(r: &mut Reconciler, now: Now) -> Vec<Verdict> {
        r.handle(now, Input::Tick { fresh: true });
        std::iter::from_fn(|| r.poll()).collect()
    }

    #[test]
    fn calls_of_a_silent_node_are_closed_once_within_ten_seconds_with_the_interval() {
        let mut r = running(5);
        assert!(verdicts(&mut r, at(79)).is_empty(), "2.9 s of silence are allowed");
        let closed = verdicts(&mut r, at(82));
        assert_eq!(closed.len(), 1);
        assert_eq!((closed[0].kind, closed[0].reason), (Kind::NodeLost, "heartbeat_silence"));
        assert_eq!((closed[0].from_us, closed[0].to_us), (at(50).wall_us, at(82).wall_us));
        assert_eq!(closed[0].legs, vec!["l1".to_owned()]);
        assert!(verdicts(&mut r, at(120)).is_empty(), "said once");
    }

    #[test]
    fn nothing_is_decided_while_the_log_is_still_being_caught_up() {
        let mut r = running(5);
        r.handle(at(900), Input::Tick { fresh: false });
        assert!(r.poll().is_none());
    }

    #[test]
    fn a_lost_link_alone_closes_nothing_while_probes_answer() {
        let mut r = running(5);
        r.handle(at(51), Input::Link { node: "fs1".into(), up: false, at_us: at(51).wall_us });
        for s in 5..30 {
            r.handle(at(s * 10), Input::Probe { node: "fs1".into(), up: true, at_us: at(s * 10).wall_us });
            assert!(verdicts(&mut r, at(s * 10 + 5)).is_empty());
        }
        r.handle(at(300), Input::Probe { node: "fs1".into(), up: false, at_us: at(300).wall_us });
        assert_eq!(verdicts(&mut r, at(301)).len(), 1, "the probes failed too");
    }

    #[test]
    fn a_new_boot_closes_the_calls_of_the_old_one_at_once_and_no_other() {
        let mut r = running(5);
        beat(&mut r, "fs1", "core-b", at(57));
        r.handle(at(57), Input::Open(call(2), open_on("fs1", Some("core-b"), at(57))));
        let closed = verdicts(&mut r, at(58));
        assert_eq!(closed.len(), 1);
        assert_eq!(
            (closed[0].call, closed[0].reason, closed[0].core_uuid.as_deref()),
            (call(1), "new_epoch", Some("core-a"))
        );
        assert_eq!(closed[0].from_us, at(10).wall_us, "the new boot is no proof of life for the old one");
    }

    #[test]
    fn a_late_event_of_the_old_boot_does_not_bring_it_back() {
        let mut r = running(5);
        beat(&mut r, "fs1", "core-b", at(57));
        r.handle(
            at(58),
            Input::Channel { node: "fs1".into(), core_uuid: Some("core-a".into()), at_us: at(49).wall_us },
        );
        r.handle(at(58), Input::Open(call(2), open_on("fs1", Some("core-b"), at(57))));
        assert_eq!(verdicts(&mut r, at(59)).iter().map(|v| v.call).collect::<Vec<_>>(), vec![call(1)]);
    }

    #[test]
    fn a_slow_heartbeat_is_not_silence() {
        let mut r = Reconciler::new(Limits::default());
        for s in 0..4 {
            beat(&mut r, "fs1", "core-a", at(s * 50));
        }
        r.handle(at(150), Input::Open(call(1), open_on("fs1", Some("core-a"), at(150))));
        assert!(verdicts(&mut r, at(260)).is_empty(), "11 s after a beat with a period of 5 s");
        assert_eq!(verdicts(&mut r, at(280)).len(), 1);
    }

    #[test]
    fn a_node_that_was_never_heard_is_never_declared_dead() {
        let mut r = Reconciler::new(Limits::default());
        r.handle(at(0), Input::Open(call(1), open_on("quiet", None, at(0))));
        assert!(verdicts(&mut r, at(1000)).is_empty());
    }

    #[test]
    fn a_call_heard_of_just_now_is_left_to_the_edge_that_is_moving_it() {
        let mut r = running(5);
        r.handle(at(81), Input::Open(call(2), open_on("fs1", None, at(81))));
        assert_eq!(verdicts(&mut r, at(82)).iter().map(|v| v.call).collect::<Vec<_>>(), vec![call(1)]);
        assert_eq!(verdicts(&mut r, at(112)).iter().map(|v| v.call).collect::<Vec<_>>(), vec![call(2)]);
    }

    #[test]
    fn orphans_are_closed_after_their_own_time_and_only_when_the_engine_saw_the_end() {
        let mut r = Reconciler::new(Limits::default());
        let mut edge_only = open_on("n", None, at(0));
        edge_only.legs[0].channel = false;
        r.handle(at(0), Input::Open(call(1), edge_only.clone()));
        edge_only.channels_ended = true;
        r.handle(at(0), Input::Open(call(2), edge_only.clone()));
        edge_only.challenged_only = true;
        r.handle(at(0), Input::Open(call(3), edge_only));
        assert!(verdicts(&mut r, at(399)).is_empty());
        assert_eq!(verdicts(&mut r, at(401))[0].reason, "challenge_not_answered");
        let closed = verdicts(&mut r, at(601));
        assert_eq!((closed.len(), closed[0].call, closed[0].reason), (1, call(2), "edge_never_reported"));
        assert!(verdicts(&mut r, at(36_000)).is_empty(), "an answered call without an engine may last");
    }

    #[test]
    fn a_call_whose_bye_was_not_answered_is_lost_when_its_node_is_and_forgotten_when_not() {
        let mut r = running(5);
        let mut over = open_on("fs1", Some("core-a"), at(50));
        over.settling = true;
        r.handle(at(50), Input::Open(call(2), over.clone()));
        r.handle(at(50), Input::Ended(call(1)));
        assert_eq!(verdicts(&mut r, at(82)).iter().map(|v| v.call).collect::<Vec<_>>(), vec![call(2)]);

        let mut alive = running(5);
        alive.handle(at(50), Input::Ended(call(1)));
        alive.handle(at(50), Input::Open(call(2), over));
        for s in 6..60 {
            beat(&mut alive, "fs1", "core-a", at(s * 10));
            assert!(verdicts(&mut alive, at(s * 10)).is_empty());
        }
        assert_eq!(alive.open_calls(), 0, "forgotten without a verdict");
    }

    #[test]
    fn ended_calls_leave_no_trace() {
        let mut r = running(5);
        r.handle(at(51), Input::Ended(call(1)));
        assert_eq!((r.open_calls(), r.by_node.len(), r.by_deadline.len()), (0, 0, 0));
        assert!(verdicts(&mut r, at(900)).is_empty());
    }
}
