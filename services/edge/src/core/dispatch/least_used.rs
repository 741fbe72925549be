//! The member with the fewest calls for its size; of equals the next in turn, so that an idle pool does not fill one node first.

use super::view::{Choice, Open};

pub(super) fn choose(open: &Open<'_>, next: &mut usize) -> Option<Choice> {
    let start = *next % open.views.len();
    // The call that is to be placed counts: a small node with nothing on it is not better than a large one.
    let choice = open.highest(start, |_, view| -(f64::from(view.used) + 1.0) / open.size(view))?;
    *next = choice.chosen + 1;
    Some(choice)
}
