//! What follows when a connection ends or falls silent.

use domain::Now;
use sip::Index;
use sip::transaction::ClientInput;

use super::hop::Flow;
use super::invite::{End, Invite};
use super::slab::Slot;
use super::{Action, Hop, Proxy};

impl Proxy {
    /// A request goes down that way; on a connection its end will matter.
    pub(super) fn ask(&mut self, hop: Hop) {
        if let Some(flow) = hop.flow {
            self.flows.ask(flow);
        }
    }

    /// What was asked over that connection is not answered any more: a call goes on to the next hop, anything else ends with 430.
    /// Answers of ours that are still due find another way, see `way_back_now`.
    pub(super) fn flow_closed(&mut self, now: Now, flow: Flow) {
        if !self.flows.close(flow) {
            return;
        }
        let waits = |i: &Invite| i.branches.iter().any(|b| b.hop.flow == Some(flow) && b.waits());
        let calls: Vec<Slot> =
            self.invites.slots().filter(|&s| self.invites.get(s).is_some_and(|i| waits(i.as_ref()))).collect();
        for slot in calls {
            let Some(mut invite) = self.invites.take(slot) else { continue };
            self.branches_gone(now, slot, &mut invite, flow);
            self.put_invite(slot, invite);
        }
        let asked = |slot: &Slot| {
            let relay = self.relays.get(*slot);
            relay.is_some_and(|r| r.finished.is_none() && r.client.as_ref().is_some_and(|c| c.hop.flow == Some(flow)))
        };
        let relays: Vec<Slot> = self.relays.slots().filter(asked).collect();
        for slot in relays {
            let Some(mut relay) = self.relays.take(slot) else { continue };
            if let Some(client) = &mut relay.client {
                client.machine.handle(now.mono_us, ClientInput::TransportError);
                while client.machine.poll().is_some() {}
            }
            let request = relay.request.clone();
            let mut index = Index::new();
            if let Ok(m) = index.parse(&request) {
                self.finish_relay_locally(now, &mut relay, &m, 430, &[]);
            }
            self.put_relay(slot, relay);
        }
    }

    fn branches_gone(&mut self, now: Now, slot: Slot, invite: &mut Invite, flow: Flow) {
        for at in 0..invite.branches.len() {
            let branch = &mut invite.branches[at];
            if branch.hop.flow != Some(flow) || !branch.waits() {
                continue;
            }
            branch.facts.finished = Some(now.mono_us.saturating_sub(invite.received.mono_us));
            branch.client.handle(now.mono_us, ClientInput::TransportError);
            while branch.client.poll().is_some() {}
            self.end_branch(invite, at, End::Unreachable);
            self.settle(now, slot, invite);
        }
    }

    /// A silent connection may go unless a call needs it: one in set-up that came by it, or a dialog that is bound to it.
    pub(super) fn flow_idle(&mut self, flow: Flow) {
        let is_needed = self.dialogs.use_flow(flow)
            || self.invites.slots().any(|s| {
                let on_it = |i: &Invite| {
                    i.hop.flow == Some(flow) || i.branches.iter().any(|b| b.hop.flow == Some(flow) && b.waits())
                };
                self.invites.get(s).is_some_and(|i| on_it(i.as_ref()))
            });
        if !is_needed {
            self.out.push_back(Action::CloseFlow { flow });
        }
    }
}
