//! What tests of several crates need: certificates made on the spot, a SIP user agent over every transport, and a node that
//! registers and connects users. Never a dependency of production code.

pub mod agent;
pub mod node;
pub mod pki;
pub mod text;
