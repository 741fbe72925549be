//! What follows when a connection ends or falls silent.

use domain::Now;
use sip::transaction::{ClientInput, InviteClient, InviteClientState, NonInviteClient, NonInviteClientState};
use sip::{Index, Message};

use crate::config::Transport;
use crate::core::flow::hop::Flow;
use crate::core::flow::users::{User, Way};
use crate::core::requests::relay::{Client, Purpose, Relay};
use crate::core::set_up::invite::{Branch, End, Invite};
use crate::core::slab::Slot;
use crate::core::topology::Peer;
use crate::core::{Action, Cx, Hop, Proxy, ServerRef};

/// What became of a way.
struct Failed {
    /// Also requests that had a provisional answer wait in vain.
    heard_too: bool,
    /// It never stood.
    unmade: bool,
    /// It stood, and another one can be made.
    broke: bool,
    /// For whoever waits for the answer to anything but an initial INVITE.
    status: u16,
}

impl Proxy {
    /// What was asked over that connection is not answered any more: a call goes on to the next hop, anything else ends with 430.
    /// Answers of ours that are still due find another way, see `way_back_now`.
    pub(in crate::core) fn flow_closed(&mut self, now: Now, flow: Flow) {
        self.flows.close(flow);
        self.nobody_answers(
            now,
            Way::Flow(flow),
            &Failed { heard_too: true, unmade: false, broke: false, status: 430 },
        );
    }

    /// Where a peer is spoken to by streams first, a connection that cannot be made means what a refused port means by UDP. What
    /// was sent there and has not even a provisional answer goes on without it.
    pub(in crate::core) fn no_connection(&mut self, now: Now, hop: Hop, stood: bool) {
        let transport = self.topology.listeners.get(hop.place()).map(|l| l.transport);
        let is_main = |t: &[Transport]| t.first().copied() == transport;
        let node = self.topology.nodes.iter().position(|n| n.address == hop.addr);
        if !stood && node.is_some_and(|n| is_main(&self.topology.nodes[n].transports)) {
            self.unreachable(now, hop.addr);
        }
        self.nobody_answers(now, Way::of(hop), &Failed { heard_too: false, unmade: !stood, broke: stood, status: 500 });
    }

    /// Ends what waits for an answer by that way, given whether anything was heard yet.
    fn nobody_answers(&mut self, now: Now, way: Way, failed: &Failed) {
        let is_lost = |hop: Hop, heard: bool| Way::of(hop) == way && (failed.heard_too || !heard);
        let branch_lost = |b: &Branch| b.waits() && is_lost(b.hop, b.client.state() != InviteClientState::Calling);
        let users: Vec<User> = self.users.of(way).collect();
        let call = |user: &User| match user {
            User::Invite(slot) => Some(*slot),
            User::Relay(_) => None,
        };
        let waits = |slot: &Slot| self.invites.get(*slot).is_some_and(|i| i.branches.iter().any(branch_lost));
        let calls: Vec<Slot> = users.iter().filter_map(call).filter(waits).collect();
        for slot in calls {
            let Some(mut invite) = self.invites.take(slot) else { continue };
            for at in 0..invite.branches.len() {
                let goes_on = |proxy: &mut Proxy, invite: &mut Invite| {
                    (failed.unmade && proxy.branch_by_udp(now, invite, at))
                        || (failed.broke && proxy.branch_again(&mut invite.branches[at]))
                };
                if branch_lost(&invite.branches[at]) && !goes_on(self, &mut invite) {
                    self.branch_gone(now, slot, &mut invite, at);
                }
            }
            self.put_invite(slot, invite);
        }
        let relay_lost = |slot: &Slot| {
            let relay = self.relays.get(*slot).filter(|r| r.finished.is_none());
            let client = relay.and_then(|r| r.client.as_ref());
            client.is_some_and(|c| is_lost(c.hop, c.machine.state() != NonInviteClientState::Trying))
        };
        let other = |user: &User| match user {
            User::Invite(_) => None,
            User::Relay(slot) => Some(*slot),
        };
        let relays: Vec<Slot> = users.iter().filter_map(other).filter(relay_lost).collect();
        for slot in relays {
            let Some(mut relay) = self.relays.take(slot) else { continue };
            let goes_on = (failed.unmade && self.relay_by_udp(now, &mut relay))
                || (failed.broke && relay.client.as_mut().is_some_and(|client| self.relay_again(client)));
            if goes_on {
                self.put_relay(slot, relay);
                continue;
            }
            if let Some(client) = &mut relay.client {
                client.machine.handle(now.mono_us, ClientInput::TransportError);
                while client.machine.poll().is_some() {}
            }
            let request = relay.request.clone();
            let mut index = Index::new();
            if let Ok(m) = index.parse(&request) {
                self.finish_relay_locally(now, &mut relay, &m, failed.status, &[]);
            }
            self.put_relay(slot, relay);
        }
    }

