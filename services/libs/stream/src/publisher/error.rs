//! Why a publisher cannot start. Once it runs it has no errors: what goes wrong is in its figures and declared losses.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    #[error("the publisher cannot start its thread: {0}")]
    Thread(#[source] io::Error),
}
