//! One service alone in a process. Services in separate processes meet in Kafka; there is no other way for them to meet.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use kit::Lifecycle;
use kit::admin::AdminConfig;

use crate::base::{self, Base};
use crate::cli::ConfigArgs;
use crate::settings::Settings;
use crate::slot;
use crate::standalone::{exit_code, settings_of_edge};
use crate::topics_at_start;

/// The admin port of each service when it runs alone.
const ADMIN_PORTS: [(&str, u16); 7] = [
    ("edge", 9601),
    ("engine", 9602),
    ("cdr", 9603),
    ("analytics", 9604),
    ("fraud", 9605),
    ("capacity", 9606),
    ("api", 9607),
];

/// Where the admin server of a service alone listens.
pub fn admin_of(name: &str, mut settings: AdminConfig) -> AdminConfig {
    if settings == AdminConfig::default() {
        let port = ADMIN_PORTS.iter().find(|(service, _)| *service == name).map_or(9600, |(_, port)| *port);
        settings.bind.set_port(port);
    }
    settings
}

pub fn run(name: &'static str, args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let mut settings = Settings::load(&args.config)?;
    settings.admin = admin_of(name, settings.admin);
    if args.print_config {
        print!("{}", kit::settings::print(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    if settings.stream.adapter == stream::Adapter::Embedded && !settings.stream.embedded.alone {
        bail!(
            "stream.adapter = \"embedded\" serves one process only: set stream.adapter = \"kafka\" and stream.kafka.bootstrap \
             to run `{name}` alone, or use `trunkline standalone`"
        );
    }
    kit::telemetry::init(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let keys = kit::keys::load(&settings.keys_dir())?;
        let life = Lifecycle::new(Duration::from_secs(settings.drain_s));
        let log = stream::open(&settings.stream, &settings.data_dir).context("the event log")?;
        let host = base::host(&settings, life.clone(), keys);
        let base = Arc::new(Base::new(settings, host, log, None).alone());
        life.set_ready("service", false);
        let late = kit::admin::Late::default();
        kit::admin::serve(&base.settings.admin, "admin", &life, &base.host.metrics, late.router())?;
        topics_at_start::of(name, &base.log, &life).await?;
        late.set(start(name, &base, &args.config).await.with_context(|| name.to_owned())?);
        life.set_ready("service", true);
        let outcome = life.run_until_signal().await;
        let left = base.close().await;
        Ok(exit_code(&outcome, &left))
    })
}

/// Gives the service's own admin routes.
async fn start(name: &'static str, base: &Base, file: &Path) -> anyhow::Result<Router> {
    let (service, client) = base.open(name).await?;
    let settings = &base.settings;
    match name {
        "edge" => {
            let running = edge::run(settings.edge.clone(), service, client).await?;
            running.reload_from(settings_of_edge(file));
            return Ok(running.routes());
        }
        "engine" => slot::ENGINE(settings, service, client).await.map(drop),
        "cdr" => slot::CDR(settings, service, client).await.map(drop),
        "analytics" => slot::ANALYTICS(settings, service, client).await.map(drop),
        "fraud" => slot::FRAUD(settings, service, client).await.map(drop),
        "capacity" => slot::CAPACITY(settings, service, client).await.map(drop),
        "api" => slot::API(settings, service, client).await.map(drop),
        other => bail!("no service is called {other}"),
    }?;
    Ok(Router::new())
}
