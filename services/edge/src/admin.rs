//! What an operator may ask: nodes, trunks, blocks, counters. Read only; changes go through the control topics.

use axum::routing::get;
use axum::{Json, Router};

use crate::app::View;

pub fn routes(view: View) -> Router {
    let (nodes, trunks, blocks, counters) = (view.clone(), view.clone(), view.clone(), view);
    Router::new()
        .route("/v1/nodes", get(async move || Json(nodes.snapshot().nodes)))
        .route("/v1/trunks", get(async move || Json(trunks.snapshot().trunks)))
        .route("/v1/blocks", get(async move || Json(blocks.snapshot().blocks)))
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
