//! Smooth weighted round robin: every member gains its weight, the richest is chosen and pays the sum of all. Shares are exact
//! over a round and never come in bursts.

use super::view::{Choice, Open};

pub(super) fn choose(open: &Open<'_>, credit: &mut Vec<f64>) -> Option<Choice> {
    // Grows once, when the pool does.
    if credit.len() < open.views.len() {
        credit.resize(open.views.len(), 0.0);
    }
    let mut sum = 0.0;
    let choice = open.highest(0, |at, view| {
        let weight = open.weight(view);
        sum += weight;
        credit[at] += weight;
        credit[at]
    })?;
    credit[choice.chosen] -= sum;
    Some(choice)
}
