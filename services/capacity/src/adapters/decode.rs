//! Events in the words of the core.

use schemas::{NodeHealth, NodeResources, SipBranch, SipTransaction};

use crate::core::{Beat, Report, Resources, Step, What, formula};

/// What a report about a node says; nothing when it bears no sign of it.
pub fn report(event: NodeHealth) -> Option<Report> {
    let what = match event.event_type.as_str() {
        "heartbeat" => {
            let beat = event.heartbeat?;
            What::Beat(Beat {
                core: event.core_uuid?,
                sequence: beat.event_sequence,
                sessions: beat.sessions,
                max_sessions: beat.max_sessions,
                idle_cpu_percent: beat.idle_cpu_percent,
                uptime_ms: beat.uptime_ms,
                interval_us: beat.interval_us,
            })
        }
        "link_up" => What::LinkUp,
        "link_down" => What::LinkDown,
        "epoch" => What::Epoch(event.epoch?.core_uuid),
        "probe" => match (event.resources, event.probe) {
            // An agent speaks for the machine, not for the FreeSWITCH on it.
            (Some(resources), _) => What::Resources(shares(&resources)),
            (None, Some(probe)) if probe.answered > 0 && probe.consecutive_failures == 0 => What::Sign,
            _ => return None,
        },
        _ => return None,
    };
    Some(Report { node: event.node_id, observer: event.observer_id, at_us: event.observed_us, what })
}

fn shares(r: &NodeResources) -> Resources {
    let of = |used: Option<i64>, whole: Option<i64>| formula::share(used? as f64, whole? as f64);
    Resources {
        cpu: r.cpu_used_cores.zip(r.cpu_quota_cores).and_then(|(used, quota)| formula::share(used, quota)),
        memory: of(r.rss_bytes, r.memory_limit_bytes),
        rtp: of(r.rtp_ports_used.map(i64::from), r.rtp_ports_total.map(i64::from)),
        fds: of(r.fds_used, r.fds_limit),
    }
}

/// Event types that move a count; the others need not be decoded.
pub fn moves_calls(event_type: &[u8]) -> bool {
    matches!(event_type, b"attempt" | b"answered" | b"final" | b"ended" | b"lost")
}

/// Steps of the legs that an edge put on nodes. Legs towards trunks are none: their channel is in the node's own count already.
pub fn steps(event: &SipTransaction, mut step: impl FnMut(Step)) {
    let at_us = event.occurred_us;
    match event.event_type.as_str() {
        "attempt" => {
            let branch = event.branches.iter().find(|b| b.leg_id == event.leg_id).or(event.branches.last());
            if let Some((leg, branch)) = branch.filter(|b| on_node(b)).and_then(|b| Some((leg(&b.leg_id)?, b))) {
                step(Step::Started { leg, node: branch.target_id.clone(), at_us });
            }
        }
        // Branches that were given up for the one that answered.
        "answered" => {
            let lost = event.branches.iter().filter(|b| on_node(b) && b.leg_id != event.leg_id);
            lost.filter_map(|b| leg(&b.leg_id)).for_each(|leg| step(Step::Ended { leg, at_us }));
        }
        "final" => {
            let all = event.branches.iter().filter(|b| on_node(b));
            all.filter_map(|b| leg(&b.leg_id)).for_each(|leg| step(Step::Ended { leg, at_us }));
        }
        "ended" | "lost" => {
            if let Some(leg) = leg(&event.leg_id) {
                step(Step::Ended { leg, at_us });
            }
        }
        _ => {}
    }
}

fn on_node(branch: &SipBranch) -> bool {
    branch.target_side == "node"
}

fn leg(id: &str) -> Option<u64> {
    u64::from_str_radix(id, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{NodeHeartbeat, NodeProbe};

    fn branch(leg: u64, side: &str, node: &str) -> SipBranch {
        SipBranch {
            leg_id: format!("{leg:016x}"),
            target_side: side.to_owned(),
            target_id: node.to_owned(),
            ..SipBranch::default()
        }
    }

    fn steps_of(kind: &str, leg: u64, branches: Vec<SipBranch>) -> Vec<Step> {
        let event = SipTransaction {
            event_type: kind.to_owned(),
            leg_id: format!("{leg:016x}"),
            occurred_us: 9,
            branches,
            ..SipTransaction::default()
        };
        let mut out = Vec::new();
        steps(&event, |step| out.push(step));
        out
    }

    #[test]
    fn a_call_with_failover_begins_twice_and_ends_twice() {
        let (one, two) = (branch(1, "node", "fs1"), branch(2, "node", "fs2"));
        let started = |leg, node: &str| Step::Started { leg, node: node.to_owned(), at_us: 9 };
        let ended = |leg| Step::Ended { leg, at_us: 9 };
        assert_eq!(steps_of("attempt", 1, vec![one.clone()]), [started(1, "fs1")]);
        assert_eq!(steps_of("attempt", 2, vec![one.clone(), two.clone()]), [started(2, "fs2")]);
        assert_eq!(steps_of("answered", 2, vec![one.clone(), two.clone()]), [ended(1)]);
        assert_eq!(steps_of("ended", 2, vec![]), [ended(2)]);
        assert_eq!(steps_of("final", 2, vec![one, two]), [ended(1), ended(2)]);
    }

    #[test]
    fn legs_towards_trunks_and_other_transactions_are_no_load() {
        assert_eq!(steps_of("attempt", 1, vec![branch(1, "trunk", "carrier")]), []);
        assert_eq!(steps_of("refused", 1, vec![branch(1, "node", "fs1")]), []);
        for (kind, moves) in [("attempt", true), ("lost", true), ("transaction", false), ("refused", false)] {
            assert_eq!(moves_calls(kind.as_bytes()), moves);
        }
    }

    #[test]
    fn only_an_answered_probe_is_a_sign_of_life() {
        let probe = |answered, failures| {
            let probe = NodeProbe { sent: 5, answered, consecutive_failures: failures, ..NodeProbe::default() };
            report(NodeHealth { event_type: "probe".to_owned(), probe: Some(probe), ..NodeHealth::default() })
        };
        assert_eq!(probe(5, 0).map(|r| r.what), Some(What::Sign));
        assert_eq!(probe(4, 1), None, "the last ones were lost");
        assert_eq!(probe(0, 0), None);
    }

    #[test]
    fn a_heartbeat_without_its_core_is_no_heartbeat() {
        let event = NodeHealth {
            event_type: "heartbeat".to_owned(),
            heartbeat: Some(NodeHeartbeat::default()),
            ..NodeHealth::default()
        };
        assert_eq!(report(event.clone()), None);
        assert!(report(NodeHealth { core_uuid: Some("c".to_owned()), ..event }).is_some());
    }
}
