//! The minute rollups, through the view `metrics_by_minute` of the analytics service.

use serde_json::{Map, Value};

use super::sqlite::{Found, Store, to_json};
use crate::error::Error;

/// A day and a bit, for every trunk and node of a large platform.
const MAX_ROWS: i64 = 20_000;

pub struct Minutes(pub Store);

impl Minutes {
    /// Rows whose minute begins in `from_us..to_us`, oldest first.
    pub async fn between(&self, from_us: i64, to_us: i64) -> Result<Found<Vec<Map<String, Value>>>, Error> {
        self.0
            .read(|pool| async move {
                let rows = sqlx::query(
                    "SELECT * FROM metrics_by_minute WHERE minute_us >= ?1 AND minute_us < ?2 ORDER BY minute_us LIMIT ?3",
                )
                .bind(from_us)
                .bind(to_us)
                .bind(MAX_ROWS)
                .fetch_all(&pool)
                .await?;
                Ok(rows.iter().map(to_json).collect())
            })
            .await
    }
}
