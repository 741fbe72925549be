//! A non-INVITE transaction: one server side (unless the request is our own), one client side (unless we answer ourselves).

use bytes::Bytes;
use domain::{CallId, Now};
use schemas::{SipDecision, SipIdentity, SipParties};
use sip::transaction::{NonInviteClient, NonInviteClientState, NonInviteServer};

use crate::core::Hop;
use crate::core::flow::users::Way;
use crate::core::flow::way::Narrow;
use crate::core::policy::Effect;
use crate::core::proof::branch::{Branch, BranchKey};
use crate::core::slab::Slot;
use crate::core::telling::facts::Reason;
use crate::core::timers::Armed;
use crate::core::topology::Peer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Ends a dialog; has no event of its own.
    Bye { dialog: Option<Slot>, by_caller: bool },
    /// One `transaction` event.
    Other,
    /// Our own BYE after a late 2xx: nobody upstream, no event.
    Release,
}

#[derive(Debug)]
pub struct Server {
    pub key: u128,
    pub peer: Peer,
    pub hop: Hop,
    /// Where its answers go.
    pub back: Hop,
    pub machine: NonInviteServer,
    pub last: Bytes,
    pub retransmits: i32,
}

#[derive(Debug)]
pub struct Client {
    pub key: BranchKey,
    pub text: String,
    pub target: Peer,
    pub hop: Hop,
    pub sent: Bytes,
    pub narrow: Option<Box<Narrow>>,
    pub machine: NonInviteClient,
    pub forwarded_us: u64,
    pub first_response_us: Option<u64>,
    pub retransmits: i32,
}

impl Client {
    /// For a request as it is being sent.
    #[must_use]
    pub fn new(name: Branch, target: Peer, hop: Hop, sent: Bytes, machine: NonInviteClient) -> Client {
        Client {
            key: name.key,
            text: name.text,
            target,
            hop,
            sent,
            narrow: None,
            machine,
            forwarded_us: 0,
            first_response_us: None,
            retransmits: 0,
        }
    }
}

/// What a REGISTER needs beside what every relay has.
#[derive(Debug)]
pub struct Register {
    /// The user of the address-of-record, who becomes the account of the connection.
    pub user: String,
    /// Takes all bindings away.
    pub removes: bool,
    /// The client did not ask for Path: ours stays between us and the registrar.
    pub hides_path: bool,
    pub pop_routes: usize,
    /// Nodes that were asked.
    pub tried: Vec<usize>,
    /// When the node must have said anything at all; `u64::MAX` when nobody waits for that.
    pub first_by: u64,
}

#[derive(Debug)]
pub struct Relay {
    pub purpose: Purpose,
    pub received: Now,
    pub server: Option<Server>,
    pub client: Option<Client>,
    pub request: Bytes,
    /// A final response went upstream, or nobody waits for one.
    pub finished: Option<u16>,
    /// Finished without an answer (RFC 4320): until then late copies of the request are absorbed.
    pub silent_until: Option<u64>,
    /// Why the edge answered it itself.
    pub reason: Option<&'static str>,
    pub call: Option<CallId>,
    /// What policies did to it.
    pub effects: Vec<Effect>,
    pub sip_call_id: Box<str>,
    pub cseq: u32,
    /// For its event, until that is told; of a request without one nothing.
    pub identity: Option<Box<SipIdentity>>,
    pub parties: Option<Box<SipParties>>,
    /// What a BYE says about the end.
    pub said: Option<Box<Reason>>,
    pub register: Option<Box<Register>>,
    pub decision: Option<Box<SipDecision>>,
    /// As of an INVITE.
    pub ways: Vec<Way>,
    pub armed: Armed,
}

impl Relay {
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let server = self.server.as_ref().and_then(|s| s.machine.deadline());
        let client = self.client.as_ref().and_then(|c| c.machine.deadline());
        let silent = self.client.as_ref().is_some_and(|c| c.first_response_us.is_none());
        let first = self.register.as_ref().map(|r| r.first_by).filter(|&at| silent && at != u64::MAX);
        [server, client, self.silent_until, first].into_iter().flatten().min()
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        let server = self.server.as_ref().is_none_or(|s| s.machine.deadline().is_none());
        let client = self.client.as_ref().is_none_or(|c| c.machine.deadline().is_none());
        server && client && self.silent_until.is_none()
    }

    /// Once it is finished it only absorbs copies, for half a minute in which tens of thousands lie here: what those do not need
    /// goes while it is still warm in the cache.
    pub fn rest(&mut self) {
        let asks =
            |c: &Client| matches!(c.machine.state(), NonInviteClientState::Trying | NonInviteClientState::Proceeding);
        if self.finished.is_none() || self.request.is_empty() || self.client.as_ref().is_some_and(asks) {
            return;
        }
        self.request = Bytes::new();
        (self.effects, self.decision, self.identity, self.parties) = (Vec::new(), None, None, None);
        if let Some(client) = &mut self.client {
            (client.sent, client.text, client.narrow) = (Bytes::new(), String::new(), None);
        }
    }

    #[must_use]
    pub fn since(&self, now: Now) -> u64 {
        now.mono_us.saturating_sub(self.received.mono_us)
    }
}
