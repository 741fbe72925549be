//! The laws of the fold: the record is a function of the *set* of facts.

use proptest::prelude::*;

use crate::core::examples::{self, record};
use crate::core::fact::Fact;
use crate::core::state::{CallState, LIMIT};

fn story() -> impl Strategy<Value = Vec<Fact>> {
    let stories = vec![
        examples::menu_call(),
        examples::bridged_call(),
        examples::authenticated_call(),
        examples::failover_call(),
        examples::answered_twice(),
        examples::unanswered(486),
        // Contradictions too: a restarted edge, a verdict that was wrong.
        [examples::menu_call(), examples::unanswered(487), vec![examples::node_lost(None, 4000, 7000)]].concat(),
    ];
    proptest::sample::select(stories)
}

/// Any part of a story, shuffled, with copies.
fn delivered() -> impl Strategy<Value = (Vec<Fact>, Vec<Fact>)> {
    story()
        .prop_flat_map(|facts| {
            let n = facts.len();
            (Just(facts), proptest::collection::vec(any::<bool>(), n), proptest::collection::vec(0..n, 0..2 * n))
        })
        .prop_flat_map(|(facts, keep, copies)| {
            let kept: Vec<Fact> = facts.iter().zip(&keep).filter(|(_, k)| **k).map(|(f, _)| f.clone()).collect();
            let mut sent = kept.clone();
            sent.extend(copies.iter().filter(|i| keep[**i]).map(|i| facts[*i].clone()));
            (Just(kept), Just(sent).prop_shuffle())
        })
}

fn join(facts: &[Fact]) -> CallState {
    let mut state = CallState::default();
    for fact in facts {
        state.join(fact).unwrap();
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn order_and_copies_do_not_change_the_rows((kept, sent) in delivered()) {
        let (a, b) = (record(&kept), record(&sent));
        prop_assert_eq!(a.call, b.call);
        prop_assert_eq!(a.legs, b.legs);
        prop_assert_eq!(a.open, b.open);
    }

    #[test]
    fn batches_and_a_trip_through_the_store_do_not_change_the_state((kept, sent) in delivered(), cuts in proptest::collection::vec(1usize..5, 1..20)) {
        let mut state = CallState::default();
        let mut rest = sent.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (batch, after) = rest.split_at((*cut).min(rest.len()));
            state = CallState::decode(&state.encode()).unwrap();
            state.merge(join(batch));
            rest = after;
        }
        prop_assert_eq!(state.encode(), join(&kept).encode());
        prop_assert_eq!(state.bytes(), join(&kept).bytes());
    }

    #[test]
    fn merging_is_associative_and_a_copy_adds_nothing(facts in story(), a in 0usize..20, b in 0usize..20) {
        let (a, b) = (a.min(facts.len()), b.min(facts.len()));
        let (x, y, z) = (join(&facts[..a]), join(&facts[a.min(b)..]), join(&facts[b..]));
        let mut left = x.clone();
        left.merge(y.clone());
        left.merge(z.clone());
        let mut right = y;
        right.merge(z);
        let mut whole = x.clone();
        whole.merge(right);
        prop_assert_eq!(&left, &whole);
        let again = left.clone();
        left.merge(again);
        prop_assert_eq!(left, whole);
    }

    #[test]
    fn of_two_copies_that_differ_the_same_one_wins_whoever_came_first(facts in story(), which in any::<prop::sample::Index>()) {
        let one = which.get(&facts).clone();
        let mut other = one.clone();
        other.event = "another/epoch".into();
        other.at += 1;
        let mut a = join(&facts);
        a.join(&other).unwrap();
        let mut b = join(&[other]);
        b.merge(join(&facts));
        prop_assert_eq!(a, b);
    }
}

#[test]
fn a_call_that_says_too_much_keeps_its_record_and_does_not_depend_on_the_order() {
    let mut facts = examples::menu_call();
    let sample = facts.iter().find(|f| &*f.what == "CHANNEL_ANSWER").unwrap().clone();
    for n in 0..2 * LIMIT {
        let mut key = sample.clone();
        key.id = format!("{n:032x}").into();
        key.what = "DTMF".into();
        facts.push(key);
    }
    let forward = join(&facts);
    facts.reverse();
    let backward = join(&facts);
    assert_eq!(forward, backward);
    assert_eq!(forward.revision(), i64::try_from(LIMIT).unwrap());
    let row = record(&facts).call;
    assert_eq!(
        (row.finality.as_str(), row.disposition.as_deref(), row.flags.as_str()),
        ("final", Some("answered"), r#"["truncated"]"#)
    );
}
