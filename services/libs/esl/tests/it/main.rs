//! The wire as FreeSWITCH really writes it: committed frames always, the whole recordings where they are at hand.

mod fixtures;
mod mutation;
mod recordings;
mod speed;
