//! The simulated switch from outside: against recorded sessions of a real FreeSWITCH, and under the faults it can be told to have.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod behaviour;
mod caller;
mod client;
mod cost;
mod far_end;
mod recordings;
mod reference;
mod scenario;
