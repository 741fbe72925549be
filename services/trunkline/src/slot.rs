//! One service of this process that can be stopped and started again alone; and how it is kept running without anybody.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::OptionFuture;
use kit::{Lifecycle, Service, TaskOptions};
use stream::{Client, Publisher};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::base::Base;
use crate::runtimes::Place;
use crate::settings::Settings;

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

type Starting<R> = Pin<Box<dyn Future<Output = anyhow::Result<R>>>>;

/// How a service is started from the settings of the process: the same alone and beside others.
pub type Run<R> = fn(&Settings, Service, Client) -> Starting<R>;

pub const ENGINE: Run<engine::Running> = |s, service, client| Box::pin(engine::run(s.engine.clone(), service, client));
pub const CDR: Run<cdr::Running> = |s, service, client| Box::pin(cdr::run(s.cdr.clone(), service, client));
pub const ANALYTICS: Run<analytics::Running> =
    |s, service, client| Box::pin(analytics::run(s.analytics.clone(), service, client));
pub const CAPACITY: Run<capacity::Running> =
    |s, service, client| Box::pin(capacity::run(s.capacity.clone(), service, client));
pub const FRAUD: Run<fraud::Running> = |s, service, client| Box::pin(fraud::run(s.fraud.clone(), service, client));
pub const API: Run<api::Running> = |s, service, client| Box::pin(api::run(s.api(), service, client));

/// A service and where it runs: running, or stopped while its events wait in the topics.
pub struct Slot<R> {
    name: &'static str,
    run: Run<R>,
    base: Arc<Base>,
    place: Place,
    running: Option<Held<R>>,
}

struct Held<R> {
    running: R,
    life: Lifecycle,
    publisher: Publisher,
}

impl<R: Send + 'static> Slot<R> {
    #[must_use]
    pub fn new(name: &'static str, run: Run<R>, base: &Arc<Base>, place: &Place) -> Slot<R> {
        Slot { name, run, base: Arc::clone(base), place: place.clone(), running: None }
    }

    pub async fn start(&mut self) -> anyhow::Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        let (service, client) = self.base.open(self.name).await.context(self.name)?;
        let (life, publisher) = (service.life.clone(), client.publisher.clone());
        let (run, base, over) = (self.run, Arc::clone(&self.base), self.base.host.life.shutdown_token());
        // What waits for a store must not hold up the end of the process.
        let starting = move || async move {
            let started = over.run_until_cancelled(run(&base.settings, service, client)).await;
            started.unwrap_or_else(|| Err(anyhow::anyhow!("the process ends")))
        };
        match self.place.start(starting).await {
            Ok(running) => {
                self.running = Some(Held { running, life, publisher });
                Ok(())
            }
            Err(error) => {
                self.base.close_one(&life, &publisher).await;
                Err(error).context(self.name)
            }
        }
    }

    pub async fn stop(&mut self) {
        let Some(Held { running, life, publisher }) = self.running.take() else { return };
        drop(running);
        let outcome = self.base.close_one(&life, &publisher).await;
        if !outcome.is_clean() {
            tracing::warn!(service = self.name, %outcome, "it did not stop cleanly");
        }
    }

    #[must_use]
    pub fn running(&self) -> Option<&R> {
        self.running.as_ref().map(|held| &held.running)
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Sees to it that the service runs until the process ends: whatever keeps it from starting or ends it is said, and it is
    /// started again. Until it runs, the process calls itself not ready and names it. Gives word of the first start.
    pub fn keep(mut self) -> oneshot::Receiver<()> {
        let (first, word) = oneshot::channel();
        let process = self.base.host.life.clone();
        process.set_ready(self.name, self.is_running());
        process.clone().spawn(format!("keep.{}", self.name), TaskOptions::default(), move |task| async move {
            let over = task.shutdown();
            let mut first = Some(first);
            let mut pause = PAUSE_MIN;
            loop {
                let began = Instant::now();
                let why = match self.start().await {
                    Ok(()) => {
                        process.set_ready(self.name, true);
                        // Nobody listens any more once the process ends.
                        let _unheard = first.take().map(|first| first.send(()));
                        let end = self.running.as_ref().map(|held| held.life.shutdown_token());
                        OptionFuture::from(end.map(CancellationToken::cancelled_owned)).await;
                        "it ended".to_owned()
                    }
                    Err(error) => format!("{error:#}"),
                };
                if over.is_cancelled() {
                    return Ok(());
                }
                process.set_ready(self.name, false);
                self.stop().await;
                if began.elapsed() > PAUSE_MAX {
                    pause = PAUSE_MIN;
                }
                let again_in_s = pause.as_secs();
                tracing::error!(
                    service = self.name,
                    why,
                    again_in_s,
                    "a service does not run; the others go on without it"
                );
                if over.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return Ok(());
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
        });
        word
    }
}

impl Slot<cdr::Running> {
    /// Where the call log is, while the service runs.
    #[must_use]
    pub fn place(&self) -> Option<cdr::Place> {
        self.running().map(|running| running.place.clone())
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> Option<std::path::PathBuf> {
        self.place().and_then(|place| place.file().map(Into::into))
    }

    #[must_use]
    pub fn lag_us(&self) -> u64 {
        self.running().map_or(0, |running| running.stats.lag_us())
    }

    pub async fn wait_caught_up(&self, deadline: Duration) -> anyhow::Result<()> {
        match self.running() {
            Some(running) => running.wait_caught_up(deadline).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;
    use crate::base;

    static STARTS: AtomicU32 = AtomicU32::new(0);

    /// Does not start at first, dies as soon as it has started, and stays the third time.
    const FRAIL: Run<u32> = |_, service, _| {
        Box::pin(async move {
            let start = STARTS.fetch_add(1, SeqCst) + 1;
            anyhow::ensure!(start > 1, "the store is damaged");
            service.life.spawn("work", TaskOptions::critical(), move |task| async move {
                anyhow::ensure!(start > 2, "the store broke");
                task.shutdown().cancelled().await;
                Ok(())
            });
            Ok(start)
        })
    };

    #[tokio::test]
    async fn a_service_that_does_not_start_and_one_that_ends_are_started_again_and_the_rest_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
        let settings =
            Settings { data_dir: folder.path().to_owned(), run_dir: memory.path().to_owned(), ..Settings::default() };
        let life = Lifecycle::isolating(Duration::from_secs(5));
        let keys = kit::keys::ensure(&settings.keys_dir()).expect("keys");
        let log = stream::open(&settings.stream, &settings.data_dir).expect("a log");
        let host = base::host(&settings, life.clone(), keys);
        let base = Arc::new(Base::new(settings, host, log, None));
        base.ensure_topics().await.expect("topics");

        let slot = Slot::new("frail", FRAIL, &base, &Place::of(&tokio::runtime::Handle::current()));
        let _word = slot.keep();
        assert!(!life.health().ready, "it does not run yet");
        let began = Instant::now();
        while !(STARTS.load(SeqCst) == 3 && life.health().ready) {
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", life.health());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(began.elapsed() >= PAUSE_MIN + 2 * PAUSE_MIN, "with a pause that grows");
        assert!(!life.shutdown_token().is_cancelled(), "the process went on");
        let outcome = life.stop().await;
        assert_eq!(outcome.failed, ["frail/work: the store broke"], "what happened is told at the end");
        assert!(base.close().await.is_empty());
    }
}
