//! What is there: from the last picture that the shard gave of itself, and from the desk.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::Office;
use crate::core::book::Kind;
use crate::desk::Refused;

pub async fn nodes(State(office): State<Office>) -> Json<impl Serialize> {
    Json(office.view.snapshot().nodes)
}

/// Nodes that announced themselves, taken or waiting for an operator.
pub async fn announced(State(office): State<Office>) -> Json<impl Serialize> {
    Json(office.view.snapshot().announced)
}

pub async fn trunks(State(office): State<Office>) -> Json<impl Serialize> {
    Json(office.view.snapshot().trunks)
}

/// Next hops that are names, and what they stand for.
pub async fn names(State(office): State<Office>) -> Json<impl Serialize> {
    Json(office.view.snapshot().names)
}

pub async fn blocks(State(office): State<Office>) -> Json<impl Serialize> {
    Json(office.view.snapshot().blocks)
}

/// Who sends and is neither trunk nor node, the loudest first, each with the lines that would let it in.
pub async fn knocking(State(office): State<Office>) -> Json<impl Serialize> {
    Json(office.view.snapshot().knocking.to_vec())
}

pub async fn certificates(State(office): State<Office>) -> Json<impl Serialize> {
    Json(office.certificates.view())
}

pub async fn renew_certificates(State(office): State<Office>) -> Json<impl Serialize> {
    Json(office.certificates.renew_apart().await)
}

/// What bounds what, and how much of it is used.
pub async fn limits(State(office): State<Office>) -> Json<Value> {
    let s = office.view.snapshot();
    let config = office.desk.config().await;
    Json(json!({
        "edge": {
            "dialogs": { "used": s.dialogs, "most": config.limits.dialogs },
            "open_invites": { "used": s.setting_up, "most": config.limits.open_invites },
            "blocks": { "used": s.blocks.len(), "most": config.limits.blocks },
            "attempts": { "most": config.limits.attempts },
            "refused_events_per_s": { "most": config.limits.refused_events },
            "journal_bytes": { "used": s.journal_bytes, "most": s.journal_bytes_max },
            "decisions": {
                "used": office.decisions.read(|ring| ring.reach().decisions),
                "most": config.limits.decisions,
                "missed": office.decisions.missed(),
            },
            "connections": { "most": config.streams.connections, "most_per_source": config.streams.connections_per_source },
        },
        "trunks": s.trunks,
    }))
}

pub async fn counters(State(office): State<Office>) -> Json<Value> {
    let s = office.view.snapshot();
    Json(json!({
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
}

/// Which settings are in force since when, and what is wrong with those that are not.
pub async fn settings(State(office): State<Office>) -> Response {
    Json(office.desk.status().as_ref()).into_response()
}

/// One trunk, number, route or node as it is in force, and whose word it is.
pub async fn one(
    State(office): State<Office>,
    Path((kind, id)): Path<(String, String)>,
) -> Result<Json<Value>, Refused> {
    let kind = kind_of(&kind)?;
    let (settings, record) = office.desk.one(kind, &id).await;
    let settings = settings.ok_or_else(|| Refused::unknown(format!("there is no {} {id}", kind.as_str())))?;
    let origin = match &record {
        Some(record) => {
            json!({ "author": record.author, "actor": record.actor, "reason": record.reason, "made_us": record.made_us })
        }
        None => json!({ "author": "settings file" }),
    };
    Ok(Json(json!({ "settings": settings, "origin": origin })))
}

/// From the plural in the path.
pub fn kind_of(plural: &str) -> Result<Kind, Refused> {
    let kind = plural.strip_suffix('s').and_then(|name| Kind::ALL.into_iter().find(|kind| kind.as_str() == name));
    kind.ok_or_else(|| Refused::unknown("trunks, numbers, routes or nodes"))
}
