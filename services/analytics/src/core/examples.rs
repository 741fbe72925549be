//! A set of calls counted by hand, and the laws that keep the totals where they are.

use proptest::prelude::*;
use schemas::{SipBranch, SipDecision, SipDialogEnd, SipIdentity, SipOutcome, SipTiming, SipTransaction};

use crate::core::record::{Class, MINUTE_US, Measured, Record, piece};
use crate::core::rollup::{Minute, Scope, count, minute, nearest_rank};

const T0: i64 = 30_000_000 * MINUTE_US;
const MS: i64 = 1000;

/// One server transaction: cseq, when it began, where it was sent (node by node).
struct Tx<'a> {
    call: &'a str,
    cseq: u32,
    trunk: &'a str,
    start_ms: i64,
    nodes: &'a [&'a str],
}

impl Tx<'_> {
    fn event(&self, what: &str, attempt: usize) -> SipTransaction {
        SipTransaction {
            event_type: what.into(),
            call_root_id: self.call.into(),
            leg_id: format!("{}-{attempt}", self.cseq),
            source_side: "trunk".into(),
            source_id: self.trunk.into(),
            attempt: i32::try_from(attempt).unwrap(),
            occurred_us: T0 + self.start_ms * MS,
            identity: SipIdentity { method: "INVITE".into(), cseq: self.cseq, ..SipIdentity::default() },
            timing: Some(SipTiming { received_us: Some(T0 + self.start_ms * MS), ..SipTiming::default() }),
            branches: (1..=self.nodes.len())
                .map(|n| SipBranch {
                    attempt: i32::try_from(n).unwrap(),
                    leg_id: format!("{}-{n}", self.cseq),
                    target_side: "node".into(),
                    target_id: self.nodes[n - 1].into(),
                    ..SipBranch::default()
                })
                .collect(),
            ..SipTransaction::default()
        }
    }

    fn attempts(&self) -> Vec<SipTransaction> {
        (1..=self.nodes.len()).map(|n| self.event("attempt", n)).collect()
    }

    fn ended_with(
        &self,
        status: u16,
        ring_ms: Option<i64>,
        final_ms: i64,
        talk_ms: Option<i64>,
    ) -> Vec<SipTransaction> {
        let mut events = self.attempts();
        let mut result = self.event(if status < 300 { "answered" } else { "final" }, self.nodes.len());
        result.outcome = Some(SipOutcome {
            status: Some(status),
            cancelled: status == 487,
            challenge: status == 401,
            ..SipOutcome::default()
        });
        let timing = result.timing.as_mut().unwrap();
        timing.t_first_18x_us = ring_ms.map(|ms| ms * MS);
        timing.t_final_us = Some(final_ms * MS);
        events.push(result);
        if let Some(talk) = talk_ms {
            let mut ended = self.event("ended", self.nodes.len());
            ended.dialog = Some(SipDialogEnd { talk_us: Some(talk * MS), ..SipDialogEnd::default() });
            events.push(ended);
        }
        events
    }

    fn refused(&self, status: u16, why: &str) -> Vec<SipTransaction> {
        let mut e = self.event("refused", 0);
        e.outcome = Some(SipOutcome { status: Some(status), ..SipOutcome::default() });
        e.decision = Some(SipDecision { reason: Some(why.into()), ..SipDecision::default() });
        vec![e]
    }
}

