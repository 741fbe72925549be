//! Whether a request of a trunk that is new to us is looked at further, and who gets no answer.
//!
//! Only what would make us work or answer is charged. What belongs to something that we know (a copy, a request inside a dialog with
//! its cookie, a response to a branch of ours) never comes here. Nodes are not charged: their side of the network is ours.

use std::sync::Arc;

use domain::Now;
use sip::{Message, Method};

use super::again::Copy;
use super::meters::Source;
use super::rejections::Names;
use super::{Class, Knock};
use crate::config::Admit;
use crate::core::topology::Peer;
use crate::core::{Action, Cx, Notice, Proxy};

/// The reason of what is above the bucket of its source.
const RATE: &str = "rate";

impl Proxy {
    /// A request outside of any dialog that we know nothing of yet. False when it was dealt with.
    pub(in crate::core) fn may_ask(&mut self, cx: &Cx, m: &Message<'_>, key: u128) -> bool {
        let Peer::Trunk(trunk) = cx.peer else { return true };
        let class = match m.method() {
            Method::Invite => Class::Invite,
            Method::Options => Class::Options,
            Method::Register => Class::Register,
            _ => Class::Stray,
        };
        if self.charge(cx, trunk, class) {
            return true;
        }
        if class == Class::Invite
            && self.is_emergency(trunk, m)
            && self.trunks[trunk].gate.emergency_may_ask(cx.now.mono_us)
        {
            return true;
        }
        if cx.hop.flow.is_some() {
            // Nobody repeats itself on a connection, and nobody forged it.
            self.counters.above_rate += 1;
            self.answer_statelessly(cx, m, 503, &[]);
            self.note_rejected(cx, m, RATE, Some(503));
            return false;
        }
        if self.admission.again.see(cx.now.mono_us, key) == Copy::Repeated {
            self.counters.taken_again += 1;
            return true;
        }
        self.counters.above_rate += 1;
        if class == Class::Invite {
            self.trunks[trunk].above_rate += 1;
        }
        self.note_rejected(cx, m, RATE, None);
        false
    }

    /// The Allow header for a request that its trunk may not send. A new call has a story: see [`Proxy::may_call`].
    pub(in crate::core) fn denied_method(&self, cx: &Cx, m: &Message<'_>) -> Option<String> {
        let Peer::Trunk(trunk) = cx.peer else { return None };
        let methods = &self.topology.trunks[trunk].methods;
        (m.method() != Method::Invite && !methods.allows(m.method())).then(|| methods.allow.clone())
    }

    pub(in crate::core) fn method_denied(&mut self, cx: &Cx, m: &Message<'_>, key: u128, allow: &str) {
        if self.may_ask(cx, m, key) {
            self.answer_locally(cx, m, key, 405, &[("Allow", allow.as_bytes())]);
        }
    }

    /// Whether something that belongs to nothing, or that nobody can read, is answered.
    pub(in crate::core) fn may_answer(&mut self, cx: &Cx, class: Class) -> bool {
        match cx.peer {
            Peer::Trunk(trunk) => self.charge(cx, trunk, class),
            Peer::Node(_) => true,
        }
    }

    fn charge(&mut self, cx: &Cx, trunk: usize, class: Class) -> bool {
        let rates = &self.trunks[trunk].rates;
        let source = match cx.hop.flow {
            // Clients from anywhere: many of them may share an address, and each has proven who it is.
            Some(flow) if self.topology.listener(cx.hop).admit != Admit::Address => Source::connection(flow.get()),
            _ => Source::address(cx.hop.addr.ip()),
        };
        self.admission.meters.charge(cx.now.mono_us, source.of(trunk), class, rates)
    }

    /// Once a second: what was refused, and who knocks.
    pub(in crate::core) fn report_rejections(&mut self, now: Now) {
        if self.admission.rejections.is_empty() {
            return;
        }
        let (listeners, trunks) = (&self.topology.listeners, &self.topology.trunks);
        let listener = |l: usize| listeners.get(l).map(|l| (l.id.clone(), l.transport.as_str())).unwrap_or_default();
        let trunk = |t: usize| trunks.get(t).map(|t| t.id.clone()).unwrap_or_default();
        let names = Names { edge_id: &self.topology.edge_id, listener: &listener, trunk: &trunk };
        let (rows, strangers) = self.admission.rejections.close(now.wall_us, &names);
        let told = self.admission.knocking.note((now.wall_us, now.mono_us), &strangers, &listener);
        self.out.extend(rows.into_iter().map(|row| Action::Rejections(Box::new(row))));
        self.out.extend(told.into_iter().map(|told| Action::Notice(Box::new(Notice::Knock(told)))));
    }

    /// Who knocks and is not let in, the loudest first.
    #[must_use]
    pub fn knocking(&self) -> Arc<Vec<Knock>> {
        self.admission.knocking.list()
    }
}
