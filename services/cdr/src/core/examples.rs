//! Calls as both witnesses tell them, made of real events through the real translation, and what their records must say.

use domain::{CallId, LegId};
use schemas::{
    CallReconciled, CallerProfile, ChannelEvent, ChannelHangup, ChannelSip, ChannelState, ChannelTimes, IvrDecision,
    SipBranch, SipDecision, SipDialogEnd, SipIdentity, SipOutcome, SipParties, SipResponse, SipTiming, SipTransaction,
};

use crate::adapters::decode::{self, Translated};
use crate::core::call::{Derived, derive};
use crate::core::fact::{Fact, Kind};
use crate::core::state::CallState;

pub const T0: i64 = 1_800_000_000_000_000;
const MS: i64 = 1000;
pub const CORE: &str = "a16d571c-8575-4042-b397-ef41778b2edf";

pub fn call_id() -> CallId {
    CallId::new(T0, [7; 10])
}

/// One server transaction of the edge.
#[derive(Clone)]
pub struct Tx {
    pub cid: &'static str,
    pub cseq: u32,
    pub from: (&'static str, &'static str),
    pub parent: Option<String>,
    pub start: i64,
    pub branches: Vec<SipBranch>,
}

impl Tx {
    pub fn from_trunk(cid: &'static str, cseq: u32, start: i64) -> Tx {
        Tx { cid, cseq, from: ("trunk", "carrier-a"), parent: None, start, branches: vec![] }
    }

    pub fn leg(&self, attempt: u32) -> String {
        LegId::edge(&call_id(), self.cid, "ftag", self.cseq, attempt).to_string()
    }

    pub fn event(&self, what: &str, attempt: u32, at_ms: i64) -> SipTransaction {
        let mut e = SipTransaction {
            event_type: what.into(),
            call_root_id: call_id().to_string(),
            leg_id: self.leg(attempt),
            parent_leg_id: self.parent.clone(),
            edge_id: "edge-1".into(),
            occurred_us: T0 + (self.start + at_ms) * MS,
            occurred_mono_us: (self.start + at_ms) * MS,
            source_side: self.from.0.into(),
            source_id: self.from.1.into(),
            attempt: i32::try_from(attempt).unwrap(),
            identity: SipIdentity {
                method: "INVITE".into(),
                call_id: self.cid.into(),
                cseq: self.cseq,
                from_tag: "ftag".into(),
                ..SipIdentity::default()
            },
            parties: Some(SipParties {
                caller_raw: Some("+4930123456".into()),
                caller_e164: Some("+4930123456".into()),
                callee_raw: Some("+49307771001".into()),
                callee_e164: Some("+49307771001".into()),
                ..SipParties::default()
            }),
            timing: Some(SipTiming { received_us: Some(T0 + self.start * MS), ..SipTiming::default() }),
            ..SipTransaction::default()
        };
        e.envelope.producer_id = "edge/test".into();
        e.envelope.seq = self.start + at_ms;
        e
    }

    pub fn attempt(&mut self, attempt: u32, to: (&str, &str), at_ms: i64) -> Fact {
        self.branches.push(SipBranch {
            attempt: i32::try_from(attempt).unwrap(),
            leg_id: self.leg(attempt),
            target_side: to.0.into(),
            target_id: to.1.into(),
            address: "127.0.0.1:5080".into(),
            t_fwd_us: at_ms * MS,
            ..SipBranch::default()
        });
        let mut e = self.event("attempt", attempt, at_ms);
        e.decision = Some(SipDecision {
            chosen_side: Some(to.0.into()),
            chosen_id: Some(to.1.into()),
            failover_reason: (attempt > 1).then(|| "status".into()),
            ..SipDecision::default()
        });
        e.branches = vec![self.branches.last().unwrap().clone()];
        edge(e)
    }

