//! One after the other.

use super::view::{Choice, Open};

pub(super) fn choose(open: &Open<'_>, next: &mut usize) -> Option<Choice> {
    let members = open.views.len();
    let turns = |at: usize| (at + members - *next % members) % members;
    let choice = open.highest(0, |at, _| -(turns(at) as f64))?;
    *next = choice.chosen + 1;
    Some(choice)
}
