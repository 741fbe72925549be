//! Responses to a forwarded INVITE, its timers, and the choice of the one final response that goes upstream.

use bytes::Bytes;
use domain::Now;
use sip::edit::{ack_non_2xx, forward_response};
use sip::transaction::{Action, ClientInput, InviteClientState, InviteServerState, ServerInput};
use sip::{Index, Message, Name};

use crate::config::Late2xx;
use crate::core::set_up::cancel::Why;
use crate::core::set_up::challenge::{Challenges, Continuation};
use crate::core::set_up::choice::{Choice, Circumstances, choose};
use crate::core::set_up::invite::{Branch, Cancel, End, Gone, Invite, Kind, Success};
use crate::core::slab::Slot;
use crate::core::telling::facts;
use crate::core::topology::Peer;
use crate::core::{Cx, Proxy};

/// Every header of the platform's own: between us and the nodes, and nobody else's to write.
pub(in crate::core) const INTERNAL: &str = "X-Trunkline-*";
/// Left out of every request and response that goes on.
pub(in crate::core) const STRIP: &[&str] = &[INTERNAL];
/// When a 503 becomes a 500 its advice to stay away goes too: it was about one next hop, not about us.
const STRIP_503: &[&str] = &[INTERNAL, "Retry-After"];

/// Different 2xx to one INVITE. A callee that forks reaches a few phones; who sends more than this wants to fill memory.
const MOST_SUCCESSES: usize = 16;

impl Proxy {
    pub(in crate::core) fn invite_response(
        &mut self,
        cx: &Cx,
        slot: Slot,
        invite: &mut Invite,
        at: usize,
        m: &Message<'_>,
    ) {
        let status = m.status();
        let since = invite.since(cx.now);
        invite.note_response(status, cx.now);
        if invite.kind == Kind::Initial && invite.branches[at].facts.first_response.is_none() {
            self.note_latency(&invite.branches[at], since);
        }
        let branch = &mut invite.branches[at];
        branch.facts.first_response.get_or_insert(since);
        branch.first_by = u64::MAX;
        branch.client.handle(cx.now.mono_us, ClientInput::Response(status));
        self.shunned.forgive(branch.hop.addr);
        let mut wants_ack = false;
        while let Some(action) = branch.client.poll() {
            wants_ack |= action == Action::Ack;
        }
        // A transaction that timer B ended knows no ACK any more, but its CANCEL may have brought this failure about.
        wants_ack |= status >= 300 && branch.client.state() == InviteClientState::Ended;
        if wants_ack {
            self.acknowledge(&invite.branches[at], m);
        }
        match status {
            100..=199 => self.provisional(cx, invite, at, m),
            200..=299 => self.success(cx, invite, at, m),
            _ => self.failure(cx, slot, invite, at, m),
        }
    }

    fn provisional(&mut self, cx: &Cx, invite: &mut Invite, at: usize, m: &Message<'_>) {
        let status = m.status();
        let since = invite.since(cx.now);
        let branch = &mut invite.branches[at];
        // One that overtook or outlived the final response says nothing new.
        if branch.answered || branch.response.is_some() {
            return;
        }
        if status > 100 {
            branch.ring_by = cx.now.mono_us + self.times.timer_c;
            branch.facts.ringing.get_or_insert(since);
        }
        let given_up = branch.abandoned || branch.end.is_some() || invite.finished.is_some();
        if given_up || matches!(branch.cancel, Cancel::Wanted) {
            self.cancel_branch(cx.now, invite, at);
        }
        if given_up || status == 100 {
            return;
        }
        match status {
            180 => drop(invite.times.first_180.get_or_insert(since)),
            183 if !m.body().is_empty() => drop(invite.times.first_183_sdp.get_or_insert(since)),
            _ => {}
        }
        if (180..190).contains(&status) {
            invite.times.first_18x.get_or_insert(since);
        }
        let (bytes, _) = self.upstream_of(invite, at, m, None);
        self.respond(cx.now, invite, status, bytes);
    }

