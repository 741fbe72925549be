//! The call log, through the views that the cdr service defines: `calls_view`, `legs_view`, `events_view`.
//!
//! Call ids are UUIDv7, so their order is the order of time and the id of the last call is the cursor of the next page.

use serde_json::{Map, Value};
use sqlx::AssertSqlSafe;
use sqlx::Row;

use super::sqlite::{Found, Store, to_json};
use crate::error::Error;

/// A search looks at this many of the newest calls; the answer says so.
pub const SEARCHED: i64 = 50_000;

/// Events that one picture can hold.
const MAX_EVENTS: i64 = 2_000;

const LIST_COLUMNS: &str = "call_id, revision, finality, disposition, final_code, hangup_cause, direction, trunk_in, trunk_out, \
     edge, node, caller_raw, caller_e164, callee_raw, callee_e164, start_us, ring_us, answer_us, end_us, talk_ms, pdd_ms, \
     leg_count, attempts, released_by, block_id, witnesses, quality, flags";

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
    pub call: Map<String, Value>,
    pub legs: Vec<Map<String, Value>>,
    pub events: Vec<Value>,
}

impl CallLog {
    /// Newest first.
    pub async fn list(&self, search: &Search) -> Result<Found<Vec<Map<String, Value>>>, Error> {
        // The id of a call or a SIP Call-ID finds its call however old it is; both are indexed.
        if let Some(text) = search.text.as_deref().filter(|text| text.len() > 8) {
            let exact = self.exactly(text, search.limit).await?;
            if matches!(&exact, Found::Rows(rows) if !rows.is_empty() && search.state.is_none()) {
                return Ok(exact);
            }
        }
        let from = if search.is_filtered() {
            format!("(SELECT * FROM calls_view WHERE call_id < ?1 ORDER BY call_id DESC LIMIT {SEARCHED})")
        } else {
            "calls_view".to_owned()
        };
        let sql = format!(
            "SELECT {LIST_COLUMNS} FROM {from} WHERE call_id < ?1 \
             AND (?2 IS NULL OR disposition = ?2 OR (?2 = 'open' AND finality = 'open') OR (?2 = 'ended' AND finality <> 'open')) \
             AND (?3 IS NULL OR instr(call_id, ?3) OR instr(sip_call_id, ?3) OR instr(caller_raw, ?3) OR instr(caller_e164, ?3) \
                  OR instr(callee_raw, ?3) OR instr(callee_e164, ?3) OR instr(trunk_in, ?3) OR instr(trunk_out, ?3) \
                  OR instr(node, ?3)) \
             ORDER BY call_id DESC LIMIT ?4"
        );
        let search = search.clone();
        self.0
            .read(|pool| async move {
                // Everything that the client gave is bound; the text above is ours.
                let rows = sqlx::query(AssertSqlSafe(sql))
                    .bind(search.before.unwrap_or_else(|| "~".to_owned()))
                    .bind(search.state)
                    .bind(search.text)
                    .bind(search.limit)
                    .fetch_all(&pool)
                    .await?;
                Ok(rows.iter().map(to_json).collect())
            })
            .await
    }

    async fn exactly(&self, text: &str, limit: i64) -> Result<Found<Vec<Map<String, Value>>>, Error> {
        let sql = format!(
            "SELECT {LIST_COLUMNS} FROM calls_view WHERE call_id = ?1 OR sip_call_id = ?1 ORDER BY call_id DESC LIMIT ?2"
        );
        let text = text.to_owned();
        self.0
            .read(|pool| async move {
                let rows = sqlx::query(AssertSqlSafe(sql)).bind(text).bind(limit).fetch_all(&pool).await?;
                Ok(rows.iter().map(to_json).collect())
            })
            .await
    }

    pub async fn one(&self, id: &str) -> Result<Found<Option<OneCall>>, Error> {
        let id = id.to_owned();
        self.0
            .read(|pool| async move {
                let row =
                    sqlx::query("SELECT * FROM calls_view WHERE call_id = ?1").bind(&id).fetch_optional(&pool).await?;
                let Some(row) = row else { return Ok(None) };
                let legs = sqlx::query("SELECT * FROM legs_view WHERE call_id = ?1 ORDER BY invite_us, leg_id")
                    .bind(&id)
                    .fetch_all(&pool)
                    .await?;
                let events = sqlx::query("SELECT body FROM events_view WHERE call_id = ?1 ORDER BY at_us LIMIT ?2")
                    .bind(&id)
                    .bind(MAX_EVENTS)
                    .fetch_all(&pool)
                    .await?;
                let body = |row: &sqlx::sqlite::SqliteRow| {
                    row.try_get::<String, _>(0).ok().and_then(|text| serde_json::from_str(&text).ok())
                };
                Ok(Some(OneCall {
                    call: to_json(&row),
                    legs: legs.iter().map(to_json).collect(),
                    events: events.iter().filter_map(body).collect(),
                }))
            })
            .await
    }

    /// Calls by the second in which they began, from `from_s` on; oldest first.
    pub async fn seconds(&self, from_s: i64) -> Result<Found<Vec<Second>>, Error> {
        self.0
            .read(|pool| async move {
                let rows = sqlx::query(
                    "SELECT start_us / 1000000, count(*), sum(answer_us IS NOT NULL), \
                     sum(answer_us IS NOT NULL OR finality <> 'open') \
                     FROM calls_view WHERE start_us >= ?1 GROUP BY 1 ORDER BY 1",
                )
                .bind(from_s * 1_000_000)
                .fetch_all(&pool)
                .await?;
                rows.iter()
                    .map(|row| {
                        Ok(Second {
                            at: row.try_get(0)?,
                            attempts: row.try_get(1)?,
                            answered: row.try_get(2)?,
                            decided: row.try_get(3)?,
                        })
                    })
                    .collect()
            })
            .await
    }

    /// Calls that have begun and not ended; the call log has a partial index for this.
    pub async fn open(&self) -> Result<Found<i64>, Error> {
        self.0
            .read(|pool| async move {
                sqlx::query_scalar("SELECT count(*) FROM calls_view WHERE finality = 'open'").fetch_one(&pool).await
            })
            .await
    }
}
