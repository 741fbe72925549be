//! The runtimes of one process: calls first, everything downstream behind them.
//!
//! A service is started on the runtime that fits it; what it spawns stays there. Downstream threads run at a lower priority,
//! so that a busy SQLite never delays a SIP message on the same two cores.

use std::future::Future;

use anyhow::Context as _;
use tokio::runtime::{Builder, Handle, Runtime};

/// How much lower (the range of `nice` is -20 to 19).
const DOWNSTREAM_NICE: i32 = 5;

pub struct Runtimes {
    live: Runtime,
    downstream: Runtime,
}

impl Runtimes {
    pub fn new() -> anyhow::Result<Runtimes> {
        let live = Builder::new_multi_thread().worker_threads(2).thread_name("live").enable_all().build();
        let downstream = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("downstream")
            .on_thread_start(lower_priority)
            .enable_all()
            .build();
        Ok(Runtimes { live: live.context("runtime for calls")?, downstream: downstream.context("runtime downstream")? })
    }

    /// Runs the main future on the live runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.live.block_on(future)
    }

    #[must_use]
    pub fn live(&self) -> Place {
        Place(self.live.handle().clone())
    }

    #[must_use]
    pub fn downstream(&self) -> Place {
        Place(self.downstream.handle().clone())
    }
}

/// A runtime on which a service can be started from another one.
#[derive(Clone)]
pub struct Place(Handle);

impl Place {
    #[must_use]
    pub fn of(handle: &Handle) -> Place {
        Place(handle.clone())
    }

    /// Calls `begin` on a thread of this runtime and polls what it gives there, so that every task it spawns lands here.
    pub async fn start<F, Fut, T>(&self, begin: F) -> anyhow::Result<T>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<T>>,
        T: Send + 'static,
    {
        let handle = self.0.clone();
        tokio::task::spawn_blocking(move || handle.block_on(begin()))
            .await
            .context("a service panicked while it started")?
    }
}

/// Lowers the calling thread only: on Linux the priority belongs to the thread, not to the process.
fn lower_priority() {
    let me = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(me), DOWNSTREAM_NICE) {
        tracing::warn!(%error, "a downstream thread keeps its priority");
    }
}
