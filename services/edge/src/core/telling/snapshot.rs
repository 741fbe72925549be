//! What the machine shows of itself: for metrics, the admin pages and the demo.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::core::Proxy;
use crate::core::admission::Knock;
use crate::core::control::{Control, Wanted};
use crate::core::dispatch::AnnouncedView;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $help:literal,)*) => {
        /// Since start.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct Counters {
            $($(#[$doc])* #[doc = $help] pub $name: u64,)*
        }

        impl Counters {
            /// Name, help and value of each.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), $help, self.$name),)*]
            }
        }
    };
}

counters! {
    packets_in: "Datagrams received",
    packets_out: "Datagrams sent",
    denied_packets: "Datagrams from sources that are neither trunk nor node",
    shed: "Initial INVITEs turned away because the edge had too much to do",
    emergencies: "Initial INVITEs to emergency numbers",
    not_dialled: "Initial INVITEs to numbers that may not be dialled",
    above_rate: "Requests above the bucket of their source, not looked at",
    taken_again: "Requests above the bucket of their source, taken when they came again",
    keep_alives: "Line ends only, and answers to our own pings",
    pings_out: "Packets that keep the way to a trunk open",
    malformed: "Messages that could not be read",
    stray_responses: "Responses that belong to nothing",
    forged_headers: "Call headers that were not believed",
    invites: "Initial INVITEs",
    attempts: "INVITEs forwarded",
    failovers: "INVITEs forwarded to another next hop after a failure",
    registrations: "REGISTERs forwarded to a registrar",
    answered: "Initial INVITEs answered",
    failed: "Initial INVITEs forwarded and not answered",
    refused: "Initial INVITEs refused by the edge",
    blocked: "Initial INVITEs refused by a block rule",
    limited: "Initial INVITEs refused by a limit of their trunk",
    limited_out: "Carriers that a call passed over because they were at a limit",
    shadow_hits: "Initial INVITEs that a rule in shadow would have refused",
    cancelled: "INVITEs cancelled by the caller",
    late_answers: "2xx after the answer or final failure of their INVITE",
    ended: "Dialogs ended or lost",
    lost: "Dialogs given up without a BYE",
    unacknowledged: "Failures whose ACK never came",
    retransmissions_in: "Requests received again",
    retransmissions_out: "Messages sent again",
    large_by_udp: "Large requests sent by UDP after all, since no connection could be made",
    send_errors: "Datagrams that the system refused to send",
    nodes_lost: "Times that a node was taken for lost with its calls",
    moved_dialogs: "Dialogs that another node goes on with",
    orphan_byes: "BYEs sent to the parties of a lost node's calls",
    stateless_responses: "Responses forwarded without a transaction, after a restart",
    resumed_invites: "INVITEs taken over from the life before",
    resumed_dialogs: "Dialogs taken over from the life before",
    journal_full: "Calls and dialogs that the journal had no room for",
    journal_damaged: "Records of the journal that could not be read or name what the settings no longer have",
    journal_set_aside: "Journals that could not be read at all",
    announced_nodes: "Announcements of nodes that were not known before, or from another place",
    breakers_opened: "Times that a node got no calls for a while because it failed more of them than its pool",
    reloads: "Times that other settings were taken over",
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NodeSnapshot {
    pub id: String,
    pub address: Option<SocketAddr>,
    pub pool: String,
    /// up, suspect, draining, down or disabled.
    pub state: &'static str,
    /// As the next call would find it: up, full, suspect, weightless or out.
    pub evidence: &'static str,
    /// active, draining or disabled, as the control topic wants it.
    pub wanted: &'static str,
    /// Configured.
    pub weight: f64,
    /// From the control topic, 0 to 1.
    pub factor: f64,
    /// With everything: factor, slow start, failed calls.
    pub effective_weight: f64,
    pub priority: u8,
    /// Calls; 0 = not known.
    pub capacity: u32,
    /// Calls on it, with those that others brought.
    pub used: u32,
    /// Share of the calls of the last 15 s that it failed by its own fault.
    pub failing: f64,
    /// Smoothed time to its first response.
    pub first_response_us: u32,
    pub calls_now: i64,
    /// Calls answered by it.
    pub calls_total: u64,
    /// INVITEs forwarded to it.
    pub attempts: u64,
    pub failed_5xx: u64,
    pub timeouts: u64,
    pub rtt_us: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TrunkSnapshot {
    pub id: String,
    pub address: Option<SocketAddr>,
    /// What is known of it as a carrier: up, silent, full, suspect or down.
    pub state: &'static str,
    /// The same as a number: 0 is tried first, 2 last.
    #[serde(skip)]
    pub rank: u8,
    /// Of its last probe.
    pub rtt_us: Option<u64>,
    pub pool: String,
    pub cps: f64,
    /// Calls at once that it may have; 0 = no limit.
    pub calls_max: u32,
    /// Open calls, from it and to it.
    pub calls_now: u32,
    /// Calls that asked to pass since the start, and those that did.
    pub asked: u64,
    pub passed: u64,
    /// Asked in the last second.
    pub asked_per_s: f64,
    /// Calls per second that may go to it, 0 = no limit; and how many went or wanted to in the last second.
    pub cps_out: f64,
    pub asked_out_per_s: f64,
    pub pinned: bool,
    pub account: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BlockSnapshot {
    /// author/block id.
    pub key: String,
    pub rule: Option<String>,
    pub mode: &'static str,
    /// Numbers masked.
    pub scope: String,
    pub status: u16,
    pub expires_us: i64,
}

/// A next hop that is a name.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NameSnapshot {
    /// Id of the trunk or node.
    pub peer: String,
    pub name: String,
    /// Address and transport, best first.
    pub targets: Vec<String>,
    pub stale: bool,
    pub answered_us: Option<i64>,
    pub lookups: u64,
    pub failures: u64,
    pub error: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Snapshot {
    pub edge_id: String,
    /// When it was taken.
    pub taken_us: i64,
    pub nodes: Vec<NodeSnapshot>,
    pub trunks: Vec<TrunkSnapshot>,
    /// Who announced itself as a node.
    pub announced: Vec<AnnouncedView>,
    /// Who sends and is neither trunk nor node, the loudest first.
    #[serde(skip)]
    pub knocking: Arc<Vec<Knock>>,
    /// Filled by `Running::snapshot`.
    pub blocks: Vec<BlockSnapshot>,
    pub names: Vec<NameSnapshot>,
    pub counters: Counters,
    /// Open dialogs.
    pub dialogs: usize,
    /// INVITEs without a final response.
    pub setting_up: usize,
    /// In use in the journal, and its size.
    pub journal_bytes: usize,
    pub journal_bytes_max: usize,
    /// Transactions remembered, with those that are only kept for repetitions.
    pub transactions: usize,
    pub draining: bool,
    pub block_version: Option<String>,
    pub weight_version: Option<String>,
    pub config_digest: String,
}

/// The rules in force. Apart from the rest: there may be thousands, and they change rarely.
#[must_use]
pub fn blocks(control: &Control, wall_us: i64) -> Vec<BlockSnapshot> {
    let live = control.rules.iter().filter(|r| r.expires_us > wall_us);
    live.map(|r| BlockSnapshot {
        key: r.key.clone(),
        rule: r.rule.clone(),
        mode: if r.enforce { "enforce" } else { "shadow" },
        scope: r.describe(),
        status: r.status,
        expires_us: r.expires_us,
    })
    .collect()
}

impl Proxy {
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// For the adapter, whose sends may fail.
    pub fn note_send_error(&mut self) {
        self.counters.send_errors += 1;
    }

    /// For the adapter, which opens the journal.
    pub fn note_set_aside(&mut self, is_so: bool) {
        self.counters.journal_set_aside += u64::from(is_so);
    }

    #[must_use]
    pub fn snapshot(&self, wall_us: i64) -> Snapshot {
        let node = |(i, n): (usize, &crate::core::topology::Node)| {
            let stats = &self.nodes[i];
            let (now, wanted) = (self.last.mono_us, stats.wanted);
            let view = stats.view(now, n, &self.health[i], &self.topology.pools[n.pool_at], false);
            NodeSnapshot {
                id: n.id.clone(),
                address: Some(n.address),
                pool: n.pool.clone(),
                state: stats.state(&self.health[i]),
                evidence: view.evidence.as_str(),
                wanted: match wanted.state {
                    Wanted::Active => "active",
                    Wanted::Draining => "draining",
                    Wanted::Disabled => "disabled",
                },
                weight: n.weight,
                factor: wanted.factor,
                effective_weight: view.weight,
                priority: n.priority,
                capacity: view.capacity,
                used: view.used,
                failing: stats.breaker.share(now).ratio(),
                first_response_us: view.latency_us,
                calls_now: stats.calls_now,
                calls_total: stats.answered,
                attempts: stats.attempts,
                failed_5xx: stats.failed_5xx,
                timeouts: stats.timeouts,
                rtt_us: self.health[i].rtt_us,
            }
        };
        let trunk =
            |(place, (t, state)): (usize, (&crate::core::topology::Trunk, &crate::core::TrunkState))| TrunkSnapshot {
                id: t.id.clone(),
                address: t.address,
                state: self.carrier_state(self.last.mono_us, place),
                rank: self.carrier_rank(self.last.mono_us, place),
                rtt_us: self.carriers[place].health.rtt_us,
                pool: t.pool.clone(),
                cps: t.limits.cps,
                calls_max: t.limits.calls,
                calls_now: state.gate.calls(),
                asked: state.gate.counts().0,
                passed: state.gate.counts().1,
                asked_per_s: state.asked.rate,
                cps_out: t.limits.cps_out,
                asked_out_per_s: state.asked_out.rate,
                pinned: t.pinned,
                account: t.account.clone(),
            };
        Snapshot {
            edge_id: self.topology.edge_id.clone(),
            taken_us: wall_us,
            // Those that are gone stay in sight while they have calls.
            nodes: (self.topology.nodes.iter().enumerate())
                .filter(|(i, n)| n.gone.is_none() || self.nodes[*i].calls_now > 0)
                .map(node)
                .collect(),
            trunks: (self.topology.trunks.iter().zip(&self.trunks).enumerate())
                .filter(|(_, (t, _))| t.gone.is_none())
                .map(trunk)
                .collect(),
            announced: self
                .announced
                .views(self.last.mono_us, |id| self.topology.nodes.iter().any(|n| n.id == id && n.gone.is_none())),
            knocking: self.knocking(),
            blocks: Vec::new(),
            names: self.names.entries.iter().map(|entry| self.name(entry)).collect(),
            counters: Counters { journal_full: self.journal.full, ..self.counters },
            journal_bytes: self.journal.usage().0,
            journal_bytes_max: self.journal.usage().1,
            dialogs: self.dialogs.open(),
            setting_up: self.setting_up,
            transactions: self.invites.len() + self.relays.len(),
            draining: self.draining,
            block_version: self.control.block_version.clone(),
            weight_version: self.control.weight_version.clone(),
            config_digest: self.topology.digest.clone(),
        }
    }

    fn name(&self, entry: &crate::core::names::Entry) -> NameSnapshot {
        NameSnapshot {
            peer: format!("{}/{}", entry.side.as_str(), entry.id),
            name: entry.name.clone(),
            targets: entry.targets.iter().map(|t| format!("{};{}", t.address, t.transport.as_str())).collect(),
            stale: entry.stale,
            answered_us: entry.answered_us,
            lookups: entry.lookups,
            failures: entry.failures,
            error: entry.error.clone(),
        }
    }
}
