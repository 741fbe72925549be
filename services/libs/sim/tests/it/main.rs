//! The simulated switch from outside: against recorded sessions of a real FreeSWITCH, and under the faults it can be told to have.

mod behaviour;
mod caller;
mod client;
mod far_end;
mod recordings;
mod reference;
mod scenario;
