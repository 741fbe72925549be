//! Why a publisher cannot start. Once it runs it has no errors: what goes wrong is in its figures and declared losses.

use std::io;

use crate::ring::RingError;

#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    #[error("the publisher cannot start its thread: {0}")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Ring(#[from] RingError),
}
