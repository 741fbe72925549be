//! Everything that is no INVITE: relayed, answered here, or sent on without memory.

pub(super) mod down;
pub(super) mod register;
pub(super) mod relay;
pub(super) mod relays;
pub(super) mod stateless;
