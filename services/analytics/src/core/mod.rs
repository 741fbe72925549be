//! What a call counts as, and what a minute adds up to. No I/O, no clock, no async.

pub mod batch;
pub mod record;
pub mod rollup;

#[cfg(test)]
mod examples;
