//! `trunkline dead-letters`: what consumers could not handle, and how it is put back after a fix.
//!
//! `list` only reads, so it works beside a running process. `redrive` writes: on the embedded log the process that has it open does the
//! work, asked through its admin port; when none runs, the log is opened here. On Kafka it is always done here.

mod list;
mod redrive;
mod remote;

use std::process::ExitCode;

pub use self::remote::routes;
use crate::cli::DeadLettersCommand;
use crate::settings::Settings;

pub fn run(command: &DeadLettersCommand) -> anyhow::Result<ExitCode> {
    let config = match command {
        DeadLettersCommand::List(args) => &args.config,
        DeadLettersCommand::Redrive(args) => &args.config,
    };
    let settings = Settings::load(&config.config)?;
    if config.print_config {
        print!("{}", kit::settings::print(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        DeadLettersCommand::List(args) => runtime.block_on(list::run(&settings, args)),
        DeadLettersCommand::Redrive(args) => runtime.block_on(redrive::run(&settings, args)),
    }
}

/// A topic that nobody has gives an empty list or nothing to do: better said than silently answered.
fn known(topic: Option<&String>) -> anyhow::Result<()> {
    if let Some(name) = topic {
        anyhow::ensure!(
            schemas::by_name(name).is_some(),
            "no topic is called {name:?}; `trunkline topics list` shows all"
        );
    }
    Ok(())
}
