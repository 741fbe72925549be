//! Proofs that types, schemas, topic files, examples and ids say the same.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a test that cannot go on fails")]

mod codec;
mod evolution;
mod examples;
mod grammar;
mod kinds;
mod learning;
mod schemas_files;
mod topics;
mod types;
