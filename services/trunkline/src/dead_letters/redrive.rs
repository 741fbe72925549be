//! Putting letters back: here, or by the process that has the log open.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use stream::redrive::{Choice, Report, redrive};
use stream::{Adapter, EmbeddedLog, EventLog, LogError};

use super::{known, remote};
use crate::cli::DeadLettersRedriveArgs;
use crate::settings::Settings;

pub async fn run(settings: &Settings, args: &DeadLettersRedriveArgs) -> anyhow::Result<ExitCode> {
    known(args.topic.as_ref())?;
    if let Some(from) = &args.from {
        from.parse::<stream::Position>().context("--from")?;
    }
    let choice = Choice { topic: args.topic.clone(), class: args.class.clone(), from: args.from.clone() };
    let report = match open(settings)? {
        Some(log) => {
            let clock = Arc::new(kit::clock::SystemClock);
            redrive(&log, clock, &choice, args.dry_run, |report| eprintln!("{}", progress(report))).await?
        }
        None => remote::ask(settings, &choice, args.dry_run, |report| eprintln!("{}", progress(report))).await?,
    };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", text(&report));
    }
    Ok(if report.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The log, when we may write it; `None`: a running process has it.
fn open(settings: &Settings) -> anyhow::Result<Option<Arc<dyn EventLog>>> {
    if settings.stream.adapter == Adapter::Kafka {
        return Ok(Some(stream::open(&settings.stream, &settings.data_dir)?));
    }
    let config = settings.stream.embedded_in(&settings.data_dir);
    // A log that is not there is not made: there is nothing in it to put back.
    anyhow::ensure!(config.dir.is_dir(), "there is no event log in {}", config.dir.display());
    match EmbeddedLog::open(config) {
        Ok(log) => Ok(Some(log)),
        Err(LogError::Locked { .. }) => Ok(None),
        Err(error) => Err(error).context("the event log"),
    }
}

fn progress(report: &Report) -> String {
    format!("{} letters looked at, {} put back", report.letters, report.redriven)
}

fn text(report: &Report) -> String {
    let verb = if report.dry_run { "would be put back" } else { "put back" };
    let mut text = String::new();
    for (by, count) in &report.by {
        text += &format!("{count:>8}  {by}\n");
    }
    for reason in &report.reasons {
        text += &format!("refused   {reason}\n");
    }
    text += &format!(
        "{} of {} chosen letters {verb}, {} were put back before, {} refused\n",
        report.redriven, report.chosen, report.already, report.refused
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_what_was_put_back_before() {
        let report = Report { letters: 9, chosen: 5, redriven: 3, already: 2, ..Report::default() };
        assert!(text(&report).contains("3 of 5 chosen letters put back, 2 were put back before"), "{}", text(&report));
        let dry = Report { dry_run: true, ..report };
        assert!(text(&dry).contains("would be put back"));
    }
}