    /// A 2xx goes upstream at once, also a further one (RFC 3261 §16.7), until a final failure went.
    fn success(&mut self, cx: &Cx, invite: &mut Invite, at: usize, m: &Message<'_>) {
        if let Some(known) = invite.branches[at].successes.iter().find(|s| s.to_tag == m.to_tag()) {
            // The callee repeats its 2xx until the ACK arrives: end to end, unless we are the one who acknowledges it.
            return match known.ack.clone() {
                Some((hop, ack)) => self.send(hop, ack),
                None => self.pass_upstream(cx, invite, at, m),
            };
        }
        if invite.finished.is_some_and(|status| status < 300) && self.is_resumed(invite, at, m) {
            let known = Success { to_tag: m.to_tag().to_vec(), ack: None };
            invite.branches[at].successes.push(known);
            return self.pass_upstream(cx, invite, at, m);
        }
        if invite.branches.iter().map(|b| b.successes.len()).sum::<usize>() >= MOST_SUCCESSES {
            return self.note_rejected(cx, m, "too_many_answers", None);
        }
        self.recall(invite);
        match (invite.finished, self.answers_once(invite, at)) {
            (None, _) => self.relay_answer(cx, invite, at, m, false),
            (Some(300..), _) => self.release_answer(cx, invite, at, m, None),
            (Some(_), rule @ Some(_)) => self.release_answer(cx, invite, at, m, rule),
            // 64 × T1 after the first one the caller's transaction is over, and so is ours.
            (Some(_), _) if invite.server.state() == InviteServerState::Ended => {
                self.release_answer(cx, invite, at, m, None);
            }
            (Some(_), None) => self.relay_answer(cx, invite, at, m, true),
        }
    }

    /// A 2xx that went upstream before goes again.
    fn pass_upstream(&mut self, cx: &Cx, invite: &mut Invite, at: usize, m: &Message<'_>) {
        let (bytes, _) = self.upstream_of(invite, at, m, None);
        self.respond(cx.now, invite, m.status(), bytes);
    }

    /// A further answer that went upstream before a restart: its dialog is known, the INVITE is not told of it.
    fn is_resumed(&self, invite: &Invite, at: usize, m: &Message<'_>) -> bool {
        let dialog = self.dialogs.find(m.call_id(), m.from_tag(), m.to_tag()).and_then(|slot| self.dialogs.get(slot));
        dialog.is_some_and(|d| d.late && d.attempt == invite.branches[at].attempt)
    }

    /// The setting by which a trunk wants no second answer.
    fn answers_once(&self, invite: &Invite, at: usize) -> Option<String> {
        let trunk =
            [invite.peer, invite.branches[at].target].into_iter().find_map(crate::core::receive::trunk_index)?;
        let trunk = &self.topology.trunks[trunk];
        (trunk.late_2xx == Late2xx::EdgeBye).then(|| format!("trunk/{}/late_2xx", trunk.id))
    }

    fn relay_answer(&mut self, cx: &Cx, invite: &mut Invite, at: usize, m: &Message<'_>, late: bool) {
        let since = invite.since(cx.now);
        let (bytes, interval) = self.upstream_of(invite, at, m, None);
        let branch = &mut invite.branches[at];
        branch.successes.push(Success { to_tag: m.to_tag().to_vec(), ack: None });
        branch.answered = true;
        branch.end = None;
        branch.facts.finished = Some(since);
        branch.facts.status = Some(m.status());
        branch.facts.to_tag = Some(facts::text(m.to_tag()));
        let target = branch.target;
        // The branch's call goes over to the dialog, which gives it back at its end.
        let counted = std::mem::take(&mut branch.counted);
        if !late {
            invite.finished = Some(m.status());
            invite.times.finished = Some(since);
            self.setting_up -= 1;
        }
        if invite.kind == Kind::Initial {
            self.note_outcome(cx.now, target, None, true);
            if let Peer::Node(n) = target {
                self.nodes[n].answered += 1;
                if !counted {
                    // Given up for another one, or a second dialog: a call more than was counted.
                    self.nodes[n].calls_now += 1;
                    self.nodes[n].attempts += 1;
                }
            }
            if !counted {
                self.trunk_call_begins(invite.peer, target);
            }
            self.open_dialog(cx.now, invite, at, m, late);
            if late {
                self.counters.late_answers += 1;
                self.tell_late(cx.now, invite, at, m, schemas::grammar::FORWARDED, None);
            } else {
                self.counters.answered += 1;
                self.tell_answered(cx.now, invite, at, m);
            }
        } else if !late {
            self.note_hold(cx.now, invite.dialog, invite.offer.as_deref());
            self.tell_in_dialog(cx.now, invite, at, Some(m));
        }
        self.watch_session(cx.now, invite.ways_back(at), m, interval);
        self.respond(cx.now, invite, m.status(), bytes);
        self.cancel_others(cx.now, invite, at);
        invite.branches[at].rest();
    }

    /// Nobody else is to ring any more.
    fn cancel_others(&mut self, now: Now, invite: &mut Invite, but: usize) {
        for other in 0..invite.branches.len() {
            if other != but && invite.branches[other].end.is_none() && !invite.branches[other].answered {
                self.cancel_branch(now, invite, other);
            }
        }
    }

