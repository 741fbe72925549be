//! Whether a new call may go on: what the edge has room for, what its trunk may do, what it may dial, and who is blocked.
//!
//! An emergency call (the whole dialled user part is in its trunk's list, or it is for `urn:service:sos`) passes overload, blocks and
//! dial permissions, and has a reserve of its own in the limits.

use domain::Now;
use schemas::SipDecision;
use sip::{Message, Uri};

use super::scanner;
use crate::core::control::{Number, Subject};
use crate::core::set_up::admit::Refusal;
use crate::core::set_up::invite::Invite;
use crate::core::topology::Peer;
use crate::core::{Action, Cx, Notice, Proxy};

impl Proxy {
    /// Whether a call from or to that trunk reaches for help.
    pub(in crate::core) fn is_emergency(&self, trunk: usize, m: &Message<'_>) -> bool {
        let Ok(uri) = Uri::parse(m.uri()) else { return false };
        let number = uri.number();
        uri.is_service_sos()
            || (!number.is_empty() && self.topology.trunks[trunk].emergency.iter().any(|n| n.as_bytes() == number))
    }

    /// Everything that can stand against a call before its route is looked for.
    pub(in crate::core) fn may_call(
        &mut self,
        cx: &Cx,
        m: &Message<'_>,
        invite: &Invite,
        decision: &mut SipDecision,
    ) -> Result<(), Refusal> {
        let Peer::Trunk(trunk) = cx.peer else {
            let open = self.topology.trunks.len();
            // A call of a node to an emergency number of any trunk is one.
            let is_emergency = (0..open).any(|t| self.is_emergency(t, m));
            return if is_emergency { Ok(()) } else { self.room(decision) };
        };
        decision.flood_score = Some(scanner::score(m)).filter(|score| *score > 0.0);
        if !self.topology.trunks[trunk].methods.allows(m.method()) {
            return Err(Refusal::new(405, "method"));
        }
        let is_emergency = self.is_emergency(trunk, m);
        if !is_emergency {
            self.room(decision)?;
        }
        self.limit(cx, trunk, is_emergency, decision)?;
        if is_emergency {
            self.counters.emergencies += 1;
            return Ok(());
        }
        self.blocks(cx, trunk, invite, decision)?;
        let parties = invite.parties();
        self.dialling(trunk, parties.account.as_deref(), parties.callee_e164.as_deref(), decision)
    }

    /// Whether the edge itself has too much to do.
    fn room(&mut self, decision: &mut SipDecision) -> Result<(), Refusal> {
        if !self.admission.overload.sheds(self.setting_up, self.config.limits.open_invites) {
            return Ok(());
        }
        decision.limit_rule = Some("edge/overload".to_owned());
        decision.limit_result = Some("limited".to_owned());
        self.counters.shed += 1;
        // Not all at the same time, and soon: it is the whole edge, so nobody else takes these calls.
        let retry_after = 1 + (self.random.next() % 3) as u32;
        Err(Refusal { retry_after: Some(retry_after), ..Refusal::new(503, "overload") })
    }

    fn limit(&mut self, cx: &Cx, trunk: usize, is_emergency: bool, decision: &mut SipDecision) -> Result<(), Refusal> {
        let state = &mut self.trunks[trunk];
        let asked = state.gate.admit(cx.now.mono_us, is_emergency);
        let limit = match asked {
            Err(held) => held.limit,
            Ok(_) if state.gate.has_cps() => "cps",
            Ok(_) if state.gate.has_calls() => "calls",
            Ok(_) => return Ok(()),
        };
        let settings = &self.topology.trunks[trunk];
        decision.limit_rule = Some(format!("trunk/{}/{limit}", settings.id));
        decision.limit_result = Some(if asked.is_ok() { "pass" } else { "limited" }.to_owned());
        decision.limit_tokens_left = match asked {
            Ok(left) => Some(left).filter(|left| left.is_finite()),
            Err(held) => Some(held.left),
        };
        if asked.is_ok() {
            return Ok(());
        }
        self.counters.limited += 1;
        if limit == "cps" && cx.hop.flow.is_none() {
            state.above_cps += 1;
        }
        Err(Refusal::new(settings.limit_status, "limit"))
    }

