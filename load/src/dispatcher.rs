//! The choice of a node by itself: does each node get its share, what moves when one leaves, what does a choice cost.
//!
//! The choosers are the edge's own, called as the edge calls them and with nothing around them. A pool of eight nodes with uneven weights
//! gets 1,000,000 choices per algorithm; a pool of 64 is timed and tells what moves, with plain `hash mod N` beside it.
//!
//! Gates: shares within 1 % of the weights; at most 1.1/N of the keys move; ≤ 1 µs per choice among 64 nodes.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, ensure};
use edge::core::dispatch::{Algorithm, Chooser, Evidence, View, key_of};

use crate::figures::{Figures, Gate, percentile};

const WEIGHTS: [f64; 8] = [5.0, 3.0, 2.0, 0.5, 7.25, 1.0, 1.0, 4.0];
const EVEN: [f64; 8] = [1.0; 8];
/// A key falls where it falls: a node with a fiftieth of the weight would be off by a per cent by chance alone.
const DRAWN: [f64; 8] = [5.0, 3.0, 2.0, 4.0, 5.0, 3.0, 2.0, 4.0];
const NODES: usize = 64;
const MAX_OFF_PERCENT: f64 = 1.0;
const MAX_MOVED: f64 = 1.1;
const MAX_NS: f64 = 1_000.0;
/// Calls that are up at once in the simulation of whoever counts them: enough that one call is no per cent of a node.
const UP: usize = 20_000;

/// An algorithm, its keys in the JSON line, and the weights that its shares follow. Two choices weigh the better one of two, so
/// that only among equals the draw alone decides.
struct Case {
    algorithm: Algorithm,
    name: &'static str,
    share: &'static str,
    time: &'static str,
    weights: [f64; 8],
}

const CASES: [Case; 5] = [
    Case {
        algorithm: Algorithm::RoundRobin,
        name: "round robin",
        share: "round_robin_off_percent",
        time: "round_robin_ns",
        weights: EVEN,
    },
    Case {
        algorithm: Algorithm::SmoothWeighted,
        name: "smooth weighted",
        share: "smooth_weighted_off_percent",
        time: "smooth_weighted_ns",
        weights: WEIGHTS,
    },
    Case {
        algorithm: Algorithm::LeastUsed,
        name: "least used",
        share: "least_used_off_percent",
        time: "least_used_ns",
        weights: WEIGHTS,
    },
    Case { algorithm: Algorithm::Hash, name: "hash", share: "hash_off_percent", time: "hash_ns", weights: DRAWN },
    Case {
        algorithm: Algorithm::TwoChoices,
        name: "two choices",
        share: "two_choices_off_percent",
        time: "two_choices_ns",
        weights: EVEN,
    },
];

pub fn run(args: &[String]) -> anyhow::Result<bool> {
    let flag = |name: &str| args.iter().any(|a| a == name);
    let unknown = args.iter().find(|a| !["--gate", "--smoke"].contains(&a.as_str()));
    ensure!(unknown.is_none(), "unknown argument {unknown:?}: dispatcher [--gate] [--smoke]");
    let choices = if flag("--smoke") { 20_000 } else { 1_000_000 };
    let mut figures = Figures::default();

    println!(
        "{choices} choices among {} nodes: how far the share of a node is from its weight, at most",
        WEIGHTS.len()
    );
    for case in &CASES {
        let off = worst_share(case, choices)?;
        figures.check(case.share, case.name, off, "%", Gate::AtMost(MAX_OFF_PERCENT));
    }

    println!("keys that move when one of N nodes leaves, of the 1/N that have to");
    for (nodes, key, name) in
        [(10, "hash_moved_of_10", "hash, 10 nodes"), (NODES, "hash_moved_of_64", "hash, 64 nodes")]
    {
        let moved = most_moved(&pool(&vec![1.0; nodes]), choices)?;
        figures.check(key, name, moved, "", Gate::AtMost(MAX_MOVED));
    }
    figures.show("modulo_moved_of_64", "hash mod N, 64 nodes", moved_by_modulo(NODES, choices), "");

    println!("one choice among {NODES} nodes, median of the rounds");
    let views = busy_pool();
    let mut slowest = f64::NAN;
    for case in &CASES {
        let ns = time_of(case.algorithm, &views, choices / 20)?;
        figures.check(case.time, case.name, ns, "ns", Gate::AtMost(MAX_NS));
        slowest = ns.max(slowest);
    }
    figures.show(
        "scan_ns",
        "the heaviest of the list, looked for and no more",
        time_of_scan(&views, choices / 20),
        "ns",
    );
    figures.check("choice_us", "the slowest of all", slowest / 1e3, "µs", Gate::AtMost(MAX_NS / 1e3));
    let pass = figures.pass();
    println!("{}", figures.finish("dispatcher", "choice_us"));
    Ok(pass || !flag("--gate"))
}

