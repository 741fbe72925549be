//! What is kept of a probe while it is out.

use bytes::Bytes;

use crate::core::proof::branch::BranchKey;

/// The OPTIONS that is out: by what its answer is known, and what goes out a second time.
#[derive(Debug, Default)]
pub struct Probe {
    pub key: Option<BranchKey>,
    pub bytes: Bytes,
}
