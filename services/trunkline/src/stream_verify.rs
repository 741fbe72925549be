//! `trunkline stream verify`: whether every event that was published is in the topics, or at least declared lost.
//!
//! Only reads, so it works beside a running process on the embedded log as well as on Kafka. Exit code 1 when numbers are missing that
//! nobody declared.

mod reading;
mod report;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use stream::{Adapter, EmbeddedLog, EventLog};

use crate::cli::{StreamCommand, VerifyArgs};
use crate::settings::Settings;

pub fn run(command: &StreamCommand) -> anyhow::Result<ExitCode> {
    let StreamCommand::Verify(args) = command;
    let settings = Settings::load(&args.config.config)?;
    if args.config.print_config {
        print!("{}", kit::settings::print(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(verify(&settings, args))
}

async fn verify(settings: &Settings, args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let (log, embedded) = open(settings)?;
    let topics = match &args.topic {
        Some(name) => vec![crate::topics::named(name)?],
        None => schemas::all_topics().to_vec(),
    };
    let findings = reading::read(&log, topics, args.producer.as_deref())
        .await
        .context("the topics cannot be read whole (on Kafka: are they all there? trunkline topics list)")?;
    let damage = embedded.map(|log| log.damage()).unwrap_or_default();
    let text =
        if args.json { report::json(&findings, &damage).to_string() + "\n" } else { report::text(&findings, &damage) };
    crate::topics::say(&text)?;
    Ok(if findings.lost() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

type Opened = (Arc<dyn EventLog>, Option<Arc<EmbeddedLog>>);

/// The embedded log knows more about itself than the port tells.
fn open(settings: &Settings) -> anyhow::Result<Opened> {
    if settings.stream.adapter == Adapter::Kafka {
        return Ok((settings.open_log_to_read()?, None));
    }
    let log = EmbeddedLog::open_read_only(settings.stream.embedded_in(&settings.data_dir).dir)
        .with_context(|| format!("the event log below {}", settings.data_dir.display()))?;
    Ok((log.clone(), Some(log)))
}
