//! What follows for the dialogs of a lost node: each is told `lost`, or goes on at the node that `recovers_to` names. With
//! `orphan_bye` the party that is left gets a BYE from us; off by default, since a proxy has no business ending calls.
//!
//! A node may have tens of thousands of dialogs: they are dealt with a few hundred at a time, so that no packet waits for them.

use std::collections::VecDeque;
use std::sync::Arc;

use domain::Now;
use sip::edit::Request;

use crate::core::dialog::dialogs::{Dialog, Phase};
use crate::core::dispatch::{Reported, State};
use crate::core::nodes::watch::{Lost, News};
use crate::core::proof::branch::Branch as BranchName;
use crate::core::slab::Slot;
use crate::core::topology::Peer;
use crate::core::{Action, Hop, Proxy};

/// Dialogs given up in one go.
const AT_ONCE: usize = 256;
/// And then this pause.
const PAUSE_US: u64 = 5_000;
/// CSeq of a BYE in the name of a party whose own numbers we do not know: above all that user agents begin with.
const CSEQ: u32 = 1 << 30;

/// What an engine told about a node, on its way to the machine.
#[derive(Clone, Debug)]
pub struct NodeNews {
    pub node_id: String,
    pub engine_id: String,
    pub news: News,
    /// How full the node says it is.
    pub load: Option<Reported>,
}

/// Dialogs that are still to be given up.
#[derive(Debug, Default)]
pub(in crate::core) struct Losing {
    slots: VecDeque<(Slot, Arc<str>)>,
    pub next: Option<u64>,
}

impl Proxy {
    pub(in crate::core) fn node_news(&mut self, now: Now, told: NodeNews) {
        let Some(node) = self.topology.nodes.iter().position(|n| n.id == told.node_id) else { return };
        if let Some(reported) = told.load {
            let own = self.nodes[node].own();
            self.nodes[node].load.heard(now.mono_us, reported, own);
        }
        if self.watch.news(now.mono_us, node, &told.engine_id, told.news)
            && let Some(core) = self.watch.core(node)
        {
            let kept = self.journal.node(&self.topology, node, core);
            let before = std::mem::replace(&mut self.nodes[node].kept, kept);
            self.journal.remove_later(before);
        }
        self.watch_nodes(now);
    }

    pub(in crate::core) fn watch_nodes(&mut self, now: Now) {
        let (health, mono) = (&self.health, now.mono_us);
        let quiet = |node: usize| (health[node].state() == State::Down).then(|| health[node].quiet_since());
        if let Some(lost) = self.watch.decide(mono, quiet) {
            self.lose_node(now, &lost);
        }
    }

    fn lose_node(&mut self, now: Now, lost: &Lost) {
        let node = Peer::Node(lost.node);
        self.counters.nodes_lost += 1;
        self.report_lost(now, lost);
        let recovers_to = self.topology.nodes[lost.node].recovers_to;
        let is_gone = |d: &Dialog| {
            let on_it = d.caller == node || d.callee == node;
            let before = lost.before_us.is_none_or(|at| d.answered.wall_us < at);
            on_it && before && d.moved_to.is_none() && d.phase == Phase::Open
        };
        let gone: Vec<Slot> = self.dialogs.slots().filter(|&s| self.dialogs.get(s).is_some_and(is_gone)).collect();
        let evidence: Arc<str> = lost.evidence.as_str().into();
        for slot in gone {
            match (recovers_to, self.dialogs.get_mut(slot)) {
                (Some(other), Some(dialog)) => {
                    dialog.moved_to = Some(other);
                    self.journal.follow_dialog(&self.topology, dialog);
                    self.counters.moved_dialogs += 1;
                }
                _ => self.losing.slots.push_back((slot, Arc::clone(&evidence))),
            }
        }
        self.lose_some(now);
    }

    /// The next few of them.
    pub(in crate::core) fn lose_some(&mut self, now: Now) {
        for _ in 0..AT_ONCE {
            let Some((slot, evidence)) = self.losing.slots.pop_front() else { break };
            if self.dialogs.get(slot).is_some_and(|d| d.phase == Phase::Open) {
                self.lose_to_node(now, slot, &evidence);
            }
        }
        self.losing.next = (!self.losing.slots.is_empty()).then_some(now.mono_us + PAUSE_US);
    }