    /// What tried TCP for its size alone goes by UDP after all: the same branch of the same attempt. True when it could.
    fn branch_by_udp(&mut self, now: Now, invite: &mut Invite, at: usize) -> bool {
        let branch = &mut invite.branches[at];
        let Some(narrow) = branch.narrow.take() else { return false };
        branch.hop = narrow.hop;
        branch.sent = narrow.bytes.clone();
        branch.client = InviteClient::new(now.mono_us, self.times.sip);
        if branch.first_by != u64::MAX {
            let wait = match branch.target {
                Peer::Node(_) => self.times.first_response_node,
                Peer::Trunk(_) => self.times.first_response_trunk,
            };
            branch.first_by = now.mono_us + wait;
        }
        if invite.kept.open.is_some() {
            self.journal.invite(&self.topology, invite);
        }
        self.counters.large_by_udp += 1;
        self.send(narrow.hop, narrow.bytes);
        true
    }

    fn relay_by_udp(&mut self, now: Now, relay: &mut Relay) -> bool {
        let Some(client) = &mut relay.client else { return false };
        let Some(narrow) = client.narrow.take() else { return false };
        client.hop = narrow.hop;
        client.sent = narrow.bytes.clone();
        client.machine = NonInviteClient::new(now.mono_us, self.times.sip);
        self.counters.large_by_udp += 1;
        self.send(narrow.hop, narrow.bytes);
        true
    }

    /// A connection that stood may have been closed by the peer before it saw the request: it goes once more, by a new one. A peer
    /// that did see it takes the copy for a repetition. Nothing else is ever sent twice by a stream, so the count tells.
    fn branch_again(&mut self, branch: &mut Branch) -> bool {
        if branch.facts.retransmits > 0 {
            return false;
        }
        branch.facts.retransmits = 1;
        self.counters.retransmissions_out += 1;
        self.send(branch.hop, branch.sent.clone());
        true
    }

    fn relay_again(&mut self, client: &mut Client) -> bool {
        if client.retransmits > 0 {
            return false;
        }
        client.retransmits = 1;
        self.counters.retransmissions_out += 1;
        self.send(client.hop, client.sent.clone());
        true
    }

    fn branch_gone(&mut self, now: Now, slot: Slot, invite: &mut Invite, at: usize) {
        let branch = &mut invite.branches[at];
        branch.facts.finished = Some(now.mono_us.saturating_sub(invite.received.mono_us));
        branch.client.handle(now.mono_us, ClientInput::TransportError);
        while branch.client.poll().is_some() {}
        self.end_branch(now, invite, at, End::Unreachable);
        self.settle(now, slot, invite);
    }

    /// A BYE to a party whose connection is gone: it ends the dialog all the same, there is nobody to keep it for.
    pub(in crate::core) fn bye_to_nobody(&mut self, cx: &Cx, m: &Message<'_>, key: u128) {
        let dialog = self.dialogs.find(m.call_id(), m.from_tag(), m.to_tag());
        let caller_tag = dialog.and_then(|slot| self.dialogs.get(slot)).map(|d| &d.caller_tag);
        let by_caller = caller_tag.is_some_and(|tag| tag.as_bytes() == m.from_tag());
        let mut relay = self.new_relay(cx, m, key, Purpose::Bye { dialog, by_caller });
        let slot = self.relays.reserve();
        self.servers.insert(key, ServerRef::Relay(slot));
        self.finish_relay_locally(cx.now, &mut relay, m, 430, &[]);
        self.put_relay(slot, relay);
    }

    /// A silent connection may go unless a call needs it: one in set-up that came by it, or a dialog that is bound to it.
    pub(in crate::core) fn flow_idle(&mut self, flow: Flow) {
        let on_it =
            |i: &Invite| i.hop.flow == Some(flow) || i.branches.iter().any(|b| b.hop.flow == Some(flow) && b.waits());
        let needs = |user: User| match user {
            User::Invite(slot) => self.invites.get(slot).is_some_and(|i| on_it(i.as_ref())),
            User::Relay(_) => false,
        };
        let is_needed = self.dialogs.use_flow(flow) || self.users.of(Way::Flow(flow)).any(needs);
        if !is_needed {
            self.out.push_back(Action::CloseFlow { flow });
        }
    }
}