    fn failure(&mut self, cx: &Cx, slot: Slot, invite: &mut Invite, at: usize, m: &Message<'_>) {
        let since = invite.since(cx.now);
        let branch = &mut invite.branches[at];
        let counts = branch.end.is_none() || (branch.abandoned && branch.response.is_none());
        if branch.answered || !counts {
            return;
        }
        let end = End::Status { status: m.status(), q850: facts::has_q850(m) };
        branch.response = Some(Bytes::copy_from_slice(m.bytes()));
        branch.facts.status = Some(m.status());
        branch.facts.to_tag = Some(facts::text(m.to_tag()));
        branch.facts.finished = Some(since);
        if let (Peer::Node(n), 500..=599) = (branch.target, m.status()) {
            self.nodes[n].failed_5xx += 1;
        }
        self.end_branch(cx.now, invite, at, end);
        if m.status() >= 600 {
            // Whoever else is asked would say the same (RFC 3261 §16.7 step 5).
            self.cancel_others(cx.now, invite, at);
        }
        self.settle(cx.now, slot, invite);
    }

    /// A failure is acknowledged hop by hop, each copy of it.
    fn acknowledge(&mut self, branch: &Branch, response: &Message<'_>) {
        let mut ack = Vec::with_capacity(400);
        let mut index = self.scratch.take().unwrap_or_default();
        if let Ok(sent) = index.parse(&branch.sent) {
            ack_non_2xx(&sent, response, &mut ack);
            self.send(branch.hop, ack.into());
        }
        self.scratch = Some(index);
    }

    /// Notes that a branch is over and gives back what it held.
    pub(in crate::core) fn end_branch(&mut self, now: Now, invite: &mut Invite, at: usize, end: End) {
        let branch = &mut invite.branches[at];
        branch.end = Some(end);
        branch.first_by = u64::MAX;
        branch.ring_by = u64::MAX;
        let counted = std::mem::take(&mut branch.counted);
        let (target, heard) = (branch.target, branch.facts.first_response.is_some());
        if invite.kind == Kind::Initial {
            self.note_outcome(now, target, Some(end), heard);
        }
        if let (Peer::Node(n), End::NoFirstResponse | End::TimedOut) = (target, end) {
            self.nodes[n].timeouts += 1;
        }
        self.uncount(invite.peer, target, counted);
    }

    pub(in crate::core) fn uncount(&mut self, caller: Peer, target: Peer, counted: bool) {
        if counted {
            self.trunk_call_ends(caller, target);
        }
        if let (Peer::Node(n), true) = (target, counted) {
            self.nodes[n].calls_now -= 1;
            self.nodes[n].ended += 1;
        }
    }

    /// After a branch ended: wait for the others, try the next hop, or answer.
    pub(in crate::core) fn settle(&mut self, now: Now, slot: Slot, invite: &mut Invite) {
        if invite.finished.is_some() || invite.branches.iter().any(Branch::waits) {
            return;
        }
        let declined = invite.branches.iter().any(|b| b.facts.status.is_some_and(|s| s >= 600));
        if !invite.cancelled && !declined && invite.kind == Kind::Initial && invite.timer_fired != Some("C") {
            let last = invite.branches.last().and_then(|b| b.end);
            self.shun_silent(now, invite);
            if let Some(end) = last.filter(|&end| self.follows(&invite.route, end))
                && self.fail_over(now, slot, invite, end.label())
            {
                let before = invite.branches.len() - 2;
                invite.branches[before].facts.failover_reason = Some(end.label());
                return;
            }
        }
        self.finish(now, invite);
    }

    /// An address of a carrier that said nothing is not the first that the next call tries.
    fn shun_silent(&mut self, now: Now, invite: &Invite) {
        let silent = |b: &&Branch| matches!(b.end, Some(End::NoFirstResponse | End::TimedOut | End::Unreachable));
        if let Some(branch) = invite.branches.last().filter(silent)
            && matches!(branch.target, Peer::Trunk(_))
        {
            self.shunned.note(now.mono_us, branch.hop.addr);
        }
    }