    /// `answered` or `final` with this status, after ringing for a while.
    pub fn result(&mut self, status: u16, ring_ms: Option<i64>, at_ms: i64) -> Fact {
        let last = self.branches.len();
        for (i, b) in self.branches.iter_mut().enumerate() {
            let ours = i + 1 == last;
            b.status = Some(if ours { status } else { 503 });
            b.t_final_us = Some(if ours { at_ms } else { 20 } * MS);
            b.t_18x_us = ring_ms.filter(|_| ours).map(|ms| ms * MS);
            b.failover_reason = (!ours).then(|| "status".into());
        }
        let what = if status < 300 { "answered" } else { "final" };
        let mut e = self.event(what, u32::try_from(last).unwrap(), at_ms);
        e.branches.clone_from(&self.branches);
        e.outcome = Some(SipOutcome {
            status: Some(status),
            produced_by: Some("upstream".into()),
            cancelled: status == 487,
            challenge: matches!(status, 401 | 407),
            responses: vec![SipResponse { code: status, t_us: at_ms * MS }],
            ..SipOutcome::default()
        });
        let timing = e.timing.as_mut().unwrap();
        timing.t_first_18x_us = ring_ms.map(|ms| ms * MS);
        timing.t_final_us = Some(at_ms * MS);
        edge(e)
    }

    pub fn ended(&self, released_by: &str, answered_ms: i64, at_ms: i64) -> Fact {
        let mut e = self.event("ended", u32::try_from(self.branches.len()).unwrap(), at_ms);
        e.dialog = Some(SipDialogEnd {
            released_by: Some(released_by.into()),
            bye_status: Some(200),
            ended_us: Some(T0 + (self.start + at_ms) * MS),
            talk_us: Some((at_ms - answered_ms) * MS),
            ..SipDialogEnd::default()
        });
        edge(e)
    }

    pub fn refused(&self, status: u16, why: &str, block: Option<&str>) -> Fact {
        let mut e = self.event("refused", 0, 1);
        e.outcome =
            Some(SipOutcome { status: Some(status), produced_by: Some("edge".into()), ..SipOutcome::default() });
        e.decision =
            Some(SipDecision { reason: Some(why.into()), block_id: block.map(Into::into), ..SipDecision::default() });
        edge(e)
    }
}

/// One channel of the node.
#[derive(Clone)]
pub struct Leg {
    pub uuid: &'static str,
    pub direction: &'static str,
    pub cid: &'static str,
    pub edge_leg: Option<String>,
    pub created: i64,
    pub progress: i64,
    pub answered: i64,
    pub seq: i64,
}

impl Leg {
    fn event(&self, what: &str, at_ms: i64, seq: i64) -> ChannelEvent {
        let us = |ms: i64| (ms > 0 && ms <= at_ms).then(|| T0 + ms * MS);
        let mut e = ChannelEvent {
            event_type: what.into(),
            call_root_id: call_id().to_string(),
            leg_id: self.uuid.into(),
            edge_leg_id: self.edge_leg.clone(),
            header_state: Some(if self.direction == "inbound" { "valid" } else { "copied" }.into()),
            node_id: "fs1".into(),
            engine_id: "engine-1".into(),
            core_uuid: CORE.into(),
            event_sequence: self.seq + seq,
            event_us: T0 + at_ms * MS,
            controlled: true,
            channel: ChannelState {
                unique_id: self.uuid.into(),
                direction: Some(self.direction.into()),
                ..ChannelState::default()
            },
            times: Some(ChannelTimes {
                created_us: us(self.created),
                progress_us: us(self.progress),
                answered_us: us(self.answered),
                ..ChannelTimes::default()
            }),
            sip: Some(ChannelSip {
                call_id: Some(self.cid.into()),
                from_user: Some("+4930123456".into()),
                to_user: Some("+49307771001".into()),
                ..ChannelSip::default()
            }),
            caller: Some(CallerProfile { destination_number: Some("1001".into()), ..CallerProfile::default() }),
            ..ChannelEvent::default()
        };
        e.envelope.producer_id = "engine/test".into();
        e
    }

