//! Reading the call log from outside of the service that owns it, through its views, for the oracle and the standing line.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use sim::oracle::{CallRow, LegRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Row as _};

pub struct Records {
    conn: SqliteConnection,
}

/// Counts for the standing line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of calls of the trunks that count.
    pub rows: u64,
    /// Of these, ended ones.
    pub closed: u64,
    /// Rows beyond the first with the same trunk and Call-ID.
    pub doubled: u64,
}

const ALL: &str = "SELECT call_id, coalesce(sip_call_id, '') AS sip_call_id, coalesce(trunk_in, '') AS trunk, \
    coalesce(disposition, '') AS disposition, final_code, start_us, answer_us, end_us, finality FROM calls_view";
const LEGS: &str = "SELECT call_id, leg_id, coalesce(sip_call_id, '') AS sip_call_id, coalesce(direction, '') AS direction, \
    final_code FROM legs_view";
const COUNTS: &str = "SELECT count(*) AS rows, coalesce(sum(finality <> 'open'), 0) AS closed, \
    count(*) - count(DISTINCT coalesce(trunk_in, '') || '/' || coalesce(sip_call_id, call_id)) AS doubled \
    FROM calls_view WHERE coalesce(trunk_in, '') <> ?";

impl Records {
    pub async fn open(path: &Path) -> anyhow::Result<Records> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(Duration::from_secs(10));
        let conn = options.connect().await.with_context(|| format!("the call log {}", path.display()))?;
        Ok(Records { conn })
    }

    pub async fn counts(&mut self, set_aside: &str) -> anyhow::Result<Counts> {
        let row = sqlx::query(COUNTS).bind(set_aside).fetch_one(&mut self.conn).await?;
        let get = |name: &str| row.try_get::<i64, _>(name).map(|n| u64::try_from(n).unwrap_or(0));
        Ok(Counts { rows: get("rows")?, closed: get("closed")?, doubled: get("doubled")? })
    }

    pub async fn calls(&mut self) -> anyhow::Result<Vec<CallRow>> {
        let rows = sqlx::query(ALL).fetch_all(&mut self.conn).await?;
        rows.iter()
            .map(|row| {
                let answer_us: Option<i64> = row.try_get("answer_us")?;
                Ok(CallRow {
                    call_id: row.try_get("call_id")?,
                    sip_call_id: row.try_get("sip_call_id")?,
                    trunk: row.try_get("trunk")?,
                    disposition: row.try_get("disposition")?,
                    final_code: row.try_get::<Option<i64>, _>("final_code")?.and_then(|c| u16::try_from(c).ok()),
                    answered: answer_us.is_some(),
                    start_us: row.try_get::<Option<i64>, _>("start_us")?.unwrap_or(0),
                    answer_us,
                    end_us: row.try_get("end_us")?,
                    finality: row.try_get("finality")?,
                })
            })
            .collect::<Result<_, sqlx::Error>>()
            .context("rows of calls")
    }

    pub async fn legs(&mut self) -> anyhow::Result<Vec<LegRow>> {
        let rows = sqlx::query(LEGS).fetch_all(&mut self.conn).await?;
        rows.iter()
            .map(|row| {
                Ok(LegRow {
                    call_id: row.try_get("call_id")?,
                    leg_id: row.try_get("leg_id")?,
                    sip_call_id: row.try_get("sip_call_id")?,
                    direction: row.try_get("direction")?,
                    final_code: row.try_get::<Option<i64>, _>("final_code")?.and_then(|c| u16::try_from(c).ok()),
                })
            })
            .collect::<Result<_, sqlx::Error>>()
            .context("rows of legs")
    }
}

/// Writes second records of the first `count` finished calls straight into the call log, past the fold: the sabotage `double`.
///
/// `calls` has one row per call id, so each copy gets an id of its own and stays the same call by (trunk, Call-ID).
pub async fn double(path: &Path, count: u64) -> anyhow::Result<u64> {
    let mut conn = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(10)).connect().await?;
    let columns: Vec<String> =
        sqlx::query_scalar("SELECT name FROM pragma_table_info('calls')").fetch_all(&mut conn).await?;
    let values: Vec<&str> =
        columns.iter().map(|c| if c == "call_id" { "? || substr(call_id, 2)" } else { c.as_str() }).collect();
    let insert = format!(
        "INSERT INTO calls ({}) SELECT {} FROM calls WHERE finality <> 'open' ORDER BY call_id LIMIT ?",
        columns.join(", "),
        values.join(", "),
    );
    // The names come from the database's own catalogue, not from outside.
    let done =
        sqlx::query(sqlx::AssertSqlSafe(insert)).bind("f").bind(i64::try_from(count)?).execute(&mut conn).await?;
    Ok(done.rows_affected())
}
