//! `/v1/calls` and one call.

use axum::Json;
use axum::extract::{Path, State};
use domain::CallId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::request::{NumbersParam, Params, limit};
use crate::adapters::call_log::{SEARCHED, Search};
use crate::adapters::store::Found;
use crate::core::ladder;
use crate::core::mask::Numbers;
use crate::error::Error;

const MAX_TEXT: usize = 128;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallParams {
    limit: Option<usize>,
    before: Option<String>,
    state: Option<String>,
    q: Option<String>,
    numbers: NumbersParam,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OneParams {
    numbers: NumbersParam,
}

pub async fn list(State(app): State<App>, Params(params): Params<CallParams>) -> Result<Json<Value>, Error> {
    let search = search(&params)?;
    let numbers = Numbers::from(params.numbers);
    let searched = (search.state.is_some() || search.text.is_some()).then_some(SEARCHED);
    Ok(Json(match app.calls.list(&search).await? {
        Found::Nothing { notice } => json!({ "calls": [], "next": null, "notice": notice }),
        Found::Rows(mut rows) => {
            rows.iter_mut().for_each(|row| numbers.row(row));
            let full = rows.len() == usize::try_from(search.limit).unwrap_or(usize::MAX);
            let next = rows.last().filter(|_| full).and_then(|row| row.get("call_id").cloned());
            json!({ "calls": rows, "next": next, "searched_newest": searched })
        }
    }))
}

fn search(params: &CallParams) -> Result<Search, Error> {
    let states: Vec<&str> = ["open", "ended"].into_iter().chain(domain::Disposition::ALL.map(|d| d.as_str())).collect();
    let state = params.state.clone().filter(|state| !state.is_empty());
    if state.as_deref().is_some_and(|state| !states.contains(&state)) {
        return Err(Error::invalid("state", format!("one of {}", states.join(", "))));
    }
    let text = params.q.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    if text.as_ref().is_some_and(|text| text.len() > MAX_TEXT) {
        return Err(Error::invalid("q", format!("at most {MAX_TEXT} bytes")));
    }
    let before = params.before.clone().filter(|id| !id.is_empty());
    if before.as_deref().is_some_and(|id| id.parse::<CallId>().is_err()) {
        return Err(Error::invalid("before", "a call id: the `next` of the page before"));
    }
    let limit = i64::try_from(limit(params.limit, 50, 500)?).unwrap_or(500);
    Ok(Search { before, state, text, limit })
}

pub async fn one(
    State(app): State<App>,
    Path(id): Path<String>,
    Params(params): Params<OneParams>,
) -> Result<Json<Value>, Error> {
    let numbers = Numbers::from(params.numbers);
    let unknown = || Error::Unknown { what: "call", id: id.clone() };
    let parsed = id.parse::<CallId>().map_err(|_| unknown())?;
    match app.calls.one(&parsed.to_string()).await? {
        Found::Nothing { .. } | Found::Rows(None) => Err(unknown()),
        Found::Rows(Some(mut found)) => {
            numbers.row(&mut found.call);
            found.legs.iter_mut().for_each(|leg| numbers.row(leg));
            let ladder = ladder::draw(&found.events, numbers);
            Ok(Json(json!({ "call": found.call, "legs": found.legs, "ladder": ladder })))
        }
    }
}
