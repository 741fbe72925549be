//! What stands behind the port.

pub mod embedded;
pub mod kafka;
