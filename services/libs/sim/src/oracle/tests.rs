//! Books and records made to agree, then spoilt in a known way: the oracle must find exactly that.

use super::*;
use crate::carrier::Kind;
use crate::ledger::Released;
use proptest::prelude::*;

fn at(wall_us: i64) -> Stamp {
    Stamp { wall_us, mono_us: 0 }
}

fn call(index: usize, answered: bool) -> Call {
    let start = 1_000_000 * index as i64;
    Call {
        call_id: format!("call-{index}@north").into(),
        trunk: if index.is_multiple_of(2) { "north" } else { "south" }.into(),
        from: format!("+4930{index}"),
        to: "+4922".into(),
        kind: Kind::Echo,
        attack: false,
        invite: at(start),
        ringing: None,
        answer: answered.then(|| at(start + 100)),
        end: Some(at(start + 900)),
        final_code: Some(if answered { 200 } else { 486 }),
        challenged: false,
        cancelled: false,
        released: answered.then_some(Released::Caller),
        closed: true,
    }
}

fn row(call: &Call) -> CallRow {
    CallRow {
        call_id: format!("row of {}", call.call_id),
        sip_call_id: call.call_id.to_string(),
        trunk: call.trunk.to_string(),
        disposition: if call.answered() { "answered" } else { "busy" }.to_owned(),
        final_code: call.final_code,
        answered: call.answered(),
        start_us: call.invite.wall_us,
        answer_us: call.answer.map(|stamp| stamp.wall_us),
        end_us: call.end.map(|stamp| stamp.wall_us),
        finality: "final".to_owned(),
    }
}

fn leg(index: usize) -> Leg {
    Leg {
        call_id: format!("b-{index}").into(),
        trunk: "south".into(),
        from: String::new(),
        to: String::new(),
        node: None,
        invite: at(0),
        answer: None,
        end: Some(at(1)),
        final_code: Some(486),
        cancelled: false,
        closed: true,
    }
}

fn leg_row(leg: &Leg) -> LegRow {
    LegRow {
        call_id: "root".to_owned(),
        leg_id: format!("leg of {}", leg.call_id),
        sip_call_id: leg.call_id.to_string(),
        direction: "outbound".to_owned(),
        final_code: leg.final_code,
    }
}

