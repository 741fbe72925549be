//! `trunkline migrate`: makes the tables that the settings name, or brings them up to date.
//!
//! The call log does so by itself at its start unless `cdr.migrate_at_start` is off; ClickHouse's tables are made here only.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::ConfigArgs;
use crate::settings::Settings;

pub fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&args.config)?;
    if args.print_config {
        print!("{}", kit::settings::print(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let place = cdr::migrate(&settings.cdr, &settings.data_dir.join("cdr")).await.context("the call log")?;
        println!("call log: {place}: up to date");
        let clickhouse = &settings.analytics.clickhouse;
        if clickhouse.url.is_empty() {
            println!("raw events: analytics.clickhouse.url is empty, so there is nothing to make");
        } else {
            analytics::migrate(clickhouse).await.context("ClickHouse")?;
            println!("raw events: ClickHouse, database {}: up to date", clickhouse.database);
        }
        Ok(ExitCode::SUCCESS)
    })
}
