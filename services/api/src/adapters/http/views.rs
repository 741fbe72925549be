//! What stands on the board, and the minutes.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::request::{ListParams, Params, limit};
use crate::adapters::store::Found;
use crate::error::Error;

const HOUR_US: i64 = 3_600_000_000;

/// A week of minutes in one answer.
const MAX_SPAN_US: i64 = 7 * 24 * HOUR_US;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpanParams {
    /// Microseconds since 1970 UTC; default: an hour before `to`.
    from: Option<i64>,
    /// Default: now.
    to: Option<i64>,
}

pub async fn metrics(State(app): State<App>, Params(params): Params<SpanParams>) -> Result<Json<Value>, Error> {
    let to = params.to.unwrap_or_else(|| app.clock.now().wall_us);
    let from = params.from.unwrap_or(to.saturating_sub(HOUR_US));
    if !(0..=MAX_SPAN_US).contains(&to.saturating_sub(from)) {
        return Err(Error::invalid("from", "before `to`, by at most 7 days; both in microseconds since 1970 UTC"));
    }
    Ok(Json(match app.minutes.between(from, to).await? {
        Found::Rows(rows) => json!({ "from_us": from, "to_us": to, "minutes": rows }),
        Found::Nothing { notice } => json!({ "from_us": from, "to_us": to, "minutes": [], "notice": notice }),
    }))
}

pub async fn nodes(State(app): State<App>) -> Json<Value> {
    let now = app.clock.now();
    let nodes = app.board.read().nodes.list(now);
    let notice = nodes.is_empty().then_some("no edge or engine has reported about a node yet");
    Json(json!({ "now_us": now.wall_us, "nodes": nodes, "notice": notice }))
}

pub async fn blocks(State(app): State<App>, Params(params): Params<ListParams>) -> Result<Json<Value>, Error> {
    let now = app.clock.now();
    let limit = limit(params.limit, 200, 20_000)?;
    let board = app.board.read();
    let mut blocks = board.blocks.active(now, &board.acks, params.numbers.into());
    let total = blocks.len();
    blocks.truncate(limit);
    Ok(Json(
        json!({ "now_us": now.wall_us, "blocks": blocks, "total": total, "not_shown_for_want_of_room": board.blocks.dropped() }),
    ))
}

pub async fn alerts(State(app): State<App>, Params(params): Params<ListParams>) -> Result<Json<Value>, Error> {
    let limit = limit(params.limit, 50, 500)?;
    let alerts = app.board.read().alerts.list(limit, params.numbers.into());
    Ok(Json(json!({ "now_us": app.clock.now().wall_us, "alerts": alerts })))
}

pub async fn audit(State(app): State<App>, Params(params): Params<ListParams>) -> Result<Json<Value>, Error> {
    let limit = limit(params.limit, 50, 500)?;
    Ok(Json(json!({ "audit": app.board.read().audit.list(limit) })))
}
