//! The two bounded queues between the connections' thread and the shard, as the shard sees them.

use std::sync::Arc;

use bytes::Bytes;
use sip::Reject;
use tokio::sync::mpsc;

use crate::core::{Flow, FlowIdentity, Hop, Input};

/// Messages that wait for the shard. When it is full the connections wait, so it bounds memory (a message has 32 KiB at
/// most) and not correctness.
pub(super) const INCOMING: usize = 1_024;
/// Messages that wait for the connections' thread. It only moves them to their lines, so they wait for microseconds; when it
/// is full all the same, a message is lost and counted, as the shard waits for nobody.
pub(super) const OUTGOING: usize = 4_096;

/// What the shard is told.
#[derive(Debug)]
pub enum Incoming {
    Message { hop: Hop, identity: Option<Arc<FlowIdentity>>, bytes: Bytes },
    Broken { hop: Hop, identity: Option<Arc<FlowIdentity>>, head: Bytes, reject: Reject },
    Closed { flow: Flow },
    Idle { flow: Flow },
    NoConnection { hop: Hop, stood: bool },
    Refused { hop: Hop, reason: &'static str },
}

impl Incoming {
    #[must_use]
    pub fn input(&self) -> Input<'_> {
        match self {
            Incoming::Message { hop, identity, bytes } => {
                Input::Message { hop: *hop, identity: identity.as_deref(), bytes }
            }
            Incoming::Broken { hop, identity, head, reject } => {
                Input::Broken { hop: *hop, identity: identity.as_deref(), head, reject: *reject }
            }
            Incoming::Closed { flow } => Input::FlowClosed { flow: *flow },
            Incoming::Idle { flow } => Input::FlowIdle { flow: *flow },
            Incoming::NoConnection { hop, stood } => Input::NoConnection { hop: *hop, stood: *stood },
            Incoming::Refused { hop, reason } => Input::Refused { hop: *hop, reason },
        }
    }
}

/// What the connections are told.
#[derive(Debug)]
pub(super) enum Outgoing {
    Send {
        hop: Hop,
        bytes: Bytes,
    },
    /// After everything that was sent to it before.
    Close {
        flow: Flow,
    },
}

/// The shard's end. When it is dropped the thread writes out what it has and ends.
#[derive(Debug)]
pub struct Port {
    pub(super) incoming: mpsc::Receiver<Incoming>,
    pub(super) outgoing: mpsc::Sender<Outgoing>,
}

impl Port {
    pub fn try_recv(&mut self) -> Option<Incoming> {
        self.incoming.try_recv().ok()
    }

    /// Waits for nothing; false when the message is lost.
    pub fn send(&self, hop: Hop, bytes: Bytes) -> bool {
        self.outgoing.try_send(Outgoing::Send { hop, bytes }).is_ok()
    }

    /// False when there is no room; the connection then falls idle once more and is asked for again.
    pub fn close(&self, flow: Flow) -> bool {
        self.outgoing.try_send(Outgoing::Close { flow }).is_ok()
    }
}
