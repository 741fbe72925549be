//! The engine as its neighbours see it: real sockets on one side, records in a log on the other.

mod budget;
mod calls;
mod harness;
mod links;
mod scripted;
