//! Power of two choices: two members are drawn by weight, and the one wins that answers sooner and has fewer calls for its size.
//! Two are enough to keep clear of a slow node, and no crowd runs to the one that looks best at the moment.

use super::hashed::{mixed, unit};
use super::view::{Candidate, Choice, Open, Ranking};

/// What a member is taken for whose times are not known yet: fast, so that it is asked.
const UNKNOWN_US: u32 = 1_000;

pub(super) fn choose(open: &Open<'_>, random: &mut u64) -> Option<Choice> {
    let mut draw = || {
        *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        unit(mixed(*random))
    };
    let first = pick(open, draw() * open.sum, None)?;
    let mut ranking = Ranking::default();
    ranking.add(scored(open, first));
    let rest = open.sum - open.weight(&open.views[first]);
    if let Some(second) = pick(open, draw() * rest, Some(first)) {
        ranking.add(scored(open, second));
    }
    open.closed(ranking)
}

/// The member whose stretch of the line of all weights holds that point.
fn pick(open: &Open<'_>, mut point: f64, but: Option<usize>) -> Option<usize> {
    let mut last = None;
    for (at, view) in open.iter().filter(|(at, _)| Some(*at) != but) {
        last = Some(at);
        point -= open.weight(view);
        if point < 0.0 {
            break;
        }
    }
    last
}

fn scored(open: &Open<'_>, at: usize) -> Candidate {
    let view = &open.views[at];
    let latency = if view.latency_us == 0 { UNKNOWN_US } else { view.latency_us };
    Candidate { at, score: -f64::from(latency) * (f64::from(view.used) + 1.0) / open.size(view) }
}
