//! A task as seen from inside ([`Task`]) and from outside ([`TaskState`]), and how its end is caught.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::node::{Node, Shared};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskOptions {
    /// Without a [`Task::beat`] for this long the task is reported as stalled. `None`: it may wait for ever.
    pub stall_after: Option<Duration>,
    /// The process cannot do its job without this task.
    pub critical: bool,
}

impl TaskOptions {
    #[must_use]
    pub fn critical() -> TaskOptions {
        TaskOptions { critical: true, ..TaskOptions::default() }
    }

    #[must_use]
    pub fn stall_after(self, limit: Duration) -> TaskOptions {
        TaskOptions { stall_after: Some(limit), ..self }
    }
}

/// Given to the task itself.
#[derive(Clone)]
pub struct Task {
    state: Arc<TaskState>,
    shutdown: CancellationToken,
}

impl Task {
    pub(super) fn new(state: Arc<TaskState>, shutdown: CancellationToken) -> Task {
        Task { state, shutdown }
    }

    /// Cancelled when the task shall finish what it has and end.
    #[must_use]
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// "I am alive": call it once per round of the task's loop.
    pub fn beat(&self) {
        self.state.beat();
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.name
    }
}

pub(super) struct TaskState {
    pub name: String,
    pub options: TaskOptions,
    pub started_ms: u64,
    pub stalled: AtomicBool,
    last_beat_ms: AtomicU64,
    abort: OnceLock<AbortHandle>,
    shared: Arc<Shared>,
}

impl TaskState {
    pub fn new(name: String, options: TaskOptions, shared: Arc<Shared>) -> TaskState {
        let now = shared.ms();
        TaskState {
            name,
            options,
            started_ms: now,
            stalled: AtomicBool::new(false),
            last_beat_ms: AtomicU64::new(now),
            abort: OnceLock::new(),
            shared,
        }
    }

    pub fn set_abort(&self, handle: AbortHandle) {
        let _ = self.abort.set(handle);
    }

    pub fn abort(&self) {
        if let Some(handle) = self.abort.get() {
            handle.abort();
        }
    }

    fn beat(&self) {
        self.last_beat_ms.store(self.shared.ms(), Ordering::Relaxed);
    }

    pub fn silent_ms(&self) -> u64 {
        self.shared.ms().saturating_sub(self.last_beat_ms.load(Ordering::Relaxed))
    }
}

pub(super) enum Ending {
    Done,
    Failed(String),
    Panicked(String),
    /// Aborted, or its runtime is gone.
    Dropped,
}

impl Ending {
    pub fn of(ended: Result<anyhow::Result<()>, Box<dyn Any + Send>>) -> Ending {
        match ended {
            Ok(Ok(())) => Ending::Done,
            Ok(Err(error)) => Ending::Failed(format!("{error:#}")),
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                Ending::Panicked(text.unwrap_or_else(|| "without a message".to_owned()))
            }
        }
    }
}

type Work = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Reports the end of a future to its node, also when it is dropped half way.
pub(super) struct Watched {
    node: Arc<Node>,
    id: u64,
    work: Option<Work>,
}

impl Watched {
    pub fn new(node: Arc<Node>, id: u64, work: Work) -> Watched {
        Watched { node, id, work: Some(work) }
    }

    pub async fn run(mut self) {
        let ended = poll_fn(|cx| {
            let work = self.work.as_mut().expect("taken only after this future has ended");
            // The work is dropped right after a panic, so nobody sees what it left half done.
            match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
                Ok(poll) => poll.map(Ok),
                Err(panic) => std::task::Poll::Ready(Err(panic)),
            }
        })
        .await;
        self.work = None;
        self.node.ended(self.id, Ending::of(ended));
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // After a normal end the node has forgotten the id and this does nothing.
        self.node.ended(self.id, Ending::Dropped);
    }
}
