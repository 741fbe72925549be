//! One lifecycle of the tree: its tasks, components, children and how it began to end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::task::{Ending, TaskOptions, TaskState};

/// Names of failed tasks that are kept; a task that fails over and over must not fill memory.
const MAX_FAILED: usize = 100;

pub(super) struct Node {
    /// `edge/` for a child, empty for the root: what its tasks' names begin with.
    pub prefix: String,
    pub drain: Duration,
    pub isolating: bool,
    pub token: CancellationToken,
    pub parent: Option<Weak<Node>>,
    pub state: Mutex<State>,
    /// A task of this node or of a descendant ended.
    pub changed: Notify,
    pub shared: Arc<Shared>,
}

#[derive(Default)]
pub(super) struct State {
    pub next: u64,
    pub tasks: BTreeMap<u64, Arc<TaskState>>,
    pub components: BTreeMap<String, bool>,
    pub children: Vec<Arc<Node>>,
    pub failed: Vec<String>,
    /// Set before the token is cancelled, so that readiness goes first.
    pub stopping: Option<String>,
    pub errors: u64,
}

/// Shared by all nodes of a tree.
pub(super) struct Shared {
    pub base: Instant,
    pub watching: AtomicBool,
    /// How often the watchdog looks.
    pub tick_ms: AtomicU64,
}

impl Shared {
    /// Since the lifecycle was made. Never from the wall clock.
    pub fn ms(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Node {
    pub fn root(drain: Duration, isolating: bool) -> Arc<Node> {
        let shared = Shared { base: Instant::now(), watching: AtomicBool::new(false), tick_ms: AtomicU64::new(250) };
        Arc::new(Node {
            prefix: String::new(),
            drain,
            isolating,
            token: CancellationToken::new(),
            parent: None,
            state: Mutex::default(),
            changed: Notify::new(),
            shared: Arc::new(shared),
        })
    }

    pub fn child(parent: &Arc<Node>, name: &str) -> Arc<Node> {
        let child = Arc::new(Node {
            prefix: format!("{}{name}/", parent.prefix),
            drain: parent.drain,
            isolating: false,
            token: parent.token.child_token(),
            parent: Some(Arc::downgrade(parent)),
            state: Mutex::default(),
            changed: Notify::new(),
            shared: Arc::clone(&parent.shared),
        });
        parent.state.lock().children.push(Arc::clone(&child));
        child
    }

    pub fn parent(&self) -> Option<Arc<Node>> {
        self.parent.as_ref().and_then(Weak::upgrade)
    }

    pub fn detach(self: &Arc<Node>) {
        if let Some(parent) = self.parent() {
            // What failed here is still told at the end, and still counted.
            let (failed, errors) = {
                let mut state = self.state.lock();
                (state.failed.clone(), std::mem::take(&mut state.errors))
            };
            let mut above = parent.state.lock();
            above.children.retain(|child| !Arc::ptr_eq(child, self));
            let room = MAX_FAILED.saturating_sub(above.failed.len());
            above.failed.extend(failed.into_iter().take(room));
            above.errors += errors;
            drop(above);
            parent.notify_up();
        }
    }

    /// This node and all below it.
    pub fn visit(self: &Arc<Node>, f: &mut dyn FnMut(&Node, &State)) {
        let children = {
            let state = self.state.lock();
            f(self, &state);
            state.children.clone()
        };
        for child in children {
            child.visit(f);
        }
    }

    pub fn add(&self, name: String, options: TaskOptions) -> (u64, Arc<TaskState>) {
        let mut state = self.state.lock();
        let id = state.next;
        state.next += 1;
        let task = Arc::new(TaskState::new(format!("{}{name}", self.prefix), options, Arc::clone(&self.shared)));
        state.tasks.insert(id, Arc::clone(&task));
        (id, task)
    }

    pub fn forget(&self, id: u64) -> Option<Arc<TaskState>> {
        self.state.lock().tasks.remove(&id)
    }

    pub fn is_stopping(&self) -> bool {
        self.token.is_cancelled() || self.state.lock().stopping.is_some()
    }

    pub fn trigger(self: &Arc<Node>, reason: String) {
        // Readiness of the whole subtree goes first: whoever sees the token already finds the process not ready.
        if self.mark(&reason) {
            tracing::info!(reason, scope = self.scope(), "shutting down");
        }
        self.token.cancel();
    }

    fn mark(self: &Arc<Node>, reason: &str) -> bool {
        let (first, children) = {
            let mut state = self.state.lock();
            let first = state.stopping.is_none();
            state.stopping.get_or_insert_with(|| reason.to_owned());
            (first, state.children.clone())
        };
        for child in children {
            child.mark(reason);
        }
        first
    }

    pub fn scope(&self) -> &str {
        if self.prefix.is_empty() { "process" } else { self.prefix.trim_end_matches('/') }
    }

    pub fn ended(self: &Arc<Node>, id: u64, ending: Ending) {
        let stopping = self.is_stopping();
        let Some(task) = self.forget(id) else { return };
        let name = task.name.as_str();
        let critical = task.options.critical;
        let failure = match ending {
            Ending::Done if critical && !stopping => Some("ended before shutdown".to_owned()),
            Ending::Done => None,
            Ending::Dropped if stopping => None,
            Ending::Dropped => Some("was dropped with its runtime".to_owned()),
            Ending::Panicked(text) => Some(format!("panicked: {text}")),
            Ending::Failed(error) if critical => Some(error),
            Ending::Failed(error) => {
                self.state.lock().errors += 1;
                tracing::warn!(task = name, error, "task failed");
                None
            }
        };
        if let Some(why) = failure {
            tracing::error!(task = name, error = why, critical, "task failed");
            let mut state = self.state.lock();
            state.errors += 1;
            if state.failed.len() < MAX_FAILED {
                state.failed.push(format!("{name}: {why}"));
            }
            drop(state);
            if critical && !stopping {
                self.escalate(&format!("critical task {name} {why}"));
            }
        }
        self.notify_up();
    }

    fn escalate(self: &Arc<Node>, reason: &str) {
        match self.parent() {
            Some(parent) if !parent.isolating => parent.escalate(reason),
            _ => self.trigger(reason.to_owned()),
        }
    }

    fn notify_up(&self) {
        self.changed.notify_waiters();
        let mut above = self.parent();
        while let Some(node) = above {
            node.changed.notify_waiters();
            above = node.parent();
        }
    }
}
