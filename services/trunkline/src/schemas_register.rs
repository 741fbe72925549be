//! `trunkline schemas register`: brings the schemas of this build to somebody else's registry, and says whether it kept our ids.

mod bringing;
mod client;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::json;

use self::bringing::{ReadBack, UnderOurId};
use self::client::Registry;
use crate::cli::{RegisterArgs, SchemasCommand};

pub fn run(command: &SchemasCommand) -> anyhow::Result<ExitCode> {
    let SchemasCommand::Register(args) = command;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let all = runtime.block_on(register(args))?;
    let text = if args.json { report(&all) } else { table(&args.registry, &all) };
    crate::topics::say(&text)?;
    Ok(if all.iter().all(ReadBack::is_right) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn register(args: &RegisterArgs) -> anyhow::Result<Vec<ReadBack>> {
    let context = bringing::context(&args.context)?;
    let registry = Registry::new(&args.registry, args.auth_file.as_deref())?;
    bringing::bring(&registry, &context).await
}

fn report(all: &[ReadBack]) -> String {
    let right = all.iter().filter(|schema| schema.is_right()).count();
    json!({ "schemas": all, "right": right, "wrong": all.len() - right }).to_string() + "\n"
}

fn table(registry: &str, all: &[ReadBack]) -> String {
    let width = all.iter().map(|schema| schema.subject.len()).max().unwrap_or(0).max("SUBJECT".len());
    let mut out = format!("{:<width$}  VERSION  OUR ID      GIVEN ID    UNDER OUR ID\n", "SUBJECT");
    for schema in all {
        let given = schema.given_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let there = match schema.under_our_id {
            UnderOurId::Ours => "our schema",
            UnderOurId::Nothing => "NOTHING",
            UnderOurId::Another => "ANOTHER SCHEMA",
        };
        let _ = writeln!(
            out,
            "{:<width$}  {:<7}  {:<10}  {given:<10}  {there}",
            schema.subject, schema.version, schema.wanted_id
        );
    }
    let wrong = all.iter().filter(|schema| !schema.is_right()).count();
    if wrong == 0 {
        let _ = writeln!(out, "all {} schemas stand under our ids in {registry}", all.len());
        return out;
    }
    let _ = writeln!(
        out,
        "{wrong} of {} schemas do NOT stand under our ids in {registry}.\n\
         Every record carries our id, so a subscriber that asks that registry does not find the schema of a record, or finds another one.\n\
         Let subscribers use the registry that the api serves (/registry); the one above is of no use to them.",
        all.len()
    );
    out
}