    /// Sends the final response: the best of what came, or one of our own when nothing did.
    fn finish(&mut self, now: Now, invite: &mut Invite) {
        let choice = self.choose(invite);
        let mut index = self.scratch.take().unwrap_or_default();
        let chosen = match choice {
            Choice::Received(at) => Some(at),
            Choice::Own(_) => None,
        };
        let stored = chosen.and_then(|at| Some((at, invite.branches[at].response.clone()?)));
        let (status, bytes, response) = match stored.as_ref().map(|(at, bytes)| (*at, index.parse(bytes))) {
            Some((at, Ok(m))) => {
                let status = if m.status() == 503 { 500 } else { m.status() };
                let (bytes, _) = self.upstream_of(invite, at, &m, (m.status() == 503).then_some(500));
                (status, with_other_challenges(bytes, &invite.branches, chosen, status), Some(m))
            }
            _ => {
                let own = if let Choice::Own(status) = choice { status } else { 500 };
                // A second index: the first one may still hold the response.
                let mut request = Index::new();
                let bytes = match request.parse(&invite.request) {
                    Ok(m) => self.local_answer(&m, invite.hop.addr, own, &[]),
                    Err(_) => Bytes::new(),
                };
                (own, bytes, None)
            }
        };
        if response.is_none() && invite.timer_fired.is_none() && status == 408 {
            invite.timer_fired = Some("B");
        }
        invite.finished = Some(status);
        invite.times.finished = Some(invite.since(now));
        self.setting_up -= 1;
        if schemas::grammar::is_challenge(status) && invite.kind == Kind::Initial {
            self.remember_challenge(now, invite, status, chosen);
        }
        if invite.kind == Kind::Initial {
            self.counters.failed += 1;
            self.tell_final(now, invite, status, chosen, response.as_ref());
        } else {
            self.tell_in_dialog(now, invite, chosen.unwrap_or(0), response.as_ref());
        }
        self.scratch = Some(index);
        self.respond(now, invite, status, bytes);
    }

    fn choose(&self, invite: &Invite) -> Choice {
        let unreachable = |b: &Branch| matches!(b.end, Some(End::NodeDown | End::Unreachable));
        let about = Circumstances {
            cancelled: invite.cancelled,
            timer_c: invite.timer_fired == Some("C"),
            nobody_left: invite.kind == Kind::Initial
                && invite.branches.iter().any(unreachable)
                && !self.has_next(invite),
        };
        choose(&invite.branches, about)
    }

    pub(in crate::core) fn remember_challenge(
        &mut self,
        now: Now,
        invite: &Invite,
        status: u16,
        chosen: Option<usize>,
    ) {
        let next_hop = matches!(status, 401 | 407).then(|| chosen.map(|at| invite.branches[at].target)).flatten();
        let continuation = Continuation {
            call: invite.call,
            parent: invite.parent.clone(),
            cseq: invite.identity.cseq,
            status,
            next_hop,
            kept: None,
        };
        let until = Challenges::until(now.mono_us);
        let kept = self.journal.challenge(&self.topology, invite.challenge_key, until, &continuation);
        self.challenges.remember(now.mono_us, until, invite.challenge_key, Continuation { kept, ..continuation });
    }

    /// Sends a response upstream through the server transaction.
    pub(in crate::core) fn respond(&mut self, now: Now, invite: &mut Invite, status: u16, bytes: Bytes) {
        invite.server.handle(now.mono_us, ServerInput::Respond(status));
        let mut may_go = false;
        while let Some(action) = invite.server.poll() {
            may_go |= action == Action::Send;
        }
        if !may_go {
            return;
        }
        // A 2xx is repeated by the callee, not by us (RFC 6026).
        invite.last = if (200..300).contains(&status) { Bytes::new() } else { bytes.clone() };
        let back = self.way_back_now(invite.back, &invite.request);
        self.send(back, bytes);
    }

    pub(in crate::core) fn run_invite_server(&mut self, invite: &mut Invite) {
        while let Some(action) = invite.server.poll() {
            match action {
                Action::Resend if !invite.last.is_empty() => {
                    self.counters.retransmissions_out += 1;
                    self.send(invite.back, invite.last.clone());
                }
                Action::NoAck => {
                    invite.timer_fired.get_or_insert("no_ack");
                    self.counters.unacknowledged += 1;
                }
                _ => {}
            }
        }
    }

    pub(in crate::core) fn tick_invite(&mut self, now: Now, slot: Slot, invite: &mut Invite) {
        invite.server.handle(now.mono_us, ServerInput::Tick);
        self.run_invite_server(invite);
        for at in 0..invite.branches.len() {
            self.tick_client(now, slot, invite, at);
            self.tick_first_response(now, slot, invite, at);
            if invite.branches[at].end.is_none()
                && !invite.branches[at].answered
                && now.mono_us >= invite.branches[at].ring_by
            {
                invite.branches[at].ring_by = u64::MAX;
                invite.timer_fired = Some("C");
                self.give_up_branch(now, slot, invite, at, Why::TimerC);
            }
            self.tick_cancel(now, slot, invite, at);
        }
    }

