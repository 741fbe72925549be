//! The machine's side of the dispatcher: which node a call goes to, and what its end says about that node.

use domain::Now;
use schemas::{SipCandidate, SipDecision};
use sip::Message;

use crate::core::Proxy;
use crate::core::control::Wanted;
use crate::core::dispatch::{Algorithm, Candidate, Nodes, Outcome, Pool, is_nodes_fault, key_of_uri};
use crate::core::set_up::invite::{Branch, End, Invite, Route};
use crate::core::topology::Peer;

impl Proxy {
    pub(in crate::core) fn nodes(&self) -> Nodes<'_> {
        Nodes { settings: &self.topology.nodes, health: &self.health, standing: &self.nodes }
    }

    /// Whether a pool has a node for a new call now.
    pub(in crate::core) fn has_node(&self, pool: usize) -> bool {
        Pool::has_any(&self.topology.pools[pool], self.nodes(), |_| false)
    }

    /// The same, beside those that the call was sent to already.
    pub(in crate::core) fn has_other_node(&self, pool: usize, tried: &[Peer]) -> bool {
        Pool::has_any(&self.topology.pools[pool], self.nodes(), |n| tried.contains(&Peer::Node(n)))
    }

    pub(in crate::core) fn next_node(
        &mut self,
        now: Now,
        pool: usize,
        invite: &Invite,
        forced: Option<Peer>,
        m: &Message<'_>,
        decision: &mut SipDecision,
    ) -> Option<Peer> {
        let spec = &self.topology.pools[pool];
        decision.pool = Some(spec.id.clone());
        if let Some(Peer::Node(n)) = forced
            && !self.nodes[n].is_out(&self.topology.nodes[n], &self.health[n])
        {
            decision.algorithm = Some("same_as_challenged".to_owned());
            decision.candidates = vec![self.candidate(Peer::Node(n), 1.0)];
            return forced;
        }
        let key = if spec.algorithm == Algorithm::Hash { spec.hash_by.key(m) } else { 0 };
        let nodes = Nodes { settings: &self.topology.nodes, health: &self.health, standing: &self.nodes };
        let tried = |n| invite.tried.contains(&Peer::Node(n));
        let choice = self.pools[pool].choose(now.mono_us, spec, nodes, tried, key)?;
        let at_work = &self.pools[pool];
        let algorithm = spec.algorithm.as_str();
        decision.algorithm = Some(if at_work.panics { format!("{algorithm} (panic)") } else { algorithm.to_owned() });
        let candidate = |c: &Candidate| {
            let view = at_work.view(c.at);
            SipCandidate {
                id: self.topology.nodes[spec.members[c.at]].id.clone(),
                score: c.score,
                weight: Some(view.weight),
                state: Some(view.evidence.as_str().to_owned()),
                calls: i32::try_from(view.used).ok(),
            }
        };
        decision.candidates = choice.top().iter().map(candidate).collect();
        Some(Peer::Node(spec.members[choice.chosen]))
    }

    /// The registrar of a user: the same one as long as it is there.
    pub(in crate::core) fn choose_registrar(&mut self, now: Now, aor: &[u8], tried: &[usize]) -> Option<usize> {
        let pool = self.topology.registrar_pool();
        let spec = &self.topology.pools[pool];
        let nodes = Nodes { settings: &self.topology.nodes, health: &self.health, standing: &self.nodes };
        let key = key_of_uri(aor);
        let choice = self.pools[pool].choose(now.mono_us, spec, nodes, |n| tried.contains(&n), key)?;
        Some(spec.members[choice.chosen])
    }

    /// Whether that end of an attempt calls for another one.
    pub(in crate::core) fn follows(&self, route: &Route, end: End) -> bool {
        match route {
            Route::Pool(pool) => self.topology.pools[*pool].failover.follows(end),
            _ => end.fails_over(),
        }
    }

    /// Whether one more next hop may be asked for a call.
    pub(in crate::core) fn may_try_again(&self, now: Now, invite: &Invite) -> bool {
        match invite.route {
            Route::Pool(pool) => self.topology.pools[pool].failover.allows(invite.branches.len(), invite.since(now)),
            _ => (invite.branches.len() as u32) < self.config.limits.attempts,
        }
    }

    /// The first sign of life of an attempt.
    pub(in crate::core) fn note_latency(&mut self, branch: &Branch, since: u64) {
        if let Peer::Node(n) = branch.target {
            self.nodes[n].latency.note(since.saturating_sub(branch.facts.forwarded));
        }
    }

    /// An attempt has ended, with or without an answer.
    pub(in crate::core) fn note_outcome(&mut self, now: Now, target: Peer, end: Option<End>, heard: bool) {
        let Peer::Node(n) = target else { return };
        let outcome = match end {
            None => Outcome::Good,
            Some(End::NoFirstResponse | End::TimedOut) => Outcome::Silent,
            Some(end) if is_nodes_fault(end) => Outcome::Failed,
            Some(End::Status { .. }) => Outcome::Good,
            Some(_) if heard => Outcome::Good,
            Some(_) => return,
        };
        self.nodes[n].breaker.note(now.mono_us, outcome);
        if outcome != Outcome::Good {
            self.judge_node(now, n);
        }
    }

    /// Compares a node's failures with its pool's.
    pub(in crate::core) fn judge_node(&mut self, now: Now, node: usize) {
        let pool = self.topology.nodes[node].pool_at;
        let spec = &self.topology.pools[pool];
        let nodes = Nodes { settings: &self.topology.nodes, health: &self.health, standing: &self.nodes };
        let median = self.pools[pool].median(now.mono_us, spec, nodes);
        let share = self.nodes[node].breaker.share(now.mono_us);
        if self.nodes[node].breaker.judge(now.mono_us, median, &self.config.breaker) {
            self.counters.breakers_opened += 1;
            let reason = format!(
                "failed {} of its last {} calls, its pool's median is {:.0} %",
                share.failed,
                share.calls,
                median.unwrap_or_default() * 100.0
            );
            self.tell_anyway(now, node, &reason);
        }
    }

    /// Once a second: what ages by itself.
    pub(in crate::core) fn look_after_nodes(&mut self, now: Now) {
        self.refresh_wanted(now);
        for node in 0..self.nodes.len() {
            if self.nodes[node].breaker.tick(now.mono_us) {
                self.nodes[node].ramp.begin(now.mono_us);
                self.tell_anyway(now, node, "it gets calls again, few at first");
            }
            if self.nodes[node].breaker.share(now.mono_us).failed > 0 || self.nodes[node].breaker.cut() < 1.0 {
                self.judge_node(now, node);
            }
        }
    }

    /// What the control topics and the settings want of each node. An operator's record beats the settings, a program's does
    /// not bring a node back that they take out.
    pub(in crate::core) fn refresh_wanted(&mut self, now: Now) {
        for node in 0..self.nodes.len() {
            let settings = &self.topology.nodes[node];
            let mut wanted = self.control.weight(&settings.id, now.wall_us, self.times.weight_max_age);
            let gone = settings.gone.is_some();
            if gone {
                wanted.state = Wanted::Disabled;
            } else if !wanted.ordered && settings.state != Wanted::Active {
                wanted.state = settings.state;
            }
            if std::mem::replace(&mut self.nodes[node].wanted, wanted).state != wanted.state {
                let reason = match wanted.ordered {
                    _ if gone => "it is no longer in the settings",
                    true => "an operator's order",
                    false => "the settings",
                };
                self.tell_state(now, node, reason);
            }
        }
    }

    /// Tells when the state of a node is another one than was told last.
    pub(in crate::core) fn tell_state(&mut self, now: Now, node: usize, reason: &str) {
        let state = self.nodes[node].state(&self.health[node]);
        let before = std::mem::replace(&mut self.nodes[node].told, state);
        if before != state && !before.is_empty() {
            self.report_node(now, node, Some((before, reason)));
        }
    }
    /// Tells something of a node whose state has not changed.
    fn tell_anyway(&mut self, now: Now, node: usize, reason: &str) {
        let told = self.nodes[node].told;
        self.report_node(now, node, Some((told, reason)));
    }
}
