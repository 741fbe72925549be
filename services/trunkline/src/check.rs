//! `trunkline check`: reads the settings as a service would and says everything that is wrong with them.

use std::process::ExitCode;

use crate::cli::ConfigArgs;
use crate::settings::Settings;

pub fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&args.config)?;
    if args.print_config {
        print!("{}", kit::settings::print(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    let file = if args.config.exists() { args.config.display().to_string() } else { "the defaults".to_owned() };
    println!("{file}: the settings are good");
    if settings.stream.adapter == stream::Adapter::Embedded && !settings.stream.embedded.alone {
        println!(
            "note: on the embedded log only `standalone` works; services in separate processes need stream.adapter = \"kafka\""
        );
    }
    if settings.stream.adapter == stream::Adapter::Kafka {
        broker(&settings)?;
    }
    let notes = edge::notes(&settings.edge, &settings.data_dir.join("edge"));
    notes.into_iter().for_each(|note| println!("note: {note}"));
    edge::host::look(&settings.edge).into_iter().for_each(|finding| println!("note: {finding}"));
    crate::orphans::tell(&settings);
    if settings.identity.keys_dir.as_os_str().is_empty() {
        let keys = settings.keys_dir();
        println!("note: identity keys live in {}; in a container that folder must outlive a redeploy", keys.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// A broker that does not answer is no fault of the settings: services start without it.
fn broker(settings: &Settings) -> anyhow::Result<()> {
    let log = stream::open(&settings.stream, &settings.data_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let weak = runtime
        .block_on(async { tokio::time::timeout(std::time::Duration::from_secs(12), crate::topics::weak(&*log)).await });
    match weak {
        Ok(text) if text.is_empty() => println!("the topics that are there are as they should be"),
        Ok(text) => print!("{text}"),
        Err(_) => {
            println!("note: the topics could not be looked at: no answer from {}", settings.stream.kafka.bootstrap)
        }
    }
    Ok(())
}
