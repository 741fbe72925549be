//! `trunkline standalone`: every service in one process on embedded stores.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kit::Lifecycle;

use crate::cli::ConfigArgs;
use crate::dead_letters;
use crate::platform::{self, Base, Platform};
use crate::runtimes::Runtimes;
use crate::settings::Settings;

pub fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&args.config)?;
    if args.print_config {
        print!("{}", kit::settings::print(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    kit::telemetry::init(&settings.log)?;
    let runtimes = Runtimes::new()?;
    let downstream = runtimes.downstream();
    runtimes.block_on(async {
        let keys = kit::keys::ensure(&settings.keys_dir())?;
        let life = Lifecycle::isolating(Duration::from_secs(settings.drain_s));
        let log = stream::open(&settings.stream, &settings.data_dir).context("the event log")?;
        let host = platform::host(&settings, life.clone(), keys);
        let base = Arc::new(Base::new(settings, host, log, None));
        life.set_ready("platform", false);
        let (platform, _cdr) = Platform::start(Arc::clone(&base), &downstream).await?;
        platform.edge.reload_from(settings_of_edge(&args.config));
        let routes = platform.edge.routes().merge(dead_letters::routes(&base.settings, Arc::clone(&base.log)));
        kit::admin::serve(&base.settings.admin, "admin", &life, &base.host.metrics, routes)?;
        life.set_ready("platform", true);
        tracing::info!(page = %format!("http://{}/", platform.api.addr), "all services run");
        let outcome = life.run_until_signal().await;
        let left = base.close().await;
        Ok(exit_code(&outcome, &left))
    })
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
