//! A call on its way to its answer: whether it may go on, who is asked, what they say, and what of that goes back.

pub(super) mod admit;
pub(super) mod answers;
pub(super) mod attempt;
pub(super) mod cancel;
mod carriers;
pub(super) mod challenge;
pub(super) mod choice;
pub(super) mod invite;
