//! CANCEL in both directions, and giving up on branches.

use domain::Now;
use sip::edit::cancel;
use sip::transaction::{Action, ClientInput, InviteClientState, NonInviteClient};
use sip::{Message, Method};

use crate::core::set_up::invite::{Cancel, End, Invite};
use crate::core::slab::Slot;
use crate::core::{Cx, Proxy, ServerRef};

/// Why a branch is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Why {
    TimerC,
    /// Cancelled, and the next hop never said anything.
    NeverAnswered,
}

impl Proxy {
    /// A CANCEL from upstream. It is answered by us, each copy alike, whatever becomes of the call.
    pub(in crate::core) fn cancel(&mut self, cx: &Cx, m: &Message<'_>) {
        let key = self.server_key(cx.peer, m, Method::Invite);
        let slot = match self.servers.get(&key) {
            Some(&ServerRef::Invite(slot)) => slot,
            // Answered before a restart: too late to be cancelled.
            Some(ServerRef::Absorbed) => return self.answer_statelessly(cx, m, 200, &[]),
            _ => return self.reject(cx, m, 481, "no_transaction"),
        };
        self.answer_statelessly(cx, m, 200, &[]);
        let Some(mut invite) = self.invites.take(slot) else { return };
        if invite.finished.is_none() && !invite.cancelled {
            invite.cancelled = true;
            invite.times.cancel = Some(invite.since(cx.now));
            self.counters.cancelled += 1;
            for at in 0..invite.branches.len() {
                let branch = &mut invite.branches[at];
                if branch.end.is_some() {
                    continue;
                }
                if branch.client.state() == InviteClientState::Calling {
                    branch.first_by = branch.first_by.min(cx.now.mono_us + self.times.first_response_node);
                }
                self.cancel_branch(cx.now, &mut invite, at);
            }
            self.settle(cx.now, slot, &mut invite);
        }
        self.put_invite(slot, invite);
    }

    /// Sends a CANCEL, or notes that one is wanted as soon as a provisional response allows it.
    pub(in crate::core) fn cancel_branch(&mut self, now: Now, invite: &mut Invite, at: usize) {
        let branch = &mut invite.branches[at];
        if matches!(branch.cancel, Cancel::Sent { .. }) || branch.answered || branch.response.is_some() {
            return;
        }
        // Ended: timer B gave up, and now it rings there after all.
        if !matches!(branch.client.state(), InviteClientState::Proceeding | InviteClientState::Ended) {
            branch.cancel = Cancel::Wanted;
            return;
        }
        let sent = branch.sent.clone();
        let mut bytes = Vec::with_capacity(400);
        let mut index = self.scratch.take().unwrap_or_default();
        if let Ok(sent) = index.parse(&sent) {
            cancel(&sent, &mut bytes);
        }
        self.scratch = Some(index);
        let bytes = bytes::Bytes::from(bytes);
        let branch = &mut invite.branches[at];
        let hop = branch.hop;
        branch.cancel = Cancel::Sent {
            client: NonInviteClient::new(now.mono_us, self.sip_timers(hop)),
            bytes: bytes.clone(),
            gives_up: now.mono_us + self.times.sip.give_up(),
        };
        self.send(hop, bytes);
    }

    /// The next hop answered our CANCEL. The INVITE's own final response is still to come.
    pub(in crate::core) fn cancel_answered(&mut self, now: Now, invite: &mut Invite, at: usize, status: u16) {
        if let Cancel::Sent { client, .. } = &mut invite.branches[at].cancel {
            client.handle(now.mono_us, ClientInput::Response(status));
            while client.poll().is_some() {}
        }
    }

    pub(in crate::core) fn give_up_branch(&mut self, now: Now, slot: Slot, invite: &mut Invite, at: usize, why: Why) {
        self.cancel_branch(now, invite, at);
        let sent = matches!(invite.branches[at].cancel, Cancel::Sent { .. });
        if why == Why::TimerC && sent {
            // Its 487 will come, or 64 × T1 will pass.
            return;
        }
        invite.branches[at].abandoned = true;
        self.end_branch(now, invite, at, End::Cancelled);
        self.settle(now, slot, invite);
    }

    pub(in crate::core) fn tick_cancel(&mut self, now: Now, slot: Slot, invite: &mut Invite, at: usize) {
        let branch = &mut invite.branches[at];
        let hop = branch.hop;
        let Cancel::Sent { client, bytes, gives_up } = &mut branch.cancel else { return };
        client.handle(now.mono_us, ClientInput::Tick);
        let mut resend = None;
        while let Some(action) = client.poll() {
            if action == Action::Resend {
                resend = Some(bytes.clone());
            }
        }
        let over = now.mono_us >= *gives_up;
        if let Some(bytes) = resend {
            self.counters.retransmissions_out += 1;
            self.send(hop, bytes);
        }
        let branch = &mut invite.branches[at];
        if over && branch.waits_for_cancelled_final() {
            // Nothing more will come from there.
            branch.dead = true;
            if branch.end.is_none() && !branch.answered {
                self.end_branch(now, invite, at, End::Cancelled);
                self.settle(now, slot, invite);
            }
        }
    }
}
