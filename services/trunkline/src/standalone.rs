//! `trunkline standalone`: every service in one process on embedded stores.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kit::{Lifecycle, TaskOptions};

use crate::base::{self, Base};
use crate::cli::ConfigArgs;
use crate::dead_letters;
use crate::platform::{Downstream, Platform};
use crate::runtimes::Runtimes;
use crate::settings::Settings;
use crate::topics_at_start;

pub fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&args.config)?;
    if args.print_config {
        print!("{}", kit::settings::print(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    kit::telemetry::init(&settings.log)?;
    let runtimes = Runtimes::new()?;
    let (live, downstream) = (runtimes.live(), runtimes.downstream());
    runtimes.block_on(async {
        let keys = kit::keys::ensure(&settings.keys_dir())?;
        let life = Lifecycle::isolating(Duration::from_secs(settings.drain_s));
        let log = stream::open(&settings.stream, &settings.data_dir).context("the event log")?;
        let host = base::host(&settings, life.clone(), keys);
        let base = Arc::new(Base::new(settings, host, log, None));
        life.set_ready("calls", false);
        let late = kit::admin::Late::default();
        kit::admin::serve(&base.settings.admin, "admin", &life, &base.host.metrics, late.router())?;
        topics_at_start::of("standalone", &base.log, &life).await?;
        let platform = Platform::start(&base, &live, &downstream).await?;
        platform.edge.reload_from(settings_of_edge(&args.config));
        late.set(platform.edge.routes().merge(dead_letters::routes(&base.settings, Arc::clone(&base.log))));
        life.set_ready("calls", true);
        keep(&life, platform);
        let outcome = life.run_until_signal().await;
        let left = base.close().await;
        Ok(exit_code(&outcome, &left))
    })
}

/// Every service but the edge is started again when it ends. The edge is the process: calls wait for nothing else, and whoever
/// starts the process again finds them in its journal.
fn keep(life: &Lifecycle, platform: Platform) {
    let page = platform.api.running().map(|api| format!("http://{}/", api.addr));
    tracing::info!(page, "calls are taken");
    end_with(life, &platform.edge_life);
    let Downstream { cdr, analytics, capacity, fraud } = platform.downstream;
    let started =
        [platform.api.keep(), platform.engine.keep(), cdr.keep(), analytics.keep(), capacity.keep(), fraud.keep()];
    life.spawn("start", TaskOptions::default(), |task| async move {
        // Word that never comes is that of a service that never ran.
        let all = futures::future::join_all(started);
        if task.shutdown().run_until_cancelled(all).await.is_some_and(|words| words.iter().all(Result::is_ok)) {
            tracing::info!("all services run");
        }
        Ok(())
    });
}

/// The end of the edge, however it came, is the end of the process.
fn end_with(process: &Lifecycle, edge: &Lifecycle) {
    let edge = edge.shutdown_token();
    process.spawn("keep.edge", TaskOptions::critical(), |task| async move {
        edge.cancelled().await;
        anyhow::ensure!(task.shutdown().is_cancelled(), "the edge ended, and the process with it");
        Ok(())
    });
}

/// How the edge reads its settings again: the whole file as a start reads it, so that a mistake anywhere in it changes nothing.
pub fn settings_of_edge(file: &std::path::Path) -> edge::SettingsSource {
    let file = file.to_owned();
    Arc::new(move || Settings::load(&file).map(|settings| settings.edge))
}

/// Zero only when nothing was abandoned and nothing failed. Events that wait in a ring or a spool are neither.
pub fn exit_code(outcome: &kit::Outcome, left: &[String]) -> ExitCode {
    for what in left {
        tracing::warn!(what, "events wait for the next start");
    }
    outcome.exit_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_edge_ends_the_process_and_a_stopped_process_is_no_failure() {
        let limit = Duration::from_secs(30);
        for dies in [true, false] {
            let process = Lifecycle::isolating(limit);
            let edge = process.child("edge");
            end_with(&process, &edge);
            edge.spawn("shard-0", TaskOptions::critical(), move |task| async move {
                anyhow::ensure!(!dies, "out of luck");
                task.shutdown().cancelled().await;
                Ok(())
            });
            if dies {
                let ended = tokio::time::timeout(limit, process.shutdown_token().cancelled_owned()).await;
                ended.expect("the process ends by itself");
            }
            let outcome = process.stop().await;
            assert_eq!(outcome.is_clean(), !dies, "{outcome}");
        }
    }
}
