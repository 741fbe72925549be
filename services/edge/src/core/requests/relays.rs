//! Non-INVITE transactions: what passes through and what we answer ourselves.

use bytes::Bytes;
use domain::{CallId, Now};
use sip::transaction::{Action, ClientInput, NonInviteClientState, ServerInput};
use sip::{Index, Message};

use crate::core::dialog::dialogs::Phase;
use crate::core::requests::relay::{Purpose, Relay};
use crate::core::set_up::admit::REMEMBERED_PER_OPEN;
use crate::core::set_up::invite::End;
use crate::core::slab::Slot;
use crate::core::telling::story::ByeFacts;
use crate::core::topology::Peer;
use crate::core::{Cx, Hop, Proxy, ServerRef};

impl Proxy {
    /// OPTIONS without To-tag is for us: are we able to take calls?
    pub(in crate::core) fn options(&mut self, cx: &Cx, m: &Message<'_>, key: u128) {
        if let Peer::Node(node) = cx.peer {
            self.node_asks(cx.now, node);
        }
        let able = match cx.peer {
            _ if self.draining => false,
            Peer::Node(_) => true,
            Peer::Trunk(t) => self.has_node(self.topology.trunks[t].pool_at),
        };
        let status = match m.max_forwards() {
            Some(0) => 483,
            _ if able => 200,
            _ => 503,
        };
        // RFC 3261 §11.2: what an INVITE would have got, and what it may carry.
        let add: [(&str, &[u8]); 2] = [("Allow", crate::core::receive::ALLOW), ("Accept", b"application/sdp")];
        self.answer_locally(cx, m, key, status, &add);
    }

    /// As many as INVITEs are remembered: each waits 32 s, however fast its answer came.
    pub(in crate::core) fn relays_are_full(&self) -> bool {
        self.relays.len() >= self.config.limits.open_invites.saturating_mul(REMEMBERED_PER_OPEN)
    }

    /// Answers a request with a transaction of its own, so that its copies get the same answer and there is one event.
    pub(in crate::core) fn answer_locally(
        &mut self,
        cx: &Cx,
        m: &Message<'_>,
        key: u128,
        status: u16,
        add: &[(&str, &[u8])],
    ) {
        if self.relays_are_full() {
            return self.reject(cx, m, 503, "overload");
        }
        let bye = m.method() == sip::Method::Bye;
        let purpose = if bye { Purpose::Bye { dialog: None, by_caller: false } } else { Purpose::Other };
        let mut relay = self.new_relay(cx, m, key, purpose);
        let slot = self.relays.reserve();
        self.servers.insert(key, ServerRef::Relay(slot));
        self.finish_relay_locally(cx.now, &mut relay, m, status, add);
        self.put_relay(slot, relay);
    }

    /// The same inside a call.
    pub(in crate::core) fn answer_in_call(
        &mut self,
        cx: &Cx,
        m: &Message<'_>,
        key: u128,
        call: CallId,
        status: u16,
        add: &[(&str, &[u8])],
    ) {
        let mut relay = self.new_relay(cx, m, key, Purpose::Other);
        relay.call = Some(call);
        let slot = self.relays.reserve();
        self.servers.insert(key, ServerRef::Relay(slot));
        self.finish_relay_locally(cx.now, &mut relay, m, status, add);
        self.put_relay(slot, relay);
    }

    pub(in crate::core) fn finish_relay_locally(
        &mut self,
        now: Now,
        relay: &mut Relay,
        m: &Message<'_>,
        status: u16,
        add: &[(&str, &[u8])],
    ) {
        let Some(source) = relay.server.as_ref().map(|s| s.hop.addr) else { return };
        let bytes = self.local_answer(m, source, status, add);
        self.respond_relay(now, relay, status, bytes);
        self.relay_done(now, relay, status, None);
    }

