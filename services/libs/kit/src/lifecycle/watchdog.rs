//! Looks at the beats from its own thread: when the runtime itself is wedged, this still runs and says which task hangs.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::node::Node;

/// Makes sure that the tree is watched, often enough for this limit.
pub(super) fn ensure(node: &Arc<Node>, stall_after: Duration) {
    let tick = u64::try_from(stall_after.as_millis() / 4).unwrap_or(u64::MAX).clamp(10, 250);
    node.shared.tick_ms.fetch_min(tick, Ordering::Relaxed);
    if node.shared.watching.swap(true, Ordering::AcqRel) {
        return;
    }
    let root = Arc::downgrade(&root_of(node));
    let started = std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || watch(&root));
    if let Err(error) = started {
        tracing::error!(%error, "no watchdog thread: stalled tasks will not be noticed");
        node.shared.watching.store(false, Ordering::Release);
    }
}

fn root_of(node: &Arc<Node>) -> Arc<Node> {
    let mut at = Arc::clone(node);
    while let Some(parent) = at.parent() {
        at = parent;
    }
    at
}

/// Ends when the lifecycle is gone.
fn watch(root: &Weak<Node>) {
    while let Some(node) = root.upgrade() {
        node.visit(&mut |_, state| {
            for task in state.tasks.values() {
                let Some(limit) = task.options.stall_after else { continue };
                let silent = Duration::from_millis(task.silent_ms());
                let stalled = silent > limit;
                if task.stalled.swap(stalled, Ordering::Relaxed) == stalled {
                    continue;
                }
                let duration_ms = task.silent_ms();
                if stalled {
                    tracing::error!(task = task.name, duration_ms, "task gives no sign of life");
                } else {
                    tracing::warn!(task = task.name, "task is alive again");
                }
            }
        });
        let tick = node.shared.tick_ms.load(Ordering::Relaxed);
        drop(node);
        std::thread::sleep(Duration::from_millis(tick));
    }
}
