//! The minute rollups, through the view `metrics_by_minute` of the analytics service.

use super::store::{Arg, Found, Object, Store};
use crate::error::Error;

/// A day and a bit, for every trunk and node of a large platform.
const MAX_ROWS: i64 = 20_000;

pub struct Minutes(pub Store);

impl Minutes {
    /// Rows whose minute begins in `from_us..to_us`, oldest first.
    pub async fn between(&self, from_us: i64, to_us: i64) -> Result<Found<Vec<Object>>, Error> {
        let sql =
            "SELECT * FROM metrics_by_minute WHERE minute_us >= $1 AND minute_us < $2 ORDER BY minute_us LIMIT $3";
        self.0.rows(sql.to_owned(), vec![Arg::Int(from_us), Arg::Int(to_us), Arg::Int(MAX_ROWS)]).await
    }
}
