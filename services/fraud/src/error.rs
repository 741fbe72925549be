//! What can go wrong in this service beyond what the pump already names.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control topics could not be read to their end at start: without them an active block would be made again.
    #[error("the block rules could not be read within {0} s")]
    BlocksNotRead(u64),
}
