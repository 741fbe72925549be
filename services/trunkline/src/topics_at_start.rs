//! The topics at start: made when they are missing, refused when they differ, and waited for by nobody on the call path.
//!
//! With the broker away a service starts all the same; its events wait in its spool. Readiness says what is missing (`topics`) until
//! the broker has answered once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kit::{Lifecycle, TaskOptions};
use stream::{EventLog, LogError};

/// Services that look up their place in the log before they do anything else: without it there is nothing that they could do.
const READERS: [&str; 2] = ["cdr", "analytics"];
/// A broker that is there has answered by then.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);
const COMPONENT: &str = "topics";

/// For a process: that of a reader waits, the others go on and the topics follow.
pub async fn of(service: &str, log: &Arc<dyn EventLog>, life: &Lifecycle) -> anyhow::Result<()> {
    life.set_ready(COMPONENT, false);
    let first = tokio::time::timeout(PATIENCE, log.ensure_topics(schemas::all_topics())).await;
    match first {
        Ok(Ok(())) => {
            life.set_ready(COMPONENT, true);
            return Ok(());
        }
        Ok(Err(error)) if error.is_permanent() => return Err(error).context("topics"),
        Ok(Err(error)) => tracing::warn!(%error, "the topics cannot be looked at yet; events are kept until they can"),
        Err(_) => tracing::warn!("the event log does not answer yet; events are kept until it does"),
    }
    let (log, waiting) = (Arc::clone(log), life.clone());
    if READERS.contains(&service) {
        until_there(&*log).await.context("topics")?;
        waiting.set_ready(COMPONENT, true);
        return Ok(());
    }
    life.spawn("topics", TaskOptions::default(), move |task| async move {
        let shutdown = task.shutdown();
        match shutdown.run_until_cancelled(until_there(&*log)).await {
            Some(Err(error)) => {
                waiting.trigger(format!("topics: {error}"));
                return Err(error).context("topics");
            }
            Some(Ok(())) => waiting.set_ready(COMPONENT, true),
            None => {}
        }
        Ok(())
    });
    Ok(())
}

async fn until_there(log: &dyn EventLog) -> Result<(), LogError> {
    let mut pause = PAUSE_MIN;
    loop {
        match log.ensure_topics(schemas::all_topics()).await {
            Ok(()) => {
                tracing::info!("the event log answers and its topics are there");
                return Ok(());
            }
            Err(error) if error.is_permanent() => return Err(error),
            Err(error) => tracing::warn!(%error, "the topics are not there yet; trying again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn away() -> Arc<dyn EventLog> {
        // A port that nobody listens on.
        let config = stream::KafkaConfig { bootstrap: "127.0.0.1:1".to_owned(), ..stream::KafkaConfig::default() };
        Arc::new(stream::KafkaLog::new(config).expect("a client needs no broker"))
    }

    #[tokio::test]
    async fn a_service_starts_without_a_broker_and_says_that_it_is_not_ready() {
        let life = Lifecycle::new(Duration::from_secs(1));
        let started = Instant::now();
        of("edge", &away(), &life).await.expect("starts");
        assert!(started.elapsed() < 2 * PATIENCE);
        assert!(!life.health().ready);
        life.stop().await;
    }

    #[tokio::test]
    async fn a_reader_waits_for_the_broker() {
        let life = Lifecycle::new(Duration::from_secs(1));
        let waited = tokio::time::timeout(PATIENCE + Duration::from_secs(1), of("cdr", &away(), &life)).await;
        assert!(waited.is_err(), "cdr has nothing to begin with");
    }
}
