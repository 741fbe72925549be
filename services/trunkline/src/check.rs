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
    if settings.stream.adapter == stream::Adapter::Embedded {
        println!(
            "note: on the embedded log only `standalone` works; services in separate processes need stream.adapter = \"kafka\""
        );
    }
    if settings.identity.keys_dir.as_os_str().is_empty() {
        let keys = settings.keys_dir();
        println!("note: identity keys live in {}; in a container that folder must outlive a redeploy", keys.display());
    }
    Ok(ExitCode::SUCCESS)
}
