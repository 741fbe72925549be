//! What every algorithm promises, over many choices.

use super::view::{Evidence, View};
use super::{Algorithm, Chooser, key_of};

const ROUNDS: usize = 1_000_000;

fn pool(weights: &[f64]) -> Vec<View> {
    let view =
        |(at, &weight): (usize, &f64)| View { id: key_of(format!("fs-{at}").as_bytes()), weight, ..View::default() };
    weights.iter().enumerate().map(view).collect()
}

fn counts(algorithm: Algorithm, views: &[View], rounds: usize) -> Vec<usize> {
    let mut chooser = Chooser::new(algorithm, 7);
    let mut counts = vec![0; views.len()];
    for round in 0..rounds {
        let key = key_of(&round.to_be_bytes());
        counts[chooser.choose(views, &[], key).unwrap().chosen] += 1;
    }
    counts
}

/// Each share is within 1 % of its weight.
fn assert_shares(algorithm: Algorithm, weights: &[f64], rounds: usize) {
    let counts = counts(algorithm, &pool(weights), rounds);
    let sum: f64 = weights.iter().sum();
    for (count, weight) in counts.iter().zip(weights) {
        let wanted = rounds as f64 * weight / sum;
        let off = (*count as f64 - wanted).abs() / wanted;
        assert!(off <= 0.01, "{}: {count} instead of {wanted}, {:.2} %", algorithm.as_str(), off * 100.0);
    }
}

#[test]
fn shares_over_a_million_choices_are_within_a_percent_of_the_weights() {
    assert_shares(Algorithm::SmoothWeighted, &[5.0, 3.0, 2.0, 0.5, 7.25, 1.0, 1.0, 4.0], ROUNDS);
    assert_shares(Algorithm::RoundRobin, &[1.0; 7], ROUNDS);
    assert_shares(Algorithm::Hash, &[1.0; 8], ROUNDS);
    assert_shares(Algorithm::Hash, &[5.0, 3.0, 2.0, 4.0], ROUNDS);
    // Alike in latency and calls, so that only the draw decides.
    assert_shares(Algorithm::TwoChoices, &[1.0; 8], ROUNDS);
}

#[test]
fn weighted_shares_never_come_in_bursts() {
    let views = pool(&[5.0, 3.0, 2.0]);
    let mut chooser = Chooser::new(Algorithm::SmoothWeighted, 1);
    let (mut run, mut last) = (0, None);
    for _ in 0..10_000 {
        let chosen = chooser.choose(&views, &[], 0).unwrap().chosen;
        run = if last == Some(chosen) { run + 1 } else { 1 };
        last = Some(chosen);
        assert!(run <= 2);
    }
}

#[test]
fn when_a_node_leaves_only_its_own_keys_move_and_evenly() {
    for weights in [vec![1.0; 10], vec![1.0, 2.0, 3.0, 4.0, 2.0, 1.0, 3.0, 2.0, 1.0, 1.0]] {
        let before = pool(&weights);
        let sum: f64 = weights.iter().sum();
        for gone in 0..before.len() {
            let mut after = before.clone();
            after[gone].evidence = Evidence::Out;
            let mut chooser = Chooser::new(Algorithm::Hash, 0);
            let keys = 20_000;
            let (mut moved, mut heirs) = (0, vec![0; before.len()]);
            for key in (0..keys).map(|k: u64| key_of(&k.to_le_bytes())) {
                let old = chooser.choose(&before, &[], key).unwrap().chosen;
                let new = chooser.choose(&after, &[], key).unwrap().chosen;
                assert!(old == gone || old == new, "a key of a node that stayed has moved");
                if old != new {
                    moved += 1;
                    heirs[new] += 1;
                }
            }
            let share = weights[gone] / sum;
            assert!(f64::from(moved) <= 1.1 * share * keys as f64, "{moved} of {keys} moved, its share is {share}");
            let most = *heirs.iter().max().unwrap();
            assert!(f64::from(most) < 0.5 * f64::from(moved), "one neighbour takes all: {heirs:?}");
        }
    }
}