    pub fn facts(&self, cause: &str, how: &str, end_ms: i64) -> Vec<Fact> {
        let mut events = vec![self.event("CHANNEL_CREATE", self.created, 1)];
        if self.answered > 0 {
            events.push(self.event("CHANNEL_ANSWER", self.answered, 2));
        }
        for (what, seq) in [("CHANNEL_HANGUP", 3), ("CHANNEL_HANGUP_COMPLETE", 4), ("CHANNEL_DESTROY", 5)] {
            let mut e = self.event(what, end_ms, seq);
            e.hangup = Some(ChannelHangup {
                cause: Some(cause.into()),
                sip_hangup_disposition: Some(how.into()),
                ..ChannelHangup::default()
            });
            e.times.as_mut().unwrap().hangup_us = Some(T0 + end_ms * MS);
            events.push(e);
        }
        events.into_iter().map(channel).collect()
    }

    pub fn bridged(&self, other: &str, at_ms: i64) -> Fact {
        let mut e = self.event("CHANNEL_BRIDGE", at_ms, 6);
        e.channel.bridge_a_unique_id = Some(self.uuid.into());
        e.channel.bridge_b_unique_id = Some(other.into());
        e.times.as_mut().unwrap().bridged_us = Some(T0 + at_ms * MS);
        channel(e)
    }
}

fn unwrap(translated: Result<Translated, domain::IdError>) -> Fact {
    match translated.unwrap() {
        Translated::Fact(id, fact) => {
            assert_eq!(id, call_id());
            *fact
        }
        Translated::Nothing => panic!("the event makes a fact"),
    }
}

fn edge(e: SipTransaction) -> Fact {
    unwrap(decode::edge(e))
}

fn channel(e: ChannelEvent) -> Fact {
    unwrap(decode::channel(e))
}

fn step(n: i32, what: &str, node: &str, at_ms: i64) -> Fact {
    unwrap(decode::ivr(IvrDecision {
        event_type: what.into(),
        call_root_id: call_id().to_string(),
        channel_uuid: "chan-a".into(),
        step: n,
        occurred_us: T0 + at_ms * MS,
        menu_id: "main".into(),
        menu_node: node.into(),
        ..IvrDecision::default()
    }))
}

pub fn node_lost(core: Option<&str>, seen_ms: i64, decided_ms: i64) -> Fact {
    unwrap(decode::reconciled(CallReconciled {
        event_type: "node_lost".into(),
        call_root_id: call_id().to_string(),
        decided_us: T0 + decided_ms * MS,
        node_id: Some("fs1".into()),
        core_uuid: core.map(Into::into),
        rule: "heartbeat_silence".into(),
        last_seen_us: Some(T0 + seen_ms * MS),
        ..CallReconciled::default()
    }))
}

pub fn record(facts: &[Fact]) -> Derived {
    let mut state = CallState::default();
    for fact in facts {
        state.join(fact).unwrap();
    }
    derive(&call_id(), &state).unwrap()
}

/// In from a trunk, through a menu, 6 s of talk, the caller hangs up.
pub fn menu_call() -> Vec<Fact> {
    let mut tx = Tx::from_trunk("cid-a", 1, 0);
    let mut facts =
        vec![tx.attempt(1, ("node", "fs1"), 1), tx.result(200, Some(50), 1000), tx.ended("caller", 1000, 7000)];
    let leg = Leg {
        uuid: "chan-a",
        direction: "inbound",
        cid: "cid-a",
        edge_leg: Some(tx.leg(1)),
        created: 10,
        progress: 40,
        answered: 990,
        seq: 100,
    };
    facts.extend(leg.facts("NORMAL_CLEARING", "recv_bye", 7002));
    facts.extend([
        step(1, "menu_entered", "root", 1000),
        step(2, "input", "sales", 3000),
        step(3, "hangup", "sales", 7002),
    ]);
    facts
}

/// The same, bridged out again through the edge to a carrier; the callee hangs up.
pub fn bridged_call() -> Vec<Fact> {
    let mut a = Tx::from_trunk("cid-a", 1, 0);
    let mut b = Tx::from_trunk("cid-b", 77, 500);
    b.from = ("node", "fs1");
    b.parent = Some(a.leg(1));
    let mut facts = vec![a.attempt(1, ("node", "fs1"), 1), a.result(200, None, 1300), a.ended("callee", 1300, 5000)];
    facts.extend([
        b.attempt(1, ("trunk", "carrier-b"), 1),
        b.result(200, Some(200), 800),
        b.ended("callee", 800, 4498),
    ]);
    let chan = |uuid, direction, cid, leg: String, created, answered, seq| Leg {
        uuid,
        direction,
        cid,
        edge_leg: Some(leg),
        created,
        progress: 0,
        answered,
        seq,
    };
    let ca = chan("chan-a", "inbound", "cid-a", a.leg(1), 5, 1295, 100);
    let cb = chan("chan-b", "outbound", "cid-b", a.leg(1), 490, 1290, 200);
    facts.extend(ca.facts("NORMAL_CLEARING", "send_bye", 5001));
    facts.extend(cb.facts("NORMAL_CLEARING", "recv_bye", 5000));
    facts.push(ca.bridged("chan-b", 1300));
    facts
}

