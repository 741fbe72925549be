//! What the edge answers itself inside a dialog: a wrong cookie, no hops left, an address that is not of the dialog. Each is a
//! transaction like any other, so it is answered with state (its copies get the same answer) and told by one `transaction`
//! event: under the call of its cookie if that holds, else under its Call-ID.
//!
//! A BYE has no event of its own, and of a trunk only so many refusals per second are told; the rest is answered without state
//! and counted in `sip.rejections`.

use domain::CallId;
use sip::transaction::ServerInput;
use sip::{Message, Method, unsupported};

use crate::core::requests::relay::Purpose;
use crate::core::set_up::invite::Kind;
use crate::core::topology::Peer;
use crate::core::{Cx, Proxy, ServerRef};

impl Proxy {
    pub(in crate::core) fn refuse_in_dialog(
        &mut self,
        cx: &Cx,
        m: &Message<'_>,
        key: u128,
        status: u16,
        reason: &'static str,
    ) {
        let told = match cx.peer {
            _ if m.method() == Method::Bye => false,
            Peer::Trunk(t) => self.trunks[t].refused.take(cx.now.mono_us, self.config.limits.refused_events),
            Peer::Node(_) => true,
        };
        let most = self.config.limits.open_invites.saturating_mul(4);
        if !told || self.relays.len().max(self.invites.len()) >= most {
            return self.reject(cx, m, status, reason);
        }
        let call = self.call_of_cookie(m);
        if m.method() == Method::Invite {
            self.refuse_reinvite(cx, m, key, status, call);
        } else {
            let mut relay = self.new_relay(cx, m, key, Purpose::Other);
            relay.call = call;
            relay.reason = Some(reason);
            let slot = self.relays.reserve();
            self.servers.insert(key, ServerRef::Relay(slot));
            let unknown = unsupported(m);
            let extra = [("Unsupported", unknown.as_bytes())];
            self.finish_relay_locally(cx.now, &mut relay, m, status, if status == 420 { &extra } else { &[] });
            self.put_relay(slot, relay);
        }
    }

    /// An INVITE wants an ACK for its failure, and the answer again until it comes.
    fn refuse_reinvite(&mut self, cx: &Cx, m: &Message<'_>, key: u128, status: u16, call: Option<CallId>) {
        let mut invite = self.new_invite(cx, m, key, Kind::InDialog);
        invite.call = call.unwrap_or(CallId::from_bytes([0; 16]));
        let slot = self.invites.reserve();
        self.servers.insert(key, ServerRef::Invite(slot));
        invite.last = self.local_answer(m, cx.hop.addr, status, &[]);
        invite.finished = Some(status);
        invite.times.finished = Some(0);
        invite.server.handle(cx.now.mono_us, ServerInput::Respond(status));
        self.tell_in_dialog(cx.now, &invite, 0, None);
        self.send(cx.hop, invite.last.clone());
        self.put_invite(slot, invite);
    }
}
