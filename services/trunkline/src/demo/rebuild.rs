//! "All records again": a rebuild from the topics beside the running calls.

use std::future::Future;
use std::sync::Arc;

use anyhow::Context as _;
use kit::TaskOptions;
use serde_json::json;
use tokio::sync::oneshot;

use crate::demo::conductor::Show;
use crate::demo::status::span;
use crate::replay::{self, Rebuilt};

impl Show {
    /// Begins a rebuild beside the running calls; `look` tells what came out.
    pub(super) fn begin_rebuild(&mut self) {
        let Some(live) = self.platform.downstream.cdr.place() else {
            self.terminal.say("rebuild", "the call records are stopped: press c first", json!({}));
            return;
        };
        if self.rebuilding.is_some() {
            return;
        }
        self.terminal.say(
            "rebuild_begins",
            "rebuild: every record again, from the topics into an empty file",
            json!({}),
        );
        let (done, result) = oneshot::channel();
        let again = self.again(live);
        self.life.spawn("demo.rebuild", TaskOptions::default(), move |_| async move {
            // Nobody waits for it any more when the demo ends first.
            let _ = done.send(again.await);
            Ok(())
        });
        self.rebuilding = Some(result);
    }

    /// Rebuilds and waits for it.
    pub async fn rebuild(&mut self) -> anyhow::Result<Rebuilt> {
        let live = self.platform.downstream.cdr.place().context("a rebuild needs the call records")?;
        let rebuilt = self.again(live).await?;
        self.tell_rebuild(&rebuilt);
        Ok(rebuilt)
    }

    /// Copies the live call log, rebuilds it from the topics, compares.
    fn again(&mut self, live: cdr::Place) -> impl Future<Output = anyhow::Result<Rebuilt>> + Send + use<> {
        self.rebuilds += 1;
        let folder = self.folder.join(format!("rebuild-{}", self.rebuilds));
        let log = Arc::clone(&self.platform.base.log);
        let place = self.places.downstream.clone();
        let work = move || async move {
            let rebuilt = replay::compare(log, &live, &folder, |_| {}).await?;
            // Both files are large and say the same; different ones are kept to be looked at.
            if rebuilt.equal() {
                std::fs::remove_dir_all(&folder)?;
            }
            Ok(rebuilt)
        };
        async move { place.start(work).await }
    }

    fn tell_rebuild(&mut self, rebuilt: &Rebuilt) {
        let text = format!(
            "rebuild: {} calls from {} records of the topics in {}\n  live     {}\n  rebuilt  {}  {}",
            rebuilt.calls,
            rebuilt.records,
            span(rebuilt.took),
            rebuilt.live,
            rebuilt.again,
            if rebuilt.equal() { "equal" } else { "DIFFERENT" },
        );
        let fields =
            json!({ "live": rebuilt.live, "rebuilt": rebuilt.again, "equal": rebuilt.equal(), "calls": rebuilt.calls });
        self.terminal.say("rebuild", &text, fields);
    }

    pub(super) fn watch_rebuild(&mut self) {
        let Some(result) = self.rebuilding.as_mut().and_then(|waiting| waiting.try_recv().ok()) else { return };
        self.rebuilding = None;
        match result {
            Ok(rebuilt) => self.tell_rebuild(&rebuilt),
            Err(error) => self.terminal.say("rebuild", &format!("rebuild failed: {error:#}"), json!({})),
        }
    }
}