/// Challenged by the node, repeated with credentials, answered.
pub fn authenticated_call() -> Vec<Fact> {
    let mut first = Tx::from_trunk("cid-a", 1, 0);
    let mut second = Tx::from_trunk("cid-a", 2, 100);
    vec![
        first.attempt(1, ("node", "fs1"), 1),
        first.result(401, None, 20),
        second.attempt(1, ("node", "fs1"), 1),
        second.result(200, Some(30), 300),
        second.ended("caller", 300, 2300),
    ]
}

/// The first node answers 503, the second takes the call.
pub fn failover_call() -> Vec<Fact> {
    let mut tx = Tx::from_trunk("cid-a", 1, 0);
    vec![
        tx.attempt(1, ("node", "fs2"), 1),
        tx.attempt(2, ("node", "fs1"), 21),
        tx.result(200, Some(100), 500),
        tx.ended("caller", 500, 1500),
    ]
}

pub fn unanswered(status: u16) -> Vec<Fact> {
    let mut tx = Tx::from_trunk("cid-a", 1, 0);
    vec![tx.attempt(1, ("node", "fs1"), 1), tx.result(status, Some(100), 900)]
}

pub fn without(facts: &[Fact], kind: Kind) -> Vec<Fact> {
    facts.iter().filter(|f| f.kind != kind).cloned().collect()
}