#[test]
fn the_least_used_for_its_size_gets_the_call_and_equals_take_turns() {
    let mut views = pool(&[1.0, 1.0, 1.0]);
    (views[0].capacity, views[1].capacity, views[2].capacity) = (100, 100, 50);
    (views[0].used, views[1].used, views[2].used) = (30, 20, 9);
    let mut chooser = Chooser::new(Algorithm::LeastUsed, 0);
    let mut place = |views: &mut [View]| {
        let choice = chooser.choose(views, &[], 0).unwrap();
        views[choice.chosen].used += 1;
        choice.chosen
    };
    assert_eq!(place(&mut views), 2);
    for _ in 0..1_000 {
        place(&mut views);
    }
    let loads: Vec<f64> = views.iter().map(|v| f64::from(v.used) / f64::from(v.capacity)).collect();
    assert!(loads.iter().all(|l| (l - loads[0]).abs() < 0.03), "{loads:?}");
    let mut chooser = Chooser::new(Algorithm::LeastUsed, 0);
    let idle = pool(&[1.0; 3]);
    let order: Vec<usize> = (0..6).map(|_| chooser.choose(&idle, &[], 0).unwrap().chosen).collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn two_choices_keep_clear_of_a_slow_node_and_of_a_loaded_one() {
    let mut views = pool(&[1.0; 4]);
    views.iter_mut().for_each(|v| v.latency_us = 2_000);
    views[3].latency_us = 200_000;
    let slow = counts(Algorithm::TwoChoices, &views, 100_000);
    assert_eq!(slow[3], 0, "it is never the better of two: {slow:?}");
    views[3].latency_us = 2_000;
    views[0].used = 50;
    let loaded = counts(Algorithm::TwoChoices, &views, 100_000);
    assert!(loaded[0] == 0 && loaded[1..].iter().all(|&n| n > 30_000), "{loaded:?}");
    // Not known yet is worth a try.
    views[0] = View { used: 0, latency_us: 0, ..views[0] };
    assert!(counts(Algorithm::TwoChoices, &views, 100_000)[0] > 40_000);
}

#[test]
fn a_worse_class_is_asked_only_when_the_better_ones_are_empty() {
    use Evidence::{Full, Out, Suspect, Up, Weightless};
    for algorithm in
        [Algorithm::RoundRobin, Algorithm::SmoothWeighted, Algorithm::LeastUsed, Algorithm::Hash, Algorithm::TwoChoices]
    {
        let mut views = pool(&[1.0, 1.0, 1.0, 0.0, 1.0, 1.0]);
        // The last but one is a backup of the first.
        for (view, (evidence, priority)) in
            views.iter_mut().zip([(Up, 0), (Full, 0), (Suspect, 0), (Weightless, 0), (Up, 1), (Out, 0)])
        {
            (view.evidence, view.priority) = (evidence, priority);
        }
        let mut chooser = Chooser::new(algorithm, 3);
        let mut tried = Vec::new();
        for wanted in [0, 4, 1, 2, 3] {
            for _ in 0..20 {
                let choice = chooser.choose(&views, &tried, 11).unwrap();
                assert_eq!(choice.chosen, wanted, "{}", algorithm.as_str());
                assert_eq!(choice.top()[0].at, wanted);
                assert_eq!(choice.top().len(), 3.min(5 - tried.len()), "the alternatives are told");
                assert!(choice.top().windows(2).all(|pair| pair[0].score >= pair[1].score));
            }
            tried.push(wanted);
        }
        assert_eq!(chooser.choose(&views, &tried, 11), None);
    }
}

#[test]
fn a_member_keeps_its_credit_when_the_pool_changes() {
    let views = pool(&[3.0, 1.0]);
    let mut chooser = Chooser::new(Algorithm::SmoothWeighted, 0);
    assert_eq!(chooser.choose(&views, &[], 0).unwrap().chosen, 0);
    // A third one comes first in the list; the debt of the first goes with it.
    let mut chooser = chooser.moved(Algorithm::SmoothWeighted, &[None, Some(0), Some(1)]);
    let grown = pool(&[1.0, 3.0, 1.0]);
    let order: Vec<usize> = (0..4).map(|_| chooser.choose(&grown, &[], 0).unwrap().chosen).collect();
    assert_eq!(order.iter().filter(|&&at| at == 1).count(), 2, "{order:?}");
}

#[test]
fn a_choice_among_64_nodes_takes_microseconds_at_most() {
    let mut views = pool(&(1..=64).map(f64::from).collect::<Vec<_>>());
    for (at, view) in views.iter_mut().enumerate() {
        (view.used, view.capacity, view.latency_us) = (at as u32 * 7 % 31, 100, 1_000 + at as u32);
    }
    for algorithm in
        [Algorithm::RoundRobin, Algorithm::SmoothWeighted, Algorithm::LeastUsed, Algorithm::Hash, Algorithm::TwoChoices]
    {
        let mut chooser = Chooser::new(algorithm, 5);
        let mut best = f64::MAX;
        for _ in 0..5 {
            let start = std::time::Instant::now();
            for key in 0..2_000u64 {
                std::hint::black_box(chooser.choose(std::hint::black_box(&views), &[], key));
            }
            best = best.min(start.elapsed().as_nanos() as f64 / 2_000.0);
        }
        println!("{}: {best:.0} ns", algorithm.as_str());
        // The figure, 1 µs, is `load -- dispatcher`'s, on a machine that does nothing else; here other tests run beside it.
        let limit = if cfg!(debug_assertions) { 60_000.0 } else { 5_000.0 };
        assert!(best <= limit, "{}: {best} ns", algorithm.as_str());
    }
}