    fn respond_relay(&mut self, now: Now, relay: &mut Relay, status: u16, bytes: Bytes) {
        if let Some(server) = &mut relay.server {
            server.machine.handle(now.mono_us, ServerInput::Respond(status));
            let mut may_go = false;
            while let Some(action) = server.machine.poll() {
                may_go |= action == Action::Send;
            }
            if !may_go {
                return;
            }
            server.last = bytes.clone();
            let back = self.way_back_now(server.back, &relay.request);
            self.send(back, bytes);
        }
    }

    pub(in crate::core) fn relay_response(&mut self, cx: &Cx, slot: Slot, relay: &mut Relay, m: &Message<'_>) {
        let status = m.status();
        let since = relay.since(cx.now);
        let Some(client) = &mut relay.client else { return };
        client.first_response_us.get_or_insert(since);
        client.machine.handle(cx.now.mono_us, ClientInput::Response(status));
        self.run_relay(relay);
        // A 100 is hop by hop; an answer that was given already is not given again.
        if status == 100 || relay.finished.is_some() {
            return;
        }
        if fails_over(m) && self.register_elsewhere(cx.now, slot, relay) {
            return;
        }
        let hides_path = self.registrar_answered(cx.now, relay, m);
        if status == 408 {
            // Never for anything but INVITE (RFC 4320 §4.2): whoever asked gives up by itself at about this time.
            return self.end_silently(cx.now, relay, Some(m));
        }
        let (Some(client), Some(server)) = (&relay.client, &relay.server) else { return };
        let ways = [(client.target, client.hop), (server.peer, server.hop)];
        let other = (status == 503).then_some(500);
        let (bytes, mut passed) = self.pass_answer(&relay.request, ways, m, other);
        relay.effects.append(&mut passed.effects);
        self.watch_session(cx.now, ways, m, passed.interval);
        if m.method() == sip::Method::Update && (200..300).contains(&status) {
            let mut index = Index::new();
            let offer = index.parse(&relay.request).ok().and_then(|m| crate::core::telling::facts::session(&m));
            let dialog = self.dialogs.find(m.call_id(), m.from_tag(), m.to_tag());
            self.note_hold(cx.now, dialog, offer.as_ref());
        }
        let bytes = if hides_path { crate::core::requests::register::without_path(bytes) } else { bytes };
        let status = other.unwrap_or(status);
        self.respond_relay(cx.now, relay, status, bytes);
        if status >= 200 {
            self.relay_done(cx.now, relay, status, Some(m));
        }
    }

    pub(in crate::core) fn tick_relay(&mut self, now: Now, slot: Slot, relay: &mut Relay) {
        if let Some(server) = &mut relay.server {
            server.machine.handle(now.mono_us, ServerInput::Tick);
        }
        if let Some(client) = &mut relay.client {
            client.machine.handle(now.mono_us, ClientInput::Tick);
        }
        self.run_relay(relay);
        self.tick_register(now, slot, relay);
        let gave_up = relay.client.as_ref().is_some_and(|c| c.machine.state() == NonInviteClientState::Ended);
        if gave_up && relay.finished.is_none() {
            self.end_silently(now, relay, None);
        }
        if relay.silent_until.is_some_and(|until| now.mono_us >= until) {
            relay.silent_until = None;
        }
    }

    /// A time-out is told but not sent: upstream gave up at the same moment (RFC 4320). Its last copies, still on the way, must
    /// not pass for new requests.
    fn end_silently(&mut self, now: Now, relay: &mut Relay, m: Option<&Message<'_>>) {
        if relay.server.is_some() {
            let timers = self.times.sip;
            relay.silent_until = Some(now.mono_us.max(relay.received.mono_us + timers.give_up()) + timers.t4);
        }
        self.relay_done(now, relay, 408, m);
    }

