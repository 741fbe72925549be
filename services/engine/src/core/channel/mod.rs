//! FreeSWITCH's channels in our words: whose call each one is, and what each event says.

mod read;
mod table;
mod whose;

#[cfg(test)]
mod tests;

pub(crate) use table::{Skipped, Table, key_of};
