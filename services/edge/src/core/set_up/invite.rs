//! One INVITE on its way through: the server transaction upstream, a client branch per next hop, and what is known so far.
//!
//! A branch *waits* while its answer can still become ours; it is *abandoned* when another one was tried in its place (it
//! may still answer, and then its answer counts until a final failure went upstream). At most one final response ever goes
//! upstream, and `finished` says which.

use std::net::SocketAddr;
use std::sync::LazyLock;

use bytes::Bytes;
use domain::{CallId, LegId, Now};
use schemas::{SdpSummary, SipAuth, SipIdentity, SipParties};
use sip::transaction::{InviteClient, InviteServer, NonInviteClient};

use crate::core::Hop;
use crate::core::flow::users::Way;
use crate::core::flow::way::Narrow;
use crate::core::journal::Place;
use crate::core::passing::Changes;
use crate::core::proof::branch::BranchKey;
use crate::core::slab::Slot;
use crate::core::timers::Armed;
use crate::core::topology::{Carried, Peer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No To-tag: makes a call.
    Initial,
    /// Inside a dialog: one next hop, no failover, one `transaction` event.
    InDialog,
}

/// Why a branch is over without a 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Status { status: u16, q850: bool },
    NoFirstResponse,
    TimedOut,
    Unreachable,
    NodeDown,
    Cancelled,
}

impl End {
    /// Whether another next hop may do better.
    #[must_use]
    pub fn fails_over(self) -> bool {
        match self {
            // 501, 505, 513 and 580 are about the message: every node would say the same.
            End::Status { status, q850 } => {
                (500..600).contains(&status) && !q850 && !matches!(status, 501 | 505 | 513 | 580)
            }
            End::NoFirstResponse | End::TimedOut | End::Unreachable | End::NodeDown => true,
            End::Cancelled => false,
        }
    }

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            End::Status { .. } => "status",
            End::NoFirstResponse | End::TimedOut => "timeout",
            End::Unreachable => "unreachable",
            End::NodeDown => "node_down",
            End::Cancelled => "cancelled",
        }
    }
}

/// A peer that is not there, or one address of it.
#[derive(Clone, Copy, Debug)]
pub struct Gone {
    pub peer: Peer,
    pub at: Option<SocketAddr>,
}

impl Gone {
    #[must_use]
    pub fn is_of(&self, branch: &Branch) -> bool {
        branch.target == self.peer && self.at.is_none_or(|at| branch.hop.addr == at)
    }
}

/// The CANCEL of a branch. RFC 3261 §9.1: not before a provisional response.
#[derive(Debug, Default)]
pub enum Cancel {
    #[default]
    No,
    Wanted,
    Sent {
        client: NonInviteClient,
        bytes: Bytes,
        /// When we stop waiting for the INVITE's own final response.
        gives_up: u64,
    },
}

/// A 2xx that was seen, known by its To tag.
#[derive(Debug)]
pub struct Success {
    pub to_tag: Vec<u8>,
    /// One that did not go upstream: the ACK that each of its copies gets from us.
    pub ack: Option<(Hop, Bytes)>,
}

#[derive(Debug)]
pub struct Branch {
    pub attempt: u32,
    pub leg: LegId,
    pub target: Peer,
    pub hop: Hop,
    pub key: BranchKey,
    pub text: String,
    pub sent: Bytes,
    pub narrow: Option<Box<Narrow>>,
    pub client: InviteClient,
    /// When the next hop must have said anything at all; `u64::MAX` when it did or need not.
    pub first_by: u64,
    /// Timer C.
    pub ring_by: u64,
    pub cancel: Cancel,
    pub abandoned: bool,
    pub end: Option<End>,
    pub answered: bool,
    /// Counted in the node's open calls.
    pub counted: bool,
    /// The client transaction is over whatever its machine says.
    pub dead: bool,
    pub response: Option<Bytes>,
    pub successes: Vec<Success>,
    pub facts: BranchFacts,
}

/// Times in microseconds after the receipt of the request.
#[derive(Debug, Default)]
pub struct BranchFacts {
    pub forwarded: u64,
    pub first_response: Option<u64>,
    pub ringing: Option<u64>,
    pub finished: Option<u64>,
    pub status: Option<u16>,
    pub to_tag: Option<String>,
    pub retransmits: i32,
    pub failover_reason: Option<&'static str>,
}

impl Branch {
    /// Its answer can still become ours.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.end.is_none() && !self.answered && !self.abandoned
    }

    /// Answered: nothing of it is sent again. It is remembered for half a minute in case the callee repeats itself, and needs
    /// little for that: the first line says where the INVITE went.
    pub fn rest(&mut self) {
        let end = self.sent.iter().position(|&b| b == b'\r').unwrap_or(self.sent.len());
        self.sent = Bytes::copy_from_slice(&self.sent[..end]);
        self.narrow = None;
    }

    /// A CANCEL was sent, and the INVITE's own final response may still come.
    #[must_use]
    pub fn waits_for_cancelled_final(&self) -> bool {
        !self.dead && self.client.state() == sip::transaction::InviteClientState::Proceeding
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        let client = self.dead || self.client.state() == sip::transaction::InviteClientState::Ended;
        let cancel = match &self.cancel {
            Cancel::Sent { client, .. } => client.deadline().is_none(),
            _ => true,
        };
        client && cancel
    }
}

