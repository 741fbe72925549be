//! What happens inside a dialog, and what is remembered of one.

pub(super) mod dialogs;
pub(super) mod in_dialog;
pub(super) mod late;
pub(super) mod list;
pub(super) mod refusals;
