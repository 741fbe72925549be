//! The end: wait for the signal, drain with a deadline, say what was left.

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::node::Node;

/// How a lifecycle ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub reason: String,
    /// Tasks that had not finished when time was up.
    pub abandoned: Vec<String>,
    /// Critical tasks that failed and all tasks that panicked, with their errors.
    pub failed: Vec<String>,
}

impl Outcome {
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.abandoned.is_empty() && self.failed.is_empty()
    }

    /// Not zero when anything was abandoned or failed.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        if self.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended: {}", self.reason)?;
        for (what, names) in [("abandoned", &self.abandoned), ("failed", &self.failed)] {
            if !names.is_empty() {
                write!(f, "; {what}: {}", names.join(", "))?;
            }
        }
        Ok(())
    }
}

pub(super) async fn run_until_signal(node: &Arc<Node>) -> Outcome {
    let mut signals = Signals::install();
    tokio::select! {
        name = signals.next() => node.trigger(name.to_owned()),
        () = node.token.cancelled() => node.trigger("shutdown was asked for".to_owned()),
    }
    let outcome = tokio::select! {
        outcome = drain(node) => outcome,
        name = signals.next() => {
            tracing::warn!(signal = name, "second signal: ending at once");
            abandon(node)
        }
    };
    if outcome.is_clean() {
        tracing::info!(reason = outcome.reason, "ended cleanly");
    } else {
        tracing::error!(
            reason = outcome.reason,
            abandoned = outcome.abandoned.join(", "),
            failed = outcome.failed.join(", "),
            "ended with work abandoned or failed"
        );
    }
    outcome
}

struct Signals {
    term: Option<Signal>,
    int: Option<Signal>,
}

impl Signals {
    fn install() -> Signals {
        let one = |kind, name| match signal(kind) {
            Ok(signal) => Some(signal),
            Err(error) => {
                tracing::error!(%error, signal = name, "cannot listen for the signal");
                None
            }
        };
        Signals { term: one(SignalKind::terminate(), "SIGTERM"), int: one(SignalKind::interrupt(), "SIGINT") }
    }

    async fn next(&mut self) -> &'static str {
        async fn recv(signal: &mut Option<Signal>) {
            match signal {
                Some(signal) => {
                    signal.recv().await;
                }
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = recv(&mut self.term) => "SIGTERM",
            () = recv(&mut self.int) => "SIGINT",
        }
    }
}

/// Waits for all tasks of the subtree, as long as the node allows; then takes them down.
pub(super) async fn drain(node: &Arc<Node>) -> Outcome {
    let deadline = Instant::now() + node.drain;
    loop {
        let mut changed = std::pin::pin!(node.changed.notified());
        // Registered before looking, so that an end between the look and the wait is not missed.
        changed.as_mut().enable();
        if running(node) == 0 || tokio::time::timeout_at(deadline, changed).await.is_err() {
            return abandon(node);
        }
    }
}

fn running(node: &Arc<Node>) -> usize {
    let mut count = 0;
    node.visit(&mut |_, state| count += state.tasks.len());
    count
}

/// Aborts whatever still runs and writes it down.
fn abandon(node: &Arc<Node>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut left = Vec::new();
    node.visit(&mut |_, state| {
        if outcome.reason.is_empty() {
            outcome.reason = state.stopping.clone().unwrap_or_default();
        }
        outcome.failed.extend(state.failed.iter().cloned());
        left.extend(state.tasks.values().cloned());
    });
    // Outside the locks: an abort may drop the task right here, and its end reports to the node.
    for task in left {
        outcome.abandoned.push(task.name.clone());
        task.abort();
    }
    outcome
}