#[derive(Debug, Default)]
pub struct Times {
    pub trying: Option<u64>,
    pub first_180: Option<u64>,
    pub first_18x: Option<u64>,
    pub first_183_sdp: Option<u64>,
    pub finished: Option<u64>,
    pub ack: Option<u64>,
    pub cancel: Option<u64>,
}

/// Its records in the journal: of the INVITE while it is open, and of a final failure until that is acknowledged.
#[derive(Debug, Default)]
pub struct Kept {
    pub open: Option<Place>,
    pub end: Option<Place>,
}

#[derive(Debug)]
pub struct Invite {
    pub kind: Kind,
    pub peer: Peer,
    pub hop: Hop,
    /// Where its answers go.
    pub back: Hop,
    pub request: Bytes,
    pub received: Now,
    pub server_key: u128,
    pub merged_key: Option<u128>,
    pub challenge_key: u128,
    pub server: InviteServer,
    /// What was last sent upstream.
    pub last: Bytes,
    pub call: CallId,
    pub parent: Option<String>,
    pub branches: Vec<Branch>,
    pub tried: Vec<Peer>,
    /// Of a trunk whose name stands for several addresses those that were not tried yet, the next one last.
    pub walk: Vec<Hop>,
    /// Where the next attempt goes, when the peer alone does not say it.
    pub next: Option<Hop>,
    /// Where a challenged call goes again.
    pub forced: Option<Peer>,
    /// Pool of nodes, or the trunks of the route.
    pub route: Route,
    pub pop_routes: usize,
    pub finished: Option<u16>,
    pub cancelled: bool,
    pub dialog: Option<Slot>,
    pub kept: Kept,
    /// Ways over streams at which it stands in the table of their users.
    pub ways: Vec<Way>,
    pub armed: Armed,
    // What events say.
    /// `answered` was told, and took most of this with it.
    pub is_told: bool,
    pub identity: SipIdentity,
    pub parties: Option<Box<SipParties>>,
    pub auth: Option<SipAuth>,
    pub offer: Option<Box<SdpSummary>>,
    pub continues: Option<(u32, u16)>,
    pub times: Times,
    pub responses: Vec<(u16, u64)>,
    /// What policies changed.
    pub changes: Option<Box<Changes>>,
    pub retransmits_in: i32,
    pub timer_fired: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub enum Route {
    /// By its place in the settings.
    Pool(usize),
    /// The prefix that matched, and who carries the call, in the order in which they are tried.
    Trunks { prefix: String, carriers: Vec<Carried> },
    /// A registered client of a trunk, over the flow that it registered over.
    Flow { trunk: usize, hop: Hop },
    /// One peer at one address.
    Dialog,
}

impl Invite {
    /// Microseconds since the request was received.
    #[must_use]
    pub fn since(&self, now: Now) -> u64 {
        now.mono_us.saturating_sub(self.received.mono_us)
    }

    /// Who calls whom; nobody once that was told.
    #[must_use]
    pub fn parties(&self) -> &SipParties {
        static NOBODY: LazyLock<SipParties> = LazyLock::new(SipParties::default);
        self.parties.as_deref().unwrap_or(&NOBODY)
    }

    /// The way that an answer of a branch takes: from its target to whoever sent the INVITE.
    #[must_use]
    pub fn ways_back(&self, at: usize) -> [(Peer, Hop); 2] {
        let branch = &self.branches[at];
        [(branch.target, branch.hop), (self.peer, self.hop)]
    }

    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let mut at = self.server.deadline().unwrap_or(u64::MAX);
        for branch in &self.branches {
            if !branch.dead {
                at = at.min(branch.client.deadline().unwrap_or(u64::MAX));
            }
            if branch.end.is_none() && !branch.answered {
                at = at.min(branch.first_by).min(branch.ring_by);
            }
            if let Cancel::Sent { client, gives_up, .. } = &branch.cancel {
                at = at.min(client.deadline().unwrap_or(u64::MAX));
                if branch.waits_for_cancelled_final() {
                    at = at.min(*gives_up);
                }
            }
        }
        (at != u64::MAX).then_some(at)
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        let server = self.server.state() == sip::transaction::InviteServerState::Ended;
        server && self.branches.iter().all(Branch::is_over)
    }

    pub fn note_response(&mut self, code: u16, now: Now) {
        // A sender that floods us with provisionals must not fill memory.
        if self.responses.len() < 32 {
            self.responses.push((code, self.since(now)));
        }
    }
}
