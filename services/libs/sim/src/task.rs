//! The one place of this crate that starts a task.

use std::future::Future;

use tokio::task::JoinHandle;

/// Runs `work` on the current runtime. Each simulated carrier and switch is one task of a fixed set, stopped by its handle's token.
#[expect(
    clippy::disallowed_methods,
    reason = "the simulation may not depend on kit, whose lifecycle names tasks; handles here stop what they start"
)]
pub(crate) fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(work)
}
