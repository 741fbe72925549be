//! What an event says about the way through: what policies changed and how the message left. Of an ordinary call by UDP without
//! policies it says nothing at all, and costs nothing.

use schemas::{SipPolicy, SipSent};

use crate::config::Transport;
use crate::core::policy::Effect;
use crate::core::requests::relay::Relay;
use crate::core::set_up::invite::{Invite, Route};
use crate::core::topology::Peer;
use crate::core::{Hop, Proxy};

impl Proxy {
    /// Of an INVITE, up to now.
    pub(in crate::core) fn sent_of_invite(&self, invite: &Invite) -> Option<SipSent> {
        let branch = invite.branches.last()?;
        let path = self.path(branch.hop, branch.target, matches!(invite.route, Route::Flow { .. }));
        let Some(changes) = &invite.changes else {
            return path.map(|path| SipSent { path: Some(path), ..SipSent::default() });
        };
        Some(SipSent {
            path,
            caller_sent: changes.caller.clone(),
            callee_sent: changes.callee.clone(),
            offer_sent: changes.offer.clone(),
            answer_sent: changes.answer.clone(),
            policies: self.policies([invite.peer, branch.target], &changes.effects),
        })
    }

    /// Of any other transaction.
    pub(in crate::core) fn sent_of_relay(&self, relay: &Relay) -> Option<SipSent> {
        let (server, client) = (relay.server.as_ref()?, relay.client.as_ref()?);
        let path = self.path(client.hop, client.target, false);
        let policies = self.policies([server.peer, client.target], &relay.effects);
        (path.is_some() || !policies.is_empty()).then(|| SipSent { path, policies, ..SipSent::default() })
    }

    /// The transport and whose connection it was; by UDP there is nothing to say.
    fn path(&self, hop: Hop, target: Peer, down_a_flow: bool) -> Option<String> {
        let transport = self.topology.listener(hop).transport;
        if transport == Transport::Udp {
            return None;
        }
        let whose = match hop.flow {
            // The connections' thread takes one that stands at that address, or makes one.
            None => "made",
            Some(_) if down_a_flow || self.is_bound(hop, target) => "bound",
            // The one that the dialog came by, or that the peer offered for this.
            Some(_) => "stood",
        };
        Some(format!("{}/{whose}", transport.as_str()))
    }

    /// Policies are a trunk's: the one of the two that is a trunk.
    fn policies(&self, between: [Peer; 2], effects: &[Effect]) -> Vec<SipPolicy> {
        let trunk = between.into_iter().find_map(crate::core::receive::trunk_index);
        let Some(trunk) = trunk.filter(|_| !effects.is_empty()) else { return Vec::new() };
        let rule = format!("trunk/{}/policy", self.topology.trunks[trunk].id);
        let policy = |e: &Effect| SipPolicy { policy: e.policy.to_owned(), rule: rule.clone(), effect: e.what.clone() };
        effects.iter().map(policy).collect()
    }
}
