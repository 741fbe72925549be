//! The ways that messages take: which one, whether it still stands, who is at its end.

pub(super) mod flows;
pub(super) mod hop;
pub(super) mod keep_alive;
pub(super) mod life;
pub(super) mod registered;
pub(super) mod users;
pub(super) mod way;
