//! Connections: TCP and what stands on it, on one thread of their own.
//!
//! They do not live on the shard's thread: a handshake costs a millisecond of arithmetic, and ten thousand slow clients are
//! ten thousand wake-ups; neither may hold up a call that comes by UDP. This thread reads, frames and writes, and hands whole
//! messages over by a bounded queue; the shard never waits for it, it waits for the shard. One task per connection owns the
//! socket and its machine (`codec`); what is to be written to it waits in its `line`, whose bytes are capped.
//!
//! Order: the address is admitted (`door`), a place under the caps is taken, the connection is opened (`open`: PROXY header,
//! handshake), and then it is a flow with a number (`table`, `connection`) until it ends, which the machine is told.

mod callees;
mod codec;
mod connection;
mod counters;
mod door;
mod line;
mod open;
mod port;
mod table;
mod thread;
mod wire;

#[cfg(test)]
pub use counters::names;
pub use counters::register;
pub use port::Port;
pub use thread::{Setup, start};
