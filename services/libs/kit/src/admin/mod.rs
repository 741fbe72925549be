//! The admin server of a process: `/healthz`, `/readyz`, `/metrics` open, everything else behind the guard.

mod guard;
mod late;
mod signin;
mod token;

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};

pub use guard::guard;
pub use late::Late;
pub use token::{MIN_TOKEN_CHARS, Token, TokenError};

use crate::settings::{Check, Problem, join};
use crate::{Lifecycle, Metrics, TaskOptions, net};

/// Where a process listens for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Loopback, unless `token_file` is set.
    pub bind: SocketAddr,
    /// A file with at least 32 characters; then everything but `/healthz`, `/readyz` and `/metrics` needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        AdminConfig { bind: SocketAddr::from(([127, 0, 0, 1], 9600)), token_file: None }
    }
}

impl Check for AdminConfig {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        check_bind(at, self.bind, self.token_file.as_deref(), out);
    }
}

/// The rule for every listener of people and programs, as a problem of settings.
pub fn check_bind(at: &str, bind: SocketAddr, token_file: Option<&std::path::Path>, out: &mut Vec<Problem>) {
    if let Err(error) = Token::load(&join(at, "token_file"), bind, token_file) {
        let (key, value) = match token_file {
            Some(path) => ("token_file", path.display().to_string()),
            None => ("bind", bind.to_string()),
        };
        out.push(Problem::new(join(at, key), value, error.to_string()));
    }
}

/// Starts the server as the critical task `admin` and returns its address. `setting` is the name of this section of the
/// settings (`admin`), for errors. `extra` are the process's own admin routes; they stand behind the guard.
///
/// Must be called inside the runtime.
pub fn serve(
    config: &AdminConfig,
    setting: &str,
    life: &Lifecycle,
    metrics: &Metrics,
    extra: Router,
) -> anyhow::Result<SocketAddr> {
    let token = Token::load(&join(setting, "token_file"), config.bind, config.token_file.as_deref())?;
    let app = guard(extra.merge(probes(life, metrics)), token);
    listen(&join(setting, "bind"), config.bind, "admin", life, app)
}

/// Serves a finished router as a critical task until shutdown; handlers can ask for `ConnectInfo<SocketAddr>`. The api uses it
/// too.
pub fn listen(
    setting: &str,
    bind: SocketAddr,
    task: &str,
    life: &Lifecycle,
    app: Router,
) -> anyhow::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::from_std(net::tcp(setting, bind)?)?;
    let addr = listener.local_addr()?;
    tracing::info!(%addr, setting, "listening");
    life.spawn(task, TaskOptions::critical(), move |task| async move {
        let shutdown = task.shutdown();
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        Ok(axum::serve(listener, app).with_graceful_shutdown(shutdown.cancelled_owned()).await?)
    });
    Ok(addr)
}

/// The three open routes.
pub fn probes(life: &Lifecycle, metrics: &Metrics) -> Router {
    let (live, ready, metrics) = (life.clone(), life.clone(), metrics.clone());
    Router::new()
        .route("/healthz", get(move || report(live.clone(), |health| health.live)))
        .route("/readyz", get(move || report(ready.clone(), |health| health.ready)))
        .route(
            "/metrics",
            get(async move || ([(header::CONTENT_TYPE, crate::metrics::CONTENT_TYPE)], metrics.encode())),
        )
}

async fn report(life: Lifecycle, good: fn(&crate::Health) -> bool) -> Response {
    let health = life.health();
    let status = if good(&health) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(health)).into_response()
}
