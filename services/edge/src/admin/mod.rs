//! What an operator may ask and change. Reading never touches the thread that carries the calls, but for a page of dialogs; every
//! change goes over the [`Desk`], is audited, and holds on this edge at once, also while the stream is down.
//!
//! The guard before these routes is the process's (`kit::admin`): loopback, or a token.

mod calls;
mod changes;
mod look;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde_json::json;

use crate::adapters::bell::Bell;
use crate::adapters::decisions::Decisions;
use crate::adapters::mail::Update;
use crate::adapters::tls::renew::Certificates;
use crate::app::View;
use crate::desk::{Desk, Refused};

/// What the routes work with.
#[derive(Clone)]
pub(crate) struct Office {
    pub view: View,
    pub certificates: Arc<Certificates>,
    pub desk: Arc<Desk>,
    pub decisions: Decisions,
    pub updates: tokio::sync::mpsc::Sender<Update>,
    pub bell: Bell,
}

/// The answer to a change or a question that could not be had: `{"error": "…"}`.
impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(json!({ "error": self.why }))).into_response()
    }
}

pub(crate) fn routes(office: Office) -> Router {
    Router::new()
        .route("/v1/nodes", get(look::nodes))
        .route("/v1/trunks", get(look::trunks))
        .route("/v1/names", get(look::names))
        .route("/v1/blocks", get(look::blocks).post(changes::block))
        .route("/v1/limits", get(look::limits))
        .route("/v1/knocking", get(look::knocking))
        .route("/v1/counters", get(look::counters))
        .route("/v1/settings", get(look::settings))
        .route("/v1/dialogs", get(calls::dialogs))
        .route("/v1/explain/{id}", get(calls::explain))
        .route("/v1/blocks/dry-run", post(calls::dry_run))
        .route("/v1/blocks/{*key}", delete(changes::lift))
        .route("/v1/nodes/announced", get(look::announced))
        .route("/v1/nodes/{id}/approve", post(changes::approve))
        .route("/v1/nodes/{id}/weight", put(changes::weigh).delete(changes::weigh_no_more))
        .route("/v1/{kind}/{id}", get(look::one).put(changes::put).delete(changes::remove))
        .route("/v1/drain", post(changes::drain).delete(changes::undrain))
        .route("/v1/reload", post(changes::reload))
        .route("/v1/certificates", get(look::certificates))
        .route("/v1/certificates/reload", post(look::renew_certificates))
        .with_state(office)
}
