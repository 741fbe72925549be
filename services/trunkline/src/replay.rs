//! `trunkline replay`: all call records again, from the topics into a new file, and whether they are the same.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use stream::EventLog;

use crate::cli::ReplayArgs;
use crate::settings::Settings;

/// Both hashes and what was rebuilt.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    pub calls: u64,
    pub records: u64,
    pub live: String,
    pub again: String,
    pub took: std::time::Duration,
}

impl Rebuilt {
    #[must_use]
    pub fn equal(&self) -> bool {
        self.live == self.again
    }
}

/// Copies the live call log as of one transaction, rebuilds it from the topics up to what that transaction had read, and
/// hashes both. Nothing is paused. `folder` must be new; it holds the files afterwards.
pub async fn compare(
    log: Arc<dyn EventLog>,
    live: &cdr::Place,
    folder: &std::path::Path,
    progress: impl FnMut(cdr::replay::Progress),
) -> anyhow::Result<Rebuilt> {
    let started = std::time::Instant::now();
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let snapshot = cdr::replay::snapshot(live, &folder.join("live.sqlite")).await?;
    let report = cdr::replay::replay_to(log, &folder.join("rebuilt.sqlite"), snapshot.read, progress).await?;
    Ok(Rebuilt {
        calls: report.calls,
        records: report.records,
        live: snapshot.export.sha256,
        again: report.sha256,
        took: started.elapsed(),
    })
}

pub fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&args.config.config)?;
    if args.config.print_config {
        print!("{}", kit::settings::print(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let log = settings.open_log_to_read()?;
        if args.compare {
            compare_command(args, &settings, log).await
        } else {
            let into = args.into.clone().context("--into FILE is needed without --compare")?;
            let report = cdr::replay::replay(log, &into, show).await?;
            eprintln!();
            println!(
                "{} calls, {} legs from {} records in {}",
                report.calls,
                report.legs,
                report.records,
                into.display()
            );
            println!("sha256 {}", report.sha256);
            Ok(ExitCode::SUCCESS)
        }
    })
}

async fn compare_command(args: &ReplayArgs, settings: &Settings, log: Arc<dyn EventLog>) -> anyhow::Result<ExitCode> {
    let live = settings.call_log()?;
    let temporary = settings.data_dir.join("replay").join(format!("{}", std::process::id()));
    let rebuilt = compare(log, &live, &temporary, show).await;
    eprintln!();
    let outcome = rebuilt.and_then(|rebuilt| {
        if let Some(into) = &args.into {
            keep(&temporary.join("rebuilt.sqlite"), into)?;
        }
        Ok(rebuilt)
    });
    let _ = std::fs::remove_dir_all(&temporary);
    let rebuilt = outcome?;
    println!("live     {}  {live}", rebuilt.live);
    println!("rebuilt  {}  {} calls from {} records", rebuilt.again, rebuilt.calls, rebuilt.records);
    println!("{}", if rebuilt.equal() { "equal" } else { "DIFFERENT" });
    Ok(if rebuilt.equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn keep(from: &std::path::Path, to: &PathBuf) -> anyhow::Result<()> {
    anyhow::ensure!(!to.exists(), "{} exists already: a replay writes into a new file", to.display());
    std::fs::copy(from, to).with_context(|| format!("writing {}", to.display()))?;
    Ok(())
}

fn show(progress: cdr::replay::Progress) {
    let percent = progress.records.saturating_mul(100).checked_div(progress.of).unwrap_or(100);
    eprint!("\rreplayed {} of {} records ({percent} %)", progress.records, progress.of);
}