fn pool(weights: &[f64]) -> Vec<View> {
    let id = |at: usize| key_of(format!("node-{at}").as_bytes());
    weights.iter().enumerate().map(|(at, &weight)| View { id: id(at), weight, ..View::default() }).collect()
}

/// All that a node can say of itself, and no two alike.
fn busy_pool() -> Vec<View> {
    let mut views = pool(&(1..=NODES).map(|weight| weight as f64).collect::<Vec<_>>());
    for (at, view) in views.iter_mut().enumerate() {
        (view.used, view.capacity, view.latency_us) = (at as u32 * 7 % 31, 100, 1_000 + at as u32);
    }
    views
}

fn key(n: usize) -> u64 {
    key_of(&n.to_be_bytes())
}

fn chosen(chooser: &mut Chooser, views: &[View], key: u64) -> anyhow::Result<usize> {
    Ok(chooser.choose(views, &[], key).context("nobody was chosen")?.chosen)
}

/// Per cent that the share of some node is off its weight. Calls last as long as [`UP`] further ones take to come.
fn worst_share(case: &Case, choices: usize) -> anyhow::Result<f64> {
    let mut views = pool(&case.weights);
    let mut chooser = Chooser::new(case.algorithm, 7);
    let (mut counts, mut up) = ([0usize; 8], VecDeque::with_capacity(UP));
    for n in 0..choices {
        let at = chosen(&mut chooser, &views, key(n))?;
        counts[at] += 1;
        // Only here what is in use decides; the others would be steered by it away from what is measured.
        if case.algorithm == Algorithm::LeastUsed {
            views[at].used += 1;
            up.push_back(at);
            if up.len() > UP
                && let Some(over) = up.pop_front()
            {
                views[over].used -= 1;
            }
        }
    }
    let sum: f64 = case.weights.iter().sum();
    let off = counts.iter().zip(case.weights).map(|(&count, weight)| {
        let wanted = choices as f64 * weight / sum;
        (count as f64 - wanted).abs() / wanted * 100.0
    });
    Ok(off.fold(0.0, f64::max))
}

/// The largest share of the keys that moves when one of the first ten nodes leaves, times N. A key of a node that stays must not.
fn most_moved(views: &[View], keys: usize) -> anyhow::Result<f64> {
    let mut chooser = Chooser::new(Algorithm::Hash, 0);
    let before = (0..keys).map(|n| chosen(&mut chooser, views, key(n))).collect::<Result<Vec<_>, _>>()?;
    let mut most = 0;
    for gone in 0..10 {
        let mut after = views.to_vec();
        after[gone].evidence = Evidence::Out;
        let mut moved = 0;
        for (n, &old) in before.iter().enumerate() {
            let new = chosen(&mut chooser, &after, key(n))?;
            ensure!(old == new || old == gone, "a key of a node that stayed has moved");
            moved += usize::from(old != new);
        }
        most = most.max(moved);
    }
    Ok(most as f64 / keys as f64 * views.len() as f64)
}

/// What the plainest hash moves, times N.
fn moved_by_modulo(nodes: usize, keys: usize) -> f64 {
    let at = |n: usize, nodes: usize| key(n) % nodes as u64;
    let moved = (0..keys).filter(|&n| at(n, nodes) != at(n, nodes - 1)).count();
    moved as f64 / keys as f64 * nodes as f64
}

/// Nanoseconds per choice.
fn time_of(algorithm: Algorithm, views: &[View], choices: usize) -> anyhow::Result<f64> {
    let mut chooser = Chooser::new(algorithm, 5);
    ensure!(chooser.choose(views, &[], 1).is_some_and(|choice| choice.top().len() > 1), "no alternatives are told");
    Ok(rounds(choices, |key| {
        black_box(chooser.choose(black_box(views), &[], key));
    }))
}

fn time_of_scan(views: &[View], choices: usize) -> f64 {
    rounds(choices, |_| {
        black_box(black_box(views).iter().enumerate().max_by(|a, b| a.1.weight.total_cmp(&b.1.weight)));
    })
}

/// The median of ten rounds: what interrupts this machine falls on some of them.
fn rounds(choices: usize, mut one: impl FnMut(u64)) -> f64 {
    let round = |_| {
        let started = Instant::now();
        (0..choices as u64).for_each(&mut one);
        started.elapsed().as_nanos() as f64 / choices as f64
    };
    percentile(&(0..10).map(round).collect::<Vec<_>>(), 50.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_measured_against_its_weight_and_moves_against_what_has_to_move() {
        for case in &CASES {
            let off = worst_share(case, 100_000).unwrap();
            assert!(off < 5.0, "{}: {off} %", case.name);
        }
        let moved = most_moved(&pool(&[1.0; 10]), 20_000).unwrap();
        assert!((0.9..1.2).contains(&moved), "{moved}");
        assert!(moved_by_modulo(10, 20_000) > 8.0);
    }
}
