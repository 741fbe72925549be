//! Records and minutes in SQLite: a batch's records, the minutes it made dirty and its positions are one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{Connection, Row, SqliteConnection};

use crate::core::record::{Class, Measured, Outcome, Record};
use crate::core::rollup::{Minute, minute};
use crate::error::StoreError;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

pub struct Stored {
    pub record: Record,
    pub minute_us: i64,
}

pub struct Store {
    conn: SqliteConnection,
}

const UPSERT_RECORD: &str = "INSERT INTO records (call_id, started_us, minute_us, trunk, node, class, outcome, answered, \
     finished, pdd_us, setup_us, talk_us, pieces) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (call_id) DO UPDATE SET \
     started_us = excluded.started_us, minute_us = excluded.minute_us, trunk = excluded.trunk, node = excluded.node, \
     class = excluded.class, outcome = excluded.outcome, answered = excluded.answered, finished = excluded.finished, \
     pdd_us = excluded.pdd_us, setup_us = excluded.setup_us, talk_us = excluded.talk_us, pieces = excluded.pieces";
const INSERT_MINUTE: &str = "INSERT INTO minutes (minute_us, scope, id, attempts, answered, finished, busy, no_answer, cancelled, \
     rejected, failed, blocked, limited, asr_percent, talk_ms, acd_ms, pdd_count, pdd_avg_ms, pdd_p50_ms, pdd_p95_ms, setup_avg_ms) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("ids, numbers and records have a JSON form")
}

impl Store {
    pub async fn open(path: &Path) -> Result<Store, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(10))
            .pragma("wal_autocheckpoint", "8192");
        let mut conn = SqliteConnection::connect_with(&options)
            .await
            .map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        MIGRATIONS.run(&mut conn).await?;
        Ok(Store { conn })
    }

    /// Next offset by (topic, partition).
    pub async fn offsets(&mut self) -> Result<HashMap<(String, i32), i64>, StoreError> {
        let rows =
            sqlx::query("SELECT topic, shard, next_offset FROM consumer_offsets").fetch_all(&mut self.conn).await?;
        rows.iter().map(|r| Ok(((r.try_get(0)?, r.try_get(1)?), r.try_get(2)?))).collect()
    }

    pub async fn records(&mut self, calls: &[&str]) -> Result<HashMap<String, Stored>, StoreError> {
        let sql = "SELECT call_id, minute_us, pieces FROM records WHERE call_id IN (SELECT value FROM json_each(?))";
        let mut out = HashMap::with_capacity(calls.len());
        for row in sqlx::query(sql).bind(json(calls)).fetch_all(&mut self.conn).await? {
            let call: String = row.try_get(0)?;
            let pieces: String = row.try_get(2)?;
            let record = serde_json::from_str(&pieces)
                .map_err(|e| StoreError::Record { call: call.clone(), reason: e.to_string() })?;
            out.insert(call, Stored { record, minute_us: row.try_get(1)? });
        }
        Ok(out)
    }

    /// Writes changed records and marks their minutes, the ones they left too.
    pub async fn write(
        &mut self,
        records: &BTreeMap<String, Record>,
        left: &BTreeSet<i64>,
        offsets: &[(String, i32, i64)],
    ) -> Result<(), StoreError> {
        let mut dirty = left.clone();
        let mut tx = self.conn.begin_with("BEGIN IMMEDIATE").await?;
        for (call, record) in records {
            let Some(m) = record.measure() else { continue };
            dirty.insert(m.minute_us());
            sqlx::query(UPSERT_RECORD)
                .bind(call.as_str())
                .bind(m.started_us)
                .bind(m.minute_us())
                .bind(m.trunk)
                .bind(m.node)
                .bind(m.class.as_str())
                .bind(m.outcome.as_str())
                .bind(m.answered)
                .bind(m.finished)
                .bind(m.pdd_us)
                .bind(m.setup_us)
                .bind(m.talk_us)
                .bind(json(record))
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query("INSERT INTO dirty (minute_us) SELECT value FROM json_each(?) WHERE true ON CONFLICT DO NOTHING")
            .bind(json(&dirty))
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO consumer_offsets (topic, shard, next_offset) \
             SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?) \
             WHERE true ON CONFLICT (topic, shard) DO UPDATE SET next_offset = excluded.next_offset",
        )
        .bind(json(offsets))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Minutes to count again, newest first.
    pub async fn dirty(&mut self) -> Result<Vec<i64>, StoreError> {
        Ok(sqlx::query_scalar("SELECT minute_us FROM dirty ORDER BY minute_us DESC").fetch_all(&mut self.conn).await?)
    }

    /// Counts one minute again from its records, all of it or nothing.
    pub async fn recount(&mut self, minute_us: i64) -> Result<(), StoreError> {
        let mut tx = self.conn.begin_with("BEGIN IMMEDIATE").await?;
        let rows = sqlx::query(
            "SELECT call_id, started_us, trunk, node, class, outcome, answered, finished, pdd_us, setup_us, talk_us \
             FROM records WHERE minute_us = ?",
        )
        .bind(minute_us)
        .fetch_all(&mut *tx)
        .await?;
        let measured: Vec<Measured> = rows.iter().map(read).collect::<Result<_, _>>()?;
        sqlx::query("DELETE FROM minutes WHERE minute_us = ?").bind(minute_us).execute(&mut *tx).await?;
        for (scope, counted) in minute(&measured) {
            let (scope, id) = scope.parts();
            bind(sqlx::query(INSERT_MINUTE).bind(minute_us).bind(scope).bind(id), &counted).execute(&mut *tx).await?;
        }
        sqlx::query("DELETE FROM dirty WHERE minute_us = ?").bind(minute_us).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

type Bound<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind<'q>(query: Bound<'q>, m: &Minute) -> Bound<'q> {
    query
        .bind(m.attempts)
        .bind(m.answered)
        .bind(m.finished)
        .bind(m.busy)
        .bind(m.no_answer)
        .bind(m.cancelled)
        .bind(m.rejected)
        .bind(m.failed)
        .bind(m.blocked)
        .bind(m.limited)
        .bind(m.asr_percent)
        .bind(m.talk_ms)
        .bind(m.acd_ms)
        .bind(m.pdd_count)
        .bind(m.pdd_avg_ms)
        .bind(m.pdd_p50_ms)
        .bind(m.pdd_p95_ms)
        .bind(m.setup_avg_ms)
}

fn read(row: &SqliteRow) -> Result<Measured, StoreError> {
    let word = |i: usize| row.try_get::<String, _>(i);
    let unknown = |what: String| StoreError::Record {
        call: word(0).unwrap_or_default(),
        reason: format!("unknown word {what:?}"),
    };
    let (class, outcome) = (word(4)?, word(5)?);
    Ok(Measured {
        started_us: row.try_get(1)?,
        trunk: word(2)?,
        node: row.try_get(3)?,
        class: Class::parse(&class).ok_or_else(|| unknown(class))?,
        outcome: Outcome::parse(&outcome).ok_or_else(|| unknown(outcome))?,
        answered: row.try_get(6)?,
        finished: row.try_get(7)?,
        pdd_us: row.try_get(8)?,
        setup_us: row.try_get(9)?,
        talk_us: row.try_get(10)?,
    })
}