    fn tick_client(&mut self, now: Now, slot: Slot, invite: &mut Invite, at: usize) {
        let branch = &mut invite.branches[at];
        if branch.dead {
            return;
        }
        branch.client.handle(now.mono_us, ClientInput::Tick);
        while let Some(action) = invite.branches[at].client.poll() {
            let branch = &mut invite.branches[at];
            match action {
                Action::Resend => {
                    branch.facts.retransmits += 1;
                    if let Peer::Node(n) = branch.target {
                        self.nodes[n].retransmits += 1;
                    }
                    let (hop, bytes) = (branch.hop, branch.sent.clone());
                    self.counters.retransmissions_out += 1;
                    self.send(hop, bytes);
                }
                Action::TimedOut if branch.end.is_none() => {
                    branch.facts.finished = Some(now.mono_us.saturating_sub(invite.received.mono_us));
                    self.end_branch(now, invite, at, End::TimedOut);
                    self.settle(now, slot, invite);
                }
                _ => {}
            }
        }
    }

    /// Nothing came in time: another next hop is tried if there is one, else this one keeps its chance until timer B.
    fn tick_first_response(&mut self, now: Now, slot: Slot, invite: &mut Invite, at: usize) {
        let branch = &invite.branches[at];
        if !branch.waits() || now.mono_us < branch.first_by {
            return;
        }
        if invite.cancelled {
            // RFC 3261 §9.1: no CANCEL without a provisional. Whoever cancelled does not wait for that.
            self.give_up_branch(now, slot, invite, at, Why::NeverAnswered);
            return;
        }
        invite.branches[at].first_by = u64::MAX;
        let more = self.may_try_again(now, invite) && self.has_next(invite);
        if invite.finished.is_none() && invite.kind == Kind::Initial && more {
            let branch = &mut invite.branches[at];
            branch.abandoned = true;
            branch.client.handle(now.mono_us, ClientInput::Silence);
            self.end_branch(now, invite, at, End::NoFirstResponse);
            self.settle(now, slot, invite);
        }
    }

    /// A node is gone: whatever waits for it goes on at once.
    pub(in crate::core) fn abandon_target(&mut self, now: Now, slot: Slot, invite: &mut Invite, gone: &Gone, end: End) {
        for at in 0..invite.branches.len() {
            let branch = &mut invite.branches[at];
            if !gone.is_of(branch) || !branch.waits() {
                continue;
            }
            branch.abandoned = true;
            branch.facts.finished = Some(now.mono_us.saturating_sub(invite.received.mono_us));
            branch.client.handle(now.mono_us, ClientInput::Silence);
            self.end_branch(now, invite, at, end);
            // In case it only seemed to be gone: a phone must not go on ringing there.
            self.cancel_branch(now, invite, at);
            self.settle(now, slot, invite);
        }
    }
}

/// The response as it goes upstream: without our Via and our header, with another status when ours must not be theirs.
pub(in crate::core) fn upstream(m: &Message<'_>, status: Option<(u16, &str)>) -> Bytes {
    let mut out = Vec::with_capacity(m.bytes().len());
    forward_response(m, status, if status.is_some() { STRIP_503 } else { STRIP }, &mut out);
    out.into()
}

/// With a 401 or 407 go the challenges of all other branches (RFC 3261 §16.7 step 7).
fn with_other_challenges(bytes: Bytes, branches: &[Branch], chosen: Option<usize>, status: u16) -> Bytes {
    if !matches!(status, 401 | 407) || branches.len() < 2 {
        return bytes;
    }
    let mut lines = Vec::new();
    let mut index = Index::new();
    for (_, branch) in branches.iter().enumerate().filter(|(at, _)| Some(*at) != chosen) {
        let Some(Ok(m)) = branch.response.as_ref().map(|bytes| index.parse(bytes)) else { continue };
        if matches!(m.status(), 401 | 407) {
            let challenges =
                m.headers().iter().filter(|h| matches!(h.name, Name::ProxyAuthenticate | Name::WwwAuthenticate));
            challenges.for_each(|h| lines.extend_from_slice(h.line.of(m.bytes())));
        }
    }
    let start = bytes.iter().position(|&b| b == b'\n').map_or(0, |at| at + 1);
    if lines.is_empty() { bytes } else { [&bytes[..start], &lines, &bytes[start..]].concat().into() }
}
