//! One tree of named tasks per process: who runs, who hangs, who is ready, and how it all ends.
//!
//! What must hold:
//! - no task is anonymous, and none dies unseen: an error, a panic and a vanished runtime are each noticed and named;
//! - SIGTERM and SIGINT mean the same: readiness goes first, then the shutdown token, then the tasks have `drain` to finish;
//!   a second signal ends at once;
//! - whatever had to be abandoned, or failed, is in the [`Outcome`], and then the exit code is not zero;
//! - a wedged runtime cannot hide itself: beats are watched from a plain thread.
//!
//! A child lifecycle can be stopped alone. A critical death ends the whole process, unless the parent is `isolating` (one
//! process with all services): then it ends its own service, and the process says so in its health.

mod drain;
mod health;
mod node;
mod task;
mod watchdog;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use drain::Outcome;
pub use health::{ComponentHealth, Health, TaskHealth};
pub use task::{Task, TaskOptions};

use crate::Metrics;
use node::Node;
use task::{Ending, Watched};

#[derive(Clone)]
pub struct Lifecycle {
    node: Arc<Node>,
}

impl Lifecycle {
    /// The root of a process. `drain` is how long tasks may take to finish after the shutdown token.
    #[must_use]
    pub fn new(drain: Duration) -> Lifecycle {
        Lifecycle { node: Node::root(drain, false) }
    }

    /// A root whose children keep their deaths to themselves: for several services in one process.
    #[must_use]
    pub fn isolating(drain: Duration) -> Lifecycle {
        Lifecycle { node: Node::root(drain, true) }
    }

    /// A part that can be stopped alone; its tasks show as `<name>/<task>`. Ends with its parent.
    #[must_use]
    pub fn child(&self, name: &str) -> Lifecycle {
        Lifecycle { node: Node::child(&self.node, name) }
    }

    /// Starts a named task on the current runtime.
    ///
    /// An error or panic of a critical task, or its end before shutdown, triggers shutdown. The error of another task is
    /// logged and counted, its panic is a failure of the process's [`Outcome`].
    pub fn spawn<F, Fut>(&self, name: impl Into<String>, options: TaskOptions, start: F)
    where
        F: FnOnce(Task) -> Fut,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (id, state) = self.add(name.into(), options);
        let future = Box::pin(start(Task::new(Arc::clone(&state), self.shutdown_token())));
        let watched = Watched::new(Arc::clone(&self.node), id, future);
        #[expect(clippy::disallowed_methods, reason = "this is the place that names and watches tasks")]
        let handle = tokio::spawn(watched.run());
        state.set_abort(handle.abort_handle());
    }

    /// Starts a named thread, for work that must not share a runtime (sockets with their own priority, blocking stores). It
    /// cannot be ended by force: it has to look at `task.shutdown()`.
    pub fn spawn_thread<F>(&self, name: impl Into<String>, options: TaskOptions, run: F) -> std::io::Result<()>
    where
        F: FnOnce(Task) -> anyhow::Result<()> + Send + 'static,
    {
        let name = name.into();
        let (id, state) = self.add(name.clone(), options);
        let task = Task::new(state, self.shutdown_token());
        let node = Arc::clone(&self.node);
        let started = std::thread::Builder::new().name(name).spawn(move || {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(task)));
            node.ended(id, Ending::of(ended));
        });
        if started.is_err() {
            self.node.forget(id);
        }
        started.map(drop)
    }

    fn add(&self, name: String, options: TaskOptions) -> (u64, Arc<task::TaskState>) {
        let (id, state) = self.node.add(name, options);
        if let Some(stall_after) = options.stall_after {
            watchdog::ensure(&self.node, stall_after);
        }
        (id, state)
    }

    /// Cancelled when shutdown begins.
    #[must_use]
    pub fn shutdown_token(&self) -> CancellationToken {
        self.node.token.clone()
    }

    /// Begins shutdown of this lifecycle and its children. The first reason is kept.
    pub fn trigger(&self, reason: impl Into<String>) {
        self.node.trigger(reason.into());
    }

    /// A component that is not ready makes the process not ready. Set it to false before the work that makes it ready.
    pub fn set_ready(&self, component: &str, ready: bool) {
        self.node.state.lock().components.insert(component.to_owned(), ready);
    }

    #[must_use]
    pub fn health(&self) -> Health {
        health::of(&self.node)
    }

    /// Begins shutdown and waits for it; a child is then no longer part of its parent.
    pub async fn stop(&self) -> Outcome {
        self.trigger("stopped");
        let outcome = drain::drain(&self.node).await;
        self.node.detach();
        outcome
    }

    /// Runs until SIGTERM, SIGINT or [`Lifecycle::trigger`], then drains. A second signal ends at once.
    pub async fn run_until_signal(self) -> Outcome {
        drain::run_until_signal(&self.node).await
    }

    /// Publishes the number of tasks, of stalled and failed ones, and readiness.
    pub fn register(&self, metrics: &Metrics) {
        health::register(&self.node, metrics);
    }
}