    fn lose_to_node(&mut self, now: Now, slot: Slot, evidence: &str) {
        let nonce = self.random.next();
        let dialog = self.dialogs.get(slot).filter(|_| self.config.orphan_bye);
        let bye = dialog.and_then(|d| self.write_orphan_bye(d, nonce));
        if !self.dialogs.close(slot, now.mono_us) {
            return;
        }
        self.counters.lost += 1;
        let Some(dialog) = self.dialogs.get_mut(slot) else { return };
        self.journal.remove_later(dialog.kept.take());
        let Some(dialog) = self.dialogs.get(slot) else { return };
        let (caller, callee) = (dialog.caller, dialog.callee);
        let (call, sip_call_id) = (dialog.call, dialog.sip_call_id.to_string());
        let mut event = self.end_event(now, dialog, Err("node_lost"));
        if let Some(end) = &mut event.dialog {
            end.released_by = Some(if bye.is_some() { "edge" } else { "node" }.to_owned());
            end.lost_evidence = Some(evidence.to_owned());
            end.bye_sent = bye.is_some();
        }
        self.counters.ended += 1;
        self.uncount(caller, callee, true);
        self.out.push_back(Action::Transaction(Box::new(event)));
        if let Some((to, hop, name, bytes)) = bye {
            self.counters.orphan_byes += 1;
            self.send_own(now, call, sip_call_id, to, hop, (name, bytes));
        }
    }

    /// A BYE to the trunk's side in the name of the node. Without the party's Contact it goes where its packets came from.
    fn write_orphan_bye(&self, d: &Dialog, nonce: u64) -> Option<(Peer, Hop, BranchName, bytes::Bytes)> {
        let to_caller = matches!(d.caller, Peer::Trunk(_));
        let (to, hop) = if to_caller { (d.caller, d.caller_hop) } else { (d.callee, d.callee_hop) };
        let hop = self.open(hop)?;
        let (local, remote) = if to_caller {
            ((&d.to_uri, &d.callee_tag), (&d.from_uri, &d.caller_tag))
        } else {
            ((&d.from_uri, &d.caller_tag), (&d.to_uri, &d.callee_tag))
        };
        let far = d.far.as_deref();
        let target = far.map_or_else(|| format!("sip:{}", hop.addr), |far| far.target.clone());
        let mut add: Vec<(&str, &[u8])> =
            far.iter().flat_map(|far| &far.routes).map(|route| ("Route", route.as_bytes())).collect();
        add.push(("Reason", b"Q.850;cause=27;text=\"node lost\""));
        let name = BranchName::own(&self.keys, nonce);
        let mut out = Vec::with_capacity(512);
        Request {
            method: "BYE",
            uri: target.as_bytes(),
            via: self.topology.via(hop, &name.text).as_bytes(),
            from: format!("<{}>;tag={}", local.0, local.1).as_bytes(),
            to: format!("<{}>;tag={}", remote.0, remote.1).as_bytes(),
            call_id: d.sip_call_id.as_bytes(),
            cseq: if to_caller { CSEQ } else { CSEQ.max(d.cseq.saturating_add(1)) },
            max_forwards: 70,
            add: &add,
        }
        .write(&mut out);
        Some((to, hop, name, out.into()))
    }

    fn report_lost(&mut self, now: Now, lost: &Lost) {
        let state = self.nodes[lost.node].state(&self.health[lost.node]);
        self.report_node(now, lost.node, Some((state, &format!("lost: {}", lost.evidence))));
    }

    /// Who goes on with a dialog's calls of a node: the one that it was moved to; without memory of the dialog, the one that
    /// recovers a node that is lost now.
    pub(in crate::core) fn stands_in(&self, node: usize, dialog: Option<Slot>) -> Option<usize> {
        match dialog.and_then(|slot| self.dialogs.get(slot)) {
            Some(dialog) => dialog.moved_to,
            None if self.watch.is_lost(node) => self.topology.nodes[node].recovers_to,
            None => None,
        }
    }
}
