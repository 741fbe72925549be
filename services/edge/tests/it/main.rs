//! The edge from outside: the machine in virtual time against scripted and random peers, and the service on real sockets.

mod admission;
mod calls;
mod cancel;
mod dialogs;
mod failover;
mod feedback;
mod storm;
mod text;
mod world;
