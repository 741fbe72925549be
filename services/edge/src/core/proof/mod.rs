//! What we write into messages to know it again when it comes back, and how we know that nobody else wrote it.

pub(super) mod branch;
pub(super) mod cookie;
pub(super) mod hash;
pub(super) mod letters;
pub(super) mod token;