fn tx<'a>(call: &'a str, cseq: u32, trunk: &'a str, start_ms: i64, nodes: &'a [&'a str]) -> Tx<'a> {
    Tx { call, cseq, trunk, start_ms, nodes }
}

/// Ten calls of the first minute, one of the second, and the outward leg of one of them.
fn day() -> Vec<SipTransaction> {
    let mut all = Vec::new();
    all.extend(tx("c1", 1, "a", 0, &["n1"]).ended_with(200, Some(100), 1000, Some(60_000)));
    all.extend(tx("c2", 1, "a", 1_000, &["n1"]).ended_with(200, Some(300), 2000, Some(30_000)));
    // Still talking.
    all.extend(tx("c3", 1, "a", 2_000, &["n2"]).ended_with(200, Some(200), 3000, None));
    all.extend(tx("c4", 1, "b", 3_000, &["n2"]).ended_with(486, Some(400), 900, None));
    all.extend(tx("c5", 1, "b", 4_000, &["n1"]).ended_with(487, Some(500), 5000, None));
    // Failover: one attempt of the second node.
    all.extend(tx("c6", 1, "b", 5_000, &["n1", "n2"]).ended_with(200, None, 4000, Some(15_000)));
    // Challenged in this minute, repeated in it.
    all.extend(tx("c7", 1, "a", 6_000, &["n1"]).ended_with(401, None, 20, None));
    all.extend(tx("c7", 2, "a", 6_100, &["n1"]).ended_with(503, None, 30, None));
    all.extend(tx("c8", 1, "b", 7_000, &[]).refused(603, "block"));
    all.extend(tx("c9", 1, "b", 8_000, &[]).refused(503, "limit"));
    // No route is a failure that the caller sees: an attempt.
    all.extend(tx("c10", 1, "b", 9_000, &[]).refused(404, "no_route"));
    // Challenged at the end of the minute, authenticated in the next.
    all.extend(tx("c11", 1, "a", 59_990, &["n1"]).ended_with(401, None, 20, None));
    all.extend(tx("c11", 2, "a", 60_020, &["n1"]).ended_with(200, Some(100), 200, Some(1_000)));
    for mut outward in tx("c1", 7, "n1", 300, &[]).ended_with(200, Some(50), 100, Some(60_000)) {
        outward.source_side = "node".into();
        outward.parent_leg_id = Some("1-1".into());
        all.push(outward);
    }
    all
}

fn measured(events: &[SipTransaction]) -> Vec<Measured> {
    let mut records: std::collections::BTreeMap<&str, Record> = std::collections::BTreeMap::new();
    for event in events {
        if let Some((key, piece)) = piece(event) {
            records.entry(&event.call_root_id).or_default().join(key, piece);
        }
    }
    records.values().filter_map(Record::measure).collect()
}

fn minute_of(events: &[SipTransaction], n: i64) -> std::collections::BTreeMap<Scope, Minute> {
    let all = measured(events);
    minute(&all.into_iter().filter(|m| m.minute_us() == T0 + n * MINUTE_US).collect::<Vec<_>>())
}

#[test]
fn the_hand_computed_minute_comes_out() {
    let rows = minute_of(&day(), 0);
    let all = &rows[&Scope::All];
    // c1..c7 and c10; c8 and c9 are counted apart, c11 belongs to the next minute.
    assert_eq!((all.attempts, all.answered, all.finished), (8, 4, 7));
    assert_eq!((all.busy, all.cancelled, all.failed, all.no_answer, all.rejected), (1, 1, 2, 0, 0));
    assert_eq!((all.blocked, all.limited), (1, 1));
    assert_eq!(all.asr_percent, Some(50.0));
    // (60 + 30 + 15) s over the three that have ended.
    assert_eq!((all.talk_ms, all.acd_ms), (105_000, Some(35_000.0)));
    // 100, 200, 300, 400, 500.
    assert_eq!(
        (all.pdd_count, all.pdd_avg_ms, all.pdd_p50_ms, all.pdd_p95_ms),
        (5, Some(300.0), Some(300.0), Some(500.0))
    );
    // (1000 + 2000 + 3000 + 4000) / 4.
    assert_eq!(all.setup_avg_ms, Some(2500.0));
}

#[test]
fn trunks_and_nodes_have_their_own_rows() {
    let rows = minute_of(&day(), 0);
    let (a, b) = (&rows[&Scope::Trunk("a".into())], &rows[&Scope::Trunk("b".into())]);
    assert_eq!((a.attempts, a.answered, b.attempts, b.answered, b.blocked), (4, 3, 4, 1, 1));
    assert_eq!((a.asr_percent, a.acd_ms), (Some(75.0), Some(45_000.0)));
    let (n1, n2) = (&rows[&Scope::Node("n1".into())], &rows[&Scope::Node("n2".into())]);
    assert_eq!((n1.attempts, n2.attempts), (4, 3), "a call that was moved counts where it was answered");
    assert!(!rows.contains_key(&Scope::Node(String::new())));
}

#[test]
fn a_challenged_call_counts_once_in_the_minute_of_its_authenticated_invite() {
    let rows = minute_of(&day(), 1);
    assert_eq!((rows[&Scope::All].attempts, rows[&Scope::All].answered), (1, 1));
    let before: Vec<SipTransaction> =
        day().into_iter().filter(|e| !(e.call_root_id == "c11" && e.identity.cseq == 2)).collect();
    let waiting = minute_of(&before, 0);
    assert_eq!(waiting[&Scope::All].attempts, 9, "until it comes back it is an attempt of the first minute");
}

#[test]
fn an_empty_minute_has_no_rates() {
    let none = count([]);
    assert_eq!((none.attempts, none.asr_percent, none.acd_ms, none.pdd_p95_ms), (0, None, None, None));
}

#[test]
fn percentiles_are_values_that_were_measured() {
    let ten: Vec<i64> = (1..=10).collect();
    assert_eq!((nearest_rank(&ten, 50), nearest_rank(&ten, 95), nearest_rank(&ten, 90)), (5, 10, 9));
    assert_eq!((nearest_rank(&[7], 50), nearest_rank(&[7], 95)), (7, 7));
}

#[test]
fn what_we_refused_by_policy_is_no_attempt() {
    let classes: Vec<Class> = measured(&day()).into_iter().map(|m| m.class).collect();
    assert_eq!(classes.iter().filter(|c| **c == Class::Attempt).count(), 9);
}

proptest! {
    #[test]
    fn totals_do_not_move_under_copies_and_disorder(
        order in Just((0..day().len()).collect::<Vec<_>>()).prop_shuffle(),
        copies in proptest::collection::vec(0usize..40, 0..60),
    ) {
        let events = day();
        let mut sent: Vec<SipTransaction> = order.iter().map(|i| events[*i].clone()).collect();
        for i in copies {
            let mut copy = events[i % events.len()].clone();
            copy.envelope.seq += 1;
            sent.push(copy);
        }
        for n in [0, 1] {
            prop_assert_eq!(minute_of(&sent, n), minute_of(&events, n));
        }
    }

    #[test]
    fn a_record_survives_the_store(take in 0usize..60) {
        let mut record = Record::default();
        for event in day().iter().take(take) {
            if let Some((key, piece)) = piece(event) {
                record.join(key, piece);
            }
        }
        let text = serde_json::to_string(&record).unwrap();
        prop_assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