    pub(in crate::core) fn run_relay(&mut self, relay: &mut Relay) {
        let mut resends: Vec<(Hop, Bytes)> = Vec::new();
        if let Some(server) = &mut relay.server {
            while let Some(action) = server.machine.poll() {
                if action == Action::Resend && !server.last.is_empty() {
                    resends.push((server.back, server.last.clone()));
                }
            }
        }
        if let Some(client) = &mut relay.client {
            while let Some(action) = client.machine.poll() {
                if action == Action::Resend {
                    client.retransmits += 1;
                    if let Peer::Node(n) = client.target {
                        self.nodes[n].retransmits += 1;
                    }
                    resends.push((client.hop, client.sent.clone()));
                }
            }
        }
        for (hop, bytes) in resends {
            self.counters.retransmissions_out += 1;
            self.send(hop, bytes);
        }
    }

    /// The transaction has its final status: tell it, or let it end its dialog.
    fn relay_done(&mut self, now: Now, relay: &mut Relay, status: u16, response: Option<&Message<'_>>) {
        if relay.finished.replace(status).is_some() {
            return;
        }
        match relay.purpose {
            Purpose::Other => self.tell_transaction(now, relay, status, response),
            Purpose::Release => {}
            Purpose::Bye { dialog: None, .. } => {}
            Purpose::Bye { dialog: Some(dialog), .. } if matches!(status, 401 | 407) => {
                // Challenged: the dialog goes on until the BYE comes again with credentials.
                if let Some(dialog) = self.dialogs.get_mut(dialog)
                    && dialog.phase == Phase::Ending
                {
                    dialog.phase = Phase::Open;
                    dialog.ending = None;
                    self.journal.follow_dialog(&self.topology, dialog);
                }
            }
            Purpose::Bye { dialog: Some(dialog), by_caller } => {
                if let Some(dialog) = self.dialogs.get_mut(dialog)
                    && let Some(ending) = &mut dialog.ending
                {
                    ending.status = status;
                    self.journal.follow_dialog(&self.topology, dialog);
                }
                let (cseq, received, reason) = (relay.cseq, relay.received, relay.said.take());
                let bye = ByeFacts { by_caller, status, cseq, received, reason };
                self.end_dialog(now, dialog, &bye);
            }
        }
    }

    /// A node is gone: registrations that wait for it are taken to the next one.
    pub(in crate::core) fn move_registrations(&mut self, now: Now, gone: Peer) {
        let waits = |r: &Relay| {
            r.register.is_some() && r.finished.is_none() && r.client.as_ref().is_some_and(|c| c.target == gone)
        };
        let waiting: Vec<Slot> =
            self.relays.slots().filter(|&s| self.relays.get(s).is_some_and(|r| waits(r))).collect();
        for slot in waiting {
            let Some(mut relay) = self.relays.take(slot) else { continue };
            self.register_elsewhere(now, slot, &mut relay);
            self.put_relay(slot, relay);
        }
    }

    /// A node is gone: BYEs on their way to it are answered at once.
    pub(in crate::core) fn release_byes(&mut self, now: Now, gone: Peer) {
        let waiting: Vec<Slot> = self
            .relays
            .slots()
            .filter(|&slot| {
                self.relays.get(slot).is_some_and(|r| {
                    let to_it = r.client.as_ref().is_some_and(|c| c.target == gone);
                    to_it && r.finished.is_none() && matches!(r.purpose, Purpose::Bye { .. })
                })
            })
            .collect();
        for slot in waiting {
            let Some(mut relay) = self.relays.take(slot) else { continue };
            let request = relay.request.clone();
            let mut index = Index::new();
            if let Ok(m) = index.parse(&request) {
                self.finish_relay_locally(now, &mut relay, &m, 481, &[]);
            }
            self.put_relay(slot, relay);
        }
    }
}

/// Another node may do better: the answer is about this one, not about the request.
fn fails_over(m: &Message<'_>) -> bool {
    let end = End::Status { status: m.status(), q850: false };
    end.fails_over()
}