fn books(count: usize) -> (Snapshot, Vec<CallRow>, Vec<LegRow>) {
    let calls: Vec<Call> = (0..count).map(|index| call(index, index.is_multiple_of(3))).collect();
    let legs: Vec<Leg> = (0..count / 2).map(leg).collect();
    let rows = calls.iter().map(row).collect();
    let leg_rows = legs.iter().map(leg_row).collect();
    (Snapshot { calls, legs }, rows, leg_rows)
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

#[test]
fn true_books_are_clean_and_the_visitor_is_set_aside() {
    let (snapshot, mut rows, legs) = books(30);
    rows.push(CallRow { trunk: "visitor".into(), sip_call_id: "sipp-1".into(), ..CallRow::default() });
    let verdict = judge(&snapshot, &rows, &legs, &Rules::default());
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!((verdict.calls, verdict.answered, verdict.failed, verdict.records), (30, 10, 20, 30));
    assert_eq!(verdict.set_aside, 1);
}

#[test]
fn the_same_call_id_on_another_trunk_is_another_call() {
    let (snapshot, mut rows, legs) = books(4);
    rows[0].trunk = "south".into();
    let verdict = judge(&snapshot, &rows, &legs, &Rules::default());
    assert_eq!((verdict.missing.count, verdict.phantom.count), (1, 1));
}

#[test]
fn each_untrue_field_is_named() {
    let (snapshot, rows, legs) = books(4);
    let spoil = |change: &dyn Fn(&mut CallRow)| {
        let mut rows = rows.clone();
        change(&mut rows[0]);
        let verdict = judge(&snapshot, &rows, &legs, &Rules::default());
        assert!(!verdict.is_clean());
        verdict.wrong.iter().map(|wrong| wrong.field).collect::<Vec<_>>()
    };
    assert_eq!(spoil(&|row| row.answered = false), ["answered"]);
    assert_eq!(spoil(&|row| row.final_code = Some(202)), ["final_code"]);
    assert_eq!(spoil(&|row| row.final_code = None), ["final_code"]);
    assert_eq!(spoil(&|row| row.answer_us = row.answer_us.map(|at| at + 250_001)), ["answer_us"]);
    assert_eq!(spoil(&|row| row.end_us = None), ["end_us"]);
}

#[test]
fn moments_within_the_tolerance_and_lost_nodes_are_no_mismatch() {
    let (snapshot, mut rows, legs) = books(4);
    rows[0].answer_us = rows[0].answer_us.map(|at| at + 250_000);
    rows[3].disposition = "node_lost".into();
    rows[3].end_us = Some(77_000_000);
    let verdict = judge(&snapshot, &rows, &legs, &Rules::default());
    assert!(verdict.is_clean(), "{:?}", verdict.wrong);
}

#[test]
fn an_open_call_is_counted_but_not_judged_and_a_timeout_has_no_code_to_compare() {
    let (mut snapshot, mut rows, legs) = books(4);
    snapshot.calls[0].closed = false;
    rows[0].end_us = None;
    rows[0].final_code = None;
    snapshot.calls[1].final_code = None;
    rows[1].final_code = Some(408);
    let verdict = judge(&snapshot, &rows, &legs, &Rules::default());
    assert!(verdict.is_clean(), "{:?}", verdict.wrong);
    assert_eq!(verdict.open, 1);
}

#[test]
fn legs_are_missed_doubled_and_compared() {
    let (snapshot, rows, mut legs) = books(10);
    legs[0].final_code = Some(603);
    legs.remove(1);
    legs.push(LegRow { leg_id: "again".into(), ..legs[3].clone() });
    legs.push(LegRow { sip_call_id: "call-0@north".into(), ..LegRow::default() });
    let verdict = judge(&snapshot, &rows, &legs, &Rules::default());
    assert_eq!(verdict.missing_legs.examples, ["b-1"]);
    assert_eq!(verdict.doubled_legs.examples, ["b-4"]);
    assert_eq!(verdict.wrong.iter().map(|wrong| wrong.field).collect::<Vec<_>>(), ["leg.final_code"]);
}

#[test]
fn a_leg_on_which_the_edge_gave_up_is_not_compared_with_what_the_carrier_said_afterwards() {
    let (mut snapshot, rows, mut legs) = books(6);
    for (index, (carrier, record)) in [(487, 408), (486, 408), (487, 404)].into_iter().enumerate() {
        snapshot.legs[index].final_code = Some(carrier);
        legs[index].final_code = Some(record);
    }
    let verdict = judge(&snapshot, &rows, &legs, &Rules::default());
    let untrue: Vec<&str> = verdict.wrong.iter().map(|wrong| wrong.sip_call_id.as_str()).collect();
    assert_eq!(untrue, ["b-1", "b-2"]);
}

#[test]
fn counts_are_complete_when_examples_are_capped() {
    let (snapshot, _, legs) = books(50);
    let verdict = judge(&snapshot, &[], &legs, &Rules { examples: 3, ..Rules::default() });
    assert_eq!((verdict.missing.count, verdict.missing.examples.len()), (50, 3));
}

proptest! {
    /// Whatever set of rows is removed, repeated and invented, exactly these are found, in any order of the rows.
    #[test]
    fn removed_repeated_and_invented_rows_are_found_exactly(
        count in 1_usize..60,
        fate in prop::collection::vec(0_u8..6, 60),
        invented in 0_usize..5,
        seed in any::<u64>(),
    ) {
        let (snapshot, rows, legs) = books(count);
        let (mut removed, mut repeated, mut spoilt) = (Vec::new(), Vec::new(), Vec::new());
        for (row, fate) in rows.iter().zip(&fate) {
            match fate {
                0 => removed.push(row.sip_call_id.clone()),
                1 => {
                    repeated.push(row.sip_call_id.clone());
                    spoilt.push(row.clone());
                    spoilt.push(CallRow { call_id: "second".into(), ..row.clone() });
                }
                _ => spoilt.push(row.clone()),
            }
        }
        let phantoms: Vec<String> = (0..invented).map(|index| format!("phantom-{index}")).collect();
        spoilt.extend(phantoms.iter().map(|id| CallRow {
            call_id: id.clone(),
            sip_call_id: format!("{id}@nowhere"),
            trunk: "north".into(),
            ..CallRow::default()
        }));
        let mut rng = crate::rng::Rng::new(seed);
        for at in (1..spoilt.len()).rev() {
            spoilt.swap(at, rng.below(at as u64 + 1) as usize);
        }
        let verdict = judge(&snapshot, &spoilt, &legs, &Rules { examples: 1000, ..Rules::default() });
        prop_assert_eq!(sorted(verdict.missing.examples), sorted(removed));
        prop_assert_eq!(sorted(verdict.doubled.examples), sorted(repeated));
        prop_assert_eq!(sorted(verdict.phantom.examples), sorted(phantoms));
        prop_assert_eq!(verdict.records, spoilt.len() as u64);
        prop_assert_eq!(verdict.wrong_count, 0);
    }
}