    fn blocks(&mut self, cx: &Cx, trunk: usize, invite: &Invite, decision: &mut SipDecision) -> Result<(), Refusal> {
        let parties = invite.parties();
        let number = |raw: &'_ Option<String>| raw.clone().unwrap_or_default();
        let (caller, callee) = (number(&parties.caller_raw), number(&parties.callee_raw));
        let trunk = &self.topology.trunks[trunk];
        let subject = Subject {
            trunk: &trunk.id,
            account: parties.account.as_deref(),
            source: cx.hop.addr,
            caller: Number { raw: &caller, e164: parties.caller_e164.as_deref() },
            callee: Number { raw: &callee, e164: parties.callee_e164.as_deref() },
        };
        let mut verdict = self.control.judge(cx.now.wall_us, &subject);
        if trunk.pinned {
            // Whoever wrote it: on a pinned trunk every rule only shows what it would have done.
            verdict.shadow.extend(verdict.enforced.take());
        }
        decision.block_version.clone_from(&self.control.block_version);
        decision.shadow_blocks = verdict.shadow.iter().map(|r| r.key.clone()).collect();
        self.counters.shadow_hits += verdict.shadow.len() as u64;
        let Some(rule) = verdict.enforced else { return Ok(()) };
        decision.block_id = Some(rule.key.clone());
        decision.block_mode = Some("enforce".to_owned());
        self.counters.blocked += 1;
        Err(Refusal::new(rule.status, "block"))
    }

    fn dialling(
        &mut self,
        trunk: usize,
        account: Option<&str>,
        number: Option<&str>,
        decision: &mut SipDecision,
    ) -> Result<(), Refusal> {
        let Some(number) = number else { return Ok(()) };
        let Err(denied) = self.admission.dial.judge(&self.topology.trunks[trunk].id, account, number) else {
            return Ok(());
        };
        decision.acl_rule = Some(denied.rule);
        decision.acl_result = Some("deny".to_owned());
        self.counters.not_dialled += 1;
        Err(Refusal::new(403, "dial"))
    }

    /// Whether a call from a node may go to that trunk: its calls at once and per second, and what may be dialled by it. `again`: it
    /// comes with the answer to that trunk's challenge, and is counted already.
    pub(in crate::core) fn trunk_takes(
        &mut self,
        now: Now,
        (trunk, again): (usize, bool),
        m: &Message<'_>,
        raw: &str,
        decision: &mut SipDecision,
    ) -> Result<(), Refusal> {
        if self.is_emergency(trunk, m) {
            return Ok(());
        }
        let settings = &self.topology.trunks[trunk];
        let gate = &mut self.trunks[trunk].gate;
        if let Err(limit) = gate.may_send(now.mono_us, again) {
            gate.passed_over();
            self.counters.limited_out += 1;
            decision.limit_rule.get_or_insert_with(|| format!("trunk/{}/{limit}", settings.id));
            decision.limit_result = Some("limited".to_owned());
            return Err(Refusal::new(settings.limit_status, "limit"));
        }
        let number = match &settings.policy.numbers {
            Some(numbers) => numbers.dialled(raw),
            None => domain::normalize_number(raw),
        };
        let account = settings.account.clone();
        self.dialling(trunk, account.as_deref(), number.as_deref(), decision)
    }

    /// A call more for the trunk at either end of it.
    pub(in crate::core) fn trunk_call_begins(&mut self, caller: Peer, callee: Peer) {
        for trunk in [caller, callee].into_iter().filter_map(crate::core::receive::trunk_index) {
            self.trunks[trunk].gate.call_begins();
        }
    }

    pub(in crate::core) fn trunk_call_ends(&mut self, caller: Peer, callee: Peer) {
        for trunk in [caller, callee].into_iter().filter_map(crate::core::receive::trunk_index) {
            self.trunks[trunk].gate.call_ends();
        }
    }

    /// The same of its limits alone, for a carrier that a call comes to after another: they may have filled since it came.
    pub(in crate::core) fn carrier_has_room(&self, now: Now, (trunk, again): (usize, bool), m: &Message<'_>) -> bool {
        self.trunks[trunk].gate.may_send(now.mono_us, again).is_ok() || self.is_emergency(trunk, m)
    }

    /// Calls that an earlier life let in, for the calls per second.
    pub(in crate::core) fn remember_admitted(&mut self, caller: Peer, received: Now, now: Now) {
        if let Peer::Trunk(trunk) = caller
            && received.mono_us + 1_000_000 > now.mono_us
        {
            self.trunks[trunk].gate.remember(received.mono_us);
        }
    }

    /// And that it sent to a carrier.
    pub(in crate::core) fn remember_sent(&mut self, callee: Peer, received: Now) {
        if let Peer::Trunk(trunk) = callee {
            self.trunks[trunk].gate.remember_sent(received.mono_us);
        }
    }

    /// For the adapter: for how long its sockets were never empty.
    pub fn note_standing(&mut self, now: Now, standing_us: u64) {
        let c = &self.counters;
        let useless = c.denied_packets + c.malformed + c.above_rate + c.retransmissions_in;
        self.admission.overload.note(now.mono_us, standing_us, c.packets_in, useless);
    }

    /// Once a second.
    pub(in crate::core) fn watch_trunks(&mut self, now: Now) {
        for (trunk, state) in self.trunks.iter_mut().enumerate() {
            if state.second(now.mono_us) {
                let trunk = self.topology.trunks[trunk].id.clone();
                self.out.push_back(Action::Notice(Box::new(Notice::Flood { trunk })));
            }
        }
    }
}
