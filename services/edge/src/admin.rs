//! What an operator may ask: nodes, trunks, blocks, counters, certificates. Read only, but for one thing: to read the files of
//! the certificates again. Everything else changes through the control topics.

use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Json, Router};

use crate::adapters::tls::renew::Certificates;
use crate::app::View;

pub fn routes(view: View, certificates: Arc<Certificates>) -> Router {
    let again = Arc::clone(&certificates);
    let (nodes, trunks, blocks, counters) = (view.clone(), view.clone(), view.clone(), view);
    Router::new()
        .route("/v1/nodes", get(async move || Json(nodes.snapshot().nodes)))
        .route("/v1/trunks", get(async move || Json(trunks.snapshot().trunks)))
        .route("/v1/blocks", get(async move || Json(blocks.snapshot().blocks)))
        .route("/v1/certificates", get(async move || Json(certificates.view())))
        .route("/v1/certificates/reload", post(async move || Json(again.renew_apart().await)))
        .route(
            "/v1/counters",
            get(async move || {
                let s = counters.snapshot();
                Json(serde_json::json!({
                    "edge_id": s.edge_id,
                    "counters": s.counters,
                    "dialogs": s.dialogs,
                    "setting_up": s.setting_up,
                    "transactions": s.transactions,
                    "draining": s.draining,
                    "block_version": s.block_version,
                    "weight_version": s.weight_version,
                    "config_digest": s.config_digest,
                }))
            }),
        )
}
