//! The call log, through the views that the cdr service defines: `calls_view`, `legs_view`, `events_view`.
//!
//! Call ids are UUIDv7, so their order is the order of time and the id of the last call is the cursor of the next page.

use serde_json::Value;

use super::store::{Arg, Found, Object, Store};
use crate::error::Error;

/// A search looks at this many of the newest calls; the answer says so.
pub const SEARCHED: i64 = 50_000;

/// Events that one picture can hold.
const MAX_EVENTS: i64 = 2_000;

const LIST_COLUMNS: &str = "call_id, revision, finality, disposition, final_code, hangup_cause, direction, trunk_in, trunk_out, \
     edge, node, caller_raw, caller_e164, callee_raw, callee_e164, start_us, ring_us, answer_us, end_us, talk_ms, pdd_ms, \
     leg_count, attempts, released_by, block_id, witnesses, quality, flags";

/// Columns that a free text is looked for in.
const SEARCHED_COLUMNS: [&str; 9] = [
    "call_id",
    "sip_call_id",
    "caller_raw",
    "caller_e164",
    "callee_raw",
    "callee_e164",
    "trunk_in",
    "trunk_out",
    "node",
];

pub struct CallLog(pub Store);

#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Only calls with a smaller id: the `next` of the page before.
    pub before: Option<String>,
    /// open, ended, or a disposition.
    pub state: Option<String>,
    /// Part of an id, number, trunk or node.
    pub text: Option<String>,
    pub limit: i64,
}

impl Search {
    fn is_filtered(&self) -> bool {
        self.state.is_some() || self.text.is_some()
    }
}

/// One second of the live view.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Second {
    /// Seconds since 1970 UTC.
    pub at: i64,
    pub attempts: i64,
    pub answered: i64,
    /// Answered or ended: what an answer-seizure ratio may count.
    pub decided: i64,
}

pub struct OneCall {
    pub call: Object,
    pub legs: Vec<Object>,
    pub events: Vec<Value>,
}

impl CallLog {
    /// Newest first.
    pub async fn list(&self, search: &Search) -> Result<Found<Vec<Object>>, Error> {
        // The id of a call or a SIP Call-ID finds its call however old it is; both are indexed.
        if let Some(text) = search.text.as_deref().filter(|text| text.len() > 8) {
            let exact = self.exactly(text, search.limit).await?;
            if matches!(&exact, Found::Rows(rows) if !rows.is_empty() && search.state.is_none()) {
                return Ok(exact);
            }
        }
        let from = if search.is_filtered() {
            format!("(SELECT * FROM calls_view WHERE call_id < $1 ORDER BY call_id DESC LIMIT {SEARCHED}) AS newest")
        } else {
            "calls_view".to_owned()
        };
        let within = |column: &str| format!("{}({column}, $3) > 0", self.0.position_in());
        let sql = format!(
            "SELECT {LIST_COLUMNS} FROM {from} WHERE call_id < $1 \
             AND ($2 IS NULL OR disposition = $2 OR ($2 = 'open' AND finality = 'open') OR ($2 = 'ended' AND finality <> 'open')) \
             AND ($3 IS NULL OR {}) ORDER BY call_id DESC LIMIT $4",
            SEARCHED_COLUMNS.map(within).join(" OR ")
        );
        let before = search.before.clone().unwrap_or_else(|| "~".to_owned());
        let args = vec![
            Arg::Text(Some(before)),
            Arg::Text(search.state.clone()),
            Arg::Text(search.text.clone()),
            Arg::Int(search.limit),
        ];
        self.0.rows(sql, args).await
    }

    async fn exactly(&self, text: &str, limit: i64) -> Result<Found<Vec<Object>>, Error> {
        let sql = format!(
            "SELECT {LIST_COLUMNS} FROM calls_view WHERE call_id = $1 OR sip_call_id = $1 ORDER BY call_id DESC LIMIT $2"
        );
        self.0.rows(sql, vec![text.into(), Arg::Int(limit)]).await
    }

    pub async fn one(&self, id: &str) -> Result<Found<Option<OneCall>>, Error> {
        let call = match self.0.rows("SELECT * FROM calls_view WHERE call_id = $1".to_owned(), vec![id.into()]).await? {
            Found::Rows(rows) => rows.into_iter().next(),
            Found::Nothing { notice } => return Ok(Found::Nothing { notice }),
        };
        let Some(call) = call else { return Ok(Found::Rows(None)) };
        // Unknown times first, whichever database sorts.
        let sql = "SELECT * FROM legs_view WHERE call_id = $1 ORDER BY coalesce(invite_us, 0), leg_id";
        let legs = self.0.rows(sql.to_owned(), vec![id.into()]).await?;
        let sql = "SELECT body FROM events_view WHERE call_id = $1 ORDER BY at_us LIMIT $2";
        let events = self.0.rows(sql.to_owned(), vec![id.into(), Arg::Int(MAX_EVENTS)]).await?;
        Ok(legs.map(|legs| {
            let body =
                |row: Object| row.get("body").and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok());
            let events =
                if let Found::Rows(rows) = events { rows.into_iter().filter_map(body).collect() } else { Vec::new() };
            Some(OneCall { call, legs, events })
        }))
    }

    /// Calls by the second in which they began, from `from_s` on; oldest first.
    pub async fn seconds(&self, from_s: i64) -> Result<Found<Vec<Second>>, Error> {
        let sql = "SELECT start_us / 1000000 AS second, count(*) AS attempts, count(answer_us) AS answered, \
             count(CASE WHEN answer_us IS NOT NULL OR finality <> 'open' THEN 1 END) AS decided \
             FROM calls_view WHERE start_us >= $1 GROUP BY 1 ORDER BY 1";
        let rows = self.0.rows(sql.to_owned(), vec![Arg::Int(from_s * 1_000_000)]).await?;
        Ok(rows.map(|rows| {
            rows.iter()
                .map(|row| Second {
                    at: number(row, "second"),
                    attempts: number(row, "attempts"),
                    answered: number(row, "answered"),
                    decided: number(row, "decided"),
                })
                .collect()
        }))
    }

    /// Calls that have begun and not ended; the call log has a partial index for this.
    pub async fn open(&self) -> Result<Found<i64>, Error> {
        let sql = "SELECT count(*) AS open FROM calls_view WHERE finality = 'open'";
        let rows = self.0.rows(sql.to_owned(), Vec::new()).await?;
        Ok(rows.map(|rows| rows.first().map_or(0, |row| number(row, "open"))))
    }
}

fn number(row: &Object, column: &str) -> i64 {
    row.get(column).and_then(Value::as_i64).unwrap_or(0)
}
