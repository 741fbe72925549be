//! `trunkline edge`: the service, and what an operator needs beside it: rules for the firewalls.

use std::process::ExitCode;

use anyhow::bail;
use edge::firewall::{self, Options};

use crate::cli::{EdgeArgs, EdgeCommand, FirewallArgs};
use crate::service;
use crate::settings::Settings;

pub fn run(args: &EdgeArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        None => service::run("edge", &args.config),
        Some(EdgeCommand::Firewall(args)) => firewall(args),
    }
}

fn firewall(args: &FirewallArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&args.config.config)?;
    let options = Options { close: args.close, edges: args.edges.clone() };
    let Some(id) = &args.node else {
        print!("{}", firewall::edge(&settings.edge, &options));
        return Ok(ExitCode::SUCCESS);
    };
    match firewall::node(&settings.edge, id, &options) {
        Some(rules) => print!("{rules}"),
        None => {
            let known: Vec<&str> = settings.edge.nodes.iter().map(|n| n.id.as_str()).collect();
            bail!("no node is called {id}; the settings have: {}", known.join(", "));
        }
    }
    Ok(ExitCode::SUCCESS)
}