#[test]
fn an_answered_call_has_one_leg_with_both_witnesses() {
    let d = record(&menu_call());
    let c = &d.call;
    assert_eq!((c.finality.as_str(), c.leg_count, c.revision), ("final", 1, 11));
    assert_eq!(c.disposition.as_deref(), Some("answered"));
    assert_eq!((c.final_code, c.pdd_ms, c.setup_ms), (Some(200), Some(50), Some(1000)));
    assert_eq!((c.talk_ms, c.end_us), (Some(6012), Some(T0 + 7002 * MS)), "end and talk by the channel's own clock");
    assert_eq!(c.answer_us, Some(T0 + 1000 * MS));
    assert_eq!((c.trunk_in.as_deref(), c.node.as_deref()), (Some("carrier-a"), Some("fs1")));
    assert_eq!(
        (c.released_by.as_deref(), c.hangup_cause.as_deref(), c.q850),
        (Some("caller"), Some("NORMAL_CLEARING"), Some(16))
    );
    assert_eq!((c.ivr_path.as_str(), c.ivr_exit.as_deref()), (r#"["main/root","main/sales"]"#, Some("hangup")));
    assert_eq!((c.witnesses.as_str(), c.quality.as_str(), c.flags.as_str()), ("edge,engine", "complete", "[]"));
    assert_eq!((c.sip_call_id.as_deref(), c.from_tag.as_deref(), c.cseq), (Some("cid-a"), Some("ftag"), Some(1)));
    assert!(d.open.is_none());
}

#[test]
fn a_call_that_passes_the_edge_twice_is_one_call_with_two_legs() {
    let d = record(&bridged_call());
    assert_eq!((d.call.leg_count, d.call.finality.as_str()), (2, "final"));
    assert_eq!((d.call.trunk_in.as_deref(), d.call.trunk_out.as_deref()), (Some("carrier-a"), Some("carrier-b")));
    assert_eq!(d.call.released_by.as_deref(), Some("callee"));
    let (a, b) = (&d.legs[0], &d.legs[1]);
    assert_eq!((a.role.as_str(), b.role.as_str()), ("A", "B"));
    assert_eq!((a.channel_uuid.as_deref(), b.channel_uuid.as_deref()), (Some("chan-a"), Some("chan-b")));
    assert_eq!((a.direction.as_deref(), b.direction.as_deref()), (Some("inbound"), Some("outbound")));
    assert_eq!(b.parent_leg.as_deref(), Some(a.leg_id.as_str()));
    assert!(d.call.edges.contains("bridged_with") && d.call.edges.contains("parent"));
    assert_eq!(d.call.talk_ms, Some(3706));
    assert_eq!(d.call.flags, "[]");
}

#[test]
fn an_authenticated_call_is_one_call_and_the_challenge_no_failure() {
    let all = authenticated_call();
    let d = record(&all);
    assert_eq!((d.call.disposition.as_deref(), d.call.finality.as_str()), (Some("answered"), "final"));
    assert_eq!((d.call.challenges, d.call.attempts, d.call.cseq), (1, 2, Some(2)));
    assert!(d.call.edges.contains("retried_as"));
    let only = record(&all[..2]);
    assert_eq!(only.call.finality, "open", "the caller may still come back");
    assert_eq!(only.call.disposition, None);
    assert!(only.open.unwrap().challenged_only);
}

#[test]
fn a_challenge_that_nobody_takes_up_ends_rejected_by_the_reconciler() {
    let mut facts = authenticated_call()[..2].to_vec();
    facts.push(unwrap(decode::reconciled(CallReconciled {
        event_type: "orphan_closed".into(),
        call_root_id: call_id().to_string(),
        decided_us: T0 + 40_000 * MS,
        last_seen_us: Some(T0 + 20 * MS),
        rule: "challenge_not_answered".into(),
        ..CallReconciled::default()
    })));
    let d = record(&facts);
    assert_eq!(
        (d.call.finality.as_str(), d.call.disposition.as_deref(), d.call.final_code),
        ("reconciled", Some("rejected"), Some(401))
    );
}

/// The node that was given up answers after the other one did; its answer went upstream too, and the caller hung up there.
pub fn answered_twice() -> Vec<Fact> {
    let mut tx = Tx::from_trunk("cid-a", 1, 0);
    let mut facts = vec![tx.attempt(1, ("node", "fs2"), 1), tx.attempt(2, ("node", "fs1"), 1500)];
    facts.push(tx.result(200, Some(1600), 2000));
    let mut late = tx.event("late_answer", 1, 2100);
    late.identity.to_tag = Some("second".into());
    late.branches.clone_from(&tx.branches);
    (late.branches[0].status, late.branches[0].t_final_us) = (Some(200), Some(2100 * MS));
    late.outcome = Some(SipOutcome {
        status: Some(200),
        late_action: Some(schemas::grammar::FORWARDED.into()),
        ..SipOutcome::default()
    });
    let mut end = tx.event("ended", 1, 2300);
    end.identity.to_tag = Some("second".into());
    end.dialog = Some(SipDialogEnd {
        late: true,
        released_by: Some("caller".into()),
        bye_status: Some(200),
        ended_us: Some(T0 + 2300 * MS),
        talk_us: Some(200 * MS),
        ..SipDialogEnd::default()
    });
    facts.extend([edge(late), edge(end), tx.ended("callee", 2000, 9000)]);
    facts
}

#[test]
fn a_second_answer_is_a_leg_of_its_own_and_changes_nothing_in_the_call() {
    let d = record(&answered_twice());
    let c = &d.call;
    assert_eq!(
        (c.finality.as_str(), c.disposition.as_deref(), c.node.as_deref()),
        ("final", Some("answered"), Some("fs1"))
    );
    assert_eq!((c.answer_us, c.talk_ms, c.released_by.as_deref()), (Some(T0 + 2000 * MS), Some(7000), Some("callee")));
    assert_eq!(
        (d.legs[0].final_code, d.legs[0].answer_us, d.legs[0].talk_ms),
        (Some(200), Some(T0 + 2100 * MS), Some(200))
    );
    let open = record(&answered_twice()[..4]);
    assert_eq!(
        (open.call.finality.as_str(), open.open.map(|o| o.legs.len())),
        ("open", Some(2)),
        "two dialogs are open"
    );
    let rest = [&answered_twice()[..4], &answered_twice()[5..]].concat();
    assert_eq!(record(&rest).call.finality, "open", "the second dialog has no end yet");
}

#[test]
fn two_dialogs_of_one_attempt_are_one_leg_as_long_as_the_first() {
    let mut tx = Tx::from_trunk("cid-a", 1, 0);
    let mut facts = vec![tx.attempt(1, ("trunk", "carrier-b"), 1)];
    facts.push(tx.result(200, Some(1600), 2000));
    for fact in &answered_twice()[3..5] {
        let mut fact = fact.clone();
        fact.edge.as_mut().unwrap().branches.truncate(1);
        facts.push(fact);
    }
    facts.push(tx.ended("callee", 2000, 9000));
    let d = record(&facts);
    assert_eq!((d.legs.len(), d.legs[0].talk_ms, d.call.talk_ms), (1, Some(7000), Some(7000)));
}

#[test]
fn a_failover_is_two_legs_of_one_answered_call() {
    let d = record(&failover_call());
    assert_eq!((d.call.leg_count, d.call.retries, d.call.disposition.as_deref()), (2, 1, Some("answered")));
    assert_eq!((d.legs[0].final_code, d.legs[0].disposition.as_deref()), (Some(503), Some("failed")));
    assert_eq!(
        (d.legs[1].node.as_deref(), d.legs[1].previous_leg.as_deref()),
        (Some("fs1"), Some(d.legs[0].leg_id.as_str()))
    );
    assert_eq!(d.call.node.as_deref(), Some("fs1"));
}

#[test]
fn an_attempt_that_was_given_up_is_over_before_the_result_is_known() {
    let d = record(&failover_call()[..2]);
    let open = d.open.unwrap();
    assert_eq!(open.legs.len(), 1);
    assert_eq!(open.legs[0].node.as_deref(), Some("fs1"));
}

#[test]
fn the_caller_gets_the_better_answer_even_when_a_later_attempt_failed_worse() {
    let mut tx = Tx::from_trunk("cid-a", 1, 0);
    let mut facts = vec![tx.attempt(1, ("node", "fs1"), 1), tx.attempt(2, ("node", "fs2"), 21)];
    let mut result = tx.result(486, Some(10), 600);
    let e = result.edge.as_mut().unwrap();
    e.leg = Some(tx.leg(1).into());
    e.attempt = 1;
    e.branches[0].status = Some(486);
    e.branches[1].status = Some(503);
    facts.push(result);
    let d = record(&facts).call;
    assert_eq!((d.disposition.as_deref(), d.final_code, d.node.as_deref()), (Some("busy"), Some(486), Some("fs1")));
}

#[test]
fn every_way_to_fail_has_its_disposition() {
    for (status, disposition) in
        [(486, "busy"), (487, "cancelled"), (480, "no_answer"), (603, "rejected"), (503, "failed"), (404, "failed")]
    {
        let d = record(&unanswered(status));
        assert_eq!(d.call.disposition.as_deref(), Some(disposition), "{status}");
        assert_eq!(
            (d.call.final_code, d.call.talk_ms, d.call.finality.as_str()),
            (Some(i64::from(status)), Some(0), "final")
        );
        assert_eq!(d.call.ring_ms, Some(800));
    }
}

#[test]
fn a_refused_call_names_the_block_and_needs_no_engine() {
    let tx = Tx::from_trunk("cid-a", 1, 0);
    let d = record(&[tx.refused(603, "block", Some("fraud/0190"))]);
    assert_eq!((d.call.disposition.as_deref(), d.call.block_id.as_deref()), (Some("blocked"), Some("fraud/0190")));
    assert_eq!((d.call.quality.as_str(), d.call.released_by.as_deref()), ("complete", Some("edge")));
    let limited = record(&[tx.refused(503, "limit", None)]);
    assert_eq!(limited.call.disposition.as_deref(), Some("limited"));
    assert_eq!(limited.call.decision_ids, "[]");
}

#[test]
fn either_witness_alone_gives_the_whole_record() {
    for story in [menu_call(), bridged_call()] {
        let both = record(&story).call;
        for missing in [Kind::Edge, Kind::Channel] {
            let alone = record(&without(&story, missing));
            let c = &alone.call;
            assert_eq!(c.finality, "final", "{missing:?}");
            assert_eq!((&c.disposition, c.final_code), (&both.disposition, both.final_code), "{missing:?}");
            for (a, b) in [(c.answer_us, both.answer_us), (c.end_us, both.end_us), (c.start_us, both.start_us)] {
                assert!((a.unwrap() - b.unwrap()).abs() <= 250 * MS, "{missing:?}: {a:?} {b:?}");
            }
            assert!((c.talk_ms.unwrap() - both.talk_ms.unwrap()).abs() <= 250);
            assert_eq!(c.leg_count, both.leg_count, "{missing:?}");
            assert_eq!((c.quality.as_str(), c.flags.as_str()), ("one_witness", r#"["witness_missing"]"#));
        }
    }
}

#[test]
fn each_event_alone_makes_a_record_of_its_call() {
    for fact in menu_call().into_iter().chain(bridged_call()).filter(|f| f.kind != Kind::Ivr) {
        let d = record(std::slice::from_ref(&fact));
        assert_eq!(d.call.leg_count, 1, "{}", fact.what);
        assert!(d.call.sip_call_id.is_some(), "{}", fact.what);
    }
}

fn cut_off() -> Vec<Fact> {
    menu_call()
        .into_iter()
        .filter(|f| matches!(&*f.what, "attempt" | "answered" | "CHANNEL_CREATE" | "CHANNEL_ANSWER" | "menu_entered"))
        .collect()
}

#[test]
fn a_call_of_a_dead_node_is_closed_with_the_interval_and_a_late_witness_replaces_that() {
    let mut facts = cut_off();
    let open = record(&facts);
    assert_eq!((open.call.finality.as_str(), open.call.end_us), ("open", None));
    assert_eq!(open.open.unwrap().legs[0].core_uuid.as_deref(), Some(CORE));

    facts.push(node_lost(Some(CORE), 4000, 7000));
    let d = record(&facts).call;
    assert_eq!((d.finality.as_str(), d.disposition.as_deref()), ("reconciled", Some("node_lost")));
    assert_eq!((d.end_earliest_us, d.end_latest_us), (Some(T0 + 4000 * MS), Some(T0 + 7000 * MS)));
    assert_eq!((d.talk_ms, d.quality.as_str(), d.closed_by.as_deref()), (Some(3000), "estimated", Some("reaper")));
    assert_eq!(d.released_by.as_deref(), Some("node"));

    facts.extend(menu_call());
    let late = record(&facts).call;
    assert_eq!(
        (late.finality.as_str(), late.disposition.as_deref(), late.talk_ms),
        ("final", Some("answered"), Some(6012))
    );
}

#[test]
fn another_boot_of_the_node_does_not_close_this_call() {
    let mut facts = cut_off();
    facts.push(node_lost(Some("another-boot"), 4000, 7000));
    assert_eq!(record(&facts).call.finality, "open");
}

#[test]
fn a_bye_that_the_dead_node_never_answered_leaves_the_call_lost() {
    let mut tx = Tx::from_trunk("cid-a", 1, 0);
    tx.attempt(1, ("node", "fs1"), 1);
    let mut ended = tx.event("ended", 1, 9000);
    ended.dialog = Some(SipDialogEnd {
        released_by: Some("caller".into()),
        bye_status: Some(408),
        ended_us: Some(T0 + 9000 * MS),
        talk_us: Some(8000 * MS),
        ..SipDialogEnd::default()
    });
    let mut facts = cut_off();
    facts.push(edge(ended));
    let before = record(&facts);
    assert_eq!((before.call.finality.as_str(), before.call.disposition.as_deref()), ("final", Some("answered")));
    assert!(before.open.is_some_and(|o| o.settling && o.legs.len() == 1), "the reconciler keeps an eye on it");
    facts.push(node_lost(Some(CORE), 4000, 7000));
    let d = record(&facts).call;
    assert_eq!((d.finality.as_str(), d.disposition.as_deref()), ("final", Some("node_lost")));
}
