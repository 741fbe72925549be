//! The socket to a node.

pub(crate) mod connection;
