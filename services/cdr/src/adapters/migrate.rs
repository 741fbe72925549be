//! The tables of the call log, brought up to date. The files are compiled in: a build has the tables that it needs with it.

use sqlx::migrate::Migrator;

use crate::adapters::link::{Link, PgLink};
use crate::adapters::place::Schema;
use crate::error::StoreError;

static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");

/// `allowed` false: a Postgres schema is only looked at. A file is ours, so it is always brought up to date.
pub async fn migrate(link: &mut Link, schema: Option<&Schema>, allowed: bool) -> Result<(), StoreError> {
    match (link, schema) {
        (Link::Sqlite(connection), _) => Ok(SQLITE.run(connection).await?),
        (Link::Postgres(link), Some(schema)) if allowed => {
            let connection = link.connected().await?;
            // The name was checked with the settings: letters, digits and _. Not asked for when it is there: that takes a right.
            let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
                .bind(&schema.name)
                .fetch_one(&mut *connection)
                .await?;
            if !there {
                let sql = format!("CREATE SCHEMA IF NOT EXISTS \"{}\"", schema.name);
                sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *connection).await?;
            }
            Ok(POSTGRES.run(connection).await?)
        }
        (Link::Postgres(link), Some(schema)) => check(link, schema).await,
        (Link::Postgres(_), None) => Err(StoreError::Settings("a Postgres call log without a schema".into())),
    }
}

async fn check(link: &mut PgLink, schema: &Schema) -> Result<(), StoreError> {
    let wanted = POSTGRES.iter().map(|migration| migration.version).max();
    let found: Result<Option<i64>, _> = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
        .fetch_one(link.connected().await?)
        .await;
    if found.ok().flatten() >= wanted { Ok(()) } else { Err(StoreError::Outdated { schema: schema.name.clone() }) }
}
